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
# # What does a label buy?
#
# The models so far draw whatever digit comes out. Tell a VAE which digit each training image shows, and you can ask it for an 8. Its loss falls too, by twelve nats in source S2,
# the tutorial that this lesson starts from. But a label with ten values can tell you at most $\log 10 = 2.3$ nats about an image. Where do the other ten come from? And why does
# a model with a longer code, and a much better loss, draw the digit that you asked for only two times out of three?
#
# **You will be able to**
# - derive the bound on $\log p(x \mid y)$, and check it where everything is known exactly;
# - append a label to an input without the usual mistakes;
# - say what changes when the label goes into the encoder, the decoder, the prior, or several of them;
# - compare a conditional model with an unconditional one in the same unit;
# - draw digits on request, and measure whether the request was met;
# - say what is left in the code, and when the code and the label get in each other's way.
#
# **You need** lesson 01 (the ELBO, the linear-Gaussian model), lesson 03 (rec and kl), lesson 05 (importance weights, aggregate posterior) and lesson 06 (maps of codes).
# **Time:** 75 minutes of reading and trying, about two minutes of computing.

# %%
import json
import math

import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn
from torch.nn import functional as F

from vae_helpers import checks as check
from vae_helpers import evaluation, exact, lesson, losses, paths, plotting, training, widgets
from vae_helpers.models import VAE, Decoder, Encoder, Gaussian, reparameterize
from vae_helpers.recipes import RECIPES
from vae_helpers.scoring import label_scores

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# Four shipped models: two codes of two numbers that can be drawn, two of twenty; one of each pair was trained with labels.

# %%
stored = {name: lesson.shipped(name) for name in ("latent-2d", "cvae-2d", "first-vae", "cvae-20d")}
plain_flat, flat, plain_wide, wide = (checkpoint.model for checkpoint in stored.values())
for name, checkpoint in stored.items():
    given = "p(x|y)" if checkpoint.model.num_classes else "p(x)"
    bound, pixels = checkpoint.metrics["test"], checkpoint.metrics.get("pixels", "grey")
    print(
        f"{name:10s} {checkpoint.model.latent_dim:2d} dimensions: -ELBO {bound:.2f} nats, a bound on -log {given}, {pixels} pixels"
    )

if train.name != "MNIST":
    print(
        "They were trained on MNIST. Images of another kind are strange to them, so what is said about them below needs MNIST."
    )

# %% [markdown]
# Do not compare the lines yet: they bound different things, and the last one is measured on other pixels than the rest.
#
# ## 1 · The same bound, with y written everywhere
#
# A label $y$ is known for each image. The story of lesson 03 gets one more character. First a code is drawn, then an image from the code *and* the label:
#
# $$ z \sim p(z), \quad x \sim p_\theta(x \mid z, y), \qquad p_\theta(x \mid y) = \int p_\theta(x \mid z, y)\, p(z)\, dz. \tag{7.1} $$
#
# Nothing is said about where $y$ comes from: it is given. So take any derivation of the ELBO from lesson 01 and write $y$ behind every bar. With an encoder
# $q_\phi(z \mid x, y)$,
#
# $$ \log p_\theta(x \mid y) = \underbrace{\mathbb{E}_{q}\big[\log p_\theta(x \mid z, y)\big] - \text{KL}\big(q(z \mid x, y) \,\|\, p(z)\big)}_{\text{ELBO}(x \mid y)}
# + \text{KL}\big(q(z \mid x, y) \,\|\, p_\theta(z \mid x, y)\big). \tag{7.2} $$
#
# rec and kl keep their meaning. Only the two networks see more than before.
#
# Is it right? Take a model in which all of (7.2) has a closed form: two labels, each with its own linear-Gaussian model of lesson 01. They share $W$; the label moves the centre
# $b_y$. For one image, under each label, two encoders answer: a guess, $N(0, I)$, and the exact posterior. Which of the three numbers printed does $q$ change?

# %%
W = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 1.0]])
centres = torch.tensor([[0.0, 0.0, 0.0], [1.5, -1.0, 0.5]])
two = [exact.LinearGaussian(W, b, sigma_x=0.5) for b in centres]  # (7.1), the integral done: p(x|y) = N(b_y, WW' + I/4)
x = torch.tensor([0.9, -0.4, 0.1], dtype=torch.float64)
for y, model in enumerate(two):
    mean, covariance = model.posterior(x)
    for name, q in {"a guess": (0 * mean, 0 * mean), "posterior": (mean, covariance.diagonal().log())}.items():
        print(
            f"y = {y}, q = {name:9s}: log p(x|y) {model.log_marginal(x):.3f} = ELBO {model.elbo(x, *q):.3f} + gap {model.kl_to_posterior(x, *q):.3f}"
        )

# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
for model in two:
    mu, log_var = torch.randn(2, 100, 2, dtype=torch.float64)
    total = model.elbo(x, mu, log_var) + model.kl_to_posterior(x, mu, log_var)  # (7.2)
    assert torch.allclose(total, model.log_marginal(x).expand(100), atol=1e-10)
codes, dz = exact.grid(-6, 6, 121, d=2)
assert abs(exact.log_marginal_grid(two[1].log_joint(x, codes), dz) - two[1].log_marginal(x)) < 1e-6  # (7.1)
print("ELBO(x|y) + gap = log p(x|y) for 100 random q under each label, and the integral (7.1) agrees:", True)

# %% [markdown]
# As in lesson 01, $q$ moves the ELBO and the gap and never their sum. The label moves the sum: under $y = 1$ this image is a little more probable.
#
# > **Which CVAE?** Three things share the name. In Sohn, Lee & Yan (2015), who coined it, the *image* is given and something else is drawn; section 8 does that. In most
# > tutorials, and here, the label is given and the image is drawn; that is the model M2 of Kingma et al. (2014) when all labels are known. And in TensorFlow's tutorial named
# > `cvae`, the C stands for *convolutional*: there is no label in it. (It also says that $z$ is approximated "using the decoder parameters", meaning the encoder's, and credits
# > Larochelle with dynamic binarisation, although his data set is static.) Ask which one a search result means.
#
# ## 2 · A label is an input
#
# How does a label enter a network? Not as the number 8: a linear layer would have to treat 8 as twice 4. As a **one-hot** row, ten numbers of which one is 1. Joined to the
# pixels it meets the first layer, where each label owns one column of weights: it adds a bias of its own.
#
# ### Exercise: append the label
#
# `x` is `(batch, D)`; `y` holds whole numbers, shape `(batch,)`, or `(batch, 1)` as some loaders return them. Return `(batch, D + num_classes)`, the image first, of the type and
# on the device of `x`. *About 6 minutes.*


