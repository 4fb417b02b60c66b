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
# # How do you differentiate through a dice roll?
#
# A VAE rolls dice in the middle of its network: the encoder names a distribution, a code is drawn from it, and the decoder sees only the draw. Training needs to know
# how the loss would change if the *distribution* were a little different. This lesson answers that question twice, proves both answers right, and measures why
# everybody uses the second. Then it shows how one line of code goes wrong without a sound.
#
# **You will be able to**
# - say what is hard about the gradient of an expectation, and what is not;
# - derive the score-function and the pathwise gradient, and compute their variances exactly;
# - write the reparameterised draw, and a test that catches its usual mistakes;
# - explain why an encoder returns log σ², and where the ½ comes from;
# - decide how many draws per image are worth their price, and whether to sample the KL.
#
# **You need** lesson 01 (the bound and its KL), derivatives, mean and variance, and `requires_grad` in PyTorch.
# **Time:** 55 minutes of reading and trying, under a minute of computing.

# %%
import math
import warnings

import torch
from torch.distributions import Normal
from torch.nn import functional as F

from vae_helpers import checks as check
from vae_helpers import gradients, lesson, losses, plotting, widgets
from vae_helpers.exact import LinearGaussian
from vae_helpers.recipes import RECIPES

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# ## 1 · The question, in one dimension
#
# The first half of the loss of a VAE is $\mathbb{E}_{q_\phi(z|x)}[-\log p_\theta(x \mid z)]$. The decoder's $\theta$ sits *inside* the expectation, so its gradient is
# an average of gradients: draw, differentiate, done. The encoder's $\phi$ sits in the distribution that you average *over*. That is the problem of this lesson, and it
# fits on a line: take $q = N(\mu, 1)$ and $f(z) = z^2$. Here the answer is known,
#
# $$ J(\mu) = \mathbb{E}_{N(\mu, 1)}\big[z^2\big] = \mu^2 + 1, \qquad \frac{dJ}{d\mu} = 2\mu. \tag{2.1} $$
#
# As a ruler you need expectations that are exact, not estimated. *Gauss–Hermite quadrature* gives them: a weighted sum over 100 fixed points, exact for
# polynomials up to degree $2 \cdot 100 - 1$ and very nearly so for other smooth functions. Look for a difference in each line.

# %%
# NBVAL_CHECK_OUTPUT
for mu in (-1.0, 0.0, 0.5, 2.0):  # (2.1)
    exact = gradients.gaussian_mean(lambda z: z**2, mu=mu)
    assert abs(exact - (mu**2 + 1)) < 1e-10
    print(f"mu = {mu:4}: quadrature {exact:.6f}, mu² + 1 = {mu**2 + 1:.6f}")

# %% [markdown]
# There is none. Now as a VAE would do it: draw, evaluate, call `backward`. PyTorch's distributions have two methods, `.sample()` and `.rsample()`. **Predict** what each gives.

# %%
# NBVAL_CHECK_OUTPUT
mu = torch.tensor(1.0, requires_grad=True)
plain = (Normal(mu, 1.0).sample((1000,)) ** 2).mean()
moved = (Normal(mu, 1.0).rsample((1000,)) ** 2).mean()
print("has a gradient: .sample()", plain.requires_grad, "· .rsample()", moved.requires_grad)
(slope,) = torch.autograd.grad(moved, mu)
assert abs(slope - 2.0) < 4 * 2 / 1000**0.5
print("the gradient of .rsample() is 2 mu = 2, within four standard errors:", True)

# %% [markdown]
# To `.sample()` the draws are 1000 fixed numbers; nothing in them remembers $\mu$. `.rsample()` remembers. What does it do, and is it the only way?
#
# <!-- confusion 9 -->
# > **"We reparameterise because one cannot backpropagate through a random variable."** So says source S0, one of the public tutorials behind this course, and so do many
# > others. It is not the reason. The next section gets an unbiased gradient without backpropagating through anything random. The difficulty is to differentiate an *expectation with respect
# > to its own distribution*; there are two ways, and one is far less noisy. That is the reason.
#
# Here are the two ways in one picture. Let the mean of $q$ rise a little. What happens to seven draws?

# %%
plotting.two_views_figure()

# %% [markdown]
# On the left the draws stay where they are, and those that became more likely count more. On the right each draw counts as before, and moves along (the new row
# is drawn lower only to keep the two apart). Both describe the same change of $q$. The first uses the *values* of $f$ at the draws, the second its *slopes*.
#
# ## 2 · First way: weigh the draws
#
# Write the expectation as an integral and differentiate under it (allowed for a Gaussian and any $f$ that does not grow absurdly fast). Only $q$ depends on $\phi$.
# Then multiply and divide by $q$, since $\nabla q = q\, \nabla \log q$:
#
# $$ \nabla_\phi \int q_\phi(z) f(z)\, dz = \int f(z)\, \nabla_\phi q_\phi(z)\, dz = \mathbb{E}_{q_\phi}\big[ f(z)\, \nabla_\phi \log q_\phi(z) \big]. \tag{2.2} $$
#
# It is an expectation under $q$ again, so draws can estimate it. $\nabla_\phi \log q_\phi(z)$ is called the **score**; for a Gaussian and its mean
#
# $$ \log q(z) = -\frac{(z-\mu)^2}{2\sigma^2} - \log \sigma - \tfrac12 \log 2\pi, \qquad \frac{\partial}{\partial \mu} \log q(z) = \frac{z - \mu}{\sigma^2}. \tag{2.3} $$
#
# ### Exercise: the score-function estimator
#
# Return one estimate of $\frac{d}{d\mu} \mathbb{E}[f(z)]$ **per draw**, no average. `f_z` and `z` have shape `(S,)`; `mu` and `std` are numbers. *4 minutes.*


# %%
def score_gradient(f_z, z, mu, std):
    """f(z) and z of S draws z ~ N(mu, std²) -> S estimates of d/dmu E[f(z)], shape (S,)."""
    ### BEGIN SOLUTION
    return f_z * (z - mu) / std**2  # (2.2) with (2.3)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
score_gradient = check.score_gradient(score_gradient)

# %% [markdown]
# <details><summary>Hint</summary>
#
# (2.2) says: the value of $f$ at the draw, times the score at the draw. The score stands at the end of (2.3). The averaging over $q$ is done by the draws themselves.
# </details>
#
# Is it right on average? Quadrature answers exactly, and a hundred thousand draws should agree within their standard error. The cell takes σ = 0.5, where a missing
# $\sigma^2$ would show, and also lets autograd differentiate $\log q$.

