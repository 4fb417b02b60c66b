# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What is log p(x) really, and how much of the code is used?
#
# A VAE reports a bound. Two models with bounds of 101 and 102 nats could stand the other way round in truth, because the bound is loose by an amount that nobody printed. In this lesson you
# tighten it with a dial until the remaining looseness is small, and then find out where the missing nats had gone. In the second half you turn to the code itself: what its 20 numbers
# cost, how many of them are used, and why a model may have good reasons to leave some unused.
#
# **You will be able to**
# - write the importance-weighted bound in two lines, and say in which sense it is safe;
# - report a log-likelihood with its number of samples, its pixel convention and its standard error, and smell a figure that cannot be right;
# - split the gap of a bound into the part that the encoder is to blame for and the part that no encoder could mend;
# - read a KL, dimension by dimension, and count active units without trusting the count too much;
# - predict exactly how many latent dimensions a linear VAE will use, before training it;
# - say what KL annealing and free bits do, and what they do not do.
#
# **You need** lesson 01 (ELBO, the exactly solvable model), lesson 03 (rec and kl) and lesson 04 ($\beta$ and $\sigma_x$). **Time:** 80 minutes of reading and trying, about a minute of computing.

# %%
import math
from itertools import pairwise

import torch

from vae_helpers import checks as check
from vae_helpers import data, evaluation, lesson, linear, losses, plotting, recipes, training, widgets
from vae_helpers.exact import LinearGaussian
from vae_helpers.models import VAE, reparameterize

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# ## 1 · A bound with a dial
#
# Lesson 01 found the ELBO by drawing one code $z$ from $q(z \mid x)$ and taking the mean of $\log \frac{p(x, z)}{q(z|x)}$. The fraction inside has a name: it is the **importance weight** of the
# draw. Its logarithm is made of three numbers that every VAE can compute,
#
# $$ \log w = \log p(x \mid z) + \log p(z) - \log q(z \mid x). \tag{5.1} $$
#
# Weights are honest in a way that their logarithms are not: the mean of $w$ over draws from $q$ *is* $p(x)$, since $\int q \,\frac{p(x,z)}{q}\, dz = \int p(x, z)\, dz$. So take the mean of $K$
# weights first, and the logarithm afterwards:
#
# $$ L_K = \log \frac1K \sum_{k=1}^{K} w_k, \qquad z_1, \dots, z_K \sim q(z \mid x) \text{ independently.} \tag{5.2} $$
#
# With $K = 1$ this is the ELBO again. For larger $K$ it is still a lower bound *on average*, because the logarithm is concave (Jensen's inequality, the same step as in lesson 01):
#
# $$ \mathbb{E}[L_K] = \mathbb{E}\Big[\log \tfrac1K \textstyle\sum_k w_k\Big] \;\le\; \log \mathbb{E}\Big[\tfrac1K \sum_k w_k\Big] = \log p(x). \tag{5.3} $$
#
# This is the **importance-weighted bound** of Burda, Grosse and Salakhutdinov (2016). $K$ is the dial.
#
# ### Exercise: the bound
#
# Write (5.2), from the *logarithms* of the weights. `log_w` has shape `(K, ...)`: the samples lie along the first axis, all other axes (images, repeats) are kept. *About 6 minutes.*
# A trap: log-weights of MNIST images are near −100, and lower in an untrained model. What is `exp(-1000.0)` in float32?


