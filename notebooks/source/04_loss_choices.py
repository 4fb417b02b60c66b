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
# # Which likelihood, and which weight did you choose without knowing?
#
# `F.binary_cross_entropy`, `F.mse_loss`, `F.l1_loss`: in many VAE tutorials the reconstruction loss is a switch with these three positions, `sum` or `mean` is a
# matter of taste, and a factor before kl is "tuned". Each of these settings is a statement about the world, namely which noise you expect in a pixel and how much
# of it, and each moves the balance between a sharp reconstruction and a tidy code. In this lesson you learn to read the statement off the code, including the
# code whose author never knew that there was one.
#
# **You will be able to**
# - say for a loss of which density it is minus the logarithm, or why it is of none;
# - add the constant that a loss leaves out, and say when leaving it out is harmless and when it ruins a model;
# - read the noise level $\sigma_x$ and the weight $\beta$ off any line of VAE code;
# - find the best $\sigma_x$ with pen and paper, and learn it;
# - say why a negative loss is no bug, and why nats of two likelihoods cannot be compared.
#
# **You need** lesson 03 (rec, kl, sums and means). **Time:** 70 minutes of reading and trying, under a minute of computing.

# %%
import math
from itertools import pairwise

import torch
from torch.distributions import Laplace, Normal
from torch.nn import functional as F

from vae_helpers import checks as check
from vae_helpers import evaluation, lesson, losses, plotting, widgets
from vae_helpers.models import VAE
from vae_helpers.recipes import BETAS, SIGMAS

lesson.start()
train, validation, test = lesson.images()
D = 784

# %% [markdown]
# ## 1 · Every loss is minus the logarithm of something
#
# The bound of lesson 03 was derived for a *density* $p_\theta(x \mid z)$, and rec is minus its logarithm. So a reconstruction loss belongs into a VAE if
#
# $$ \text{loss}(x) = -\log p(x \mid z) \qquad\text{with}\qquad \int p(x \mid z) \, dx = 1 \tag{4.1} $$
#
# (a sum in place of the integral, where $x$ is 0 or 1). Turned round: given a loss, look at $e^{-\text{loss}}$. If its integral is 1, you have found your
# likelihood. If it is another constant, you have found a likelihood *with a constant left out*. And if it depends on $z$, something is wrong. We will meet all
# three.
#
# A decoder returns one number for each pixel; what the number means is your choice. Here are four choices (the formulas follow) for one pixel, for which the decoder
# says 0.3. **Look at two things:** where is each curve zero, and which of them rise above 1?

# %%
plotting.density_curves(
    "one pixel, the decoder says 0.3: Gaussian and Laplace spread below 0, the continuous Bernoulli stays in [0, 1], the Bernoulli has two spikes"
)

# %% [markdown]
# Gaussian and Laplace live on the whole line; a part of them lies outside the pixels' range. The continuous Bernoulli lives on $[0, 1]$, the Bernoulli on the two
# points 0 and 1. And a *density* may well be larger than 1: only its area is fixed. Keep that in mind for section 6.
#
# The Gaussian first. With the decoder's mean $m$ and one standard deviation $\sigma_x$ for all pixels,
#
# $$ -\log N(x; m, \sigma_x^2 I) = \frac{1}{2\sigma_x^2} \underbrace{\sum_{j=1}^{D} (x_j - m_j)^2}_{\text{SSE}} + \frac{D}{2} \log (2\pi\sigma_x^2). \tag{4.2} $$
#
# ### Exercise: the Gaussian, with its constant
#
# Images and means are `(batch, D)`, `sigma_x` is a tensor with one number, the result is `(batch,)`. *5 minutes.*