# %%
# NBVAL_CHECK_OUTPUT
mu, std = 1.0, 0.5
exactly = gradients.gaussian_mean(lambda z: score_gradient(z**2, z, mu, std), mu, std)  # (2.2)
z = mu + std * torch.randn(100_000)
draws = score_gradient(z**2, z, mu, std)
mean = torch.full_like(z, mu).requires_grad_()
(slope,) = torch.autograd.grad(Normal(mean, std).log_prob(z).sum(), mean)  # (2.3)
assert torch.allclose(draws, z**2 * slope, rtol=1e-4, atol=1e-5)
assert abs(exactly - 2 * mu) < 1e-9 and abs(draws.mean() - 2 * mu) < 4 * draws.std() / 100_000**0.5
print(f"expectation of the score estimator: {exactly:.6f}; 100 000 draws agree within four standard errors")

# %% [markdown]
# The derivative of $\mu^2 + \sigma^2$ with respect to $\mu$ is again $2\mu = 2$. Note what was *not* needed: the derivative of $f$. The draws could be words, the
# function could be a game score. This is how reinforcement learning computes gradients.
#
# ## 3 · Second way: move the draws
#
# Every Gaussian is a stretched and shifted standard Gaussian. Draw $\varepsilon \sim N(0, 1)$ first and *then* compute $z = \mu + \sigma \varepsilon$. Now the
# distribution that you average over, that of $\varepsilon$, depends on no parameter, so the gradient moves inside, and the chain rule does the rest:
#
# $$ \frac{d}{d\mu}\, \mathbb{E}_{\varepsilon}\big[ f(\mu + \sigma \varepsilon) \big] = \mathbb{E}_{\varepsilon}\Big[ f'(z)\, \frac{\partial z}{\partial \mu} \Big] = \mathbb{E}_{\varepsilon}\big[ f'(z) \big], \qquad \frac{\partial z}{\partial \sigma} = \varepsilon. \tag{2.4} $$
#
# This is the **pathwise** gradient, and writing $z$ in this way is the **reparameterisation trick**. The figure shows what changed. Follow the red arrows from right to
# left.

# %%
plotting.reparameterization_figure()

# %% [markdown]
# On the left the dice stand between the parameters and $f$: a roll has no derivative. On the right the dice stand at the side. For a fixed $\varepsilon$, $z$ is an
# ordinary function of $\mu$ and $\sigma$, and `backward` walks through it. Check (2.4) for $f(z) = z^2$, where $f'(z) = 2z$:

# %%
# NBVAL_CHECK_OUTPUT
eps = torch.randn(5)
mu, std = torch.tensor(1.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
z = mu + std * eps  # (2.4)
by_autograd = torch.autograd.grad((z**2).mean(), [mu, std])
by_hand = (2 * z).mean(), (2 * z * eps).mean()
assert all(torch.allclose(a, b) for a, b in zip(by_autograd, by_hand, strict=True))
print("autograd follows the path: f'(z) for mu, f'(z) eps for sigma:", True)

# %% [markdown]
# ## 4 · Which one is noisier? Exactly
#
# Both estimators have mean $2\mu$. What differs is their **variance**, and for $f(z) = z^2$ you can compute it by hand. Put $z = \mu + \varepsilon$. The pathwise
# estimate is $2z$, so
#
# $$ \operatorname{Var}[2z] = 4. \tag{2.5} $$
#
# The score estimate is $(\mu+\varepsilon)^2\, \varepsilon$. Square it, expand, and use $\mathbb{E}[\varepsilon^2] = 1$, $\mathbb{E}[\varepsilon^4] = 3$,
# $\mathbb{E}[\varepsilon^6] = 15$ (odd powers average to 0): $\mathbb{E}[(\mu+\varepsilon)^4 \varepsilon^2] = \mu^4 + 6\mu^2 \cdot 3 + 15$. Subtract the squared mean
# $4\mu^2$:
#
# $$ \operatorname{Var}\big[ z^2 (z - \mu) \big] = \mu^4 + 14 \mu^2 + 15. \tag{2.6} $$

# %%
# NBVAL_CHECK_OUTPUT
eps, _ = gradients.hermite()  # 100 nodes; moments() weighs the values at them
for mu in (0.0, 1.0, 2.0):
    z = mu + eps
    score = gradients.moments(score_gradient(z**2, z, mu, 1.0)).variance
    path = gradients.moments(2 * z).variance
    assert abs(score - (mu**4 + 14 * mu**2 + 15)) < 1e-8 and abs(path - 4) < 1e-9  # (2.6), (2.5)
    print(f"mu = {mu}: variance of one estimate: score {score:.1f}, pathwise {path:.1f}")

# %% [markdown]
# Already four to twenty times noisier. But a code has many dimensions, and there it gets worse. Let $z \sim N((\mu, 0, \dots, 0), I_d)$ and $f(z) = \|z\|^2$, and ask
# for the derivative with respect to the first coordinate. The pathwise estimate is still $2 z_1$ with variance 4: it sees only the slope in *its own* direction. The
# score estimate multiplies $\varepsilon_1$ by the value of the *whole* $f$, so all other coordinates are noise. With $R = \varepsilon_2^2 + \dots + \varepsilon_d^2$,
# $\mathbb{E}[R] = d-1$ and $\mathbb{E}[R^2] = (d-1)(d+1)$,
#
# $$ \operatorname{Var}\big[ \|z\|^2 \varepsilon_1 \big] = \mu^4 + 14\mu^2 + 15 + 2(\mu^2+3)(d-1) + (d-1)(d+1), \tag{2.7} $$
#
# which at $\mu = 0$ is $(d+2)(d+4)$: 63 for $d = 5$, 528 for $d = 20$. Does a simulation agree, there and at $\mu = 1$?

# %%
# NBVAL_CHECK_OUTPUT
for mu, d in ((0.0, 1), (0.0, 5), (0.0, 20), (1.0, 20)):
    simulated = gradients.square_norm_gradients(mu, d, 200_000).score.var()
    exact = gradients.square_norm_variances(mu, d)  # (2.7)
    assert abs(simulated / exact.score - 1) < 0.1 and (mu or exact.score == (d + 2) * (d + 4))
    print(
        f"mu = {mu}, d = {d:2}: score {exact.score:.0f}, pathwise {exact.pathwise:.0f} (200 000 draws agree within 10 %)"
    )

# %% [markdown]
# ### Exercise: the price of noise
#
# *2 minutes, with pen and paper.* At $d = 20$ and $\mu = 0$, how many score-function draws must you average to be as exact as **one** pathwise draw?

# %%
### BEGIN SOLUTION
draws_needed = (20 + 2) * (20 + 4) / 4
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
draws_needed = check.draws_needed(draws_needed)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The mean of $n$ independent estimates has $1/n$ of the variance of one.
# </details>
#
# Now look at the noise. Each dot is one estimate, the black line the truth, the diamond the mean of all draws with its standard error. Start at $d = 1$ and raise $d$:
# what happens to the orange cloud, and what to the blue one? (Mind the axis: its scale grows with the orange cloud.) Then, at $d = 20$: set 10 draws and note the blue
# standard error in the caption. How many draws does the score function need to get there?

# %%
widgets.gradient_explorer()

# %% [markdown]
# At $\mu = 1$ and $d = 20$: $581/4$ times as many, about $1450$. The same for readers without a kernel, for three numbers of dimensions:

# %%
plotting.gradient_clouds(
    1.0,
    (1, 5, 20),
    300,
    "300 single estimates each, on three different scales: the pathwise cloud keeps its width as d grows from 1 to 20, "
    "the score cloud becomes many times wider",
)

# %% [markdown]
# ### A remark on baselines
#
# The score has mean zero (put $f = 1$ into (2.2): the derivative of 1 is 0), so you may subtract a constant $c$ from $f$ without changing the mean of the estimate. The
# variance is a parabola in $c$, lowest at $c = \mathbb{E}[f \varepsilon_1^2] = \mu^2 + d + 2$, where $c^2$ comes off (2.7):
#
# $$ \operatorname{Var}\big[ (\|z\|^2 - c)\, \varepsilon_1 \big] = 8\mu^2 + 2d + 4. \tag{2.8} $$

# %%
# NBVAL_CHECK_OUTPUT
mu, d = 1.0, 20
eps = torch.randn(400_000, d)
f_z = (mu + eps[:, 0]) ** 2 + (eps[:, 1:] ** 2).sum(1)
with_baseline = (f_z - (mu**2 + d + 2)) * eps[:, 0]  # (2.8)
assert abs(with_baseline.var() / (8 * mu**2 + 2 * d + 4) - 1) < 0.05
assert abs(with_baseline.mean() - 2 * mu) < 4 * with_baseline.std() / 400_000**0.5
print("with the best baseline: same mean, variance 8 mu² + 2d + 4 within 5 %:", True)

# %%
plotting.variance_curves(
    "exact variances against d at mu = 0, both axes logarithmic: the score function grows with d squared, "
    "with its best baseline with d, pathwise stays at 4"
)

# %% [markdown]
# A baseline turns $d^2$ into $d$. Whoever has to use the score function uses one; and it still loses here.
#
# ### A harder function, and a printed number
#
# A textbook exercise (notebook 17.2 of *Understanding Deep Learning*) takes $f(z) = z^2 + \sin z$ with $\mu = \phi^3$ and $\sigma = e^{\phi}$. It prints 5.726 as the
# *true value* of the derivative at $\phi = 0.5$, and, a few cells further on, 5.725. Both are means over random draws; the true value needs none.
# <!-- source: the repository udlbook/udlbook, Notebooks/Chap17/17_2_Reparameterization_Trick.ipynb -->
# Since $\mathbb{E}[\sin z] = e^{-\sigma^2/2} \sin \mu$ for a Gaussian,
#
# $$ \mathbb{E}[f(z)] = \mu^2 + \sigma^2 + e^{-\sigma^2/2} \sin \mu, \qquad \mu = \phi^3, \quad \sigma = e^{\phi}. \tag{2.9} $$

# %%
# NBVAL_CHECK_OUTPUT
phi = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
m, s = phi**3, phi.exp()
closed_form = m**2 + s**2 + torch.exp(-(s**2) / 2) * m.sin()  # (2.9)
(true_slope,) = torch.autograd.grad(closed_form, phi)
assert abs(closed_form.item() - gradients.gaussian_mean(lambda z: z**2 + z.sin(), m.item(), s.item())) < 1e-10
print(f"exact derivative at phi = 0.5: {true_slope.item():.6f}")

# %% [markdown]
# So even the third decimal of the printed figures is chance. A check in this course never compares with a random number where a closed form exists. Which estimator of
# $dE/d\phi$ is noisier here? Now both $\mu$ and $\sigma$ depend on $\phi$, so the score is $\varepsilon \mu'/\sigma + (\varepsilon^2 - 1)\,\sigma'/\sigma$.


# %%
# NBVAL_CHECK_OUTPUT
def both(eps, phi):
    """Noise -> the score and the pathwise estimate of dE/dphi, each of the shape of eps."""
    m, s, dm, ds = phi**3, math.exp(phi), 3 * phi**2, math.exp(phi)  # mu, sigma and their derivatives
    z = m + s * eps
    return (z**2 + z.sin()) * (eps * dm / s + (eps**2 - 1) * ds / s), (2 * z + z.cos()) * (dm + ds * eps)


for phi in (0.3, 0.5):
    score, path = (gradients.moments(g).variance for g in both(gradients.hermite()[0], phi))
    print(f"phi = {phi}: variance score {score:.0f}, pathwise {path:.1f}, ratio {score / path:.2f}")
printed = (path / 1e7) ** 0.5, (score / 1e8) ** 0.5  # with as many draws as that notebook takes
assert abs(gradients.moments(both(gradients.hermite()[0], 0.5)[1]).mean - true_slope.item()) < 1e-8
print(
    f"standard errors at phi = 0.5: 10 million pathwise draws {printed[0]:.4f}, 100 million score draws {printed[1]:.4f}"
)

# %% [markdown]
# ### Where the path is no use
#
# Almost ten times the variance, in one dimension: ten times as many draws buy the same error. But "pathwise is always better" would be wrong, too. **Predict** what the
# path says about $f(z) = 1$ for $z > 0$, else 0. The probability of $z > 0$ certainly depends on $\mu$:
# its derivative is the density of $z$ at 0. And for $f(z) = \sin(kz)$ with a large $k$?

# %%
# NBVAL_CHECK_OUTPUT
z = (0.5 + torch.randn(200_000)).requires_grad_()
step = (z > 0).double()
draws = score_gradient(step, z.detach(), 0.5, 1.0)
truth = Normal(0.5, 1.0).log_prob(torch.tensor(0.0)).exp()
assert abs(draws.mean() - truth) < 4 * draws.std() / 200_000**0.5
print(
    f"a step: exact {truth:.3f}, score function agrees; a graph for the pathwise gradient exists: {step.requires_grad}"
)

# %%
# NBVAL_CHECK_OUTPUT
z, _ = gradients.hermite()  # mu = 0
for k in (1, 2, 5):
    score = gradients.moments(score_gradient((k * z).sin(), z, 0.0, 1.0)).variance
    path = gradients.moments(k * (k * z).cos()).variance
    assert (path < score) == (k == 1)
    print(f"sin({k}z): variance score {score:.2f}, pathwise {path:.2f}")

# %% [markdown]
# A step has slope 0 everywhere that a draw can land, so the path sees nothing, while the score function is right. And a function that wiggles fast has steep slopes but
# small values, so there the score function wins. The path needs a continuous $f$ that is not too rough (the kinks of ReLU do no harm), and a $z$ that can move by a
# little. Codes that are words or categories have no path. A decoder network is smooth enough, and its value is a sum over hundreds of pixels: the best case for the
# path, and the worst for the score. Section 6 measures it.
#
# ## 5 · The line of code
#
# In a VAE, $q(z \mid x) = N(\mu(x), \operatorname{diag} \sigma^2(x))$ with one mean and one variance per latent dimension, so
#
# $$ z = \mu + \sigma \odot \varepsilon, \qquad \varepsilon \sim N(0, I), \qquad \sigma = \sqrt{\sigma^2} = e^{\frac12 \log \sigma^2}. \tag{2.10} $$
#
# <!-- confusion 7 -->
# > **Log-variance, variance, or standard deviation? And where does the ½ come from?** The encoder returns $\log \sigma^2$, called `log_var`. The variance is
# > `exp(log_var)`. The standard deviation is its *root*, and a root is a ½ in the exponent. That is all. Noise is multiplied by σ; $N(\mu, \sigma^2)$ is written with
# > the variance; PyTorch's `Normal` and `torch.normal` take σ. Source S0 calls the encoder's output σ, a docstring in S1 (another one) says $\mu + \sigma^{0.5}\varepsilon$, and both
# > work only because the line below them does something else than they say.
#
# Why a logarithm at all? A linear layer returns any real number, a variance must be positive, and the exponential takes care of it. The KL needs $\log \sigma^2$, and
# it is there already: no `log` of a number that might be 0. The derivatives are simple as well,
#
# $$ \frac{\partial z}{\partial \mu} = 1, \qquad \frac{\partial z}{\partial \log \sigma^2} = \tfrac12\, \sigma\, \varepsilon. \tag{2.11} $$
#
# ### Exercise: `reparameterize`
#
# Write it. `mu` and `log_var` have shape `(batch, d)`, and so has the result. The check draws a hundred thousand codes, looks at their mean, deviation, shape and
# independence, and then at both derivatives (2.11). *5 minutes.*


# %%
def reparameterize(mu, log_var):
    """z ~ N(mu, exp(log_var)), differentiable in both: (batch, d) and (batch, d) -> (batch, d)."""
    ### BEGIN SOLUTION
    return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)  # (2.10)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