# %%
def iw_bound(log_w):
    """L_K = log of the mean of K weights (5.2), over the first axis: (K, ...) -> (...), in nats."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0])  # (5.2)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
iw_bound = check.iw_bound(iw_bound)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\log \frac1K \sum_k w_k = \log \sum_k e^{\log w_k} - \log K$. `torch.logsumexp(a, dim=0)` takes out the largest entry before it exponentiates, so nothing overflows and nothing vanishes.
# With $K$ equal weights the bound is that weight: a quick test of the $\log K$.
# </details>
#
# ### More samples never hurt the mean
#
# Here is a fact stronger than (5.3), and it needs no expectation. Take any $K+1$ weights. Leave each of them out in turn, and compute the bound of the $K$ that remain. Then
#
# $$ L_{K+1}(w_1, \dots, w_{K+1}) \;\ge\; \frac{1}{K+1} \sum_{i=1}^{K+1} L_K(\text{all } w \text{ but } w_i). \tag{5.4} $$
#
# Why: the mean of all $K+1$ weights is the mean of the leave-one-out means, and the logarithm of a mean is at least the mean of the logarithms. Take expectations on both sides, and you have
# $\mathbb{E}[L_{K+1}] \ge \mathbb{E}[L_K]$: **the dial turns one way.** The cell tries (5.4) on a thousand sets of wildly spread weights, for several $K$.

# %%
# NBVAL_CHECK_OUTPUT
for K in (1, 2, 5, 20):
    log_w = 5 * torch.randn(K + 1, 1000, dtype=torch.float64)
    without_i = [iw_bound(torch.cat([log_w[:i], log_w[i + 1 :]])) for i in range(K + 1)]
    assert (iw_bound(log_w) >= torch.stack(without_i).mean(0) - 1e-12).all()  # (5.4)
print("L of K+1 weights is never below the average of its leave-one-out bounds:", True)

# %% [markdown]
# ### Find the bug: the worst sample wins
#
# The weights are also used directly: scaled to sum to one over the $K$ samples, they say how much each draw counts. A widely copied library computes them as below. Training runs, losses
# fall. Mend the function, then run the check. *4 minutes.*


# %%
def normalised_weights(rec, log_pz, log_qz):
    """rec = -log p(x|z_k), log p(z_k) and log q(z_k|x), each (K, batch) -> w_k / sum of all w, (K, batch)."""
    ### BEGIN SOLUTION
    log_w = -rec + log_pz - log_qz  # (5.1)
    return torch.softmax(log_w, dim=0)
    ### BLANK VERSION
    # kl = log_qz - log_pz
    # log_w = rec + kl
    # return torch.softmax(log_w, dim=0)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
normalised_weights = check.normalised_weights(normalised_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# rec and kl are costs. Should a sample with a *high* cost get a high weight? Compare with (5.1), sign by sign.
# </details>
#
# Each of the lines looked familiar, and `rec + kl` is the loss of every other lesson. But a weight is no loss: $\log w$ of one sample is *minus* its cost.
#
# ## 2 · Where you know the answer
#
# Before you trust an estimator on MNIST, try it where the truth is known. The linear-Gaussian model of lesson 01, $x = Wz + b + \sigma_x \varepsilon$, has an exact $\log p(x)$. Here are all its
# numbers, one image of four pixels, and a $q$ that is deliberately poor: off centre, and about twice as wide as it should be.

# %%
W = [[1.0, 0.0], [0.5, 1.0], [-0.5, 0.5], [0.0, 0.8]]
model = LinearGaussian(W, b=[0.0, 0.1, 0.0, -0.1], sigma_x=0.5)
x = torch.tensor([2.0, 1.5, -1.0, 0.5], dtype=torch.float64)
mu = torch.tensor([0.5, 0.5], dtype=torch.float64)
log_var = torch.full((2,), 2 * math.log(0.8), dtype=torch.float64)  # sigma = 0.8

log_p, elbo = float(model.log_marginal(x)), float(model.elbo(x, mu, log_var))
print(f"exact: log p(x) = {log_p:.4f}, ELBO = {elbo:.4f}, gap = {log_p - elbo:.4f} nats")

# %% [markdown]
# Now 4 000 independent repeats of 1 000 draws each. One *repeat* stands for one evaluation that somebody might have run; a *mean over repeats* estimates $\mathbb{E}[L_K]$ and has a standard
# error. **Predict:** how many of the 7.9 nats are still missing at $K = 10$: about 5, about 2, or under 1?

# %%
z = mu + torch.exp(0.5 * log_var) * torch.randn(1000, 4000, 2, dtype=torch.float64)
log_w = model.log_joint(x, z) - losses.gaussian_log_prob(z, mu, log_var)  # (5.1), shape (1000, 4000)
rows = {}
for K in (1, 2, 5, 10, 20, 50, 100, 1000):
    estimates = iw_bound(log_w[:K])
    rows[K] = float(estimates.mean()), float(estimates.std()) / 4000**0.5
    print(f"K = {K:4d}: mean L_K = {rows[K][0]:7.3f} ± {rows[K][1]:.3f}, short of log p(x) by {log_p - rows[K][0]:.3f}")

means, errors = zip(*rows.values(), strict=True)
w = log_w.exp()
assert abs(w.mean() - math.exp(log_p)) < 4 * w.std() / w.numel() ** 0.5  # E[w] = p(x), the right side of (5.3)
assert abs(means[0] - elbo) < 4 * errors[0] and all(m < log_p + 4 * e for m, e in rows.values())  # (5.3)
assert all(a < b for a, b in pairwise(means)) and log_p - means[-1] < 0.05  # the dial turns one way

# %%
plotting.bound_curve(
    rows, log_p, "the mean of L_K rises with K from the ELBO at K = 1 towards the exact log p(x), fast at first"
)

# %% [markdown]
# Ten draws recover nine tenths of what a bad $q$ has lost. That is the mean. What would *you* have got, from a single run? Move the slider: each histogram holds the 4 000 single estimates. Watch
# the share of them that lies to the right of the truth. (Below it stands the same for readers without a running kernel.)

# %%
widgets.importance_explorer(log_w, log_p)

# %%
alt = "single estimates scatter widely at K = 1, mostly far below the exact log p(x); at K = 100 they crowd around it, on both sides; the first bar gathers all lower estimates"
plotting.bound_histograms(log_w, log_p, (1, 10, 100), alt)

# %%
# NBVAL_CHECK_OUTPUT
above = {K: (iw_bound(log_w[:K]) > log_p).double().mean() for K in (1, 100)}
assert 0.1 < above[1] < 0.2 and 0.4 < above[100] < 0.5
print("single estimates above log p(x): between 10 and 20 % at K = 1, between 40 and 50 % at K = 100")

# %% [markdown]
# > **"A lower bound can never exceed log p(x)."** Its *expectation* cannot. A single estimate can, even at $K = 1$. Averages over thousands of images are safe; the score of one image,
# > or the best of twenty runs, is not.
#
# ## 3 · How many draws really count?
#
# A thousand draws of which one has all the weight are worth one draw. The **effective sample size** measures this: it is $K$ when all weights are equal, 1 when one weight is everything,
#
# $$ \text{ESS} = \frac{\big(\sum_k w_k\big)^2}{\sum_k w_k^2}, \qquad 1 \le \text{ESS} \le K. \tag{5.5} $$
#
# ### Exercise: effective sample size
#
# Again from log-weights `(K, ...)`, over the first axis. *About 5 minutes.* ESS does not change when all weights are multiplied by one constant, so you may make them harmless first.


# %%
def effective_sample_size(log_w):
    """(sum w)^2 / sum w^2 over the first axis (5.5): (K, ...) -> (...), between 1 and K."""
    ### BEGIN SOLUTION
    w = torch.softmax(log_w, dim=0)  # sums to 1, so the numerator is 1
    return 1 / (w**2).sum(0)  # (5.5)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
effective_sample_size = check.effective_sample_size(effective_sample_size)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.softmax(log_w, dim=0)` is $w_k / \sum_l w_l$, safely. Put that in the place of $w_k$ in (5.5): what becomes of the numerator?
# </details>
#
# ### Exercise: how many draws for two?
#
# ESS grows with $K$. Find the smallest $K$ whose *mean* ESS over the repeats is at least `target`. `log_w` is `(K_max, repeats)`, and an estimate with $K$ samples uses the first $K$ rows. *5
# minutes.* **Guess first:** for the poor $q$ above, how many draws make up two effective ones?


# %%
def smallest_k(log_w, target=2.0):
    """The smallest K for which the mean over repeats of the ESS of the first K rows is >= target."""
    ### BEGIN SOLUTION
    for K in range(1, len(log_w) + 1):
        if effective_sample_size(log_w[:K]).mean() >= target:
            return K
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
smallest_k = check.smallest_k(smallest_k)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A loop over $K = 1, 2, \dots$ is fine. `log_w[:K]` are the first $K$ rows; `effective_sample_size` gives one number per repeat; take their mean, compare, return $K$ itself.
# </details>

# %%
enough = smallest_k(log_w)
best = model.best_mean_field(x)
z_best = best.mu + torch.exp(0.5 * best.log_var) * torch.randn(10, 4000, 2, dtype=torch.float64)
log_w_best = model.log_joint(x, z_best) - losses.gaussian_log_prob(z_best, *best)
assert 9 <= enough <= 16 and effective_sample_size(log_w_best[:2]).mean() > 1.9
poor_ten, best_ten = effective_sample_size(log_w[:10]).mean(), effective_sample_size(log_w_best).mean()
print(f"poor q: K = {enough}; ESS of 10 draws: {poor_ten:.2f} from the poor q, {best_ten:.2f} from the best diagonal q")

# %% [markdown]
# So a low ESS accuses $q$. Keep it in view whenever you quote $L_K$: here an ESS of 1.9, at $K = 10$, went with 0.8 missing nats. A thousand samples with an ESS of 3 carry the same warning.
#
# > **"Then train with a large K, it can only help."** It helps the decoder. For the *encoder* Rainforth et al. (2018) found the opposite: with growing $K$ the bound depends less and less on
# > where $q$ lies, so its gradient shrinks faster than its noise. The cell below measures the signal-to-noise ratio (|mean| over standard deviation) of one gradient estimate, for $\mu$ of
# > $q$ and for $b$ of the decoder, over 2 000 repeats.


# %%
def signal_to_noise(K, repeats=2000):
    """|mean| / std of the gradient of L_K: for the encoder's mu and for the decoder's b, each averaged over its components."""
    m = mu.expand(repeats, 2).clone().requires_grad_()
    b = model.b.expand(repeats, 4).clone().requires_grad_()
    z = m + torch.exp(0.5 * log_var) * torch.randn(K, repeats, 2, dtype=torch.float64)
    log_px_z = -losses.gaussian_nll(z @ model.W.T + b, x, model.sigma_x)
    bound = iw_bound(log_px_z + losses.gaussian_log_prob(z) - losses.gaussian_log_prob(z, m, log_var))
    gradients = torch.autograd.grad(bound.sum(), [m, b])
    return [float((g.mean(0).abs() / g.std(0)).mean()) for g in gradients]


ratios = {K: signal_to_noise(K) for K in (1, 10, 100, 1000)}
for K, (encoder, decoder) in ratios.items():
    print(f"K = {K:4d}: signal-to-noise of the encoder {encoder:5.2f}, of the decoder {decoder:5.2f}")
assert ratios[1000][0] < ratios[1][0] / 4 and ratios[1000][1] > 2 * ratios[1][1]

# %% [markdown]
# The decoder's ratio dips at first and then grows; the encoder's only falls, and at $K = 1000$ its gradient is nearly all noise. Remedies exist: the doubly reparameterised estimator (Tucker
# et al. 2019) keeps the encoder's signal alive. For *evaluation* none of this matters: there, larger $K$ is better, and costs only time.
#
# ## 4 · A trained model
#
# Now the VAE of lesson 03, as it ships with the course: 784-400-20-400-784, trained on grey MNIST pixels for ten epochs. Published likelihoods are of *dynamically binarised* images, so each test
# image is drawn once as black and white. The cell draws all the codes, a thousand for each image.

# %%
vae = lesson.shipped("first-vae").model
noise = torch.Generator().manual_seed(1)
some = data.binarize(test.random_subset(lesson.pick(full=300, quick=60), seed=1).x, generator=noise)
samples = lesson.pick(full=1000, quick=100)
parts = [evaluation.log_weights(vae, part, samples=samples, generator=noise) for part in some.split(100)]
log_w = torch.cat(parts, dim=1).double()
print(f"log-weights: {tuple(log_w.shape)}, (samples, images)")

# %% [markdown]
# A small trick makes good use of them. A thousand log-weights hold one estimate of $L_{1000}$, but also ten of $L_{100}$ and a hundred of $L_{10}$: cut them into blocks, and average the
# blocks' bounds. And by the argument of (5.4), joining blocks never lowers the result, *for any image*. **Guess:** the ELBO of this model is about −103 on these images. Where will $L_{1000}$
# lie?


# %%
def mean_bound(log_w, K):
    """The average of L_K over all blocks of K samples: (S, N) -> (N,)."""
    return iw_bound(log_w.unflatten(0, (-1, K)).transpose(0, 1)).mean(0)


ks = [K for K in (1, 10, 100, 1000) if samples >= K]
bounds = {K: mean_bound(log_w, K) for K in ks}
for K, values in bounds.items():
    error, ess = values.std() / len(values) ** 0.5, effective_sample_size(log_w[:K]).mean()
    print(f"-L_{K:<4d} = {-values.mean():6.2f} ± {error:.2f} nats per image, ESS {ess:5.1f}")

# %%
assert all((bounds[b] >= bounds[a] - 1e-9).all() for a, b in pairwise(ks))  # on every single image
tightest = bounds[ks[-1]]
gain = tightest - bounds[1]
assert gain.mean() > 1 and gain.std() < tightest.std()
error, level_error = gain.std() / len(gain) ** 0.5, tightest.std() / len(gain) ** 0.5
print(f"from K = 1 to {ks[-1]}: {gain.mean():.2f} ± {error:.2f} nats; the level itself is known to ± {level_error:.2f}")

# %% [markdown]
# Two standard errors, and they differ more than tenfold. The *level* is uncertain by more than a nat, because a 1 costs far less than an 8, and 300 images may hold a few ones too many.
# The *difference* is taken image by image, and the hard images cancel. Compare models on the same images, always.
#
# How far can a subset mislead? The cell computes one-sample ELBOs of all test images, and then pretends to be twenty papers, each of which evaluates 300 of them.

# %%
with torch.no_grad():
    everything = sum(vae.negative_elbo(data.binarize(test.x, generator=noise), generator=noise))
size = min(300, len(everything) // 3)
papers = torch.stack([everything[torch.randperm(len(everything))[:size]].mean() for _ in range(20)])
print(f"all {len(everything):,} test images: {everything.mean():.1f}")
print(f"twenty subsets of {size}: from {papers.min():.1f} to {papers.max():.1f}")
assert papers.max() - papers.min() > everything.std() / size**0.5  # more than one standard error of a single result

# %% [markdown]
# Differences of a nat or two between papers on "a subset of the test set" mean little. Here are published results to stand beside yours: nats per test image, lower is better. Mind the
# conditions in the second column; each of them moves the number.
#
# | model | conditions | −log p(x), estimated |
# |---|---|---|
# | VAE 784-200-200-(50), trained with K = 1 / 5 / 50 | dynamic binarisation, 3 280 epochs, estimated with 5 000 samples (Burda et al. 2016, table 1) | 86.76 / 86.47 / 86.35 |
# | IWAE, the same network, K = 1 / 5 / 50 | the same | 86.76 / 85.54 / 84.78 |
# | IWAE with two stochastic layers, K = 1 / 5 / 50 | the same | 85.33 / 83.89 / 82.90 |
# | a re-implementation of the one-layer IWAE (nbip), K = 1 / 5 / 50 | dynamic | 86.35 / 85.18 / 84.59 |
# | parmesan's one-layer VAE, 1 000 epochs | −ELBO, and from 5 000 samples | 90.71, and 86.43 |
# | VAE of Rezende and Mohamed (2015) | *fixed* binarisation, 200 samples | 89.9 |
# | VampPrior, K = 500 components | *fixed* binarisation, 5 000 samples | 85.57 |
#
# (The last two rows as pythae's documentation quotes them; the two before from the README of nbip and from parmesan's pull request 21.)
#
# Yours is estimated with 1 000 samples, has one hidden layer in place of two, has had ten epochs, and was trained on grey pixels: conditions, not excuses, and each belongs beside the number.
# Fixed binarisation (one draw of each image, stored for ever) is another data set again: the README of Burda's code reports about 2 nats worse, and a training-to-test gap of 3.5 nats in place
# of at most 0.75. <!-- source: README of yburda/iwae --> And a warning about signs: one public library's function `get_nll` returns *plus* $\log p(x)$.
#
# ### Exercise: what is wrong here?
#
# <!-- source: README of andrecavalcante's IWAE repository -->
# A public repository reports for its IWAE, a network of the kind of the table's second row: **"77.3 at k = 1000"**, after 50 epochs, evaluated on *grey* MNIST pixels. Which is the best
# reaction? *3 minutes.*
#
# 1. Impossible: the figure lies below the floor of grey pixels.
# 2. Implausible: better by 7 nats than the table's row with a small part of the training, on pixels that cost *more* than binary ones. Ask for the code.
# 3. Fine, but $k = 1000$ has made the number too good: with many samples the estimate exceeds $\log p(x)$.
# 4. Fine: 50 epochs are enough, and grey pixels are easier.

# %%
### BEGIN SOLUTION
best_reaction = 2
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
best_reaction = check.best_reaction(best_reaction)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Lesson 00 computed the floor of grey pixels. Lesson 03 ordered grey, dynamic and static for one model. And (5.3) says in which direction $L_K$ errs on average.
# </details>
#
# ## 5 · Where did the missing nats go?
#
# The gap $\log p(x) - \text{ELBO} = \text{KL}(q \,\|\, p(z \mid x))$ has two causes. The true posterior may have a shape that no diagonal Gaussian can take: the **approximation gap**. And the
# encoder, one network that must answer for every image at once, may not find the best diagonal Gaussian $q^\ast$ for this image: the **amortisation gap** (Cremer, Li and Duvenaud 2018).
#
# $$ \log p(x) - \text{ELBO}(q_\phi) = \underbrace{\log p(x) - \text{ELBO}(q^\ast)}_{\text{approximation gap}} + \underbrace{\text{ELBO}(q^\ast) - \text{ELBO}(q_\phi)}_{\text{amortisation gap}} \tag{5.6} $$
#
# In the solvable model both are exact, since lesson 01 gave $q^\ast$ in closed form. **Predict:** is the poor $q$ of section 2 poor because no diagonal
# Gaussian fits, or because this one was badly chosen?

# %%
# NBVAL_CHECK_OUTPUT
best_elbo = float(model.elbo(x, *best))
approximation, amortisation = log_p - best_elbo, best_elbo - elbo  # (5.6)
assert abs(approximation - float(model.kl_to_posterior(x, *best))) < 1e-10
assert abs(approximation + amortisation - float(model.kl_to_posterior(x, mu, log_var))) < 1e-10  # (5.6): the whole gap
print(f"approximation gap {approximation:.3f}, amortisation gap {amortisation:.2f} nats")

# %% [markdown]
# Badly chosen: nearly the whole gap could be mended. For the VAE there is no closed form, but nothing stops you from improving $q$ for one image at a time: start at the encoder's answer and
# follow the gradient of that image's ELBO over $(\mu, \log\sigma^2)$, with the decoder left alone. `evaluation.refine_posterior` does this with Adam. The truth is replaced by $L_K$ with the
# *improved* $q$, whose weights are far more even.

# %%
held_out = data.binarize(validation.random_subset(lesson.pick(full=32, quick=12)).x, generator=noise)
refined = evaluation.refine_posterior(vae, held_out, steps=200)
draws = lesson.pick(full=1000, quick=300)
from_encoder = evaluation.log_weights(vae, held_out, samples=draws, generator=noise)
from_refined = evaluation.log_weights(vae, held_out, samples=draws, generator=noise, posterior=refined)

elbo_encoder, elbo_refined, best_bound = from_encoder.mean(0), from_refined.mean(0), iw_bound(from_refined)
print(f"-ELBO: encoder's q {-elbo_encoder.mean():.2f}, refined q {-elbo_refined.mean():.2f}")
print(f"-L_{draws} with the refined q: {-best_bound.mean():.2f}")

# %%
gap, rest = elbo_refined - elbo_encoder, best_bound - elbo_refined
ess = [effective_sample_size(log_w).mean() for log_w in (from_encoder, from_refined)]
print(f"amortisation gap about {gap.mean():.2f}, approximation gap about {rest.mean():.2f} nats per image")
print(f"ESS of {draws} draws: {ess[0]:.0f} from the encoder's q, {ess[1]:.0f} from the refined one")
assert gap.mean() > 4 * gap.std() / len(gap) ** 0.5 and gap.mean() > 1
assert rest.mean() > 0 and best_bound.mean() > iw_bound(from_encoder).mean()  # L_K is tighter too

# %% [markdown]
# On MNIST the larger part is the *encoder's* fault, not that of the Gaussian. (Part of it has a plain cause: this encoder was trained on grey images and is now shown binary ones.) Why "about":
# the refined $q$ is not quite $q^\ast$, and $L_K$ not quite $\log p(x)$. The first mistake moves nats from the first gap to the second, the other hides some of the second. The decoder
# may be better than its ELBO says, and a larger encoder, or longer training of it, may pay more than a richer $q$. You could not have known from the loss.
#
# ## 6 · What the code costs: rate and distortion
#
# Turn from the bound to its two halves. Information theory has names for them. The **rate** $R$ is kl, the nats that the code carries; the **distortion** $D$ is rec, the nats that are still
# missing after you have seen the code. A model trained with weight $\beta$ makes
#
# $$ D + \beta R \tag{5.7} $$
#
# small. So $\beta$ is an exchange rate, and each $\beta$ buys another point on the curve of what this network can do. The course ships six networks, equal but for $\beta$. **Predict:** at
# which $\beta$ is the bound $D + R$ smallest, and does the largest $\beta$ have the fewest active dimensions?

# %%
family = {beta: lesson.shipped(f"beta-{beta:g}") for beta in recipes.BETAS}
for beta, checkpoint in family.items():
    m = checkpoint.metrics
    both = f"rate {m['test_kl']:5.1f}, distortion {m['test_rec']:6.1f}"
    print(f"β = {beta:4g}: {both}, -ELBO {m['test']:6.1f}, active {m['active_units']:2d} of 20")

rates = [checkpoint.metrics["test_kl"] for checkpoint in family.values()]
distortions = [checkpoint.metrics["test_rec"] for checkpoint in family.values()]
alt = "the shipped models trade distortion for rate along a curve that is steep at small rates and flat at large ones; beta = 1 touches the line of the smallest sum"
plotting.rate_distortion_figure(recipes.BETAS, rates, distortions, alt)

# %% [markdown]
# These are MNIST test figures, stored with the models (grey pixels, so $D$ includes the floor of 45.5 nats of lesson 00). If each model is the best for its own $\beta$, then the slope between
# two neighbours must lie between their two weights. For $\beta_1 < \beta_2$, "model 1 is the best at $\beta_1$" says $D_1 + \beta_1 R_1 \le D_2 + \beta_1 R_2$, and likewise for model 2.
# Together, if $R_1 > R_2$:
#
# $$ \beta_1 \;\le\; \frac{D_2 - D_1}{R_1 - R_2} \;\le\; \beta_2. \tag{5.8} $$
#
# Twelve epochs are not enough for anyone to be quite the best. Does the family obey all the same?

# %%
# NBVAL_CHECK_OUTPUT
points = list(zip(recipes.BETAS, rates, distortions, strict=True))
for (b1, r1, d1), (b2, r2, d2) in pairwise(points):
    price = (d2 - d1) / (r1 - r2)  # (5.7) for both models gives (5.8)
    assert b1 <= price <= b2
    print(f"from β = {b1:g} to {b2:g}: one nat of rate saves {price:.2g} nats of distortion")
assert min(points, key=lambda p: p[1] + p[2])[0] == 1.0

# %% [markdown]
# It does. Read it as an economist: at $\beta = 1$ the last nat spent on the code saves exactly one nat of distortion. To the right of that point in the figure code is bought at a loss,
# to the left more of it would still pay.
#
# The slider shows what the price does to the code: the KL of each latent dimension, sorted, beside eight images and their reconstructions. Dimensions that are not in use have bars too low to see.
# Follow the number of bars, and which digits lose their shape last. (The sheet below shows four of the six.)

# %%
looked_at = validation.random_subset(1000, seed=2)
uses = {beta: plotting.code_use(checkpoint.model, looked_at) for beta, checkpoint in family.items()}
widgets.beta_explorer(uses)

# %%
shown = {beta: uses[beta] for beta in (0.1, 1.0, 4.0, 10.0)}
alt = "with growing beta fewer latent dimensions carry any KL, and reconstructions blur towards a few typical digits"
plotting.code_use_sheet(shown, alt)

# %% [markdown]
# On MNIST the upright 0 and the 1 outlast the others: with five bars left, the 2 is a blur.
#
# > **"KL near 0: the code is nicely regular."** A KL of 0 means that $q(z \mid x)$ is the prior for every image: the code says nothing, and the decoder guesses one image for all. Small KL is no
# > virtue in itself, and neither is large: at $\beta = 0.1$ the code is rich, the reconstructions are crisp, and the bound is worse than at $\beta = 1$ by about 19 nats.
#
# ## 7 · How many dimensions are used?
#
# KL adds up over the dimensions of the code, so each has its own share. In the bars above many stand near zero: there $q(z_j \mid x)$ is the prior, whatever the image. To count the others,
# Burda et al. call a dimension an **active unit** (AU) if its posterior mean varies over the images by more than a small threshold:
#
# $$ \text{AU} = \#\big\{ j : \operatorname{Var}_x \mu_j(x) > 0.01 \big\}. \tag{5.9} $$

# %%
posterior = evaluation.posteriors(family[4.0].model, looked_at)
kl_per_dim = evaluation.kl_per_dimension(posterior)
active = posterior.mu.var(0) > 0.01  # (5.9)
assert torch.isclose(kl_per_dim.sum(), losses.gaussian_kl(*posterior).mean(), rtol=1e-4)  # the bars sum to kl
assert torch.equal(active, evaluation.active_units(posterior.mu))
for threshold in (0.3, 0.1, 0.01, 0.001, 0.00001):
    print(f"threshold {threshold:g}: {int(evaluation.active_units(posterior.mu, threshold).sum())} active of 20")
print(f"at 0.01 the inactive ones carry {kl_per_dim[~active].sum():.3f} of {kl_per_dim.sum():.2f} nats")
print(f"stored with the model, from the test images: {family[4.0].metrics['active_units']} active")

# %% [markdown]
# > **"The threshold 0.01 is a law of nature."** It is a habit. From 0.3 down to 0.01 the count does not move here: the variances fall into two clear groups, and then a count means something.
# > At 0.001 it doubles, since the empty dimensions still tremble a little, at a cost of a few hundredths of a nat in all. One of them sits right at 0.01, and is counted or not depending on
# > the images. A half-trained model has no two groups, and AU can be what you like. Look at the bars before you quote the count.
#
# <!-- confusion 17 -->
# ### How many dimensions should I choose?
#
# The most common question about VAEs has an exact answer in one case, and the answer teaches a lot about the others. Take away all hidden layers: a linear encoder, a linear decoder, a
# Gaussian likelihood with fixed $\sigma_x$. The best such VAE is probabilistic PCA. Let $e_1 \ge e_2 \ge \dots$ be the eigenvalues of the covariance of the images. At the optimum, dimension
# $j$ stands for the $j$-th principal component, and
#
# $$ R_j = \tfrac12 \log \frac{e_j}{\sigma_x^2}, \qquad \operatorname{Var}_x \mu_j = \frac{e_j - \sigma_x^2}{e_j} \qquad \text{if } e_j > \sigma_x^2, \text{ and both are } 0 \text{ otherwise.} \tag{5.10} $$
#
# In words: **a direction is worth a latent dimension if the images vary along it by more than the noise.** The number of eigenvalues above $\sigma_x^2$ is the number of dimensions in use,
# however many you offer.

# %%
components = linear.spectrum(train.x)
eigenvalues = components.eigenvalues
alt = "eigenvalues of the images' covariance fall steeply; lines at three noise variances cut the curve at different places"
plotting.spectrum_figure(eigenvalues, (1.0, 0.5, 0.25), alt)

# %% [markdown]
# Proof by computing: put the optimum into an ordinary `VAE` with no hidden layers, and measure it as you would any other. Its $q(z \mid x)$ is the exact posterior, so every single weight
# (5.1) must *equal* $p(x)$, with no gap and no scatter, and KL and variances must be those of (5.10).

# %%
# NBVAL_CHECK_OUTPUT
closed = linear.best_linear_vae(components, latent_dim=50, sigma_x=1.0)
posterior = evaluation.posteriors(closed, train)
keep = eigenvalues[:50] > 1.0
expected_rate = torch.where(keep, 0.5 * torch.log(eigenvalues[:50]), 0.0)  # (5.10) with sigma_x = 1
expected_variance = torch.where(keep, 1 - 1 / eigenvalues[:50], 0.0)
assert torch.allclose(evaluation.kl_per_dimension(posterior).double(), expected_rate, atol=1e-3)
assert torch.allclose(posterior.mu.var(0).double(), expected_variance, atol=1e-3)
print("KL and Var mu of each of the 50 dimensions are as (5.10) says:", True)

# %%
# NBVAL_CHECK_OUTPUT
log_w = torch.cat([evaluation.log_weights(closed, x, samples=2) for x, _ in train.batches(5000)], dim=1)
exact = linear.negative_log_likelihood(eigenvalues, latent_dim=50, sigma_x=1.0)
assert (log_w[0] - log_w[1]).abs().max() < 0.01 and abs(log_w.double().mean() + exact) < 0.01
print("two draws give one weight on every image; the mean log weight is PPCA's exact log p(x), to 0.01 nats:", True)

# %% [markdown]
# Does *training* get there, without knowing about eigenvalues? The cell trains a linear VAE with 30 latent dimensions on its exact expected loss (for a linear model the expectation over $z$
# and over the images needs the covariance alone, so nothing is random but the start). It works in the first 100 principal components; all others lie far below both $\sigma_x^2$ and would
# stay unused. **Predict the two counts from the figure.**


# %%
def train_linear_vae(variance, latent_dim=30, steps=2500):
    """Var_x mu_j of a linear VAE after training on its exact mean loss, starting from random weights."""
    torch.manual_seed(0)
    e = eigenvalues[:100].float()
    W = (0.1 * torch.randn(100, latent_dim)).requires_grad_()  # decoder
    A = (0.1 * torch.randn(latent_dim, 100)).requires_grad_()  # encoder: mu = A x
    log_var = torch.zeros(latent_dim, requires_grad=True)
    optimizer = torch.optim.Adam([W, A, log_var], lr=0.03)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        missing = ((torch.eye(100) - W @ A) ** 2 * e).sum()  # mean |x - W mu|^2
        rec = (missing + (W**2).sum(0) @ log_var.exp()) / (2 * variance)
        variances = (A**2 * e).sum(1)
        kl = 0.5 * (variances + log_var.exp() - 1 - log_var).sum()
        optimizer.zero_grad()
        (rec + kl).backward()
        optimizer.step()
        decay.step()
    return variances.detach().sort(descending=True).values


for variance in (1.0, 0.5):
    trained = train_linear_vae(variance)
    above, active = int((eigenvalues > variance).sum()), int((trained > 0.01).sum())
    print(f"sigma_x² = {variance:g}: {above} eigenvalues above it, {active} active units after training")

# %%
predicted = linear.posterior_variances(eigenvalues[:30].float(), 0.5**0.5)
assert (trained - predicted).abs().max() < 0.02  # each Var mu of the trained model is as (5.10) says
last = eigenvalues[above - 1]  # the smallest one above 0.5
print(f"eigenvalue number {above} is {last:.4f}: Var mu = ({last:.4f} - 0.5) / {last:.4f} = {(last - 0.5) / last:.4f}")

# %% [markdown]
# On MNIST the first count agrees to the unit, and the second shows how the threshold bites: 23 eigenvalues lie above ½, but only 22 units are "active". The 23rd is barely above, and its
# variance is positive and yet smaller than 0.01. What does it cost to offer fewer dimensions than these, or more?

# %%
offered = sorted({2, 5, 10, above - 3, above, 50, 784})
cost = {d: linear.negative_log_likelihood(eigenvalues, d, 0.5**0.5) for d in offered}
for d, nats in cost.items():
    print(f"latent_dim {d:3d}: -log p(x) of the best linear VAE = {nats:.3f} nats of density per image")
assert cost[784] == cost[50] == cost[above] < cost[above - 3]

# %% [markdown]
# So the answer for the linear case: *offer more than enough, and the bound will take what pays.* Too few cost likelihood (little, if the ones that are missing barely pay), too many cost a
# little computing and nothing else. Deep VAEs behave the same way in kind (a network that bends can use a dimension for more than a straight line, so the count is another). And the noise
# you assume decides: halve $\sigma_x^2$, and more dimensions are worth their price.
#
# ## 8 · Collapse, annealing and free bits
#
# <!-- confusion 13 -->
# > **Posterior collapse.** A latent dimension has collapsed when $q(z_j \mid x)$ is the prior for every image. By (5.10) that is often *right*: the direction is not worth its price. It is a fault
# > when the model would be better with that dimension in use and training cannot find the way: the decoder learned early to do without the code, and an encoder whose code is ignored has no
# > reason to say anything. Strong decoders (autoregressive ones) do it to the whole code, and so does a careless weight on KL, as you saw in lesson 03.
#
# Two remedies are in wide use. **KL annealing** raises $\beta$ slowly from 0, so that the code is free while the decoder learns to read it. **Free bits** (Kingma et al. 2016) take away the
# reward for pushing a dimension's KL below $\lambda$ nats: a dimension whose KL, averaged over the batch, is below $\lambda$ counts as $\lambda$,
#
# $$ \text{kl}_{\text{free}} = \sum_{j=1}^{d} \max\big(\lambda, \; \overline{\text{KL}}_j\big), \qquad \overline{\text{KL}}_j = \text{mean over the batch.} \tag{5.11} $$
#
# ### Exercise: free bits
#
# `kl_per_dim` is `(batch, d)`; the result is one number. *4 minutes.* Mind the order: first the mean, then the maximum, then the sum.


# %%
def free_bits(kl_per_dim, minimum):
    """KL with free bits (5.11): (batch, d) -> scalar, nats per image."""
    ### BEGIN SOLUTION
    return kl_per_dim.mean(0).clamp(min=minimum).sum()  # (5.11)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
free_bits = check.free_bits(free_bits)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `tensor.clamp(min=λ)` is $\max(\lambda, \cdot)$. If you take the maximum before the mean, one image with a low KL is protected though the dimension as a whole is in full use.
# </details>
#
# A unit test says what the maximum does to training: below $\lambda$ a dimension gets *no gradient* from kl, above it gets all of it.

# %%
# NBVAL_CHECK_OUTPUT
kl_per_dim = torch.tensor([[0.1, 0.6], [0.2, 1.0]], requires_grad=True)
free_bits(kl_per_dim, 0.5).backward()
assert torch.isclose(free_bits(kl_per_dim, 0.5), torch.tensor(0.5 + 0.8))
assert torch.equal(kl_per_dim.grad, torch.tensor([[0.0, 0.5], [0.0, 0.5]]))
print("0.15 counts as 0.5 and gets no gradient; 0.8 counts as 0.8 and gets all of it:", True)

# %% [markdown]
# Now a short training at $\beta = 4$, where about half of the dimensions do not pay, in three ways: plain, with $\beta$ rising during the first two epochs, and with a quarter of a nat free in
# each dimension. All are measured alike on held-out images: by the bound, and by rec + 4 kl, which is what $\beta = 4$ asks for. **Predict:** who has the most dimensions above a tenth of a
# nat, and who is the best by either measure?

# %%
few = train.random_subset(lesson.pick(full=20_000, quick=3000))
remedies = {"plain": {}, "annealing": {"beta_warmup_epochs": 2}, "free bits": {"free_bits": 0.25}}
trained = {}
common = dict(epochs=lesson.pick(full=4, quick=5), learning_rate=2e-3, beta=4.0, seed=0)
for name, settings in remedies.items():
    torch.manual_seed(0)
    trained[name] = VAE(latent_dim=20, encoder_sizes=(200,), decoder_sizes=(200,))
    training.fit(trained[name], few, **common, **settings)

# %%
results = {name: evaluation.evaluate(m, validation) for name, m in trained.items()}
code = {name: plotting.code_use(m, validation) for name, m in trained.items()}
priced = {}
for name, result in results.items():
    kl = code[name].kl
    priced[name] = result.rec + 4 * result.kl
    counts = f"active {int(code[name].active.sum()):2d}, above 0.1 nat {int((kl > 0.1).sum()):2d} of 20"
    bounds = f"-ELBO {result.negative_elbo:.1f}, rec + 4 kl {priced[name]:.1f}"
    print(f"{name:10s} {counts}, smallest KL_j {kl.min():.3f}, {bounds}")
assert code["free bits"].kl.min() > 2 * code["plain"].kl.min()
if lesson.profile() == "full" and train.name == "MNIST":
    assert results["free bits"].negative_elbo > results["plain"].negative_elbo + 1
    assert abs(priced["annealing"] - priced["plain"]) < 2 < priced["free bits"] - priced["plain"]

# %% [markdown]
# On MNIST annealing has the best bound, with more dimensions in use. But by rec + 4 kl it is level with plain training: two cheap epochs have left it further to the right on the curve of
# section 6, no closer to it. Free bits buy what they promise: every dimension carries about a quarter of a nat or more. They do not buy likelihood here, because the empty dimensions were empty for a
# good reason. (All three count 20 "active" units: the models are half-trained, and the threshold of section 7 sees no difference.) Use them when you need the code (for search, for control,
# under a strong decoder), and report the bound with $\lambda = 0$ and $\beta = 1$. More than that gives a looser bound than you have earned; $\beta < 1$ gives none.
#
# ## 9 · ELBO surgery: what is inside KL?
#
# One more cut. Averaged over $N$ images, KL is the sum of two quantities with very different meanings (Hoffman and Johnson 2016). With the **aggregate posterior**
# $q(z) = \frac1N \sum_n q(z \mid x_n)$,
#
# $$ \frac1N \sum_{n=1}^{N} \text{KL}\big(q(z \mid x_n) \,\|\, p(z)\big) = \underbrace{\frac1N \sum_{n=1}^N \text{KL}\big(q(z \mid x_n) \,\|\, q(z)\big)}_{I_q(x; z)} + \text{KL}\big(q(z) \,\|\, p(z)\big). \tag{5.12} $$
#
# The first term is **information**: how much the code says about *which* image it came from. The second says how far the codes, all together, are from the prior: where $q(z)$ is empty and
# the prior is not, samples come from codes that the decoder never saw. The information has a limit: $q(z)$ contains each $q(z \mid x_n)$ with weight $\frac1N$,
# so $\log q(z \mid x_n) - \log q(z)$ is at most $\log N$ everywhere, and so is its mean,
#
# $$ I_q(x; z) \le \log N. \tag{5.13} $$
#
# Check it where the integrals can be done: fifty Gaussians on a line, a fine grid, float64. The three terms are computed apart: two by the grid, one by the formula of lesson 01.


# %%
def surgery_on_a_grid(mu, sigma, z, dz):
    """(information, marginal KL, mean KL by the formula) of n Gaussians on the line, integrals as sums over the grid z."""
    log_q = torch.distributions.Normal(mu, sigma).log_prob(z[:, None])  # (grid, n)
    log_agg = torch.logsumexp(log_q, 1) - math.log(len(mu))
    log_prior = torch.distributions.Normal(torch.zeros_like(z[0]), torch.ones_like(z[0])).log_prob(z)
    information = (log_q.exp() * (log_q - log_agg[:, None])).sum(0).mean() * dz
    marginal = (log_agg.exp() * (log_agg - log_prior)).sum() * dz
    return information, marginal, losses.gaussian_kl(mu[:, None], 2 * sigma.log()[:, None]).mean()


mu50, sigma50 = torch.randn(50, dtype=torch.float64), 0.1 + 0.2 * torch.rand(50, dtype=torch.float64)
z = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
information, marginal, mean_kl = surgery_on_a_grid(mu50, sigma50, z, z[1] - z[0])
print(f"information {information:.4f} + marginal KL {marginal:.4f} = {information + marginal:.4f}")
print(f"mean KL by the formula {mean_kl:.4f}; log 50 = {math.log(50):.2f}")
assert abs(information + marginal - mean_kl) < 1e-6  # (5.12)
assert 0 < information <= math.log(50) and marginal >= 0  # (5.13)

# %% [markdown]
# The same lines in float32, the default of PyTorch. **Look at the residual,** the difference of the two sides. Is the theorem only approximately true?

# %%
z32 = torch.linspace(-10, 10, 20_001)
dz32 = z32[1] - z32[0]
information, marginal, kl32 = surgery_on_a_grid(mu50.float(), sigma50.float(), z32, dz32)
residual, spacing = abs(information + marginal - kl32), abs(dz32 / 0.001 - 1)
print(f"residual {residual:.6f}, that is {residual / kl32:.6f} of the KL; z[1] - z[0] is off by {spacing:.6f} of 0.001")
assert residual > 1e-5 and abs(residual / kl32 - spacing) < 1e-5

# %% [markdown]
# The theorem is fine. `z[1] - z[0]` is the difference of two numbers near −10 that are stored to seven digits, so only three or four digits of the spacing survive, and every integral is off
# by that factor. When an identity fails in the fourth digit, suspect the arithmetic before the mathematics (or the paper).
#
# Now the trained model. In 20 dimensions there is no grid, but draws will do: for codes drawn from $q(z \mid x_n)$, average $\log q(z \mid x_n) - \log q(z)$ and $\log q(z) - \log p(z)$.

# %%
posterior = evaluation.posteriors(vae, train.random_subset(500))
torch.manual_seed(0)
z = reparameterize(*posterior)  # one code for each of the 500 images
log_each = losses.gaussian_log_prob(z[:, None], *posterior)  # (500 codes, 500 images)
log_agg = torch.logsumexp(log_each, 1) - math.log(500)
information, marginal = log_each.diagonal() - log_agg, log_agg - losses.gaussian_log_prob(z)
total, mean_kl = information + marginal, losses.gaussian_kl(*posterior).mean()
print(f"information {information.mean():.2f} + marginal {marginal.mean():.2f} = {total.mean():.2f} nats")
print(f"mean KL {mean_kl:.2f} nats; log 500 = {math.log(500):.2f}")

# %%
# NBVAL_CHECK_OUTPUT
assert abs(total.mean() - mean_kl) < 4 * total.std() / 500**0.5  # (5.12)
assert information.max() < math.log(500) + 1e-4 and information.mean() > 0.9 * math.log(500)  # (5.13)
print("the parts sum to the mean KL within 4 standard errors; the information is within 10 % of its limit:", True)

# %% [markdown]
# The information is at its limit: each code names its image. So for a well-trained VAE the split depends on $N$, the number of images you computed it with. **Predict** what happens to the
# second term when $N$ grows fourfold, then run.

# %%
for N in lesson.pick(full=(125, 500, 2000, 4000), quick=(125, 500, 1000)):
    few = train.random_subset(N)
    N, parts = len(few), evaluation.elbo_surgery(evaluation.posteriors(vae, few), samples=2)
    information = f"information {parts.mutual_information:.2f} (limit {math.log(N):.2f})"
    print(f"N = {N:4d}: {information} + marginal KL {parts.marginal_kl:.2f} = {parts.mean_kl:.2f}")

# %% [markdown]
# Fourfold $N$, and 1.4 nats ($\log 4$) move from the second term to the first. With all 55 000 training images the information would still be capped at $\log 55\,000 = 10.9$ nats, far below
# the KL of 25. Quoted without $N$, "marginal KL = 17" says nothing. Lesson 06 looks at $q(z)$ itself, and at its holes.
#
# ## 10 · A prior that learns, and a figure to stand beside the papers
#
# The second term of (5.12) is a cost that buys nothing: the codes lie where $p(z)$ does not expect them. You cannot move $q(z)$ onto $\mathcal N(0, I)$ without losing information. But nobody said that
# $p(z)$ must be $\mathcal N(0, I)$. Let the *prior* learn. It needs an exact density and an easy draw, and a chain of invertible maps, a **flow**, has both. With $u = f(z)$ and $u \sim \mathcal N(0, I)$,
#
# $$ \log p(z) = \log \mathcal N\big(f(z); 0, I\big) + \log \left| \det \frac{\partial f(z)}{\partial z} \right|. \tag{5.14} $$
#
# Each map scales and shifts half of the numbers, by amounts that a small network computes from the other half: easy to undo, and with a triangular Jacobian, so that the determinant is a product
# (Dinh et al. 2017). `flows.py` has it in eighty lines. The course ships such a model: 784-500-500-50 and back, binarised pixels, a flow of four maps as its prior. The cell computes (5.14) for one code by brute force, with
# the whole 50×50 Jacobian.

# %%
best = lesson.shipped("likelihood")
prior, z = best.model.flow.double(), torch.randn(50, dtype=torch.float64)


def f(z):
    for coupling in prior.couplings:
        z, _ = coupling(z)
    return z


# (5.14)
log_det = torch.linalg.slogdet(torch.autograd.functional.jacobian(f, z)).logabsdet
by_hand = losses.gaussian_log_prob(f(z)) + log_det
torch.testing.assert_close(prior.log_prob(z), by_hand)
prior.float()
print(f"log |det| = {log_det:.3f}; as the model computes log p(z): the same within 1e-7")

# %% [markdown]
# The bound needs one change: $\text{KL}(q \,\|\, p)$ has no closed form any more, so each step estimates it by $\log q(z \mid x) - \log p(z)$ at the code that was drawn. **Predict** from the table of section 4: this model trains for
# minutes, the published ones for thousands of epochs. Where will it land?
#
# The next figure is read from a stored result, since $K = 5\,000$ codes for each of 10 000 images take half an hour of one core. You can make it again: `python -m vae_helpers evaluate data/checkpoints/likelihood.safetensors --samples 5000`.

# %%
rows = plotting.likelihood_figure(
    "-ELBO on training images falls over the epochs; the test log-likelihood of the two longer runs lies below the published lines of the one-layer models"
)
for row in rows:
    estimate, error = -row["log_likelihood"], row["standard_error"]
    print(
        f"{row['recipe']:16s} {row['epochs']:4d} epochs: -L_{row['samples']} = {estimate:.2f} ± {error:.2f} nats per image"
    )

# %%
conditions = {(row["images"], row["binarization"], row["binarization_seed"]) for row in rows}
assert conditions == {(10_000, "dynamic", 1234)}
longer = next(row for row in rows if row["recipe"] == "likelihood")
assert longer["samples"] == 5000
assert -longer["log_likelihood"] < 84.78 - 3 * longer["standard_error"]  # IWAE, one layer, K = 50
print("images, pixels, seed of the binarisation:", *conditions)

# %% [markdown]
# What this shows and what it does not. The model has more units than the published ones (500 against 200), another activation, and a prior that learned: it is no fairer a comparison than a race between two cars of different
# make. The test images were binarised once, with a fixed seed, where the paper used its own draw. The standard error is that of the level; another draw of the same size of test set would move
# every row together. And the estimate is still a lower bound on $\log p(x)$: the truth is a little better. What it does show: a few minutes go a long way, once the cost that section 9 found is no longer paid.
#
# **Questions worth thinking about**
#
# 1. A script takes rec as the *mean* over 784 pixels and kl as the *mean* over 20 latent dimensions. Which $\beta$ is that, and which effect of section 6 do you expect?
# 2. $L_{5000}$ of model A is $-86.4$ and of model B $-86.6$, on the same images, with standard errors of the level of 0.3. Is A better? What else do you ask for?
# 3. You double `latent_dim` and AU stays at 20 while the bound stays too. Your supervisor asks for free bits "so that all 40 are used". What do you answer?
# 4. Why can the amortisation gap be large for a model whose training bound looks excellent?
# 5. In (5.10), what happens to all rates when you multiply every pixel by 2 and leave $\sigma_x$ alone?
#
# <details><summary>Answers</summary>
#
# 1. $\text{rec}/784 + \text{kl}/20 = (\text{rec} + 39.2\,\text{kl})/784$, so $\beta = 39.2$: far to the left of the curve, a nearly empty code, blurred reconstructions. (A public
#    "sigma-VAE" script does this.)
# 2. Ask for the standard error of the *difference*, image by image: it is far smaller than 0.3. And ask for the ESS of both: the one with the lower ESS is probably further below its own $\log p(x)$.
# 3. That the 20 others do not pay for themselves: forcing KL into them costs bound, as section 8 measured. If the *code* is wanted for something other than the likelihood, free bits may be
#    right, and then the report says so.
# 4. The encoder was trained on the training images. On new images its $q$ may be far from the best one although the decoder is fine. That is why the gap is measured on held-out images, and
#    why some overfitting of VAEs is overfitting of the *encoder*.
# 5. Every $e_j$ grows fourfold, every rate of an active dimension by $\frac12 \log 4 = 0.69$ nats, and new dimensions become active. The scale of the data relative to $\sigma_x$ is a hidden
#    $\beta$ (lesson 04).
# </details>
#
# ## Recap
#
# - $L_K$ = logsumexp of the log-weights minus $\log K$. On average it rises with $K$ towards $\log p(x)$; a single estimate can lie on either side.
# - Quote $K$, ESS, pixel convention, number of images and standard error. Compare models image by image.
# - Gap = approximation gap + amortisation gap. The second can be measured by refining $q$ image by image; here it was the larger.
# - Rate and distortion: $\beta$ is the price of a nat of code; $\beta = 1$ gives the best bound.
# - A linear VAE uses as many dimensions as there are eigenvalues above $\sigma_x^2$. Offer enough, and let the bound choose.
# - Collapse of a dimension is a fault only if the model would be better with it. Free bits fill dimensions, not likelihoods.
# - Mean KL = information (at most $\log N$) + KL of the aggregate posterior to the prior. A learned prior saves part of the second.
#
# **Before:** [04 · Which likelihood, and which weight did you choose without knowing?](04_loss_choices.ipynb) · **Next:** [06 · What did it learn, and where does the picture mislead?](06_latent_space.ipynb)
#
# **Further reading**
# - Y. Burda, R. Grosse, R. Salakhutdinov, *Importance Weighted Autoencoders*, ICLR 2016 (the bound, active units, table 1).
# - T. Rainforth et al., *Tighter Variational Bounds are Not Necessarily Better*, ICML 2018; G. Tucker et al., *Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives*, ICLR 2019.
# - C. Cremer, X. Li, D. Duvenaud, *Inference Suboptimality in Variational Autoencoders*, ICML 2018.
# - A. Alemi et al., *Fixing a Broken ELBO*, ICML 2018 (rate and distortion); I. Higgins et al., *beta-VAE*, ICLR 2017.
# - J. Lucas, G. Tucker, R. Grosse, M. Norouzi, *Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse*, NeurIPS 2019; M. Tipping, C. Bishop, *Probabilistic Principal
#   Component Analysis*, 1999.
# - D. P. Kingma et al., *Improving Variational Inference with Inverse Autoregressive Flow*, NeurIPS 2016 (free bits); S. R. Bowman et al., *Generating Sentences from a Continuous Space*,
#   CoNLL 2016 (annealing).
# - L. Dinh, J. Sohl-Dickstein, S. Bengio, *Density Estimation Using Real NVP*, ICLR 2017 (the flow of section 10); J. Tomczak, M. Welling, *VAE with a VampPrior*, AISTATS 2018 (another
#   prior that learns).
# - M. D. Hoffman, M. J. Johnson, *ELBO surgery*, NIPS 2016 workshop on Advances in Approximate Bayesian Inference.

# %% [markdown] tags=["solution"]
# **For instructors.** Let students bet on the two counts of section 7 before the linear VAE is trained. The three trainings of section 8 take the
# longest; the lesson can be cut after section 5 (likelihoods) or begun at section 6 (capacity). In the float32 cell, ask for a better `dz` (20/20000) before you explain.