# %%
def gaussian_nll(mean, x, sigma_x):
    """-log N(x; mean, sigma_x^2 I) (4.2), summed over pixels: (batch, D) -> (batch,), in nats."""
    ### BEGIN SOLUTION
    return (((x - mean) / sigma_x) ** 2 / 2 + torch.log(sigma_x) + 0.5 * math.log(2 * math.pi)).sum(-1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
gaussian_nll = check.gaussian_nll(gaussian_nll)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\frac{D}{2}\log(2\pi\sigma_x^2)$ is $D$ times $\log\sigma_x + \frac12\log 2\pi$: add that to every pixel, and sum over the last axis.
# </details>
#
# Now test (4.1) in the plainest way: one pixel, a fine grid of values, add up $e^{-\text{loss}}$. The squared error alone fails, your function passes.


# %%
# NBVAL_CHECK_OUTPUT
def area(loss, low, high):  # (4.1), for one pixel: loss maps (n, 1) to (n,)
    x = torch.linspace(low, high, 200_001, dtype=torch.double)[:, None]
    return float(torch.trapezoid(torch.exp(-loss(x)), x[:, 0]))


mean, sigma = torch.tensor([0.3], dtype=torch.double), torch.tensor(0.2, dtype=torch.double)
areas = [
    area(lambda x: losses.squared_error(mean, x), -9, 9),
    area(lambda x: gaussian_nll(mean.expand_as(x), x, sigma), -9, 9),
]
assert abs(areas[1] - 1) < 1e-6
print("area under exp(-squared error): {:.4f} · under exp(-gaussian_nll): {:.4f}".format(*areas))

# %% [markdown]
# The first area is $\sqrt{\pi} = 1.7725$, wherever the mean lies: a constant was left out. Which Gaussian is it, then?
#
# **Predict:** if your loss is the plain SSE, as with `F.mse_loss(..., reduction="sum")`, which *variance* $\sigma_x^2$ have you assumed? Look at (4.2).

# %%
### BEGIN SOLUTION
sse_variance = 0.5
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
sse_variance = check.sse_variance(sse_variance)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The factor before SSE in (4.2) must be 1.
# </details>
#
# So the loss "SSE + kl" of two of the tutorials behind this course (S0 and S4) claims that every pixel carries Gaussian noise with a standard deviation of
# $\sqrt{1/2} \approx 0.71$. The whole range of a pixel is 1. Nobody would choose that on purpose; section 3 shows what it does.
#
# The Laplace density replaces the square by the absolute value, $p(x) \propto e^{-|x - m|/b}$ with a scale $b$, and you can find its constant yourself: the area
# under $e^{-|r|/b}$, both sides.
#
# $$ -\log \text{Laplace}(x; m, b) = \frac{1}{b}\sum_{j=1}^{D} |x_j - m_j| + D \log (\text{that area}). \tag{4.3} $$
#
# ### Exercise: the Laplace, with the constant that you find
#
# *5 minutes, pen and paper first.*


# %%
def laplace_nll(mean, x, scale):
    """-log Laplace(x; mean, scale) (4.3), summed over pixels: (batch, D) -> (batch,), in nats."""
    ### BEGIN SOLUTION
    return ((x - mean).abs() / scale + torch.log(2 * scale)).sum(-1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
laplace_nll = check.laplace_nll(laplace_nll)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\int_0^\infty e^{-r/b}\,dr = b$. The curve has two sides.
# </details>
#
# The area is $2b$, so every pixel adds $\log 2b$. Now both constants in the size of an image, with PyTorch's own distributions as judges. The last assertions
# hold your functions against the package's.

# %%
# NBVAL_CHECK_OUTPUT
x, m = test[:20].x.double(), train.x.double().mean(0).expand(20, D)
normal = -Normal(m, math.sqrt(sse_variance)).log_prob(x).sum(1)  # (4.2)
laplace = -Laplace(m, 1.0).log_prob(x).sum(1)  # (4.3)
sse_constant, l1_constant = D / 2 * math.log(math.pi), D * math.log(2)
assert torch.allclose(normal, losses.squared_error(m, x) + sse_constant, rtol=0, atol=1e-9)
assert torch.allclose(laplace, losses.absolute_error(m, x) + l1_constant, rtol=0, atol=1e-9)
assert torch.allclose(gaussian_nll(m, x, sigma).double(), losses.gaussian_nll(m, x, sigma))
assert torch.allclose(laplace_nll(m, x, sigma).double(), losses.laplace_nll(m, x, sigma))
print(f"-log Normal(m, sqrt(1/2)) = SSE + {sse_constant:.3f} · -log Laplace(m, 1) = L1 + {l1_constant:.3f} nats")

# %% [markdown]
# > **"MSE is the Gaussian likelihood."** It is minus the logarithm of *one* Gaussian, the one with variance ½ (as a sum) or 392 (as a mean over 784 pixels), less a
# > constant. The Gaussian likelihood has a free number, $\sigma_x$, and whoever writes MSE has set it. In the same way L1 is a Laplace with $b = 1$.
#
# A dropped constant does no harm to training as long as nothing you learn or compare depends on it: its gradient is zero. It does harm as soon as you put two
# losses side by side. Tutorial S1 has the switch `bce / mse / l1`; whoever tries its three positions and picks the lowest loss has compared three numbers in
# three different units.
#
# ## 2 · Grey pixels under a Bernoulli
#
# <!-- confusion 3 -->
# Lesson 03 showed what cross-entropy on grey pixels *is*: the mean cost of random black-and-white images. What is it not? Put it to the test (4.1). For a pixel
# with $\text{sigmoid(logit)} = p$, the loss is $-\log\big[p^x(1-p)^{1-x}\big]$. Summed over $x \in \{0, 1\}$ that gives $p + (1 - p) = 1$: a fine probability for
# a *binary* pixel. Integrated over grey values, it gives (at $p = \tfrac12$, where the fraction is 0/0, its limit ½)
#
# $$ \int_0^1 p^x (1-p)^{1-x}\, dx = \frac{2p - 1}{\text{logit}(p)} \;\le\; \tfrac12, \qquad \text{logit}(p) = \log\frac{p}{1-p}. \tag{4.4} $$

# %%
# NBVAL_CHECK_OUTPUT
for p in (0.02, 0.3, 0.5, 0.9):
    logit = torch.logit(torch.tensor([p], dtype=torch.double))
    found = area(lambda x, logit=logit: losses.bernoulli_nll(logit, x), 0, 1)
    formula = (2 * p - 1) / float(logit) if p != 0.5 else 0.5  # (4.4)
    assert abs(found - formula) < 1e-8 and formula <= 0.5
    print(f"p = {p:4.2f}: area {found:.4f}")

# %% [markdown]
# Two findings. The area is not 1. And it *depends on $p$*, on what the decoder says: this is no forgotten constant, because it has a gradient. As a density of
# grey values, cross-entropy rewards the decoder for outputs near ½ with area that they do not deserve. The remedy is to divide by the area, which makes a proper
# density on $[0, 1]$, the **continuous Bernoulli**:
#
# $$ -\log p(x) = -\big[x\log p + (1-x)\log(1-p)\big] - \log C(p), \qquad C(p) = \frac{\text{logit}(p)}{2p-1} \ge 2. \tag{4.5} $$
#
# ### Exercise: the forgotten constant
#
# Return $\log C(p)$ for every pixel of a tensor of probabilities, any shape. *6 minutes.* One trap: what happens at $p = \tfrac12$, and what should happen there?


# %%
def log_constant(p):
    """log C(p) of the continuous Bernoulli (4.5), per pixel: probabilities, any shape -> the same shape, in nats."""
    ### BEGIN SOLUTION
    ratio = torch.logit(p) / (2 * p - 1)
    return torch.where(p == 0.5, math.log(2), torch.log(ratio))
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
log_constant = check.log_constant(log_constant)

# %% [markdown]
# <details><summary>Hint</summary>
#
# At $p = \tfrac12$ the formula is 0/0. By (4.4) the area there is ½. `torch.where(condition, a, b)` chooses entry by entry.
# </details>
#
# (For training, `torch.where` alone will not do: near ½ the ratio loses its digits, and the gradient of the branch that is *not* taken is nan, and 0 · nan is
# nan. The package's version uses a series there.)
#
# Now the whole table of losses, each of which must pass: a sum over two values for the Bernoulli, an integral for the others.

# %%
# NBVAL_CHECK_OUTPUT
nll = {
    "bernoulli": lambda p, x: losses.bernoulli_nll(torch.logit(p), x),
    "continuous_bernoulli": lambda p, x: losses.bernoulli_nll(torch.logit(p), x) - log_constant(p).sum(-1),
    "gaussian": lambda m, x: gaussian_nll(m.expand_as(x), x, sigma),
    "laplace": lambda m, x: laplace_nll(m.expand_as(x), x, sigma),
}


def total(kind, output):
    """The sum (Bernoulli) or integral of exp(-nll[kind]) over all values of a pixel, for one decoder output."""
    p = torch.tensor([output], dtype=torch.double)
    if kind == "bernoulli":
        return sum(float(torch.exp(-nll[kind](p, torch.tensor([b]).double()))) for b in (0.0, 1.0))
    return area(lambda x: nll[kind](p, x), *((0, 1) if kind == "continuous_bernoulli" else (-9, 9)))


for kind in nll:
    assert all(abs(total(kind, output) - 1) < 1e-6 for output in (0.1, 0.5, 0.8))  # (4.1), (4.5)
    print(f"{kind:21s} sums or integrates to 1 for every output tried")

# %% [markdown]
# The normalised version has a second surprise: the number $p$ is no longer the mean of the pixel. The mean is
#
# $$ \mathbb{E}[x] = \frac{p}{2p-1} - \frac{1}{\text{logit}(p)}. \tag{4.6} $$
#
# **Look at the right picture:** what is the mean when the decoder says $p = 0.1$?

# %%
# NBVAL_CHECK_OUTPUT
p = torch.tensor([0.1], dtype=torch.double)
x = torch.linspace(0, 1, 200_001, dtype=torch.double)[:, None]
mean_on_grid = torch.trapezoid(x[:, 0] * torch.exp(-nll["continuous_bernoulli"](p, x)), x[:, 0])
formula = p / (2 * p - 1) - 1 / torch.logit(p)  # (4.6)
assert abs(mean_on_grid - formula) < 1e-8 and abs(losses.continuous_bernoulli_mean(torch.logit(p)) - formula) < 1e-8
plotting.continuous_bernoulli_figure(
    "left, the area under the grey cross-entropy is at most one half; right, the mean of a continuous Bernoulli lies nearer to one half than p"
)
print(f"mean of a continuous Bernoulli with p = 0.1: {float(formula):.3f}")

# %% [markdown]
# So with this likelihood a picture of `sigmoid(logits)` is a picture of the wrong thing. The package's `model.mean_image` takes care of it.
#
# How much is the constant worth? At least $\log 2$ for each pixel, so an image costs at least $784 \log 2 \approx 543$ nats *less* as a continuous Bernoulli than
# its cross-entropy says. Try it on a shipped model of lesson 03's kind, and mind what this does not prove: the model was trained on the other loss.

# %%
bernoulli_model = lesson.shipped("beta-1").model
with torch.no_grad():
    logits = bernoulli_model(validation.x).logits
grey_bce = losses.bernoulli_nll(logits, validation.x).mean()
proper = losses.continuous_bernoulli_nll(logits, validation.x).mean()
assert grey_bce - proper > D * math.log(2) and proper < 0
print(
    f"cross-entropy {grey_bce:.1f}, continuous Bernoulli {proper:.1f}: {grey_bce - proper:.1f} nats less per validation image"
)

# %% [markdown]
# Almost three times the least: most pixels are black, and $C(p)$ grows without limit as $p$ goes to 0. (A negative cost? Section 6.)
#
# ## 3 · The noise you assumed is the weight you chose
#
# Back to the Gaussian. Its $\sigma_x$ looks like a detail of the noise, but multiply the loss by $2\sigma_x^2$ and see what it is:
#
# $$ \frac{\text{SSE}}{2\sigma_x^2} + \text{KL} \;=\; \frac{1}{2\sigma_x^2}\big[\,\text{SSE} + 2\sigma_x^2\,\text{KL}\,\big]. \tag{4.7} $$
#
# A fixed overall factor changes no minimum. So **$2\sigma_x^2$ is the weight of kl against the squared error**. Small noise: reconstruct exactly, at any price.
# Large noise: errors are expected anyway, so save on the code. The claim is about the direction of every training step, and you can test just that: on one batch,
# for a shipped model that was trained with $\sigma_x = 0.1$, and with a weight of 1 for contrast. (A cosine of 1 is the same direction, 0 a right angle.)


# %%
# NBVAL_CHECK_OUTPUT
def direction(model, x, loss_of):
    """The unit vector along the gradient of loss_of(sse, kl), with the same z each time."""
    out = model(x, generator=torch.Generator().manual_seed(0))
    loss = loss_of(losses.squared_error(out.logits, x), losses.gaussian_kl(out.mu, out.log_var)).mean()
    flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    return flat / flat.norm()


sharp, batch = lesson.shipped("sigma-0.1").model, train[:128].x
by_noise = direction(sharp, batch, lambda sse, kl: sse / (2 * 0.1**2) + kl)  # (4.7), left
by_weight = direction(sharp, batch, lambda sse, kl: sse + 0.02 * kl)  # (4.7), right
other = direction(sharp, batch, lambda sse, kl: sse + kl)
assert torch.allclose(by_noise, by_weight, atol=1e-6) and by_noise @ other < 0.6
print(f"sigma_x = 0.1 and a weight of 0.02: cosine {by_noise @ by_weight:.4f} · and a weight of 1: below 0.6")

# %% [markdown]
# What does the choice do to a trained model? The course ships seven VAEs, 784-200-20-200-784, equal in everything but $\sigma_x$, each trained for 12 epochs on
# MNIST. **Before you move the slider, predict:** from $\sigma_x = 1$ down to 0.05, what will happen to (a) the sharpness of the reconstructions, (b) kl, (c) the
# number of latent dimensions in use? Then switch to *one draw of each*: a draw from $p(x \mid z)$ in place of its mean.
#
# Below the slider, five of the models as a picture, and all in numbers, measured on the MNIST test images and stored with the models; the squared error is
# recovered from rec with (4.2). **Read the columns from the bottom up:** what does less noise buy, and what does it cost?

# %%
family = {sigma_x: lesson.shipped(f"sigma-{sigma_x:g}") for sigma_x in SIGMAS}
widgets.family_explorer(family, test, symbol="σₓ")

# %%
# NBVAL_CHECK_OUTPUT
ten, rows = test.x[:10], {"image": test.x[:10]}
for s in (0.1, 0.2, 0.35, 0.71, 1.0):
    rows[f"σₓ = {s:g}"] = widgets.family_row(family[s], ten, "reconstructions")
plotting.image_rows(rows, "reconstructions: the larger sigma_x, the softer and the more alike they are")


def sse_from_rec(rec, sigma_x):
    return 2 * sigma_x**2 * (rec - D / 2 * math.log(2 * math.pi * sigma_x**2))  # (4.2), solved for SSE


stored = {s: checkpoint.metrics for s, checkpoint in family.items()}
sse = {s: sse_from_rec(m["test_rec"], s) for s, m in stored.items()}
print("sigma_x    SSE     kl   units in use     -ELBO")
for s, m in stored.items():
    print(f"{s:7.2f} {sse[s]:6.1f} {m['test_kl']:6.1f} {m['active_units']:14d} {m['test']:9.1f}")
rates = [m["test_kl"] for m in stored.values()]
units = [m["active_units"] for m in stored.values()]
assert rates == sorted(rates, reverse=True) and units == sorted(units, reverse=True)

# %% [markdown]
# In the picture the digits soften from the top down, and the 5 turns into a 9.
# In the numbers, down to $\sigma_x = 0.2$ every step buys a smaller error with more nats of code. Below that the error stands still, and only the code grows (section 8 comes back
# to it).
#
# At $\sigma_x = 0.71$, the innocent "SSE + kl", about half of the twenty latent dimensions lie idle, and at $\sigma_x = 1$, which is "½ SSE + kl", even more.
# Whoever trains "SSE + kl" and finds that MNIST needs few dimensions has measured a choice of $\sigma_x$, not MNIST. (For a *linear* VAE you can say exactly
# which dimensions survive a given $\sigma_x$; lesson 05 does.)
#
# ## 4 · The best noise level
#
# If $\sigma_x$ is part of the model, the data can choose it. Fix the decoder and its squared error, and look at (4.2) as a function of $\sigma_x$ alone. The
# first term wants it large, the second, the "constant", wants it small. (The picture takes an SSE of 21, about that of the model with $\sigma_x = 0.71$.)

# %%
plotting.sigma_curve(
    21.0,
    "cost against sigma_x for a squared error of 21: without the constant it falls for ever, with it there is one lowest point near 0.16",
    marks={"$\\sigma_x^2$ = 1/2": 0.5**0.5, "$\\sigma_x^2$ = 1": 1.0, "best": (21 / D) ** 0.5},
)

# %% [markdown]
# Where is the lowest point? Differentiate:
#
# $$ \frac{d}{d\sigma_x}\Big[\frac{\text{SSE}}{2\sigma_x^2} + D\log\sigma_x\Big] = -\frac{\text{SSE}}{\sigma_x^3} + \frac{D}{\sigma_x} = 0. \tag{4.8} $$
#
# ### Exercise: solve it
#
# From means and images, both `(N, D)`, return the one $\sigma_x$ that is best for all of them together. *5 minutes.*


# %%
def best_sigma(mean, x):
    """The sigma_x that gives the images the highest density under N(mean, sigma_x^2 I): (N, D), (N, D) -> a scalar tensor."""
    ### BEGIN SOLUTION
    return ((x - mean) ** 2).mean().sqrt()  # (4.8): sigma_x^2 = SSE / D, with SSE the mean over images
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
best_sigma = check.best_sigma(best_sigma)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Multiply (4.8) by $\sigma_x^3$. With many images, SSE is their mean; `.mean()` over images *and* pixels divides by both.
# </details>
#
# Put the solution $\sigma_*^2 = \text{SSE}/D$ back into (4.2). The first term becomes $D/2$, whatever the images, and
#
# $$ \text{rec}_* = \frac{D}{2}\log\big(2\pi e\,\sigma_*^2\big), \qquad \sigma_*^2 = \frac{\text{SSE}}{D}. \tag{4.9} $$
#
# So with the best noise level, rec is the *logarithm* of the mean squared error. Check both on the shipped model that was trained with $\sigma_x = 0.71$: the
# slope at $\sigma_*$ is zero, and the value is (4.9).

# %%
with torch.no_grad():
    mean = family[0.71].model(validation.x).logits.double()
x = validation.x.double()
star = evaluation.best_sigma_x(mean, x).requires_grad_()
rec = losses.gaussian_nll(mean, x, star).mean()
slope = torch.autograd.grad(rec, star)[0]
assert math.isclose(best_sigma(mean, x), star.item(), rel_tol=1e-5) and abs(slope) < 1e-6 * D / star.item()  # (4.8)
assert torch.isclose(rec, D / 2 * torch.log(2 * math.pi * math.e * star**2))  # (4.9)
assumed = losses.gaussian_nll(mean, x, 0.71).mean()
print(
    f"the same reconstructions: rec {assumed:.1f} with the assumed 0.71, {rec.item():.1f} with the best {star.item():.3f}"
)

# %% [markdown]
# On MNIST the gap is over 700 nats per validation image, for the same pictures. The model was far surer than it was allowed to say.
#
# Could you use $\sigma_*$ during training, computed from each batch? One public implementation does (pyprobml's sigma-VAE), but wraps it in `torch.tensor(...)`, which
# cuts the gradient, and PyTorch warns. Is that a bug? **Predict**, then compare the gradients with and without the cut.


# %%
# NBVAL_CHECK_OUTPUT
def star_nll(mean, x, cut):
    star = evaluation.best_sigma_x(mean, x)
    return losses.gaussian_nll(mean, x, star.detach() if cut else star).mean()


mean = (0.9 * x[:64]).requires_grad_()
with_cut, without = (torch.autograd.grad(star_nll(mean, x[:64], cut), mean)[0] for cut in (True, False))
assert torch.allclose(with_cut, without, atol=1e-10)  # (4.8)
print("cut or not, the gradient is the same:", True)

# %% [markdown]
# No bug: at $\sigma_*$ the slope (4.8) is zero, so nothing flows through that path anyway. (The same file does hold a bug, in its weight of kl: section 7.)
#
# Now the whole family: which of the seven assumed a noise that fits its own errors? In the left picture, that is where the two lines cross.

# %%
# NBVAL_CHECK_OUTPUT
errors, bounds = [(sse[s] / D) ** 0.5 for s in SIGMAS], [stored[s]["test"] for s in SIGMAS]
alt = "seven models: the typical pixel error crosses sigma_x near 0.12, kl falls with sigma_x, and the bound is lowest at 0.1"
plotting.sigma_family_figure(SIGMAS, errors, rates, units, bounds, alt)
lowest = min(SIGMAS, key=lambda s: stored[s]["test"])
assert lowest == min(SIGMAS, key=lambda s: abs(math.log(s / (sse[s] / D) ** 0.5)))
print(f"the bound is best at sigma_x = {lowest:g}, the one nearest to its own typical error")

# %% [markdown]
# No accident: of all models together, the best one is also best in its own $\sigma_x$, so it has $\sigma_x^2 = \text{SSE}/D$.
#
# ## 5 · Learning the noise
#
# It is natural to make $\log\sigma_x$ one more parameter and let Adam find it. Another of our tutorials, S2, derives the Gaussian loss, lets $\sigma_x$ be a
# hyperparameter, and says that the constant $\frac{D}{2}\log(2\pi\sigma_x^2)$ has no influence and can be dropped. (Then its code uses cross-entropy, and $\sigma_x$
# appears nowhere: text and code speak of two different models.) Is it right about the constant? Here is a small training loop that takes any rec, and S2's rec.
#
# **Predict:** with the constant dropped, where will $\sigma_x$ go? And the loss?


# %%
def train_with(rec_of, *, seed=0):
    """Train a small Gaussian VAE and its log sigma_x on rec_of(mean, x, log_sigma_x) + kl: the model, and sigma_x after each step."""
    torch.manual_seed(seed)
    model = VAE(10, (100,), (100,), likelihood="gaussian", activation="tanh")
    log_sigma_x = torch.tensor(math.log(0.5**0.5), requires_grad=True)
    noise = {"params": [log_sigma_x], "lr": 0.03, "betas": (0.9, 0.9)}  # one number may move faster than a network
    adam = torch.optim.Adam([{"params": model.parameters()}, noise], lr=2e-3)
    path = []
    for _ in range(lesson.pick(full=1500, quick=200)):
        x = train[torch.randint(len(train), (128,))].x
        out = model(x)
        loss = (rec_of(out.logits, x, log_sigma_x) + losses.gaussian_kl(out.mu, out.log_var)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        path.append(math.exp(log_sigma_x.item()))
    print(f"last loss {loss.item():.4g}, last sigma_x {path[-1]:.4g}")
    return model, path


# %%
def constant_dropped(mean, x, log_sigma_x):
    return losses.squared_error(mean, x) / (2 * torch.exp(log_sigma_x) ** 2)


runaway, runaway_path = train_with(constant_dropped)
in_use = int(evaluation.active_units(evaluation.posteriors(runaway, validation).mu).sum())
assert runaway_path[-1] > 20 and in_use == 0
print("latent dimensions in use:", in_use)
rows = {"image": ten, "mean": runaway.reconstruct(ten)}
plotting.image_rows(rows, "ten test images, and one and the same smear as the reconstruction of all of them")

# %% [markdown]
# The loss went to practically zero: the best loss you have ever seen. And look at $\sigma_x$, on pixels between 0 and 1. With that much noise every image is as
# good as any other, no code is worth a nat, and the decoder has learned nothing but a smear.
#
# ### Find the bug: a noise level that runs away
#
# This is the loss that produced it, once more. Mend it, so that $\sigma_x$ can be learned and the result is a density. *4 minutes.*


# %%
def learned_sigma_nll(mean, x, log_sigma_x):
    """-log N(x; mean, sigma_x^2 I) with sigma_x = exp(log_sigma_x), a learned scalar: (batch, D) -> (batch,), in nats."""
    ### BEGIN SOLUTION
    sse = ((x - mean) ** 2).sum(-1)
    return sse / (2 * torch.exp(2 * log_sigma_x)) + x.shape[-1] * (log_sigma_x + 0.5 * math.log(2 * math.pi))
    ### BLANK VERSION
    # sse = ((x - mean) ** 2).sum(-1)
    # return sse / (2 * torch.exp(2 * log_sigma_x))  # the constant has no influence and can be dropped
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
learned_sigma_nll = check.learned_sigma_nll(learned_sigma_nll)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A constant "has no influence" only if nothing in it is learned. Which part of (4.2) is missing, and how does it depend on `log_sigma_x`?
# </details>
#
# Now three rows from two runs of the same small network: the noise fixed at "SSE + kl", that model *afterwards* given its best $\sigma_x$, and the noise learned
# along. **Predict** their order.

# %%
half = torch.tensor(0.5).log() / 2
fixed, _ = train_with(lambda mean, x, _: learned_sigma_nll(mean, x, half))
learned, learned_path = train_with(learned_sigma_nll)


@torch.no_grad()
def score(model, sigma_x=None):
    """(-ELBO, SSE, kl, sigma_x) on the validation images; without sigma_x, the best one."""
    out, x = model(validation.x, generator=torch.Generator().manual_seed(0)), validation.x
    sigma_x = evaluation.best_sigma_x(out.logits, x) if sigma_x is None else sigma_x
    rec, kl = losses.gaussian_nll(out.logits, x, sigma_x).mean(), losses.gaussian_kl(out.mu, out.log_var).mean()
    return [float(v) for v in (rec + kl, losses.squared_error(out.logits, x).mean(), kl, sigma_x)]


table = {"fixed": score(fixed, 0.5**0.5), "plugged in": score(fixed), "learned": score(learned, learned_path[-1])}
for name, (bound, error, kl, s) in table.items():
    print(f"{name:10s} sigma_x {s:.3f}: SSE {error:5.1f}   kl {kl:5.1f}   -ELBO {bound:7.1f} nats of density")

# %%
# NBVAL_CHECK_OUTPUT
(b_fixed, e_fixed, kl_fixed, _), (b_plug, *_), (b_learned, e_learned, kl_learned, s_learned) = table.values()
assert b_learned < b_plug < b_fixed and e_learned < e_fixed and kl_learned > kl_fixed
print("learned < plugged in < fixed; learning the noise spends more nats on the code and has a smaller error:", True)
plotting.sigma_paths(
    {"constant dropped": runaway_path, "with its constant": learned_path},
    "sigma_x during training: with the constant dropped it keeps growing, with it, it settles at the root of the mean squared error",
    best=(e_learned / D) ** 0.5,
)

# %% [markdown]
# Plugging in the best $\sigma_x$ afterwards changes the *number*, a lot; learning it changes the *model*: a smaller error, more nats in the code. Most of the price of
# "SSE + kl" is the first kind, the rest is the second.
#
# (Why does the upper curve bend? Up there the slope of the loss falls below $10^{-8}$, Adam's $\epsilon$, which then shortens the steps.)
#
# ## 6 · Negative losses, and densities without bound
#
# <!-- confusion 5 -->
# > **Is a negative loss a bug?** Not with a density. A density may exceed 1, and then minus its logarithm is negative. A Gaussian with $\sigma_x = 0.1$ has height
# > 3.99 at its mean, so a perfect image would cost $\frac{D}{2}\log(2\pi \cdot 0.01) = -1084.8$ nats. That is the floor of *that* model, as the entropy was the
# > floor in lesson 00. With *binary* pixels a negative loss **is** a bug, since probabilities never exceed 1, and so it is with cross-entropy on grey pixels, whose
# > floor is positive. (A negative *kl* is one with any likelihood, when it is computed by the formula.)
#
# If one $\sigma_x$ is good, are 784 of them better, one for each pixel? Try it on the simplest model there is, "one image for all": the mean training image, with
# the training variance of each pixel, kept above a smallest one so that nobody divides by zero. Lower that limit step by step. **Predict** what the training cost does.
# (The first line checks the numbers above.)

# %%
height, floor = math.exp(Normal(0.0, 0.1).log_prob(torch.tensor(0.0))), D / 2 * math.log(2 * math.pi * 0.1**2)
assert math.isclose(float(losses.gaussian_nll(ten[:1], ten[:1], 0.1)), floor, rel_tol=1e-5)
assert stored[0.1]["test"] < 0 and stored[0.1]["test_rec"] > floor
print(f"height {height:.2f} · floor {floor:.1f} · the shipped model with sigma_x = 0.1: {stored[0.1]['test']:.1f} nats")

mean_image, variance = train.x.mean(0), train.x.var(0, unbiased=False)
test_error = ((test.x - mean_image) ** 2).mean(0)
constant_pixels = int((variance == 0).sum())


def cost(error, lowest_sigma):
    """Mean NLL of pixels with mean squared error `error` (D,) under the training variances, kept above lowest_sigma^2."""
    v = variance.clamp(min=lowest_sigma**2).double()
    return float((error / (2 * v) + 0.5 * torch.log(2 * math.pi * v)).sum())


for lowest in (1e-1, 1e-2, 1e-3, 1e-6, 1e-7):
    print(
        f"sigma_x at least {lowest:.0e}: training {cost(variance, lowest):9.1f}   test {cost(test_error, lowest):12.4g}"
    )
inked = (test.x[:, variance == 0] > 0).any(1)
print(
    f"pixels black in every training image: {constant_pixels}; test images with ink in one of them: {int(inked.sum())}"
)
gain = cost(variance, 1e-6) - cost(variance, 1e-7)
assert math.isclose(gain, constant_pixels * math.log(10), rel_tol=1e-6)

# %% [markdown]
# The training cost has no lower end. Some pixels, in the corners, are black in *every* training image. A Gaussian centred at 0 predicts them perfectly, and the
# narrower it is, the higher its density: each further factor of ten buys $\log 10$ nats for each of them, for ever (the assertion). Meanwhile, on MNIST, a single
# test image with a few specks of ink in such places costs more than all the others together.
#
# Why does this happen to densities and never to probabilities? Because pixels are *not* continuous. They are bytes, 0 to 255, and a density can pile up on a
# point that a byte hits exactly. A shared $\sigma_x$ hides the problem, since all pixels pay for a small one. The continuous Bernoulli has the same disease in a
# mild form: at $x = 0$ and logit $-a$ its density is $a/(1-e^{-a})$, by (4.5), so on black pixels it grows for ever, too.
#
# The cure is **dequantisation**: add uniform noise, $x \to k + u$ with the byte $k$ and $u \sim U[0, 1)$, and model the density of *that*. Then nothing can pile
# up, because Jensen's inequality (lesson 01) bounds it by an honest probability:
#
# $$ \mathbb{E}_{u}\big[-\log p(k + u)\big] \;\ge\; -\log \int_0^1 p(k+u)\,du \;=\; -\log P(k) \;\ge\; 0. \tag{4.10} $$
#
# The best Gaussian for a constant pixel now has the variance of $u$, which is $\tfrac1{12}$, and costs $\tfrac12\log\tfrac{2\pi e}{12} = 0.176$ nats: a little
# above the true price, zero. And "one image for all", with a $\sigma_x$ for every pixel?

# %%
u = (torch.arange(10_000, dtype=torch.double) + 0.5) / 10_000
narrow = Normal(torch.tensor(0.5, dtype=torch.double), (1 / 12) ** 0.5)  # for a pixel with k = 0
mass = narrow.cdf(torch.tensor(1.0).double()) - narrow.cdf(torch.tensor(0.0).double())
assert -narrow.log_prob(u).mean() >= -mass.log() >= 0  # (4.10)
in_bytes = 255.0**2 * variance.double() + 1 / 12  # variance of k + u
per_pixel = 0.5 * torch.log(2 * math.pi * math.e * in_bytes)  # (4.9) with D = 1, in nats of a byte
assert per_pixel.min() >= 0.5 * math.log(2 * math.pi * math.e / 12) - 1e-9 and per_pixel.min() > 0
total_cost = float(per_pixel.sum())
print(f"cheapest pixel: {float(per_pixel.min()):.3f} nats, so none is below zero")
print(
    f"one image for all, dequantised: {total_cost:.0f} nats per image, {total_cost / (D * math.log(2)):.2f} bits per pixel"
)

# %% [markdown]
# A byte takes 8 bits when you know nothing, so this model of one image saves a quarter: unspectacular, honest, and to be compared with any model of the same bytes.
#
# ### What lies outside the range?
#
# The Gaussian decoders here end in a plain linear layer. Nothing keeps their means in $[0, 1]$. That is legitimate, a Gaussian's mean may be any number; but you
# never see it, since plotting code (ours, too) clips at black and white. Look at what is clipped.

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    means = {f"σₓ = {s:g}": family[s].model(validation.x).logits for s in (0.2, 0.71)}
plotting.mean_histogram(
    means, "predicted means, not clipped: a third and more lie below 0, most of them close to it, and a few lie above 1"
)
for name, m in means.items():
    outside = ((m < 0) | (m > 1)).float().mean()
    assert 0.2 < outside < 0.6
    print(f"{name}: between a fifth and three fifths of the predicted means lie outside [0, 1]")

# %% [markdown]
# > **"I clamp the output, so it is a distribution on [0, 1]."** Clamping moves the *mean*. The Gaussian around it still spreads over the whole line: around a black
# > pixel, half of it lies below 0. And a clamp inside the training loss has gradient zero exactly where it acts. If you want a distribution on $[0,1]$, take one
# > (section 2); if you want means there, end with a sigmoid, as tutorial S0 does. Its gradient is small for pixels near black or white, but never zero.
#
# **And without the sigmoid under a *Bernoulli*?** Then the raw output would have to be a probability. It is not, and here PyTorch refuses, which is the good
# case. (`F.binary_cross_entropy_with_logits` takes it for a logit, which is what you want: the sigmoid is inside.)

# %%
# NBVAL_CHECK_OUTPUT
outside = Normal(0.0, 0.71).cdf(torch.tensor(0.0)) + 1 - Normal(0.0, 0.71).cdf(torch.tensor(1.0))
output = torch.tensor([-0.2, 0.3], requires_grad=True)
((output.clamp(0, 1) - torch.tensor([0.5, 0.5])) ** 2).sum().backward()
assert output.grad[0] == 0 and output.grad[1] != 0
print(
    f"mass outside [0, 1] around a black pixel, sigma_x = 0.71: {float(outside):.0%} · gradient of the clamp: {output.grad[0]:g}"
)

try:
    F.binary_cross_entropy(torch.tensor([1.2]), torch.tensor([1.0]))
except RuntimeError as error:
    print("a raw output as a probability: PyTorch refuses, with a", type(error).__name__)

# %% [markdown]
# Last, the picture that papers do not show: draws from $p(x \mid z)$, which is what the model *says* an image looks like. **Which of the two models would you
# call honest?**

# %%
rows = {"image": ten}
for s in (0.1, 0.71):
    rows[f"σₓ = {s:g}, mean"] = family[s].model.reconstruct(ten)
    rows[f"σₓ = {s:g}, draw"] = widgets.family_row(family[s], ten, "one draw of each")
plotting.image_rows(rows, "with sigma_x 0.1 the draws are slightly grainy digits, with 0.71 they are almost pure noise")

# %% [markdown]
# With $\sigma_x = 0.71$ the model claims that images look like television snow. Nobody believes it, so everybody shows means. The mean is a fine picture; it is
# no sample from the model whose likelihood you report.
#
# ## 7 · Sum, mean, and the weight that nobody chose
#
# Means in place of sums are the other way to choose a weight without knowing. Let a code divide rec by $a$ and kl by $b$, and put a factor $w$ before kl. Then
#
# $$ \frac{\text{rec}}{a} + w\,\frac{\text{kl}}{b} \;=\; \frac1a\big[\,\text{rec} + \beta\,\text{kl}\,\big] \qquad\text{with which } \beta\text{?} \tag{4.11} $$
#
# A division of *both* terms by the number of images, as every mean over a batch does, cancels and does not count.
#
# ### Exercise: the effective weight
#
# *3 minutes.* The last case of the check is a real one.


# %%
def effective_beta(rec_divided_by, kl_divided_by, kl_weight):
    """The beta of (4.11): numbers a, b, w -> a number."""
    ### BEGIN SOLUTION
    return kl_weight * rec_divided_by / kl_divided_by
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
effective_beta = check.effective_beta(effective_beta)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Pull $1/a$ out of both terms. What is left before kl?
# </details>
#
# **Who is right?** Until 2018, the VAE in PyTorch's official examples averaged the cross-entropy over the pixels, and divided its kl, a sum over 20 dimensions,
# by batch size times 784. A user opened an issue (pytorch/examples, number 290): the code has 20 entries, so kl should be divided by 20, not by 784. It sounds
# right. **Predict** the $\beta$ before and after, then read the first two lines.
#
# The others are from public code, too. The last column is $\sigma_x^2 = \beta/2$, by (4.7), where rec is a squared error. Look for three lines that their authors
# would all call `mse`.

# %%
# NBVAL_CHECK_OUTPUT
published = {
    "cross-entropy / 784 + kl / 784 (old PyTorch example)": ((784, 784, 1), False),
    "cross-entropy / 784 + kl / 20 (the proposal)": ((784, 20, 1), False),
    "cross-entropy / 784 + kl (lesson 03)": ((784, 1, 1), False),
    "SSE + kl (S0, S4)": ((1, 1, 1), True),
    "SSE / 2 + kl (pythae's 'mse')": ((2, 1, 1), True),
    "SSE / 784 + kl": ((784, 1, 1), True),
    "SSE / 12288 + 0.00025 kl (PyTorch-VAE, 64 x 64 x 3)": ((12288, 1, 0.00025), True),
    "nll / 784 + kl / 20 (pyprobml's sigma-VAE, with d = 20)": ((784, 20, 1), False),
    "nll + 0.1 kl, a default value (pyprobml's MLP)": ((1, 1, 0.1), False),
}
for line, (numbers, squared) in published.items():
    beta = effective_beta(*numbers)
    print(f"{line:56s} beta {beta:7.2f}" + (f"   sigma_x^2 {beta / 2:7.2f}" if squared else ""))

# %% [markdown]
# The old code was right: it is exactly $-\text{ELBO}/784$ (but for a last, shorter batch, which it divided by the full batch size). Dividing each sum by its own
# number of terms treats rec and kl as two unrelated quantities that should be "on the same scale". They are two parts of one logarithm, and must be divided by
# the same number or not at all.
#
# One `mse` is a noise variance of ½, another of 1, a third of 392: with the mean over pixels and kl as a sum, the model expects noise of standard deviation 20 on
# pixels between 0 and 1. The seventh line looks like a carefully tuned small weight, and is a $\sigma_x^2$ of 1.54. (That project also logs its kl with a minus
# sign, under the name KLD.)
#
# The proof is in the gradient again. Lesson 03 trained the third line and watched the code die; here are the directions of the first two, with a squared error for rec,
# on the model with $\sigma_x = 0.71$:

# %%
# NBVAL_CHECK_OUTPUT
soft = family[0.71].model
bound = direction(soft, batch, lambda sse, kl: sse + kl)
same = direction(soft, batch, lambda sse, kl: sse / 784 + kl / 784)
other = direction(soft, batch, lambda sse, kl: sse / 784 + kl / 20)
weighted = direction(soft, batch, lambda sse, kl: sse + 784 / 20 * kl)
assert torch.allclose(bound, same, atol=1e-6) and torch.allclose(other, weighted, atol=1e-6)  # (4.11)
assert bound @ other < 0.6
# half the sigma_x^2, 1/4, at double the price, beta = 2, has the product of sigma_x^2 = 1/2 and beta = 1
assert torch.allclose(direction(soft, batch, lambda sse, kl: sse / (2 * 0.25) + 2 * kl), bound, atol=1e-6)
print("both by 784: the direction of the bound · by 784 and 20: the direction of beta = 39.2, cosine below 0.6")

# %% [markdown]
# ## 8 · Choosing β on purpose
#
# <!-- confusion 2 -->
# > **What is β?** A weight before kl that you set. With $\beta = 1$, and only then, the loss is $-\text{ELBO}$. (With a larger $\beta$ it still lies above
# > $-\log p(x)$, only farther away; with a smaller one it bounds nothing.) Call rec the *distortion* and kl the *rate*, the nats that the code carries. $\beta$ is
# > the price of a nat: at $\beta = 4$ the model buys a nat of code only if it saves four nats of rec. With a Gaussian decoder of fixed $\sigma_x$ it is no new
# > freedom: only the product $\beta\sigma_x^2$ matters for where training goes (the last assertion above tested it).
#
# The course ships another family: one network, Bernoulli on grey pixels, trained at six prices. **Predict** before you move the slider: at which end are the
# reconstructions better, and at which end the *samples*?

# %%
betas = {beta: lesson.shipped(f"beta-{beta:g}") for beta in BETAS}
widgets.family_explorer(betas, test, symbol="β")

# %%
for view in ("reconstructions", "samples"):
    rows = {"image": ten} if view == "reconstructions" else {}
    rows |= {f"β = {b:g}": widgets.family_row(betas[b], ten, view) for b in (0.1, 1.0, 4.0, 10.0)}
    plotting.image_rows(rows, f"{view} of four models: the larger beta, the blurrier and the more alike they are")

# %% [markdown]
# Small $\beta$ reconstructs well and samples badly, as the autoencoder of lesson 03 did; large $\beta$ is smooth and forgetful. Now the trade as a curve. Each
# dot is a model; the short line through it has slope $-\beta$; the dashed line joins all points with the same rec + kl as the model with $\beta = 1$. **Look:**
# how do the short lines lie against the curve, and on which side of the dashed line are the other models?

# %%
trade = {b: (c.metrics["test_kl"], c.metrics["test_rec"]) for b, c in betas.items()}
rates_of_beta, distortions = zip(*trade.values(), strict=True)
alt = "distortion against rate: a falling curve with slope minus beta at each model; all but beta 1 lie above the dashed line"
plotting.rate_distortion_figure(BETAS, rates_of_beta, distortions, alt)

# %% [markdown]
# The lines are tangents. That is no accident. If each of two models with $\beta_1 < \beta_2$ is the best for its own price, neither would gain by becoming the
# other, $\text{rec}_1 + \beta_1 \text{kl}_1 \le \text{rec}_2 + \beta_1 \text{kl}_2$ and $\text{rec}_2 + \beta_2 \text{kl}_2 \le \text{rec}_1 + \beta_2 \text{kl}_1$. Therefore
#
# $$ \beta_1 \;\le\; \frac{\text{rec}_2 - \text{rec}_1}{\text{kl}_1 - \text{kl}_2} \;\le\; \beta_2. \tag{4.12} $$
#
# Trained networks on held-out images need not obey, since they are no exact optima, and were trained on other images. Do they? And do the seven values of $\sigma_x$
# obey the same law, with SSE for rec and the price $2\sigma_x^2$ of (4.7)?

# %%
# NBVAL_CHECK_OUTPUT
for (b1, (r1, d1)), (b2, (r2, d2)) in pairwise(trade.items()):
    price = (d2 - d1) / (r1 - r2)  # (4.12)
    assert b1 <= price <= b2
    print(f"between beta = {b1:g} and {b2:g}: {price:.2f} nats of rec for a nat of code")
totals = {b: round(r + d, 1) for b, (r, d) in trade.items()}
assert min(totals, key=totals.get) == 1
print("rec + kl:", " · ".join(f"beta {b:g}: {total}" for b, total in totals.items()))
for s1, s2 in pairwise(SIGMAS):
    price = (sse[s2] - sse[s1]) / (stored[s1]["test_kl"] - stored[s2]["test_kl"])
    inside = 2 * s1**2 <= price <= 2 * s2**2
    assert inside == (s1 > 0.05)
    print(f"sigma_x {s1:g} to {s2:g}: {price:6.3f}, expected between {2 * s1**2:.3f} and {2 * s2**2:.3f}: {inside}")

# %% [markdown]
# The first family does, and its bound is best at $\beta = 1$, the only model that was trained for it. Compare models by rec + kl, then, and never by their training
# losses rec + $\beta$ kl, which are in six different currencies.
#
# So does the second, with one exception that is worth a thought: from 0.1 to 0.05 the code grows by another 23 nats, and the squared error on *test* images does not fall at
# all. The nats are spent, and buy nothing that carries over to new images.
#
# ## 9 · Comparing nats
#
# How good is −499 nats? Change the unit of a pixel and find out. If $x$ is measured in bytes, $x' = 255x$, then the same model, with mean and $\sigma_x$ in
# bytes, spreads its density over an interval 255 times as wide for each pixel:
#
# $$ -\log p(x') = -\log p(x) + D\log 255. \tag{4.13} $$

# %%
# NBVAL_CHECK_OUTPUT
x, m, s = validation.x.double(), mean_image.double(), torch.tensor(0.2, dtype=torch.double)
shift = losses.gaussian_nll(255 * m, 255 * x, 255 * s) - losses.gaussian_nll(m, x, s)
assert torch.allclose(shift, torch.full_like(shift, D * math.log(255)))  # (4.13)
print(f"the same model of the same images, in bytes: {D * math.log(255):.1f} nats more")

# %% [markdown]
# Nats of *density* have no zero point. Only differences mean something, between models of the same quantity in the same unit. So before you compare two numbers,
# ask what kind they are:
#
# | loss | minus the log of | of what | may be negative | compare with |
# |---|---|---|---|---|
# | Bernoulli, binary pixels | a probability | black-and-white images | no | other models of the same binary images |
# | Bernoulli, grey pixels | (a mean of such logs) | random versions of the image | no | the same, next to the floor of lesson 00 |
# | continuous Bernoulli | a density | grey values in $[0,1]$ | yes | densities of the same grey values |
# | Gaussian, Laplace | a density | real numbers | yes | densities in the same unit, $\sigma_x$ learned or best |
# | any density, dequantised, in bytes | (a bound on that of a probability) | bytes | no | every model of the same bytes |
# | SSE, L1, MSE | nothing yet | | no | first add the constant |
#
# As a last exercise in comparing, take one model, "one image for all", whose best scale can be had without training under each likelihood. Four losses, one
# model, no change of skill. **Which number is the best result?**

# %%
median = train[:5000].x.median(0).values.double()
print(f"Bernoulli, grey       {losses.bernoulli_nll(torch.logit(m, eps=1e-4), x).mean():8.1f}")
print(f"Gaussian, SSE alone   {losses.squared_error(m, x).mean():8.1f}")
print(f"Gaussian, best σₓ     {losses.gaussian_nll(m, x, evaluation.best_sigma_x(m, x)).mean():8.1f}")
print(f"Laplace, best b       {losses.laplace_nll(median, x, (x - median).abs().mean()).mean():8.1f}")

# %% [markdown]
# None: they are not results of one race. The two densities, Gaussian and Laplace, may be compared with each other, and the Laplace wins because most pixels are
# exactly the median, black; that is the beginning of the road to infinite density of section 6. The others stand alone, and that SSE and the Gaussian come out
# close to each other here is chance.
#
# **Questions worth thinking about**
#
# 1. You switch from cross-entropy to squared error and the reconstructions look blurrier, with half of the latent units idle. A friend says: "MSE makes blurry
#    images." What else could it be, and how would you find out?
# 2. Your Gaussian VAE with learned $\sigma_x$ reports 3900 nats, and after a change of the data loader −450. What do you check first?
# 3. A paper tunes $\beta$ for a Gaussian VAE with fixed $\sigma_x = 1$ and finds 0.05 to be best. Say the same thing without $\beta$.
# 4. Why can the *mean over pixels* go unnoticed in an autoencoder, but not in a VAE?
#
# <details><summary>Answers</summary>
#
# 1. The $\sigma_x$ that came with it: plain SSE assumes $\sigma_x = 0.71$, a high price for the code. Learn $\sigma_x$, or set it to $\sqrt{\text{SSE}/D}$, and
#    compare again.
# 2. The unit of the pixels, by (4.13), and whether there are constant pixels (section 6). Going from $[0, 255]$ to $[0, 1]$ alone is worth −4344 nats.
# 3. Only $\beta\sigma_x^2$ matters: it is a VAE with $\beta = 1$ and $\sigma_x = \sqrt{0.05} \approx 0.22$. The noise was misjudged, and the weight repaired it. As
#    a bonus the loss is a bound again.
# 4. An autoencoder has one term, and a constant factor on a single term moves no minimum. (Adam hides even the factor.) In a VAE the factor stands between two
#    terms.
# </details>
#
# ## Recap
#
# - A reconstruction loss is minus the logarithm of a density. Check: $e^{-\text{loss}}$ integrates to 1. SSE is $\sigma_x^2 = \tfrac12$ less 448.7 nats, L1 is a
#   Laplace with $b = 1$ less 543.4 nats.
# - Cross-entropy on grey pixels is no density of grey values; the continuous Bernoulli is one, and `sigmoid(logit)` is not its mean.
# - $2\sigma_x^2$ is the weight of kl against the squared error. The best is $\sigma_x^2 = \text{SSE}/D$. Learn it, and keep the "constant".
# - A negative loss is normal for densities. A loss that falls without end is a density that piles up on points; dequantise.
# - $\beta = w\,a/b$: both terms are divided by the same number, or you have chosen a weight. Compare models by rec + kl at $\beta = 1$.
# - Nats of different likelihoods, units or pixel conventions are different currencies.
#
# **Before:** [03 · What does the loss number mean?](03_mlp_vae.ipynb) · **Next:**
# [05 · What is log p(x) really, and how much of the code is used?](05_how_good_is_it.ipynb)
#
# **Further reading**
# - G. Loaiza-Ganem, J. P. Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational autoencoders*, NeurIPS 2019.
# - O. Rybkin, K. Daniilidis, S. Levine, *Simple and Effective VAE Training with Calibrated Decoders*, ICML 2021 (learned and best $\sigma_x$).
# - P.-A. Mattei, J. Frellsen, *Leveraging the Exact Likelihood of Deep Latent Variable Models*, NeurIPS 2018 (densities without bound).
# - L. Theis, A. van den Oord, M. Bethge, *A note on the evaluation of generative models*, ICLR 2016 (dequantisation, comparing likelihoods).
# - I. Higgins et al., *β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework*, ICLR 2017.
# - A. A. Alemi et al., *Fixing a Broken ELBO*, ICML 2018 (rate and distortion).

# %% [markdown] tags=["solution"]
# **For instructors.** The run-away noise of section 5 is the moment to remember: let the group celebrate the loss of nearly zero before anybody prints
# $\sigma_x$. "Who is right?" in section 7 works well as a vote before and after. If time is short, leave out the dequantisation and section 9, and keep question
# 3.