reparameterize = check.reparameterize(reparameterize)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.randn_like(mu)` gives fresh standard Gaussian noise of the right shape, dtype and device. Each image and each dimension needs its own.
# </details>
#
# And (2.11), entry by entry:

# %%
# NBVAL_CHECK_OUTPUT
mu, log_var = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
z = reparameterize(mu, log_var)
by_mu, by_log_var = torch.autograd.grad(z.sum(), [mu, log_var])
assert torch.equal(by_mu, torch.ones(4, 3)) and torch.allclose(by_log_var, 0.5 * (z - mu), atol=1e-6)  # (2.11)
print("dz/dmu = 1 and dz/dlog_var = half of sigma eps:", True)

# %% [markdown]
# There is a ready-made function that draws from a Gaussian, `torch.normal(mu, std)`. It accepts tensors that require gradients. **Predict** what comes back from
# `backward`.

# %%
# NBVAL_CHECK_OUTPUT
z = torch.normal(mu, torch.exp(0.5 * log_var))
by_mu, by_log_var = torch.autograd.grad(z.sum(), [mu, log_var])
assert z.requires_grad and not by_mu.any() and not by_log_var.any()
print("requires_grad:", z.requires_grad, "· largest derivative:", max(by_mu.abs().max(), by_log_var.abs().max()).item())

# %% [markdown]
# A gradient of exactly zero, without an error or a warning. The encoder would never hear from the decoder. `.sample()` at least has no graph; this one pretends.
#
# ### Is exp a law? Softplus does it, too
#
# Some codes write $\sigma = \log(1 + e^a)$ (*softplus*) in place of $e^{a/2}$. Is that another model? Every $\sigma > 0$ can be reached by both, so the family of
# distributions is the same, and so is the best $q$. What differs is how a step in the raw output $a$ moves $\sigma$.

# %%
# NBVAL_CHECK_OUTPUT
sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
for name, raw, to_sigma in (
    ("exp(a/2)", 2 * sigma.log(), lambda a: torch.exp(a / 2)),
    ("softplus", torch.expm1(sigma).log(), F.softplus),
):
    raw = raw.requires_grad_()
    (slope,) = torch.autograd.grad(to_sigma(raw).sum(), raw)
    assert torch.allclose(to_sigma(raw), sigma)
    print(
        f"{name}: sigma {[round(v, 3) for v in to_sigma(raw).tolist()]}, d sigma/da {[round(v, 3) for v in slope.tolist()]}"
    )

# %% [markdown]
# The same three σ, other slopes. The exponential makes *relative* steps: half of σ, however large. Softplus does so only where σ is small; where it is large, its slope
# stays near 1. It is a choice of optimisation, not of mathematics.
#
# <!-- confusion 6 -->
# > **NaN from `exp(log_var)`.** Relative steps can run away. In float32, $e^{89}$ is already infinite. Watch when it happens, and how an infinity becomes NaN:

# %%
# NBVAL_CHECK_OUTPUT
for value in (10.0, 90.0, 180.0):
    log_var = torch.full((1, 2), value, requires_grad=True)
    z = torch.exp(0.5 * log_var) * torch.tensor([[1.0, -1.0]])
    kl = losses.gaussian_kl(torch.zeros(1, 2), log_var)
    (slope,) = torch.autograd.grad(kl.sum(), log_var)
    finite = [bool(torch.isfinite(t).all()) for t in (kl, slope, z)]
    assert finite == [value < 88.8, value < 88.8, value < 177.5]
    print(
        f"log_var {value:5}: kl finite {finite[0]}, its gradient {finite[1]}, z {finite[2]}; z1 + z2 = {z.detach().sum():.0f}"
    )

# %% [markdown]
# First the KL and its gradient overflow; Adam divides that infinity by an infinity, and the weights are NaN for ever. Later $z$ itself overflows, and the next layer
# computes $\infty - \infty$. Something made `log_var` run off in the first place: most often a learning rate that is too high, or images with values up to 255. Look
# there first. The package clamps `log_var` to $[-20, 20]$, outside what a healthy model uses, and *warns* that it did so:

# %%
# NBVAL_CHECK_OUTPUT
broken = RECIPES["first-vae"].build()
torch.nn.init.constant_(broken.encoder.log_var.bias, 90.0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _, log_var = broken.encode(validation[:2].x)
assert len(caught) == 1 and log_var.max() == 20
print("clamped to 20, and said so:", "clamped" in str(caught[0].message))

# %% [markdown]
# ## 6 · In a trained VAE
#
# Now the real thing: the VAE that you will build in lesson 03, trained, with $d = 20$. Take five images, draw 2000 codes from each $q(z \mid x)$, and estimate the
# gradient of rec with respect to $\mu$, 20 numbers an image, by both ways from the same draws. The pathwise gradient is $\partial\, \text{rec} / \partial z$, the score
# gradient is rec times the score. **Guess the ratio of their variances**: ten, a hundred, a thousand?

# %%
vae = lesson.shipped("first-vae").model
x = validation[:5].x
mu, log_var = (t.detach() for t in vae.encode(x))
std = torch.exp(0.5 * log_var)
z = reparameterize(mu.expand(2000, -1, -1), log_var.expand(2000, -1, -1)).requires_grad_()  # (2000, 5, 20)
rec = losses.bernoulli_nll(vae.decode(z.flatten(0, 1)).view(2000, 5, 784), x)
(path,) = torch.autograd.grad(rec.sum(), z)
rec, z = rec.detach(), z.detach()
score = score_gradient(rec[..., None], z, mu, std)
score_with_baseline = score_gradient((rec - rec.mean(0))[..., None], z, mu, std)

# %%
ratios = [float(s.var(0).sum() / path.var(0).sum()) for s in (score, score_with_baseline)]
print(f"score variance / pathwise variance: {ratios[0]:.0f}; with a baseline: {ratios[1]:.0f}")

# %%
# NBVAL_CHECK_OUTPUT
assert ratios[0] > 200 and ratios[1] > 3
print("more than 200 times the variance, and more than 3 times with a baseline:", True)

# %% [markdown]
# Thousands of times on MNIST. With the score function you would need that many draws per image and step for the same quality; a baseline saves a factor of hundreds,
# and more than an order of magnitude remains. *This* is why VAEs are reparameterised.
#
# ### What if you forget?
#
# Suppose the gradient does not come through, because of a `.sample()`, a `.detach()`, a `torch.no_grad()`. The loss has two terms: rec no longer tells the encoder
# anything, but kl still does. **Predict:** where does kl alone push the encoder, and what will the decoder do then?


# %%
def train_briefly(draw, images, seed=0):
    """One pass of Adam over the images; `draw(mu, log_var)` makes the codes. Returns rec and kl of the last batch."""
    torch.manual_seed(seed)
    model = RECIPES["first-vae"].build(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for x, _ in images.batches(128, shuffle=True, generator=torch.Generator().manual_seed(seed)):
        mu, log_var = model.encode(x)
        rec, kl = losses.negative_elbo(model.decode(draw(mu, log_var)), x, mu, log_var)
        optimizer.zero_grad()
        (rec + kl).mean().backward()
        optimizer.step()
    return float(rec.mean().detach()), float(kl.mean().detach())


# %%
some = train[: lesson.pick(full=20_000, quick=3000)]
with_path = train_briefly(reparameterize, some)
without = train_briefly(lambda mu, log_var: reparameterize(mu, log_var).detach(), some)
for name, (rec, kl) in {"path": with_path, "detached": without}.items():
    print(f"{name:9s} rec {rec:6.1f} + kl {kl:7.4f} nats per image, last batch")

# %%
# NBVAL_CHECK_OUTPUT
assert without[1] < 0.1 and with_path[1] > 1 and with_path[0] < without[0]
print("without the path the code is empty, and rec is worse:", True)

# %% [markdown]
# kl falls to zero: every image gets the code distribution $N(0, I)$, which says nothing, and the decoder can only learn the mean image (206 nats over all of MNIST, the
# baseline of lesson 00; one batch scatters around it). The loss still falls at first, nothing crashes. If your kl goes to zero in the first epoch, check this line before you blame the model.
#
# ### Find the bug: a sampler that makes the loss better
#
# A colleague evaluates *your* trained model with their own script. Same weights, same images, same kl, and a −ELBO that is several nats **lower** than yours. They are
# proud of it. Their sampler is below; a public library shipped this very line until February 2023. Mend it, run the check, and then think about why the number got
# *better*.


# %%
def code_from_noise(mu, log_var, eps):
    """mu, log_var and the noise eps, each (batch, d) -> the code z, (batch, d)."""
    ### BEGIN SOLUTION
    return mu + torch.exp(0.5 * log_var) * eps
    ### BLANK VERSION
    # return mu + torch.exp(log_var) * eps
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
code_from_noise = check.code_from_noise(code_from_noise)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read (2.10) once more. By what is the noise multiplied?
# </details>

# %%
x = validation.random_subset(500).x
with torch.no_grad():
    mu, log_var = vae.encode(x)
    eps, kl = torch.randn_like(mu), losses.gaussian_kl(mu, log_var).mean()
    right = losses.bernoulli_nll(vae.decode(code_from_noise(mu, log_var, eps)), x).mean()
    theirs = losses.bernoulli_nll(vae.decode(mu + torch.exp(log_var) * eps), x).mean()
    median = torch.exp(0.5 * log_var).median()
print(f"-ELBO {right + kl:.1f} · as the colleague computes it {theirs + kl:.1f} · median sigma {median:.2f}")

# %%
# NBVAL_CHECK_OUTPUT
assert theirs < right - 2
print("the bug lowers the reported number by more than 2 nats:", True)

# %% [markdown]
# Where σ is below 1, σ² is smaller still, so the codes get too little noise and rec is too good; kl charges for the σ that the encoder *said*. A code with less noise
# carries more information than was paid for. The lower number is no bound on $-\log p(x)$. A lower loss is not evidence that the code is right: your test of mean and
# standard deviation would have caught it in a second.
#
# ## 7 · How many draws per image?
#
# The expectation over $q$ can be estimated with $S$ draws per image in place of one,
#
# $$ \mathbb{E}_{q(z|x)}\big[-\log p_\theta(x \mid z)\big] \approx \frac1S \sum_{s=1}^{S} -\log p_\theta(x \mid z_s), \qquad z_s = \mu + \sigma \odot \varepsilon_s. \tag{2.12} $$
#
# Nearly all VAE code takes $S = 1$; Kingma and Welling (2014) found it enough with batches of about 100 images. Is that not terribly noisy? A batch has two sources of
# noise: *which images* it holds, and *which codes* were drawn. Let $g(x, \varepsilon)$ be anything that you average, the loss or one entry of a gradient. With $B$
# random images and $S$ draws for each, the law of total variance (variance of the images' means, plus mean of the variances within an image) gives
#
# $$ \operatorname{Var}\Big[\frac{1}{BS} \sum_{b,s} g(x_b, \varepsilon_{bs})\Big] = \frac1B \Big( \underbrace{\operatorname{Var}_x\, \mathbb{E}_\varepsilon[g]}_{\text{between images}} + \frac1S\, \underbrace{\mathbb{E}_x \operatorname{Var}_\varepsilon[g]}_{\text{within an image}} \Big). \tag{2.13} $$
#
# Measure both parts for the loss and for two gradients: that of the decoder's output bias, which is $\hat x - x$, and that of the encoder's $\mu$, which is
# $\partial\,\text{rec}/\partial z + \mu$. The cell draws 20 codes for each of 300 images.

# %%
x = validation.random_subset(300, seed=1).x
mu, log_var = (t.detach() for t in vae.encode(x))
tables = {"loss": [], "decoder gradient": [], "encoder gradient": []}
for _ in range(20):
    z = reparameterize(mu, log_var).requires_grad_()  # (2.12): one of S draws
    logits = vae.decode(z)
    rec = losses.bernoulli_nll(logits, x)
    (slope,) = torch.autograd.grad(rec.sum(), z)
    tables["loss"].append((rec + losses.gaussian_kl(mu, log_var)).detach()[:, None])
    tables["decoder gradient"].append((torch.sigmoid(logits) - x).detach())
    tables["encoder gradient"].append(slope + mu)
tables = {name: torch.stack(rows) for name, rows in tables.items()}  # each (20, 300, entries)


# %%
def parts(g):
    """(draws, images, entries) -> the two variances of (2.13), each summed over the entries."""
    within = g.var(0).mean(0).sum()
    return float(g.mean(0).var(0).sum() - within / len(g)), float(within)


shares = {}
for name, g in tables.items():
    between, within = parts(g)
    shares[name] = within / (between + within)
    print(
        f"{name:17s} between images {between:6.1f}, within an image {within:6.1f}: the draw makes {shares[name]:.0%} of the noise at S = 1"
    )

# %%
# NBVAL_CHECK_OUTPUT
assert shares["loss"] < 0.25 < 0.5 < shares["encoder gradient"]
assert shares["loss"] < shares["decoder gradient"] < shares["encoder gradient"]
print("the draw matters least for the loss, and most for the encoder's gradient:", True)

# %% [markdown]
# On MNIST the draw makes a few hundredths of the loss's noise, and about a quarter of the decoder gradient's: there one draw is plenty, the choice of images matters
# more. For the encoder's gradient it is the other way round. Should you raise $S$ then? Count the price: a step decodes $n = B \cdot S$ codes. For a fixed $n$, (2.13)
# becomes $(S \cdot \text{between} + \text{within}) / n$. Whatever the two parts are, this is smallest at $S = 1$: **a new image brings a new draw with it, and a new
# draw for an old image brings no new image.** So spend the computing on more images first. If an encoding costs as much as a decoding, and you count both, the best $S$
# is $\sqrt{\text{within}/\text{between}}$: about 2 for the encoder's gradient on MNIST by the numbers above, below 1 for the rest. Nothing near 10. (With the score
# function, "within" would be more than a thousand times larger, and one draw would drown.)
#
# A check of (2.13) itself, on the table of losses: four thousand random batches of 8 images with 4 draws each.

# %%
# NBVAL_CHECK_OUTPUT
g, B, S = tables["loss"][:, :, 0].double(), 8, 4
images = torch.randint(300, (4000, B, 1)).expand(-1, -1, S)
batches = g[torch.randint(20, (4000, B, S)), images].mean((1, 2))
predicted = (g.mean(0).var(correction=0) + g.var(0, correction=0).mean() / S) / B  # (2.13)
assert abs(batches.var() / predicted - 1) < 0.1
print("variance of 4000 batch means is what (2.13) says, within 10 %:", True)

# %% [markdown]
# ## 8 · The other half: closed-form or sampled KL?
#
# The KL between two Gaussians has a formula (lesson 01). You could also sample it with the same $z$, and that is the only way when $q$ or the prior is more
# complicated. Both estimate −ELBO:
#
# $$ \ell_{\text{closed}}(z) = -\log p(x \mid z) + \text{KL}\big(q \,\|\, p(z)\big), \qquad \ell_{\text{sampled}}(z) = -\log p(x \mid z) + \log q(z \mid x) - \log p(z). \tag{2.14} $$
#
# The first samples one thing and knows the other exactly; the second samples both. **Predict:** for one image, which of the two scatters less over draws of $z$?

# %%
with torch.no_grad():
    draws = [reparameterize(mu, log_var) for _ in range(30)]
    rec = torch.stack([losses.bernoulli_nll(vae.decode(z), x) for z in draws])
    log_ratio = torch.stack([losses.gaussian_log_prob(z, mu, log_var) - losses.gaussian_log_prob(z) for z in draws])
closed, sampled = rec + losses.gaussian_kl(mu, log_var), rec + log_ratio  # (2.14)
print(f"mean over images: closed {closed.mean():.2f}, sampled {sampled.mean():.2f} nats")
print(
    f"standard deviation within an image: closed {closed.var(0).mean().sqrt():.1f}, sampled {sampled.var(0).mean().sqrt():.1f} nats"
)

# %%
# NBVAL_CHECK_OUTPUT
difference = (closed - sampled).mean(0)
assert abs(difference.mean()) < 4 * difference.std() / len(difference) ** 0.5
assert sampled.var(0).mean() < closed.var(0).mean()
print("same mean within four standard errors, and the sampled one scatters less:", True)

# %% [markdown]
# Surprised? Sampling *more* gave *less* noise, because the two errors cancel. By Bayes' rule $\ell_{\text{sampled}}(z) = -\log p(x) + \log \frac{q(z|x)}{p(z|x)}$. The
# nearer $q$ comes to the true posterior, the more constant this gets; if they are equal, it is $-\log p(x)$ for *every* $z$. In $\ell_{\text{closed}}$ the cancellation
# is lost. For the value of the loss
# this hardly matters, as section 7 says. For training the closed form is usual, and the next section shows that for the *gradient* it is the better of the two, but not
# the best.
#
# ## 9 · Optional: two finer estimators
#
# <details><summary>Who needs this section?</summary>
#
# Nobody, for the rest of the course. You will meet it when you read about importance-weighted autoencoders (lesson 05) and flows, and it is a beautiful use of
# everything above.
# </details>
#
# Take a model where all is known, $p(z) = N(0, 1)$, $p(x \mid z) = N(2z, 1)$, and the exact posterior at $x = 1.5$ as $q$. The ELBO is at its maximum, the true
# gradient is 0. Yet an estimator may scatter around that 0. Differentiate $\ell = \ell_{\text{sampled}}$ with respect to $\mu$: $z = \mu + \sigma\varepsilon$ moves, and $\mu$ also stands in
# $\log q$ itself,
#
# $$ \frac{d\ell}{d\mu} = \underbrace{\frac{\partial \ell}{\partial z} \frac{\partial z}{\partial \mu}}_{\text{path}} \;+\; \underbrace{\frac{\partial}{\partial \mu} \log q(z)}_{\text{score, mean 0}}. \tag{2.15} $$
#
# The second part has mean zero, so you may drop it. What remains vanishes for **every** draw once $q$ is the posterior, since $\ell$ is then constant in $z$. This is
# *sticking the landing* (Roeder, Wu & Duvenaud, 2017). Exact variances, by quadrature:

# %%
# NBVAL_CHECK_OUTPUT
model, x1 = LinearGaussian([[2.0]], [0.0], sigma_x=1.0), torch.tensor([1.5], dtype=torch.float64)
post = model.posterior(x1)
m, v = post.mean.item(), post.covariance.item()
z = m + v**0.5 * gradients.hermite(60)[0]
slope_of_log_joint = 2 * (1.5 - 2 * z) - z
estimates = {  # one entry per node
    "sampled KL": -slope_of_log_joint,  # in (2.15) path and score of log q cancel
    "closed-form KL": -2 * (1.5 - 2 * z) + m,
    "sticking the landing": -slope_of_log_joint - (z - m) / v,
}
for name, g in estimates.items():
    mean, variance = gradients.moments(g)
    assert abs(mean) < 1e-9  # unbiased: the gradient at the optimum is 0
    print(f"{name:21s} variance {variance:.3f}")

# %% [markdown]
# By hand: $1/v = 5$, $(1-v)^2/v = 3.2$ and 0, with the posterior variance $v = 0.2$. Does it help a real VAE, whose $q$ is not exact? The same three gradients for the
# trained model:

# %%
noise = {"sampled KL": [], "closed-form KL": [], "sticking the landing": []}
for _ in range(20):
    z = reparameterize(mu, log_var).requires_grad_()
    (slope,) = torch.autograd.grad(losses.bernoulli_nll(vae.decode(z), x).sum(), z)
    z = z.detach()
    noise["sampled KL"].append(slope + z)
    noise["closed-form KL"].append(slope + mu)
    noise["sticking the landing"].append(slope + z - (z - mu) * torch.exp(-log_var))
noise = {name: torch.stack(rows).var(0).mean(0).sum() for name, rows in noise.items()}
print("variance within an image: " + " · ".join(f"{name} {value:.0f}" for name, value in noise.items()))

# %%
# NBVAL_CHECK_OUTPUT
assert noise["sticking the landing"] < noise["closed-form KL"] < noise["sampled KL"]
print("sticking the landing < closed-form KL < sampled KL:", True)

# %% [markdown]
# Without the score term more than half of the encoder's noise is gone. Far from the posterior, early in training, the order may be the other way round: dropping a mean-zero term
# helps only where it cancels something.
#
# ### More than one sample *inside* the logarithm
#
# Lesson 05 tightens the bound with $K$ importance samples, $w_k = p(x, z_k)/q(z_k \mid x)$:
#
# $$ L_K = \mathbb{E}\Big[\log \frac1K \sum_{k=1}^{K} w_k\Big]. \tag{2.16} $$
#
# There the score term has a mean, so dropping it would bias the gradient. Tucker, Lawson, Gu and Maddison (2019) reparameterise it *once more* and find the doubly
# reparameterised gradient (DReG),
#
# $$ \nabla_\phi L_K = \mathbb{E}\Big[ \sum_{k=1}^{K} \tilde w_k^2\; \frac{\partial \log w_k}{\partial z_k} \frac{\partial z_k}{\partial \phi} \Big], \qquad \tilde w_k = \frac{w_k}{\sum_j w_j}. \tag{2.17} $$
#
# Note the square; for $K = 1$ it is sticking the landing. The cell computes the exact expectation of three gradients with respect to $\mu$ for $K = 2$, over a grid of
# $60 \times 60$ quadrature nodes, with a $q$ that is off the posterior.

# %%
node, weight = gradients.hermite(60)
eps, weight = torch.cartesian_prod(node, node).T, torch.outer(weight, weight).flatten()  # (2, 3600), (3600,)
mu2 = torch.full((3600,), m + 0.3, dtype=torch.float64, requires_grad=True)
log_var2 = torch.full_like(mu2, math.log(1.3**2 * v))
z2 = (mu2 + torch.exp(0.5 * log_var2) * eps)[..., None]


def log_w(mean):  # log p(x, z) - log q(z), (2, 3600)
    return model.log_joint(x1, z2) - losses.gaussian_log_prob(z2, mean[:, None], log_var2[:, None])


share = torch.softmax(log_w(mu2).detach(), 0)

# %%
# NBVAL_CHECK_OUTPUT
objectives = {
    "plain L_2": losses.iw_bound(log_w(mu2)),  # (2.16)
    "DReG": gradients.dreg_objective(log_w(mu2.detach())),  # (2.17)
    "weights not squared": (share * log_w(mu2.detach())).sum(0),
}
means = {}
for name, objective in objectives.items():
    (g,) = torch.autograd.grad(objective.sum(), mu2, retain_graph=True)
    means[name] = (weight * g).sum().item()
    print(f"{name:20s} mean {means[name]:.3f}, variance {(weight * (g - means[name]) ** 2).sum():.2f}")
assert abs(means["DReG"] - means["plain L_2"]) < 1e-6 < abs(means["weights not squared"] - means["plain L_2"])

# %% [markdown]
# DReG has the mean of the plain gradient and a small part of its variance; without the square the mean is wrong. This matters the more, the larger $K$ is: the plain
# encoder gradient has a signal-to-noise ratio that *falls* like $1/\sqrt K$ (Rainforth et al., 2018). How much is it worth at the end? The public re-implementation
# nbip/IWAE reports, for one stochastic layer of 50 dimensions between layers of 200 units, dynamically binarised MNIST and test NLL from 5000 importance samples: 84.59
# nats for IWAE with $K = 50$, and 84.32 with DReG. A quarter of a nat, for a change of a few lines.
#
# **Questions worth thinking about**
#
# 1. A friend writes `z = mu + torch.exp(0.5 * log_var) * torch.randn(d)` without the batch axis. Which tests of this lesson does it pass, and what would you see in
#    training?
# 2. At test time, should you reparameterise?
# 3. With $\sigma \to 0$, which of the two estimators of $\frac{d}{d\mu}\mathbb{E}[f]$ survives?
# 4. The code is a digit from 0 to 9 in place of a vector. Which way is left, and what could you do without any draws at all?
# 5. *Who is right?* In 2018 somebody proposed to mend the bug of section 6 in an example of Keras (pull request 9972). The answer was that `z_log_var` is the output of
#    a dense layer, so its scale does not matter.
#
# <details><summary>Answers</summary>
#
# 1. Mean and standard deviation over many calls pass, and so do both derivatives; only the spread within *one* batch, which the check looks at, gives it away. All
#    images share their noise, so what it does to all of them alike is not divided by $B$ in (2.13): a noise that larger batches do not cure.
# 2. You need no gradient then, so it makes no difference how the draw is made. But a draw it must be, if the number is to be a bound (lesson 03).
# 3. The pathwise one: $f'(z) \to f'(\mu)$. The score estimate $f(z)\,\varepsilon/\sigma$ has a variance that grows like $1/\sigma^2$. A trained encoder has small σ:
#    one more reason for the factor of thousands.
# 4. The score function. With only ten values you can also write the expectation as a sum of ten terms and differentiate that, exactly and without noise; lesson 08 sums
#    over the label in this way.
# 5. Both have a point. The network can learn any scale, as with exp and softplus, if *everything* reads its output in the same way. But if the draw takes
#    `exp(z_log_var)` for σ and the KL takes it for σ², they talk about two different Gaussians, and their sum is no bound. The test: do the draws have the variance
#    that the KL charges for?
# </details>
#
# ## Recap
#
# - The problem is to differentiate an expectation with respect to its distribution. Score function: weigh the draws. Pathwise: move them. Both are unbiased.
# - Their variances differ: 4 against $(d+2)(d+4)$ in the clean example, a factor of thousands in a trained VAE on MNIST. Smooth $f$ with a large value: take the path.
#   Steps and discrete codes: the score.
# - $z = \mu + \sigma \odot \varepsilon$ with $\sigma = e^{\frac12 \log \sigma^2}$. The ½ is a root. Test the draw's mean, deviation and both derivatives.
# - Without the path the code goes empty, silently. With the wrong σ the number gets *better*, silently.
# - For a given amount of computing, more images beat more draws per image.
# - At $q$ = posterior the sampled −ELBO has no noise at all, and sticking the landing gives its gradient the same property.
#
# **Before:** [01 · How can a bound stand in for an integral that nobody can do?](01_elbo.ipynb) · **Next:** [03 · What does the loss number mean?](03_mlp_vae.ipynb)
#
# **Further reading**
# - D. P. Kingma, M. Welling, *Auto-Encoding Variational Bayes*, ICLR 2014, section 2.4 (the trick) and section 2.3 (one draw per image).
# - D. J. Rezende, S. Mohamed, D. Wierstra, *Stochastic Backpropagation and Approximate Inference in Deep Generative Models*, ICML 2014.
# - R. J. Williams, *Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning*, Machine Learning, 1992 (the score function, with
#   baselines).
# - S. Mohamed, M. Rosca, M. Figurnov, A. Mnih, *Monte Carlo Gradient Estimation in Machine Learning*, JMLR, 2020 (a survey; when which estimator wins).
# - G. Roeder, Y. Wu, D. Duvenaud, *Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational Inference*, NeurIPS 2017.
# - T. Rainforth et al., *Tighter Variational Bounds are Not Necessarily Better*, ICML 2018.
# - G. Tucker, D. Lawson, S. Gu, C. J. Maddison, *Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives*, ICLR 2019.
# - S. J. D. Prince, *Understanding Deep Learning*, MIT Press, 2023, chapter 17 and its notebook 17.2.

# %% [markdown] tags=["solution"]
# **For instructors.** The find-the-bug of section 6 works best if you announce the lower number first and let the group congratulate the colleague. The line comes from
# DeepTrack2, mended in its pull request 170. If time is short, skip section 9 and the remark on baselines. The check of `reparameterize` compares 100 000 draws with a
# fingerprint of each known mistake, so also rewritten versions of a mistake get its hint.