# %%
def with_label(x, y, num_classes):
    """Images (batch, D) and labels (batch,) or (batch, 1) -> (batch, D + num_classes)."""
    ### BEGIN SOLUTION
    return torch.cat([x, F.one_hot(y.flatten(), num_classes).to(x)], dim=1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
with_label = check.with_label(with_label)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `F.one_hot(y, num_classes)` wants labels of shape `(batch,)` and returns whole numbers. `.to(x)` makes a tensor of the type and on the device of `x`. Join along `dim=1`.
# </details>
#
# That `.to(x)` matters. Source S2 moves its images to the GPU and never its labels; unless a helper that it does not show does that, `torch.cat` stops with an error, on the GPU
# only. S2's docstring also allows labels of shape `(batch, 1)`, for which its network crashes.
#
# Does the column really act as a bias? The package's model joins in the same order, so you can look.

# %%
# NBVAL_CHECK_OUTPUT
layer, some = flat.encoder.body[0], validation[:50]
with torch.no_grad():
    joined = layer(with_label(some.x, some.y, 10))
    as_bias = F.linear(some.x, layer.weight[:, :784], layer.bias) + layer.weight[:, 784:].T[some.y]
assert torch.allclose(joined, as_bias, atol=1e-4)
print("a one-hot label adds one column of weights, a bias for each label:", True)

# %% [markdown]
# ### Find the bug: the second model has 804 inputs
#
# A widely copied public implementation (timbmg/VAE-CVAE-MNIST, an ancestor of S2) takes a list of layer widths and makes room for the label as below. The first model works.
# Somebody then builds a second one from the same list, to compare two seeds, and this one expects 804 inputs. Mend the function, then run the check. *About 3 minutes.*


# %%
def conditional_sizes(sizes, num_classes):
    """Layer widths, inputs first -> those of a network that also sees the label, as a new list."""
    ### BEGIN SOLUTION
    return [sizes[0] + num_classes, *sizes[1:]]
    ### BLANK VERSION
    # sizes[0] += num_classes
    # return sizes
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
conditional_sizes = check.conditional_sizes(conditional_sizes)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A list that you pass to a function is not copied. Print it after the call.
# </details>
#
# Here is what happened, one call for each model. The same script reads the widths from the command line with `type=list`. **Guess** what `--encoder 784` becomes.

# %%
# NBVAL_CHECK_OUTPUT
sizes = [784, 512, 256]
for _ in range(2):
    sizes[0] += 10
    print(sizes)
print(list("784"))

# %% [markdown]
# Each call adds ten to the one list that both models share, and `list` takes a text apart, letter by letter: a network of widths "7", "8" and "4".
#
# ## 3 · Where does the label go?
#
# Four places, four graphs. Solid arrows tell how the *model* makes an image; dashed ones tell what the *encoder* reads. Before you go on, take each graph and ask: **can I ask
# this model for an 8?**

# %%
plotting.label_graphs_figure()

# %% [markdown]
# - **Encoder only.** No solid arrow leaves $y$: the images do not depend on it, $p(x \mid y) = p(x)$. You cannot ask for an 8. The label could only help the encoder to find the
#   posterior, which a good one finds from the image anyway.
# - **Decoder only.** $p(x \mid z, y)$: you can ask. The encoder must do without $y$.
# - **Encoder and decoder.** The usual CVAE, (7.2) in full.
# - **Prior only.** Each label has a region of code space, $p(z \mid y) = N(\mu_y, \operatorname{diag}\sigma_y^2)$ with trained $\mu_y, \sigma_y$, and one decoder for all. You
#   can ask by drawing from that region. In (7.2), $p(z)$ becomes $p(z \mid y)$.
#
# What does an encoder that does not see $y$ lose? It gives one answer $q(z \mid x)$ where the posterior has one for each label, $p(z \mid x, y)$. In the exact model of section 1
# the posteriors are $N(m_y, M^{-1})$: the label moves the mean $m_y$, and the precision $M = I + W^\top W / \sigma_x^2$ of lesson 01 is the same for all. The best single
# answer, the one whose average gap is smallest, is $N(\bar m, M^{-1})$ with $\bar m = \sum_y p(y \mid x)\, m_y$ (it is proportional to
# $\exp \sum_y p(y \mid x) \log p(z \mid x, y)$). Averaged over the labels that the image may have, its gap is
#
# $$ \sum_y p(y \mid x)\, \text{KL}\big(q(z \mid x) \,\|\, p(z \mid x, y)\big) = \tfrac12 \sum_y p(y \mid x)\, (m_y - \bar m)^\top M\, (m_y - \bar m). \tag{7.3} $$
#
# It vanishes where the image itself shows its label beyond doubt. The cell takes both labels as equally frequent, and also moves the answer a little, to see that no neighbour is
# better. **Predict:** is the loss large for MNIST?


# %%
# NBVAL_CHECK_OUTPUT
def blind(x):
    """p(y=1|x), the best answer that does not see y, and the posterior means: for x (3,)."""
    share = torch.stack([model.log_marginal(x) for model in two]).softmax(0)
    means = torch.stack([model.posterior(x).mean for model in two])
    return share, share @ means, means


def mean_gap(x, share, mu, log_var):
    """The gap of one answer q = N(mu, diag exp(log_var)), averaged over the labels that x may have."""
    return sum(p * model.kl_to_posterior(x, mu, log_var) for p, model in zip(share, two, strict=True))


log_var = -torch.log(two[0].M.diagonal())  # W has orthogonal columns, so M is diagonal and a diagonal q can be exact
for x in centres.double().mean(0), centres[1].double(), 2 * centres[1].double():
    share, middle, means = blind(x)
    gap = mean_gap(x, share, middle, log_var)
    formula = 0.5 * (share * torch.einsum("yi,ij,yj->y", means - middle, two[0].M, means - middle)).sum()  # (7.3)
    assert abs(gap - formula) < 1e-10
    for step in (-0.05, 0.05):  # every neighbour does worse
        assert gap < mean_gap(x, share, middle + step, log_var) and gap < mean_gap(x, share, middle, log_var + step)
    print(f"p(y=1|x) = {share[1]:.3f}: the encoder that does not see y loses {gap:.3f} nats")

# %% [markdown]
# In this model up to a nat where the label is a coin flip, and nothing where it is clear. An MNIST image shows its label, so an encoder that is good enough finds it there. Keep
# your prediction until you have seen the table.
#
# Now on images. Small networks, 784-200-2, all trained alike for a few seconds each. **Write down your order** of the five, from the worst bound to the best, and where you
# expect ties.

# %%
few = train.random_subset(min(20000, len(train)))
epochs = math.ceil(lesson.pick(full=620, quick=240) * 128 / len(few))  # as many steps, whatever the number of images
width = lesson.pick(full=200, quick=100)
PLACES = {
    "no label": (),
    "encoder": ("encoder",),
    "decoder": ("decoder",),
    "both": ("encoder", "decoder"),
    "prior": ("prior",),
}


def trained(latent_dim, places, *, hidden=width, times=1, pixels="grey"):
    """A small VAE with the label in `places`, trained on `few`, `times` as long as the others."""
    torch.manual_seed(0)
    model = VAE(latent_dim, (hidden,), (hidden,), num_classes=10 if places else 0, label_in=places)
    settings = dict(learning_rate=2e-3, schedule="cosine", pixels=pixels, seed=0, progress=False)
    training.fit(model, few, epochs=times * epochs, **settings)
    return model


small = {name: trained(2, places) for name, places in PLACES.items()}
bounds = {name: evaluation.evaluate(model, validation, samples=3) for name, model in small.items()}
for name, bound in bounds.items():
    print(
        f"{name:9s} rec {bound.rec:6.2f} + kl {bound.kl:5.2f} = -ELBO {bound.negative_elbo:6.2f} nats per held-out image"
    )
apart = bounds["decoder"].negative_elbo - bounds["both"].negative_elbo
print(f"with the label in the decoder, seeing it helps the encoder by {apart:.1f} nats")

# %%
# NBVAL_CHECK_OUTPUT
none, encoder, decoder, both, prior = (bound.negative_elbo for bound in bounds.values())
assert max(decoder, both) < none - 3 and max(decoder, both) < min(encoder, prior)
assert abs(encoder - none) < 0.5 * (none - both) and abs(decoder - both) < 0.5 * (none - both)
print(
    "what counts is the decoder: with the label there the bound is better by far, whether or not the encoder sees it:",
    True,
)

# %% [markdown]
# Read the table against the graphs, and coarsely: it shows one seed, so a difference below a nat says little.
#
# In the decoder the label is worth some twenty nats after this short training. In the encoder alone it is worth little: the family of models of images is the old one, so only
# the gap can shrink. In the prior alone, with two dimensions, it is worth about a nat in this run: the decoder still has only two numbers to work from. That is less than what
# the label costs, as you will see now.
#
# And your prediction? For a perfect encoder the loss (7.3) is next to nothing on MNIST. Still, 3.7 nats lie between "decoder" and "both": a small encoder that is trained for
# seconds does not find the label in the pixels, and is better off when it is told.

# %% [markdown]
# ## 4 · The price of the label
#
# Twenty nats, for a label? A conditional model becomes a model of images alone once you say how labels are drawn:
#
# $$ \log p(x) = \log \sum_{y} p(y)\, p(x \mid y). \tag{7.4} $$
#
# **Predict:** in *one and the same* model, by how much can $\log p(x \mid y)$ exceed $\log p(x)$ at most, for ten equally frequent labels? *About 2 minutes.*

# %%
### BEGIN SOLUTION
largest_gain = math.log(10)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
largest_gain = check.largest_gain(largest_gain)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In (7.4) leave out all terms but one. What is left is at most $p(x)$.
# </details>
#
# The general form is Bayes' rule. For every single image,
#
# $$ \log p(x \mid y) - \log p(x) = \log p(y \mid x) - \log p(y) \;\le\; -\log p(y). \tag{7.5} $$
#
# With ten equally frequent labels the right-hand side is $\log 10$. (Where the label goes into the encoder alone, $p(x \mid y) = p(x)$ and nothing is due.) So the conditional
# bound buys an unconditional one, at that price:
#
# $$ -\log p(x) \;\le\; -\log p(x \mid y) + \log 10 \;\le\; -\text{ELBO}(x \mid y) + \log 10. \tag{7.6} $$
#
# (From the other side, a weighted mean is at most its largest term: $\log p(x) \le \max_y \log p(x \mid y)$.) And on average over images with their true labels, what the label
# *tells* is
#
# $$ \mathbb{E}\big[\log p(x \mid y) - \log p(x)\big] = \log 10 - \mathbb{E}\big[-\log p(y \mid x)\big], \tag{7.7} $$
#
# $\log 10$ less the mean label NLL (negative log-likelihood): $-\log$ of the probability that Bayes' rule in this model gives to the right label. A model that recognises each
# image without doubt has an NLL of 0; there the label tells all of $\log 10$, which is exactly the price of leaving it out.
#
# ### Exercise: log p(x) from ten labels
#
# Write (7.4): `log_px_y` is `(N, labels)`, `py` the shares of the labels, `(labels,)`; return $\log p(x)$, `(N,)`. The logarithms are around −130. *About 5 minutes.*


# %%
def log_evidence(log_px_y, py):
    """log p(x) from log p(x|y) (N, labels) and p(y) (labels,), in nats: (N,)."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_px_y + py.log(), 1)  # (7.4)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
log_evidence = check.log_evidence(log_evidence)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $p(y)\,p(x \mid y) = \exp\big(\log p(y) + \log p(x \mid y)\big)$. `torch.logsumexp(values, 1)` is $\log \sum \exp$ without ever computing the tiny exponentials.
# </details>
#
# Exactly first, in the model of section 1 with two equally frequent labels, for a thousand images drawn from it. PyTorch has mixtures of Gaussians of its
# own, so $\log p(x)$ comes from two sides; and for (7.6) take the ELBO of a guess, $q = N(0, I)$.

# %%
# NBVAL_CHECK_OUTPUT
draws = [model.sample(500, generator=torch.Generator().manual_seed(y)).x for y, model in enumerate(two)]
x, own = torch.cat(draws), torch.arange(2).repeat_interleave(500)
log_px_y, half = torch.stack([model.log_marginal(x) for model in two], 1), torch.tensor([0.5, 0.5]).double()
each = torch.distributions.MultivariateNormal(centres.double(), (W @ W.T + 0.25 * torch.eye(3)).double())
log_px = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(half), each).log_prob(x)
assert torch.allclose(log_evidence(log_px_y, half), log_px)  # (7.4)
given, log_py_x = (s.gather(1, own[:, None])[:, 0] for s in (log_px_y, log_px_y.log_softmax(1)))
tells = given - log_px
assert torch.allclose(tells, log_py_x + math.log(2)) and tells.max() <= math.log(2)  # (7.5)
assert torch.allclose(tells.mean(), math.log(2) + log_py_x.mean())  # (7.7)
guess = torch.zeros(1000, 2)
elbo = torch.stack([model.elbo(x, guess, guess) for model in two], 1).gather(1, own[:, None])[:, 0]
assert (-log_px <= -given + math.log(2)).all() and (-given <= -elbo).all()  # (7.6)
assert (log_px <= log_px_y.max(1).values).all()  # a mean is at most the largest term
print(f"the label tells at most {tells.max():.2f} nats, on average {tells.mean():.2f}; log 2 = {math.log(2):.2f}")

# %% [markdown]
# Now the shipped models, on binary held-out images $b$. `label_scores` returns an importance-weighted estimate of $\log p(b \mid y)$ (lesson 05) for all ten labels at once;
# (7.4) turns them into $\log p(b)$. Beside it, the same estimate of $\log p(b)$ from the plain VAE with a code of the same length. All of them are biased low, most where the
# encoder fits worst, as under a wrong label. **Predict** for two dimensions: is the CVAE, as a model of images *without* their labels, better or worse than the VAE?


# %%
def with_error(values):
    """The mean over images and its standard error."""
    return f"{values.mean():.2f} ± {values.std() / math.sqrt(len(values)):.2f}"


some = validation.random_subset(lesson.pick(full=400, quick=100), seed=1)
b, tenth = torch.bernoulli(some.x, generator=torch.Generator().manual_seed(0)), torch.full((10,), 0.1)
K, price = lesson.pick(full=50, quick=10), {}
for name, conditional, plain in (("2 dimensions", flat, plain_flat), ("20 dimensions", wide, plain_wide)):
    noise = torch.Generator().manual_seed(0)
    rule = dict(rule="importance-weighted", samples=K, generator=noise)
    scores = torch.cat([label_scores(conditional, part, **rule) for part in b.split(4)])
    given, log_pb = scores.gather(1, some.y[:, None])[:, 0], log_evidence(scores, tenth)
    without = losses.iw_bound(evaluation.log_weights(plain, b, samples=K, generator=noise))
    price[name] = (scores, given, log_pb)
    print(f"{name}: -log p(b|y) {-given.mean():.2f}, plus log 10 {-given.mean() + math.log(10):.2f}")
    print(f"    -log p(b) {-log_pb.mean():.2f}; plain VAE {-without.mean():.2f}")
    print(
        f"    the label tells {with_error(given - log_pb)}; CVAE ahead of VAE by {with_error(log_pb - without)} (paired)"
    )

# %% [markdown]
# The next cell is a consistency check of your `log_evidence`: both sides come from the same scores.

# %%
# NBVAL_CHECK_OUTPUT
for scores, given, log_pb in price.values():
    assert (given - log_pb <= math.log(10) + 1e-4).all() and (log_pb <= scores.max(1).values + 1e-4).all()  # (7.5)
    label_nll = -scores.log_softmax(1).gather(1, some.y[:, None]).mean()
    assert abs((given - log_pb).mean() - (math.log(10) - label_nll)) < 1e-3  # (7.7)
print("image by image a label tells at most log 10, and on average log 10 less the label NLL:", True)

# %% [markdown]
# With two dimensions, then, the drop from 136.8 nats (VAE) to 128.7 (CVAE, label given) has two parts. *Knowing* the label is worth 1.3 nats (± 0.3, a standard error). The rest
# is another model: even as a model of images alone, the CVAE beats the VAE, by 6.8 nats (± 1.1). Why? A code of two numbers is far too short. The label is a **third latent
# variable**, with ten values, that nobody had to infer in training, and its price is only $\log 10$. It lets the two numbers describe other things than the digit. (The VAE was
# even trained for twice as many epochs.)
#
# With twenty dimensions there is room for the digit in the code anyway, and as a model of images the CVAE is ahead by about one nat (± 0.2). Do not credit the label with all of
# it: the plain model was trained on grey pixels and the conditional one on binary ones, and we did not take the two causes apart.
#
# The inequality (7.5) has no floor: an image whose label the model finds absurd has $\log p(x \mid y)$ far *below* $\log p(x)$. Which ones? Each title below is the label, in
# brackets the label that the model prefers, and what its own label tells in nats, as we estimate it. But are these estimates good? They use codes from the encoder, and it may
# err on just such images. With two dimensions you can ask the grid of lesson 01 instead. **Predict:** do all eight stay odd?


# %%
def on_grid(model, b):
    """log p(b|y) of a model with two dimensions under each label, by a sum over a grid of codes: (N, 784) -> (N, 10)."""
    z, dz = exact.grid(-5, 5, 121, d=2)
    columns = []
    for y in range(10):
        logits = model.decode(z.float(), torch.full((len(z),), y))
        log_pb_z = (b @ logits.T - F.softplus(logits).sum(1)).double()  # every image with every code
        columns.append(exact.log_marginal_grid(log_pb_z + losses.gaussian_log_prob(z), dz))
    return torch.stack(columns, 1)


# %%
scores, given, log_pb = price["2 dimensions"]
tells = given - log_pb
worst = tells.argsort()[:8]
with torch.no_grad():
    exactly = on_grid(flat, b[worst])
grid_tells = exactly.gather(1, some.y[worst, None])[:, 0] - log_evidence(exactly, tenth.double())
prefers = zip(some.y[worst].tolist(), scores[worst].argmax(1).tolist(), tells[worst].tolist(), strict=True)
plotting.image_rows(
    {"": some.x[worst]},
    "the eight images whose own label tells least: above each its label, the label that the model prefers, and the nats",
    column_titles=[f"{y} (as {k}): {t:.0f}" for y, k, t in prefers],
    scale=1.05,
)
print("the same by the grid:", ", ".join(f"{t:.0f}" for t in grid_tells.tolist()))
print(f"the label is estimated to tell less than nothing for {(tells < 0).double().mean():.0%} of the images")

# %% [markdown]
# Most of the eight are clear to you. But two numbers and the right label cannot describe such a stroke, and with another label they describe it better. One is falsely accused:
# under its own label the encoder pointed to a wrong place, and no code drawn there came near the right one. Large negative estimates are worth a second look.
#
# ### The tutorial's two losses
#
# Source S2 prints 141.51 nats for its VAE and 129.41 for its CVAE, side by side. By (7.6) the fair partner of 141.51 is $129.41 + \log 10 = 131.71$. (They also trained for 15
# and 14 epochs. Our own runs allow equal ones. The pixels are grey, for which $-\text{ELBO}$ bounds the mean of $-\log p(b)$ over binary images $b \sim \text{Bernoulli}(x)$,
# lesson 03; (7.6) holds for every $b$, so also for that mean. On other pixels the numbers would be others, which is why the last line of the very first table stands apart.)

# %%
rows = json.loads((paths.RESULTS / "reproduction.json").read_text())["rows"]
ours = {(row["recipe"], row["epoch"]): row["train"] for row in rows}
s2_vae, s2_cvae = RECIPES["S2-VAE"].printed[15], RECIPES["S2-CVAE"].printed[14]
print(f"printed: {s2_cvae:.2f} + log 10 = {s2_cvae + math.log(10):.2f} < {s2_vae:.2f}")
print(
    f"our runs, 14 epochs each: {ours['S2-CVAE', 14]:.2f} + log 10 = {ours['S2-CVAE', 14] + math.log(10):.2f} < {ours['S2-VAE', 14]:.2f}"
)

# %%
# NBVAL_CHECK_OUTPUT
assert s2_cvae + math.log(10) < s2_vae - 9 and ours["S2-CVAE", 14] + math.log(10) < ours["S2-VAE", 14] - 9  # (7.6)
print("with the label paid for, S2's CVAE still has the better bound on log p(x), by more than nine nats:", True)

# %%
plotting.label_price_figure(
    "training loss against epoch: without labels it lies 18 nats above the conditional loss with log 10 added at epoch 2 and ten nats above it at epoch 14; that one runs 2.3 nats above the conditional loss; dots are the tutorial's figures, on the shifted curve plus log 10"
)

# %% [markdown]
# In the figure compare the two upper curves; the tutorial compares the highest with the lowest. (S2 printed no figures for the middle one: its dots are those of the lowest plus
# $\log 10$.)
#
# So of S2's twelve nats $\log 10 = 2.3$ pay for the label, and almost ten are a better bound on $\log p(x)$: the "other ten" of the first paragraph.
#
# > **"The CVAE's loss is lower, so it is the better model of images."** Here that is true, but the two losses do not show it: they bound different quantities. Add $-\log p(y)$
# > first, and remember that bounds have gaps: above, the estimates of $\log p(b)$ had the last word. (With the true shares of the labels in place of a tenth the price is on
# > average their entropy, printed below, practically the same.)

# %%
share = torch.bincount(train.y, minlength=10).double() / len(train)
print(
    f"shares of the labels from {share.min():.1%} to {share.max():.1%}; entropy {torch.special.entr(share).sum():.4f}, log 10 {math.log(10):.4f} nats"
)

# %% [markdown]
# ## 5 · Ask for a digit
#
# To ask for an 8: draw $z \sim p(z)$, decode with $y = 8$. Source S2 has a function `sampling(n)` whose docstring says "n: amount of samples". Inside stands `torch.randn(n)`, so
# `n` is the *latent dimension*. It is called with $n = 2$, which happens to be the latent dimension, and returns one image whatever one wanted. For the CVAE the numbers are
# folded with `view(-1, 2)`, and $n = 4$ becomes two codes of two numbers: ask for four samples (with two labels) and you get two, without an error.
#
# ### Exercise: samples on request
#
# Given a conditional model and labels `y` `(n,)`, return one mean image for each, `(n, 784)`, each from a fresh code. Use `model.latent_dim`, `model.decode(z, y)` and
# `model.mean_image(logits)`. *About 5 minutes.*


# %%
def sample_digits(model, y):
    """A new image of each digit asked for: labels (n,) -> mean images (n, pixels), one draw from the prior each."""
    ### BEGIN SOLUTION
    with torch.no_grad():
        z = torch.randn(len(y), model.latent_dim)
        return model.mean_image(model.decode(z, y))
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
sample_digits = check.sample_digits(sample_digits)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.randn(rows, columns)`: one row for each image, one column for each latent dimension.
# </details>
#
# One digit a row, from 0 at the top to 9 at the bottom, eight samples of each, from the two conditional models. Look for digits that are not what their row says.

# %%
torch.manual_seed(0)
asked = torch.arange(10).repeat_interleave(8)
left, right = (sample_digits(model, asked).view(10, 8, -1) for model in (flat, wide))
plotting.image_sheet(
    torch.cat([left, torch.ones(10, 1, 784), right], dim=1).flatten(0, 1),
    "ten rows of samples, for the digits 0 at the top to 9 at the bottom: in the left eight columns, two dimensions, each row shows its digit; in the right eight, twenty dimensions, many are another digit or none",
    columns=17,
    title="left: two dimensions · right: twenty dimensions",
)

# %% [markdown]
# Eyes are generous. Let a **judge** decide: a small classifier, trained on training images only, and measured on test images before it may judge anything. (It never saw a drawn
# image, so its verdicts on samples are estimates. And it must name one of ten: chance is 10 %, and 100 % means that each image is recognisable to it, not that it is sharp.)

# %%
torch.manual_seed(0)
judge = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
for _ in range(math.ceil(lesson.pick(full=860, quick=200) * 128 / len(train))):
    for x, y in train.batches(128, shuffle=True):
        loss = F.cross_entropy(judge(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def share_right(images: Tensor, y: Tensor) -> float:
    """The share of images that the judge takes for the digit they should show."""
    return float((judge(images).argmax(1) == y).double().mean())


print(f"the judge is right on {share_right(test.x, test.y):.1%} of the test images")

# %%
asked = torch.arange(10).repeat(100)
obeys = {
    name: share_right(sample_digits(model, asked), asked)
    for name, model in (("2 dimensions", flat), ("20 dimensions", wide))
}
print("samples that show the digit asked for (chance 10%):")
print(" · ".join(f"{name} {share:.1%}" for name, share in obeys.items()))

# %%
# NBVAL_CHECK_OUTPUT
assert train.name != "MNIST" or (
    share_right(test.x, test.y) > 0.9 and obeys["2 dimensions"] > 0.9 > obeys["20 dimensions"] + 0.05
)
print("on MNIST, two dimensions meet more than 90 % of the requests, and twenty do not:", True)

# %% [markdown]
# The model with the far better bound meets about two requests in three. That is no bug of the sampler: both were asked by your function. Sections 6 and 7 look for the reason.
# First play with the one that obeys: choose a digit, then move the two sliders. What does $z_1$ change, what does $z_2$, and is it the same for every digit?

# %%
widgets.latent_explorer(flat, labels=True, name="digits on request")

# %% [markdown]
# The same as sheets of equal prior shares (lesson 06), for three of the digits:

# %%
plotting.class_sheets_figure(
    flat,
    [2, 4, 8],
    "three sheets of 2s, 4s and 8s: in each, digits grow narrower to the right and lean more to the right towards the bottom",
)

# %% [markdown]
# Every cell shows the digit asked for. To the right the digits become narrower, downwards they lean over, and so in all three sheets. Nobody asked the digits to share their
# axes. They share the decoder's weights, and the pixels of a slant are much alike in a 4 and an 8.

# %% [markdown]
# ## 6 · What is left for the code
#
# A plain VAE's map has regions for digits. What should the map of a CVAE look like? Take the mean of kl over the images of *one class*. The surgery of lesson 05, done class by
# class, says
#
# $$ \frac1{N_y} \sum_{n:\, y_n = y} \text{KL}\big(q(z \mid x_n, y) \,\|\, p(z)\big) = I_q(x; z \mid y) + \text{KL}\big(q(z \mid y) \,\|\, p(z)\big), \qquad q(z \mid y) = \frac1{N_y} \sum_{n:\, y_n = y} q(z \mid x_n, y). \tag{7.8} $$
#
# Here $I_q(x; z \mid y)$ belongs to one $y$; further down you see the mean over the classes. The second term has two parts when you average it, too:
# $\sum_y p(y)\, \text{KL}\big(q(z \mid y) \,\|\, p(z)\big) = I_q(y; z) + \text{KL}\big(q(z) \,\|\, p(z)\big)$. The last is the misfit of the whole cloud, as in lesson 05. The
# other, what the code says about the label, at most $\log 10$, is a waste: the decoder knows $y$ without the code. Training pushes both down, that is, it pushes the codes of
# *each* class onto the whole prior. Where they reach zero, $q(z \mid y) = p(z)$ for every $y$, and a code says nothing about the digit. **The codes of a good CVAE whose prior
# does not see the label do not cluster by digit.** They overlap, and a cluster is a fault.

# %%
# NBVAL_CHECK_OUTPUT
fours = evaluation.posteriors(flat, train.of_digit(4)[:60])
mu, log_var = (part.double().clamp(min=-4) for part in fours)  # no blob narrower than the grid can see
codes, dz = exact.grid(-7, 7, 351, d=2)
log_each = losses.gaussian_log_prob(codes[None], mu[:, None], log_var[:, None])
log_class = torch.logsumexp(log_each, 0) - math.log(60)
information = exact.kl_grid(log_each, log_class, dz).mean()
waste = exact.kl_grid(log_class, losses.gaussian_log_prob(codes), dz)
assert abs(losses.gaussian_kl(mu, log_var).mean() - information - waste) < 1e-3  # (7.8)
print("sixty 4s on a grid: mean KL = information + KL of the class to the prior, to a thousandth:", True)

# %% [markdown]
# On more images, both terms averaged over the ten classes, and the second one taken apart by a surgery on all classes at once (with at most 1000 images each; the split depends
# on that number, lesson 05):

# %%
n = min(1000, *(len(train.of_digit(k)) for k in range(10)))
for name, model in {"VAE": plain_flat, "CVAE": flat}.items():
    classes = [evaluation.posteriors(model, train.of_digit(k)[:n]) for k in range(10)]
    kl, within, to_prior = torch.tensor([evaluation.elbo_surgery(q, samples=1) for q in classes]).mean(0)
    pooled = evaluation.elbo_surgery(Gaussian(*map(torch.cat, zip(*classes, strict=True))), samples=1)
    print(
        f"{name:4s} mean KL {kl:.2f} = information within a class {within:.2f} + KL of a class to the prior {to_prior:.2f}"
    )
    print(
        f"     of the latter {pooled.mutual_information - within:.2f} tell the label, {pooled.marginal_kl:.2f} are the misfit of the whole cloud"
    )

# %% [markdown]
# Within a class both codes carry much the same. On top of that the VAE pays 1.86 nats for telling the labels apart, of $\log 10 = 2.30$ possible; the CVAE has all but 0.20 of
# that back.
#
# Now the maps. Which pairs do you encode? Source S2 takes *every* image with *every* label and colours by the label. But the encoder was trained on pairs $(x_n, y_n)$ of an
# image with its own label, and on no others: an image of a 7 with the label 2 is something that it has never seen. Compare. The dashed circles are one and two standard
# deviations of the prior. (The numbers mark the digits' medians, pushed apart where they would overlap.) If the codes filled the prior, the mean square of a coordinate of $\mu$
# plus the mean variance would be 1, so the mean square a little below 1.

# %%
mapped = validation.random_subset(min(1500, len(validation)))
pairs = mapped[:150].x.repeat_interleave(10, 0), torch.arange(10).repeat(len(mapped[:150]))
with torch.no_grad():
    maps = {
        "VAE": (plain_flat.encode(mapped.x).mu, mapped.y),
        "CVAE, its own pairs": (flat.encode(mapped.x, mapped.y).mu, mapped.y),
        "CVAE, all pairs": (flat.encode(*pairs).mu, pairs[1]),
    }
plotting.code_maps_figure(
    maps,
    "three maps of codes coloured by label: the VAE has regions for digits; the CVAE with each image's own label has one round cloud in which all digits overlap; with all labels the cloud is wider",
)
for name, (mu, y) in maps.items():
    off = max(float(mu[y == k].mean(0).norm()) for k in range(10))
    print(
        f"{name:20s} largest distance of a digit's mean from the centre {off:.2f}; mean square of a coordinate {(mu**2).mean():.2f}"
    )

# %% [markdown]
# In the middle all digits lie on top of each other around the centre, in a cloud a little wider than the prior: that is what success looks like. Not by itself, though: a
# collapsed code, which says nothing at all, would be a round blob as well. So look at the first term of (7.8), too: it is 4.65 nats for this model, far above 0. On the right
# the cloud swells, and what it shows is how an encoder errs on pairs that do not exist.
#
# How much of the digit is left in a code? Let five nearest neighbours guess it from $\mu$; chance is one in ten.


# %%
def mean_code(model, images):
    """mu of each image: (n, d)."""
    return evaluation.posteriors(model, images).mu


def digit_from_code(model, code=mean_code):
    """Accuracy of nearest neighbours that guess the digit of held-out images from their code."""
    known, held_out = train.random_subset(min(4000, len(train))), mapped[:1000]
    return KNeighborsClassifier(5).fit(code(model, known), known.y).score(code(model, held_out), held_out.y)


content = {name: digit_from_code(checkpoint.model) for name, checkpoint in stored.items()}
print(" · ".join(f"{name} {share:.0%}" for name, share in content.items()), "(chance 10%)")
print(f"mean kl of the CVAE with twenty dimensions: {evaluation.evaluate(wide, mapped).kl:.1f} nats")

# %%
# NBVAL_CHECK_OUTPUT
assert train.name != "MNIST" or content["cvae-2d"] < 0.3 < content["latent-2d"] - 0.2
assert train.name != "MNIST" or 0.5 < content["cvae-20d"] < content["first-vae"]
print("on MNIST, the CVAE's code of two dimensions has almost forgotten the digit, and that of twenty has not:", True)

# %% [markdown]
# **Style and content come apart** in the CVAE with two dimensions: the label says what, the code says how. With twenty they do not. That code still names the digit in some four
# cases of five. A sample pairs a code drawn from the prior, which may say "3", with a label, which says "8". Training showed no such pair, and the decoder settles it as it
# likes. Is that why it did not obey? Section 7 will tell.
#
# Why does it keep the digit in the code? By (7.8) it pays for that. But what a code can tell about the label is at most $\log 10$, a tenth of its 23 nats of kl, and training may
# have larger debts to work off first. (That is a guess. Section 7 tests it by training longer.) With two numbers there is no room for such a luxury, so the digit is the first
# thing to go.

# %% [markdown]
# ## 7 · One style, ten digits
#
# The best test of whether style and content came apart: encode one image *with its own label*, keep the code, and decode it with all ten labels.
#
# ### Exercise: analogies
#
# Images `x` `(n, D)` with labels `y` `(n,)`, and a model: return `(n, labels, D)`, row $i$ being the code $\mu(x_i, y_i)$ decoded with label 0, 1, 2, … *About 8 minutes.*


# %%
def analogies(model, x, y):
    """Each image's style in all digits: images (n, D), labels (n,) -> mean images (n, model.num_classes, D)."""
    ### BEGIN SOLUTION
    n, labels = len(x), model.num_classes
    with torch.no_grad():
        z = model.encode(x, y).mu.repeat_interleave(labels, dim=0)
        return model.mean_image(model.decode(z, torch.arange(labels).repeat(n))).view(n, labels, -1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
analogies = check.analogies(analogies)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `decode` wants one code and one label a row, so make $n \cdot 10$ of both. `codes.repeat_interleave(10, dim=0)` gives a a a … b b b …; `labels.repeat(n)` gives 0 1 2 … 0 1 2 …
# </details>

# %%
writers = torch.stack([(validation.y == digit).nonzero()[0, 0] for digit in (1, 2, 4, 7, 8)])
chosen = validation[writers]
look = {
    "two": "all digits in the image's slant and width, some blurred",
    "twenty": "the stroke stays, many are no digit or another one",
}
for (name, sight), model in zip(look.items(), (flat, wide), strict=True):
    grid = torch.cat([chosen.x[:, None], analogies(model, chosen.x, chosen.y)], dim=1)
    plotting.image_rows(
        {f"a {y}": row for y, row in zip(chosen.y.tolist(), grid, strict=True)},
        f"five images at the left, and their codes decoded as 0 to 9 by the model with {name} dimensions: {sight}",
        column_titles=["image", *map(str, range(10))],
        scale=0.6,
    )

# %%
ten, held_out, kept = torch.arange(10).repeat(200), validation[:200], {}
for d, model in ((2, flat), (20, wide)):
    verdict = judge(analogies(model, held_out.x, held_out.y).flatten(0, 1)).argmax(1)
    failed, own = verdict != ten, held_out.y.repeat_interleave(10)
    kept[d] = 1 - float(failed.double().mean())
    print(
        f"{d:2d} dimensions: {kept[d]:.0%} of the analogies show the digit asked for; of the {failed.sum()} others, {(verdict == own)[failed].double().mean():.0%} show the image's own"
    )

# %%
# NBVAL_CHECK_OUTPUT
assert train.name != "MNIST" or kept[2] > 0.9 > kept[20] + 0.05
print(
    "on MNIST, more than 90 % of the analogies show the digit asked for with two dimensions, fewer with twenty:", True
)

# %% [markdown]
# The floor is 10 % here as well: a tenth of the analogies ask for the image's own digit, so a model that ignores the label scores as much.
#
# The first sheet keeps slant and width and little else, and gets nearly every digit right. The second copies the stroke itself, but its columns are often no digit, or another
# one than asked for. These codes come from real images, and still the model obeys no more often than with codes drawn from the prior (section 5). So places in code space that
# no image uses, which would be another explanation, are not needed. And where it disobeys, nearly half of the results show the digit of the image that the code came from; one
# in nine would be chance. There the decoder followed the code. An analogy needs a code that holds the style and *not* the digit.
#
# Your own hand now. Write a digit, tell the model which one it is, and see it as all ten. **Try** to lie about the label: what survives?

# %%
widgets.drawing_restyled(flat, validation)

# %% [markdown]
# For readers without a kernel: the same picture for three held-out digits.

# %%
three = validation[torch.stack([(validation.y == digit).nonzero()[1, 0] for digit in (0, 4, 7)])]
plotting.restyled_figure(
    flat,
    three.x,
    three.y,
    "a 0, a 4 and a 7 at the left of their rows, then the digits 0 to 9 in a slant and width like the image's; in the row of the 7 most are blurred",
)

# %% [markdown]
# ### Which place is best?
#
# Back to the four places, with twenty dimensions. Small models, trained like those of section 3, and four questions to each: the bound; are requests met; does the code name the
# digit; do analogies work? "All three" is encoder, decoder and prior. **Predict** what the prior changes: each label gets a region of its own, so the code *may* name the digit
# at no price. What does that do to analogies?
#
# Before you answer, ask what the style is in such a model. With $p(z \mid y) = N(\mu_y, \operatorname{diag}\sigma_y^2)$ write $z = \mu_y + \sigma_y \odot u$ with
# $u \sim N(0, I)$. In terms of $u$ this is a CVAE with the old prior, whose decoder sees $y$ in one more way. The style is $u$, the place *within* the label's region, and an
# analogy may carry $z$ to another label, or $u$. Where the prior does not see the label, the two are the same.


# %%
@torch.no_grad()
def style(model, images):
    """u of each image: mu, as seen from the middle of its label's region and in widths of that region, (n, d)."""
    prior = model.prior(images.y)
    return (mean_code(model, images) - prior.mu) * torch.exp(-0.5 * prior.log_var)


@torch.no_grad()
def with_style(model, images):
    """The analogies that carry u in place of z: (n, model.num_classes, D)."""
    n, labels = len(images), model.num_classes
    every = torch.arange(labels).repeat(n)
    prior, u = model.prior(every), style(model, images).repeat_interleave(labels, dim=0)
    return model.mean_image(model.decode(prior.mu + torch.exp(0.5 * prior.log_var) * u, every)).view(n, labels, -1)


# %%
ALL = ("encoder", "decoder", "prior")
runs = {"no label": ((), 1), "both": (PLACES["both"], 1), "all three": (ALL, 1)}
runs |= {"both, 4 times": (PLACES["both"], 4), "all three, 4 times": (ALL, 4)}  # four times as many steps
wide_small, answers = {name: trained(20, places, times=times) for name, (places, times) in runs.items()}, {}
for name, model in wide_small.items():
    bound = evaluation.evaluate(model, validation)
    answers[name] = {"bound": bound.negative_elbo, "digit from z": digit_from_code(model)}
    if model.num_classes:
        images = model.sample(len(asked), asked, generator=torch.Generator().manual_seed(0))
        answers[name] |= {
            "from u": digit_from_code(model, style),
            "requests met": share_right(images, asked),
            "analogies with z": share_right(analogies(model, held_out.x, held_out.y).flatten(0, 1), ten),
            "with u": share_right(with_style(model, held_out).flatten(0, 1), ten),
        }
    print(f"{name:18s} rec {bound.rec:.2f} + kl {bound.kl:.2f} = -ELBO {bound.negative_elbo:.2f}")
    print(" " * 18, ", ".join(f"{what} {share:.0%}" for what, share in answers[name].items() if what != "bound"))
lead = [answers[f"both{more}"]["bound"] - answers[f"all three{more}"]["bound"] for more in ("", ", 4 times")]
print(f"'all three' leads by {lead[0]:.1f} nats, after four times as many steps by {lead[1]:.1f}")

# %%
# NBVAL_CHECK_OUTPUT
both, everywhere = answers["both"], answers["all three"]
assert everywhere["requests met"] > both["requests met"] + 0.1
assert everywhere["bound"] + math.log(10) < answers["no label"]["bound"]  # the label paid for, (7.6)
if train.name == "MNIST":
    assert everywhere["with u"] > max(everywhere["analogies with z"], both["with u"]) + 0.1
    assert answers["both, 4 times"]["requests met"] > both["requests met"]
print(
    "with the label in the prior, too, requests are met more often; on MNIST analogies work with u, not with z:", True
)

# %% [markdown]
# (By chance a request is met, a digit guessed, and an analogy right in 10 % of the cases.)
#
# After so short a training "both" obeys less than half of the time. With the label in the prior, too, 85 % of the requests are met: codes are drawn where this label lives. And
# the analogies? Carry $z$, and they are lost: the $z$ of a 4 lies in the region of the 4s, where the decoder has never met the label 7, and 11 % is hardly more than the floor.
# Carry $u$, the same place in the region of the 7s, and 82 % are right, far more than "both" achieves.
#
# Is $u$ free of the digit, then? No: neighbours still find it there in 84 % of the cases, nearly as often as in the code of "both". What neighbours find in a code is not yet
# what the decoder follows. So measure what the decoder does, too, before you explain its mistakes by what the code holds.
#
# Why does the bound gain 6.6 nats? The kl is nearly the same, it is rec that falls. The prior $p(z \mid y)$ no longer charges for keeping the digits apart (the second term of
# (7.8)), and those nats can describe the stroke. But what the label costs there is at most $\log 10$. Much of the lead is a faster start: after four times as many steps it has
# shrunk to 2.6 nats. (A guess at the reason: a table of ten centres is learned sooner than a network learns to subtract them.)
#
# Does training drive the digit out of the code, as section 6 guessed? In one sense. After four times as many steps "both" meets 55 % of the requests in place of 39 %, so the
# decoder listens to the label more. But neighbours find the digit in its code as well as before.
#
# <!-- confusion 19 -->
# > **Where does the label go?** It depends on what you want.
# > - Into the **decoder**, if you want to ask for a label and to change it while the style stays. With a short code that is enough; measure whether it obeys.
# > - Into the **encoder** as well: it costs next to nothing, and helps as long as the encoder is not perfect (3.7 nats in section 3). Both together are the usual CVAE.
# > - Into the **prior** as well, if the code is long: draws then come from where this label's images have their codes. Change a label while keeping $u$, not $z$. In our one run
# >   that improved the bound, the requests and the analogies.
# > - Into the **encoder alone**: never; the model of images does not change.
#
# Compare the line "both" with the shipped model of section 5: that one is twice as wide, saw binary pixels, and was trained seven times as long, on all images. It meets more
# requests. You have just seen what longer training does. **Try** the other two, one at a time: `trained(20, PLACES["both"], hidden=2 * width)`, then
# `trained(20, PLACES["both"], pixels="dynamic")`, and for each the share of requests met.
#
# ## 8 · A quarter of a picture as the label
#
# A condition need not be a label. Sohn, Lee & Yan (2015) give the model a quadrant $c$ of the image, and ask for the rest $r$. Everything is as before with $c$ in the place of
# $y$; their prior, too, depends on it:
#
# $$ \log p(r \mid c) \;\ge\; \mathbb{E}_{q(z \mid r, c)}\big[\log p(r \mid z, c)\big] - \text{KL}\big(q(z \mid r, c) \,\|\, p(z \mid c)\big). \tag{7.9} $$
#
# The exact model of section 1 can play this as well. Let $c$ be its third coordinate and $r$ the first two: $p(z \mid c)$ and $p(r \mid c)$ are known, and (7.9) must hold with
# the gap $\text{KL}\big(q \,\|\, p(z \mid r, c)\big)$.

# %%
# NBVAL_CHECK_OUTPUT
whole, x = two[1], torch.tensor([0.9, -0.4, 0.1], dtype=torch.float64)
rest, given = exact.LinearGaussian(W[:2], centres[1, :2], 0.5), exact.LinearGaussian(W[2:], centres[1, 2:], 0.5)
mean, covariance = given.posterior(x[2:])  # p(z|c), of independent coordinates
torch.manual_seed(0)
mu, log_var = torch.randn(2, 100, 2, dtype=torch.float64)
kl = losses.gaussian_kl(mu, log_var, mean, covariance.diagonal().log())
bound = rest.expected_log_likelihood(x[:2], mu, log_var) - kl  # (7.9)
truth = whole.log_marginal(x) - given.log_marginal(x[2:])  # log p(r|c) = log p(r, c) - log p(c)
assert torch.allclose(bound + whole.kl_to_posterior(x, mu, log_var), truth.expand(100)) and (bound < truth).all()
print("the bound of (7.9) and its gap add up to log p(r|c) for 100 random q:", True)

# %% [markdown]
# On digits, the rival is an ordinary network that predicts the missing pixels from $c$, each pixel independently: the same model without $z$. **Predict** how its answer looks
# where two completions are possible.

# %%
seen = torch.zeros(28, 28, dtype=torch.bool)
seen[14:, :14] = True  # the lower left quadrant
seen = seen.flatten()


class Completion(nn.Module):
    """p(r|c): the other 588 pixels r of an image, given its lower left quadrant c of 196."""

    def __init__(self, latent_dim: int = 20, hidden: int = width) -> None:
        super().__init__()
        self.prior = Encoder(196, (hidden,), latent_dim)  # p(z|c)
        self.encoder = Encoder(784, (hidden,), latent_dim)  # q(z|r, c): r and c are the whole image
        self.decoder = Decoder(latent_dim + 196, (hidden,), 588)  # p(r|z, c)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        return self.decoder(torch.cat([z, c], 1))

    def loss(self, x: Tensor) -> Tensor:
        q, p, c = self.encoder(x), self.prior(x[:, seen]), x[:, seen]
        rec = losses.bernoulli_nll(self.decode(reparameterize(*q), c), x[:, ~seen])
        return rec + losses.gaussian_kl(*q, *p)  # (7.9)


# %%
torch.manual_seed(0)
completion, rival = Completion(), Decoder(196, (width, width), 588)
optimizer = torch.optim.Adam([*completion.parameters(), *rival.parameters()], lr=2e-3)
for _ in range(epochs):
    for x, _ in few.batches(128, shuffle=True):
        guess = losses.bernoulli_nll(rival(x[:, seen]), x[:, ~seen])
        loss = (completion.loss(x) + guess).mean()  # no weight is shared: two trainings in one loop
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

with torch.no_grad():
    x = validation.x
    cost = {"network": losses.bernoulli_nll(rival(x[:, seen]), x[:, ~seen]).mean(), "CVAE": completion.loss(x).mean()}
print(
    " · ".join(f"{name} {nats:.1f}" for name, nats in cost.items()),
    "nats for the 588 missing pixels (CVAE: an upper bound)",
)

# %%
# NBVAL_CHECK_OUTPUT
assert cost["CVAE"] < cost["network"] - 1
print("even an upper bound of the CVAE's cost lies below the network's exact cost:", True)


# %%
@torch.no_grad()
def completions(x, draws=5):
    """One image (784,) -> the image, what is given, the network's answer, and some draws of the CVAE: (draws + 3, 784)."""
    rows = x.repeat(draws + 3, 1)
    c = rows[:, seen]
    z = reparameterize(*completion.prior(c[:draws]))
    rows[1, ~seen], rows[2, ~seen] = 0.5, torch.sigmoid(rival(c[:1]))[0]
    rows[3:, ~seen] = torch.sigmoid(completion.decode(z, c[:draws]))
    return rows


torch.manual_seed(1)
several = torch.stack([(validation.y == digit).nonzero()[2, 0] for digit in (0, 2, 3, 5, 7, 9)])
plotting.image_rows(
    {f"a {int(y)}": completions(x) for x, y in zip(validation.x[several], validation.y[several], strict=True)},
    "six images, their lower left quadrants alone, the network's blurred completion, and five completions by the CVAE: nearly alike for the 0 and the 7; for the 3, the 5 and the 9 not all the same digit; for the 2 none of the five is a 2",
    column_titles=["image", "given", "network", *(f"draw {i}" for i in range(1, 6))],
)

# %% [markdown]
# Each picture of a draw is the mean image of one code. Where the quadrant decides the digit, as in the rows of the 0 and the 7, the five hardly differ from each other and from
# the network's answer. Where it leaves several digits possible, the network answers with a mixture of them, because independent pixels can only be hedged one by one, while the
# CVAE draws one answer at a time.
#
# That answer may be wrong: in the row of the 2, none of five is a 2. How can the CVAE pay less all the same? It averages the *probability* of the true completion over codes, so
# one good code in some tens costs only the logarithm of some tens: a few nats.
#
# Pyro's tutorial reports 100.4 nats for the network and 71.8 for the CVAE on this task, after longer training of larger networks. (Its 71.8 is a Monte Carlo estimate, ours is a
# bound.) <!-- source: pyro-ppl/pyro, tutorial/source/cvae.ipynb, table under "Evaluating the results", 1 quadrant -->
#
# **Questions worth thinking about**
#
# 1. <!-- source: invented --> A paper compares a CVAE's 98.9 nats with a VAE's 102.2 on the same binary images and says that the CVAE is the better model of images. What do you
#    compute first?
# 2. One of ten labels tells at most 2.3 nats. How can a CVAE be ten nats better?
# 3. Your labels have 100 classes, most of them rare. Your code builds `F.one_hot(y)` in each batch. What happens, and when?
# 4. Your CVAE draws beautiful digits, but half of them are not those asked for. Which two measurements tell you why, and which two changes would you try?
# 5. A colleague plots the codes of her CVAE, sees one round blob, and thinks that training failed. What do you tell her?
#
# <details><summary>Answers</summary>
#
# 1. $98.9 + 2.3 = 101.2 < 102.2$: its bound is better by one nat, not by three. Then ask for tighter estimates (the gaps may differ), standard errors, and equal training.
# 2. The two numbers come from two models. The label tells at most 2.3 nats *within* one model; the rest is a model that fits better,
#    with one more latent variable, a discrete one, or a tighter bound: estimates of $\log p(x)$ decide.
# 3. A batch without label 99 gives fewer than 100 columns, and the first layer refuses its input: in the first batch if 99 is rare, else in the last, short one, or at
#    evaluation.
# 4. How well the digit can be read off the code, and, where it disobeys, how often it shows the digit of the image that the code came from (section 7). Try a shorter code,
#    longer training, or the label in the prior.
# 5. That this is what (7.8) asks for where the prior does not see the label: all classes fill the same prior, and the code holds what the label does not say. But a collapsed
#    code is a round blob, too. She should check that nearest neighbours are near chance and that the mean KL, and with it the first term of (7.8), is well above 0.
# </details>
#
# ## Recap
#
# - A label behind every bar: ELBO$(x \mid y)$ bounds $\log p(x \mid y)$, and the gap is the KL to $p(z \mid x, y)$.
# - One-hot, with `num_classes`, flattened, on the right device, and no list changed on the way.
# - Compare $-\text{ELBO}(x \mid y) + \log 10$ with $-\text{ELBO}(x)$. Within a model a label tells at most $\log 10$; more than that is a better model
#   or a tighter bound (estimates of $\log p(x)$ decide).
# - Encode pairs that were trained. In a good CVAE whose prior does not see the label all classes overlap, and the KL stays well above 0: label = content, code = style.
# - Measure with a judge whether requests are met. With a long code the digit is held twice, in the code and in the label; where the decoder follows the code, the model does not
#   obey.
# - Decoder to ask, encoder to help, prior to make long codes obey. With the label in the prior the style is $u$, not $z$.
#
# **Before:** [06 · What did it learn, and where does the picture mislead?](06_latent_space.ipynb) · **Next:** [08 · Can Bayes' rule classify, and when should you not believe
# it?](08_generative_classifier.ipynb)
#
# **Further reading**
# - K. Sohn, H. Lee, X. Yan, *Learning Structured Output Representation using Deep Conditional Generative Models*, NeurIPS 2015 (the name, the prior that sees the condition,
#   quadrants).
# - D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, *Semi-supervised Learning with Deep Generative Models*, NeurIPS 2014 (M2, analogies).
# - M. D. Hoffman, M. J. Johnson, *ELBO surgery*, NIPS 2016 workshop on Advances in Approximate Bayesian Inference.
# - A. A. Alemi et al., *Fixing a Broken ELBO*, ICML 2018 (what a code is used for is not decided by the bound alone).

# %% [markdown] tags=["solution"]
# **For instructors.** Open with the two printed losses of section 4 and let the class argue; sections 3 and 4 then answer. The disobedient model of section 5 is the second good
# moment: ask for the reason before section 6 measures it. Section 8 stands alone and can be left out.
