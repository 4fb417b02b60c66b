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
# # How can a bound stand in for an integral that nobody can do?
#
# A VAE is trained to make its images likely. Written down, that likelihood is an integral over all codes, and for a neural network nobody
# can do it. The way out is the **ELBO** (evidence lower bound): a number that you *can* compute and that is never above the one you want. In
# this lesson you work with models so small that the integral *can* be done. So you will not have to believe a single inequality: you will see
# the truth, the bound, and the gap between them, to ten digits.
#
# **You will be able to**
# - write the likelihood of a latent-variable model as an integral, and do it on a grid;
# - say why averaging over random codes fails, and predict how badly;
# - derive the ELBO in three ways, and name the gap exactly;
# - derive and code the KL divergence between Gaussians, and find the mistakes that public code makes in it;
# - say which knob moves the bound, which moves the truth, and what a bigger ELBO does *not* prove.
#
# **You need** lesson 00, Bayes' rule, the density of a Gaussian, and the mean and variance of a random variable. **Time:** 80 minutes of
# reading and trying, well under a minute of computing.

# %%
import math

import torch
from torch.distributions import Normal, kl_divergence

from vae_helpers import checks as check
from vae_helpers import data, exact, lesson, losses, plotting, widgets

lesson.start()

# %% [markdown]
# ## 1 · A hidden number
#
# Here is a game. Somebody draws a hidden number $z$ from a standard normal, walks to the place $f(z)$ on a curve in the plane, stumbles a
# little, and tells you where they ended up: two numbers $x$. The plane plays the role of image space, and $z$ the role of the code.
#
# What is the probability density of ending up at $x$? Any $z$ might have been drawn, so all of them count, each as often as it occurs:
#
# $$ p(x) = \int p(x \mid z)\, p(z)\, dz, \qquad z \sim p(z) = N(0, 1), \quad x \sim p(x \mid z) = N\big(f(z), \sigma_x^2 I\big). \tag{1.1} $$
#
# $p(z)$ is the **prior**, $p(x \mid z)$ the **likelihood**, and $p(x)$ the **evidence** (also: marginal likelihood). The second argument of
# $N$ is always the variance, here a matrix: $\sigma_x^2 I$ says that both coordinates of $x$ stumble alike, and independently. Our curve has
# loops, on purpose:
#
# $$ f(z) = \big(0.8 z - \sin 2z, \; \cos 2z\big), \qquad \sigma_x = 0.25. \tag{1.2} $$
#
# Now turn the question round. You see $x$; which $z$ was it? Bayes' rule answers with a whole distribution, the **posterior**:
#
# $$ p(z \mid x) = \frac{p(x \mid z)\, p(z)}{p(x)}. \tag{1.3} $$
#
# Drag $z$ and watch three things: the red blob $p(x \mid z)$ on the left (rings at one and two standard deviations), how much darker $p(x)$
# is where many likely codes lead, and on the right what you would conclude from the $x$ at the centre of the blob. **Find a $z$ for which
# you could not tell.** The second cell shows the same for three codes; in its last column $x$ lies where the curve crosses itself.

# %%
widgets.curve_explorer()

# %%
curve = exact.Curve()
plotting.curve_figure(
    [0.0, 0.6, curve.crossing],
    "three codes: the blob p(x|z) on the looped curve, and below it the posterior, narrow with one bump at first, with two bumps where the curve crosses itself",
)

# %% [markdown]
# The prior is Gaussian and the noise is Gaussian, and still the posterior has two bumps. It is Gaussian only in special cases, such as a
# straight line in place of the curve (section 2). Keep this picture: the encoder of a VAE will have to imitate such posteriors.
#
# > **A word on words.** You may read that a *discriminative* model looks for $p(z \mid x)$. No: discriminative means modelling
# > $p(y \mid x)$, labels from images. $p(z \mid x)$ is the posterior *of the generative model*; prior and decoder fix it, and there is no
# > choice left.
#
# In (1.1) the unknown is one number, so the integral can be done by brute force: cut the $z$-axis into small steps, add up. In code
# everything is a logarithm, because the probability of a real image is a number like $e^{-100}$, and most terms of its sum are far smaller.


# %%
def f(z):  # (1.2): codes (G,) -> places (G, 2)
    return torch.stack([0.8 * z - torch.sin(2 * z), torch.cos(2 * z)], -1)


def log_joint(x, z):
    """log p(x|z) + log p(z), what (1.1) integrates: x (..., 2) and a grid of codes (G,) -> (..., G)."""
    return Normal(f(z), 0.25).log_prob(x[..., None, :]).sum(-1) + Normal(0.0, 1.0).log_prob(z)


z = torch.linspace(-4, 4, 401, dtype=torch.float64)
x = f(torch.tensor(curve.crossing))  # the crossing
print(f"x = ({x[0]:.3f}, {x[1]:.3f}) · largest log joint on the grid: {log_joint(x, z).max():.3f}")

# %% [markdown]
# ### Exercise: the evidence on a grid
#
# Write $\log p(x)$ as a sum: the integral is approximately $\sum_g p(x, z_g)\, dz$, where $dz$ is the distance between neighbouring grid
# points. The function gets the *logarithms* $\log p(x, z_g)$ along its last axis. *About 6 minutes.*


# %%
def log_marginal_grid(log_joint_on_grid, dz):
    """log of the integral over z: (..., G) -> (...), in nats."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_joint_on_grid, -1) + math.log(dz)  # (1.1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
log_marginal_grid = check.log_marginal_grid(log_marginal_grid)

# %% [markdown]
# <details><summary>Hint</summary>
#
# exp, sum over the last axis, times $dz$, log. Do the first two and the last in one with `torch.logsumexp`, which survives numbers whose
# exponential is too small for the computer. What does "times $dz$" become after the logarithm?
# </details>
#
# Is it right? Two tests that need no reference: a density must integrate to one. First the posterior (1.3) over $z$, then $p(x)$ over the
# whole plane. **Predict:** what does the second integral give if the grid for $z$ stops at $\pm 3$ in place of $\pm 4$?

# %%
# NBVAL_CHECK_OUTPUT
dz = 8 / 400
posterior = torch.exp(log_joint(x, z) - log_marginal_grid(log_joint(x, z), dz))  # (1.3)
plane, area = exact.grid(-5, 5, 101, d=2)
mass = {reach: log_marginal_grid(log_joint(plane, z[z.abs() <= reach]), dz).exp().sum() * area for reach in (4, 3)}
assert torch.allclose(log_joint(x, z), curve.log_joint(x, z[:, None]))  # your f is the package's curve (1.2)
assert abs(posterior.sum() * dz - 1) < 1e-9 and abs(mass[4] - 1) < 1e-3
assert abs(mass[3] - 0.9973) < 1e-3
print(f"the posterior integrates to {posterior.sum() * dz:.3f}, p(x) to {mass[4]:.3f}; with z up to 3 to {mass[3]:.3f}")
print(f"mass of a standard normal beyond 3 and -3: {1 - math.erf(3 / 2**0.5):.2%}")

# %% [markdown]
# The missing part is the prior's: a standard normal has 0.27 % of its mass beyond $\pm 3$. A grid that is to serve every $x$ must cover the
# prior.
#
# ## 2 · A model with an answer in closed form
#
# Replace the curve by a straight map, $f(z) = Wz + b$, and every integral of this lesson can be done with pen and paper. (This model is
# called probabilistic PCA; it is a VAE whose decoder is linear.) A linear map of Gaussians is Gaussian, so the evidence is
#
# $$ p(x) = N\big(x;\; b,\; W W^\top + \sigma_x^2 I\big), \tag{1.4} $$
#
# and so is the posterior. Collect in the exponent of (1.3) what is quadratic and what is linear in $z$: it is
# $-\frac12 z^\top M z + \frac{1}{\sigma_x^2} z^\top W^\top (x-b)$ plus a constant, the exponent of
#
# $$ p(z \mid x) = N\Big(z;\; \tfrac{1}{\sigma_x^2} M^{-1} W^\top (x-b),\; M^{-1}\Big), \qquad M = I + \tfrac{1}{\sigma_x^2} W^\top W. \tag{1.5} $$
#
# $M$ is the posterior's *precision*, the inverse of its covariance: the prior's precision $I$, plus what the data add. The cell states the
# model that you will use all through the lesson, three numbers seen and two hidden. Does your sum over a grid agree with the two formulas?
# The grid is two-dimensional now, and $dz$ is the area of one cell.

# %%
# NBVAL_CHECK_OUTPUT
W = [[1.0, 0.8], [0.0, 1.0], [0.6, -0.4]]
model = exact.LinearGaussian(W, b=[0.5, 0.0, -0.5], sigma_x=0.5)
x = torch.tensor([2.0, 1.0, 0.2], dtype=torch.float64)
codes, area = exact.grid(-9, 9, 361, d=2)
by_sum = log_marginal_grid(model.log_joint(x, codes), area)
assert abs(by_sum - model.log_marginal(x)) < 1e-6  # (1.4)
by_bayes = model.log_joint(x, codes) - model.log_marginal(x)
by_formula = torch.distributions.MultivariateNormal(*model.posterior(x)).log_prob(codes)  # (1.5)
assert (by_bayes - by_formula).abs().max() < 1e-8
print(
    f"log p(x) = {model.log_marginal(x):.2f} nats, from the formula and from the grid; M =",
    model.M.numpy().round(2).tolist(),
)

# %% [markdown]
# They agree, and Bayes' rule gives the Gaussian (1.5) at every point of the grid. Look at the 2.24 off the diagonal of $M$: the two codes were
# drawn independently, but once you have seen $x$ they are tied together. Section 8 comes back to it.
#
# ## 3 · Why not sum, why not average?
#
# **The grid** took 401 points for one hidden number, and $361^2 = 130\,321$ for two. A VAE with 20 hidden numbers would need
# $361^{20} \approx 10^{51}$.
#
# **Averaging** sounds better: draw codes from the prior, and average how well each explains $x$,
#
# $$ \hat p(x) = \frac1S \sum_{s=1}^{S} p(x \mid z_s), \qquad z_s \sim p(z). \tag{1.6} $$
#
# Its mean is exactly $p(x)$, for any number $S$ of draws. **Before you run it, guess:** is the mean of $\log \hat p(x)$ then equal to
# $\log p(x)$? The next cell repeats the estimate two thousand times, on a model with 2 hidden and 10 visible numbers.


# %%
def random_model(D, d, seed=0):
    """A linear-Gaussian model with W drawn from a standard normal, and noise 0.5."""
    generator = torch.Generator().manual_seed(seed)
    return exact.LinearGaussian(torch.randn(D, d, generator=generator), torch.zeros(D), sigma_x=0.5)


def naive_log_estimates(model, x, draws, repeats):
    """`repeats` independent estimates of log p(x) from `draws` prior codes each: (repeats,)."""
    z = torch.randn(draws, repeats, model.d, dtype=torch.float64)
    return torch.logsumexp(model.log_likelihood(x, z), 0) - math.log(draws)  # the logarithm of (1.6)


ten = random_model(D=10, d=2)
x_ten = ten.sample(1, torch.Generator().manual_seed(3)).x[0]
estimates = {f"{draws} draws": naive_log_estimates(ten, x_ten, draws, 2000) for draws in (10, 100, 1000)}

# %%
# NBVAL_CHECK_OUTPUT
ratios = torch.exp(estimates["100 draws"] - ten.log_marginal(x_ten))
logs = estimates["100 draws"] - ten.log_marginal(x_ten)
assert abs(ratios.mean() - 1) < 4 * ratios.std() / 2000**0.5
assert logs.mean() < -4 * logs.std() / 2000**0.5
print("the mean estimate is p(x), within four standard errors; the mean of its logarithm is below log p(x):", True)

# %%
plotting.naive_histograms(
    estimates,
    float(ten.log_marginal(x_ten)),
    "estimates of log p(x) from 10, 100 and 1000 prior draws: with 10 a long tail to the left and a mean far below the truth, with 1000 close to it",
)

# %% [markdown]
# Unbiased for $p(x)$, and too low for $\log p(x)$: the logarithm punishes the many small estimates more than it rewards the few large ones.
# (Jensen's inequality; it will be our best friend in section 4.) How many draws are enough? Write $\mathbb{E}_{p(z)}[\,\cdot\,]$ for the mean
# over $z$ drawn from $p(z)$. A variance is the mean of the square minus the square of the mean, and averaging $S$ draws divides it by $S$:
#
# $$ \frac{\operatorname{Var} \hat p(x)}{p(x)^2} = \frac1S \left( \frac{\mathbb{E}_{p(z)}\big[p(x \mid z)^2\big]}{p(x)^2} - 1 \right). \tag{1.7} $$
#
# For the linear model the bracket is a closed form. For an error of 10 % (a standard deviation of a tenth of $p(x)$) you need $S = 100$
# times the bracket. **Predict the powers of ten** for 784 visible numbers, with 2 hidden ones, and with 10. (Printed is the median over 100
# different $x$.)

# %%
# NBVAL_CHECK_OUTPUT
square = log_marginal_grid(2 * model.log_likelihood(x, codes) + model.log_prior(codes), area)
bracket = torch.exp(square - 2 * model.log_marginal(x)) - 1  # (1.7), on the grid
assert torch.isclose(bracket, model.naive_relative_variance(x))
for d in (2, 10):
    for D in (2, 10, 50, 784):
        many = random_model(D, d)
        x_many = many.sample(100, torch.Generator().manual_seed(1)).x
        needed = 100 * many.naive_relative_variance(x_many).median()  # the closed form of (1.7)
        print(f"{d:2d} hidden, {D:3d} visible numbers: {needed:5.0e} draws for an error of 10 %")
print(f"the last line, at a million draws a second: {needed / 1e6 / 3.15e7:.0e} years for one image")

# %% [markdown]
# At 784 visible numbers you can wait for it with two hidden ones, and cannot with ten. The first picture of this lesson shows the reason.
# The more numbers you see, the more precisely they pin down the code, and almost no draw from the prior lands there. The few that land
# carry the whole sum. **You should draw codes where the posterior is.** But the posterior is $p(x, z) / p(x)$, and $p(x)$ is the unknown.
# So you guess a distribution $q(z)$ that is easy to draw from, and ask what it is worth. That is the idea of this lesson.
#
# ## 4 · The bound, three times
#
# Let $q(z)$ be any density that you can draw from. Three ways lead to the same number; each shows another side of it.
#
# **First, by Jensen.** Multiply and divide by $q$ to turn the integral into a mean under $q$. The logarithm bends downwards (it is
# concave), so the logarithm of a mean is at least the mean of the logarithms. (Of 1 and 9: $\log 5 > \tfrac12(\log 1 + \log 9) = \log 3$.)
#
# $$ \log p(x) = \log \mathbb{E}_{q(z)}\!\left[\frac{p(x,z)}{q(z)}\right] \;\ge\; \mathbb{E}_{q(z)}\!\left[\log \frac{p(x,z)}{q(z)}\right] =: \text{ELBO}. \tag{1.8} $$
#
# Short, but it hides how much was lost. **Second, without losing anything.** $\log p(x)$ contains no $z$ (it does contain $x$; one tutorial
# has that the wrong way round), so averaging it over $z$ changes nothing. Insert $p(x) = p(x,z)/p(z \mid x)$, and again $q$:
#
# $$ \log p(x) = \mathbb{E}_{q}\big[\log p(x)\big] = \underbrace{\mathbb{E}_{q}\!\left[\log \frac{p(x,z)}{q(z)}\right]}_{\text{ELBO}} + \underbrace{\mathbb{E}_{q}\!\left[\log \frac{q(z)}{p(z \mid x)}\right]}_{\text{KL}(q \,\|\, p(z|x))}. \tag{1.9} $$
#
# The gap has a name: it is the **Kullback-Leibler divergence** from $q$ to the posterior, never negative (Jensen again:
# $-\text{KL} = \mathbb{E}_q[\log \frac{p}{q}] \le \log \mathbb{E}_q[\frac{p}{q}] = \log 1$), and zero exactly when they are equal. **Third,
# from the goal.** Say you want $q$ to be close to the posterior. Expand that wish with Bayes' rule:
#
# $$ \text{KL}\big(q \,\|\, p(z \mid x)\big) = \mathbb{E}_q[\log q(z)] - \mathbb{E}_q[\log p(x,z)] + \log p(x) = \log p(x) - \text{ELBO}. \tag{1.10} $$
#
# The troublesome $p(x)$ sits there as a constant. To bring $q$ close you need not know it: make the ELBO large.
#
# Now the proof by numbers. $q$ is a first, bad guess: the prior itself. All means under $q$ are sums over the grid.


# %%
# NBVAL_CHECK_OUTPUT
def mean_under(log_q, values):
    return (torch.exp(log_q) * values).sum() * area


mu, log_var = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
log_p, elbo, gap = model.log_marginal(x), model.elbo(x, mu, log_var), model.kl_to_posterior(x, mu, log_var)
log_q, joint = losses.gaussian_log_prob(codes, mu, log_var), model.log_joint(x, codes)
assert abs(mean_under(log_q, torch.exp(joint - log_q)).log() - log_p) < 1e-9 and elbo < log_p  # (1.8)
assert abs(mean_under(log_q, joint - log_q) - elbo) < 1e-9
assert abs(mean_under(log_q, joint - log_q) + mean_under(log_q, log_q - (joint - log_p)) - log_p) < 1e-9  # (1.9)
assert abs(mean_under(log_q, log_q) - mean_under(log_q, joint) + log_p - gap) < 1e-9  # (1.10)
assert abs(elbo + gap - log_p) < 1e-10
print(f"log p(x) {log_p:.2f} = ELBO {elbo:.2f} + gap {gap:.2f} nats")

# %% [markdown]
# All three derivations hold. The package's `elbo` and `kl_to_posterior` are separate closed forms, and neither knows the other; that their sum
# is $\log p(x)$, to ten digits, is (1.9). The prior is a bad guess indeed: most of its bound is gap.
#
# > **The gap is at least zero, and it can be zero.** Some texts say that KL is *strictly* positive. Then no bound could ever be tight. KL
# > is zero if and only if the two distributions agree, and this case matters: put the posterior itself in the place of $q$, and the ELBO
# > *is* $\log p(x)$. And although KL measures how different two distributions are, it is no *distance*: it is not symmetric (section 8).
#
# <!-- confusion 8 -->
# > **Which sign?** You want a *large* ELBO. Code minimises, so the loss is $-\text{ELBO}$. Under this sign the inequality turns round: the
# > loss is never *below* $-\log p(x)$.
#
# Two ways to group the terms of the ELBO are worth knowing by heart:
#
# $$ \text{ELBO} = \mathbb{E}_q\big[\log p(x \mid z)\big] - \text{KL}\big(q(z) \,\|\, p(z)\big) = \mathbb{E}_q\big[\log p(x, z)\big] + H[q]. \tag{1.11} $$
#
# The first is the one that gets coded: *explain the image, stay near the prior*. Mind that this KL goes to the **prior** and is part of the
# bound; the KL in (1.9) goes to the **posterior** and is the gap. They are different numbers. The second, with the entropy
# $H[q] = -\mathbb{E}_q[\log q]$, says: *sit where the joint is high, but stay as spread out as you can*.

# %%
# NBVAL_CHECK_OUTPUT
posterior_mean, posterior_covariance = model.posterior(x)
some_mu, some_log_var = posterior_mean + 0.3, torch.tensor([-1.0, -2.0], dtype=torch.float64)
log_q = losses.gaussian_log_prob(codes, some_mu, some_log_var)
explain, stay = mean_under(log_q, model.log_likelihood(x, codes)), mean_under(log_q, log_q - model.log_prior(codes))
elbo, gap = model.elbo(x, some_mu, some_log_var), model.kl_to_posterior(x, some_mu, some_log_var)
assert abs(explain - stay - elbo) < 1e-9  # (1.11), left
assert abs(mean_under(log_q, joint) - mean_under(log_q, log_q) - elbo) < 1e-9  # (1.11), right
print(
    f"another q: ELBO {elbo:.2f} = {explain:.2f} - {stay:.2f} nats; KL to the prior {stay:.2f}, to the posterior {gap:.2f}"
)

# %% [markdown]
# ## 5 · The KL between Gaussians
#
# In a VAE $q$ is a Gaussian with a diagonal covariance, and the KL to the prior has a closed form. Derive it once. In one dimension, with
# $q = N(\mu, \sigma^2)$, both logarithms are quadratic in $z$, and all that you need is
#
# $$ \mathbb{E}_q[z] = \mu, \qquad \mathbb{E}_q[z^2] = \mu^2 + \sigma^2, \qquad \mathbb{E}_q[(z-\mu)^2] = \sigma^2. \tag{1.12} $$
#
# Then $\mathbb{E}_q[\log q] = -\tfrac12(\log 2\pi + \log\sigma^2 + 1)$ and
# $\mathbb{E}_q[\log p(z)] = -\tfrac12(\log 2\pi + \mu^2 + \sigma^2)$. Subtract; the $\log 2\pi$ cancels, and independent dimensions add up:
#
# $$ \text{KL}\big(N(\mu, \operatorname{diag}\sigma^2) \,\|\, N(0, I)\big) = \tfrac12 \sum_{k=1}^{d} \big( \mu_k^2 + \sigma_k^2 - 1 - \log\sigma_k^2 \big). \tag{1.13} $$
#
# ### Exercise: code the KL
#
# `mu` and `log_var` are `(batch, d)`; return one number per image, `(batch,)`. As always, `log_var` is $\log \sigma^2$. *About 5 minutes.*


# %%
def gaussian_kl(mu, log_var):
    """KL(q || N(0, I)) in nats: (batch, d) -> (batch,)."""
    ### BEGIN SOLUTION
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(-1)  # (1.13)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
gaussian_kl = check.gaussian_kl(gaussian_kl)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\sigma^2$ is `log_var.exp()` and $\log\sigma^2$ is `log_var`. Test yourself with a $q$ that *is* the prior: the result must be 0.
# </details>
#
# Three witnesses: the library's own KL, the package's, and the definition, as a mean over draws, with its standard error.

# %%
# NBVAL_CHECK_OUTPUT
m, v = torch.tensor([[1.0, -0.5]], dtype=torch.float64), torch.tensor([[-1.0, 0.4]], dtype=torch.float64)
q, prior = Normal(m, torch.exp(v / 2)), Normal(torch.zeros_like(m), 1.0)
draws = q.sample((100_000,))
differences = (q.log_prob(draws) - prior.log_prob(draws)).sum(-1)
assert abs(differences.mean() - gaussian_kl(m, v)) < 4 * differences.std() / len(draws) ** 0.5
errors = ((draws**2).mean(0) - (m**2 + v.exp())) / (draws**2).std(0) * len(draws) ** 0.5  # (1.12)
assert errors.abs().max() < 4
assert torch.allclose(gaussian_kl(m, v), kl_divergence(q, prior).sum(-1))
assert torch.allclose(gaussian_kl(m, v), losses.gaussian_kl(m, v))
print("closed form = torch.distributions = the package = mean over draws within four standard errors:", True)

# %% [markdown]
# ### Four public bugs
#
# The formula is one line long, and public code still gets it wrong. **The first bug** comes from a tutorial behind this course (source S0).
# Its KL reads `-0.5 * sum(log_var - mu**2 - exp(log_var))`. Compare with (1.13). **Predict:** by how much is it off in four dimensions, and
# does training suffer?

# %%
# NBVAL_CHECK_OUTPUT
m, v = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
s0 = -0.5 * (v - m**2 - v.exp()).sum(-1)
right_gradient = torch.autograd.grad(gaussian_kl(m, v).sum(), (m, v))
s0_gradient = torch.autograd.grad(s0.sum(), (m, v))
assert all(torch.allclose(a, b) for a, b in zip(right_gradient, s0_gradient, strict=True))
excess = (s0 - gaussian_kl(m, v)).tolist()
print("S0's KL minus the right one, three images:", [round(e, 2) for e in excess], "· same gradients:", True)

# %% [markdown]
# Always $d/2$ too large. The gradients are right, so training works; the number is no KL, and two runs with different $d$ cannot be
# compared. One test finds it: KL of the prior to itself must be 0.
#
# ### Find the bug: right, as long as nobody looks
#
# **The second bug** sits in the code of a well-known paper on robust classification. Its prior may be any Gaussian $N(m_0, s_0^2)$, and the
# general formula is
#
# $$ \text{KL}\big(N(\mu, \sigma^2) \,\|\, N(m_0, s_0^2)\big) = \tfrac12 \left( \frac{\sigma^2 + (\mu - m_0)^2}{s_0^2} - 1 - \log \frac{\sigma^2}{s_0^2} \right). \tag{1.14} $$
#
# The cell below has that bug, in our letters. It passes every test in which $\sigma = s_0$; the original is only ever called with 1. Mend
# it. *5 minutes.*


# %%
def kl_two_gaussians(mu, sigma, prior_mu, prior_sigma):
    """KL between two diagonal Gaussians given by standard deviations: four times (batch, d) -> (batch,)."""
    ratio = (sigma**2 + (mu - prior_mu) ** 2) / prior_sigma**2
    ### BEGIN SOLUTION
    return 0.5 * (ratio - 1 - torch.log(sigma**2 / prior_sigma**2)).sum(-1)  # (1.14)
    ### BLANK VERSION
    # return 0.5 * (ratio - 1 - torch.log(sigma / prior_sigma)).sum(-1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
kl_two_gaussians = check.kl_two_gaussians(kl_two_gaussians)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Compare the logarithm with (1.14), symbol by symbol. What is the difference between $\log \sigma$ and $\log \sigma^2$, and when is there
# none?
# </details>
#
# ### Find the bug: a constant in the wrong place
#
# When there is no closed form, the bound is *estimated*: draw $z_s \sim q$, average $\log p(x, z_s) - \log q(z_s)$. That needs log
# densities. **The third bug** comes from a book's companion code. Its density of a diagonal Gaussian is off by a constant that grows like
# $d^2$. Mend it. *4 minutes.*


# %%
def log_normal(z, mu, log_var):
    """log N(z; mu, diag exp(log_var)): (..., d) -> (...), in nats."""
    ### BEGIN SOLUTION
    constant = math.log(2 * math.pi)
    ### BLANK VERSION
    # constant = z.shape[-1] * math.log(2 * math.pi)
    ### END SOLUTION
    return -0.5 * (constant + log_var + (z - mu) ** 2 * torch.exp(-log_var)).sum(-1)


# %%
# NBVAL_CHECK_OUTPUT
log_normal = check.log_normal(log_normal)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The log density of $d$ independent coordinates is a *sum* of $d$ terms, each with its own $\log 2\pi$. How often does the line above count
# it?
# </details>
#
# Why did nobody notice? The VAE only needs the *difference* of two such densities, and there the constants cancel. Watch it in 16 dimensions:


# %%
# NBVAL_CHECK_OUTPUT
def with_bug(z, mu, log_var):
    constant = z.shape[-1] * math.log(2 * math.pi)
    return -0.5 * (constant + log_var + (z - mu) ** 2 * torch.exp(-log_var)).sum(-1)


draw, zero = torch.randn(5, 16, dtype=torch.float64), torch.zeros(16, dtype=torch.float64)
off_p = (log_normal(draw, zero, zero) - with_bug(draw, zero, zero)).mean()
off_q = (log_normal(draw, zero + 0.3, zero - 1) - with_bug(draw, zero + 0.3, zero - 1)).mean()
assert abs(off_p - 0.5 * 16 * 15 * math.log(2 * math.pi)) < 1e-9 and abs(off_p - off_q) < 1e-9
print(f"log p(z) is off by {off_p:.1f} nats, log q(z) by {off_q:.1f}, their difference by {abs(off_p - off_q):.1f}")

# %% [markdown]
# **The fourth bug** is a name: the same code stores $-\text{KL}$ in a variable called `KL`, and prints $-\text{ELBO}$ as "nll". The
# negative ELBO is at least the negative log-likelihood; calling the one by the name of the other hides the gap. Here is the estimator at
# work, next to the exact bound. One draw is noisy; the noise averages out over draws, and in training over images, which is why one draw
# per image is usually enough.

# %%
# NBVAL_CHECK_OUTPUT
z_q = some_mu + torch.exp(some_log_var / 2) * torch.randn(20_000, 2, dtype=torch.float64)  # 20 000 draws from q
log_w = model.log_joint(x, z_q) - log_normal(z_q, some_mu, some_log_var)
assert abs(log_w.mean() - model.elbo(x, some_mu, some_log_var)) < 4 * log_w.std() / len(log_w) ** 0.5
print("the mean of log p(x,z) - log q(z) over draws is the exact ELBO, within four standard errors:", True)

# %% [markdown]
# ## 6 · Take the wheel
#
# Back to the curve, where the posterior need not be Gaussian, but $q = N(\mu, \sigma^2)$ is. The bar always ends at $\log p(x)$: you choose
# only how it is divided. **Try three things.** With one explanation, close the gap as far as you can. Then make $\sigma$ too small, and too
# large: which of the two costs more? Then switch to two explanations, and do your best. The second cell shows four choices of $q$ at the
# crossing, with its two explanations. Read its bars from left to right.

# %%
widgets.bound_explorer()

# %%
crossing = curve.decode([curve.crossing])
plotting.bound_figure(
    curve,
    crossing,
    [(1.06, 0.1), (1.06, 0.3), (0.0, 0.1), (0.0, 1.0)],
    "four choices of q over a posterior with two bumps, and bars that all end at log p(x): smallest gap for a q on one bump, gap beyond the scale for a narrow q between the bumps",
)

# %% [markdown]
# The bars never move at their upper end. (In the third the ELBO lies below the picture.) Too wide costs more than too narrow by the same
# factor: by (1.14), a $q$ that is $k$ times as wide as a Gaussian posterior leaves a gap of $\frac12(k^2 - 1 - 2\log k)$, which is $0.81$
# nats at $k = 2$ and $0.32$ at $k = \frac12$. A $q$ with mass where the posterior has none pays heavily, since $\log q / p(z \mid x)$ is
# huge there; a $q$ that misses a whole bump pays surprisingly little.
#
# **Predict how little.** The posterior has two equal, separate bumps, and $q$ matches *one* of them perfectly. How large is the gap, in
# nats?

# %%
### BEGIN SOLUTION
gap_of_one_bump = math.log(2)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
gap_of_one_bump = check.gap_of_one_bump(gap_of_one_bump)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Under $q$ you only ever look at one bump. There the posterior has the same shape as $q$, but only half of the mass. So what is
# $q(z) / p(z \mid x)$?
# </details>
#
# A search over many $\mu$ and $\sigma$ agrees; the small rest is there because the bump is not quite Gaussian. The cell also checks the two
# costs of a wrong width.

# %%
# NBVAL_CHECK_OUTPUT
line, step = exact.grid(-8, 8, 1601)
log_line = curve.log_joint(crossing, line)
evidence = log_marginal_grid(log_line, step)
means, sigmas = torch.linspace(-1.3, 1.3, 53).double(), torch.linspace(0.06, 1.5, 73).double()
tries = [losses.gaussian_log_prob(line, a, 2 * s.log()) for a in means for s in sigmas]
gaps = torch.stack([exact.kl_grid(log_q, log_line - evidence, step) for log_q in tries])
assert abs(gaps.min() - gap_of_one_bump) < 0.03
zero, one = torch.zeros(1, 1), torch.ones(1, 1)
wide, narrow = (float(kl_two_gaussians(zero, factor * one, zero, one)) for factor in (2.0, 0.5))  # (1.14)
print(
    f"smallest gap found: {gaps.min():.2f} nats, log 2 is {math.log(2):.2f}; twice as wide {wide:.2f}, half {narrow:.2f}"
)

# %% [markdown]
# <!-- confusion 11 -->
# > **Are $\mu$ and $\sigma$ parameters of the model?** No. The model is the prior and the decoder; they alone fix $p(x)$ and the posterior.
# > $\mu$ and $\sigma$ describe *your guess* $q$ about one $x$. In a VAE the encoder computes them anew for every image; its weights $\phi$
# > are the **variational parameters**, the decoder's weights $\theta$ the **model parameters**.
#
# ### Exercise: the ELBO as a landscape
#
# For a straight line, $f(z) = w z$ with one hidden number, the bound is a formula in $\mu$ and $\sigma$, and you can draw the whole
# landscape. All you need is (1.12): the mean of $(x_j - w_j z)^2$ under $q$ is $(x_j - w_j \mu)^2 + w_j^2\sigma^2$. So
#
# $$ \text{ELBO}(\mu, \sigma) = -\sum_{j=1}^{D} \left[ \frac{(x_j - w_j\mu)^2 + w_j^2\sigma^2}{2\sigma_x^2} + \tfrac12 \log 2\pi\sigma_x^2 \right] - \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log\sigma^2\big). \tag{1.15} $$
#
# `x` and `w` are `(D,)`, `sigma_x` is a number, `mu` and `log_var` have any one shape, and the result has that shape too. *About 8
# minutes.*


# %%
def linear_elbo(x, w, sigma_x, mu, log_var):
    """The exact ELBO of q = N(mu, exp(log_var)) in nats: (D,), (D,), number, (...), (...) -> (...)."""
    ### BEGIN SOLUTION
    error = ((x - w * mu[..., None]) ** 2).sum(-1) + log_var.exp() * (w**2).sum()
    rec = error / (2 * sigma_x**2) + 0.5 * len(x) * math.log(2 * math.pi * sigma_x**2)
    return -rec - 0.5 * (mu**2 + log_var.exp() - 1 - log_var)  # (1.15)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
linear_elbo = check.linear_elbo(linear_elbo)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `mu[..., None]` gives $\mu$ a last axis that broadcasts against the $D$ coordinates of `x`. The constant $\tfrac12\log 2\pi\sigma_x^2$
# counts $D$ times.
# </details>
#
# **Before you look:** where on the map is the best point, and what is the ELBO there?

# %%
x_two, w = torch.tensor([1.2, 0.4], dtype=torch.float64), torch.tensor([1.0, 0.5], dtype=torch.float64)
straight = exact.LinearGaussian(w[:, None], [0.0, 0.0], sigma_x=0.5)
best_mu, best_var = float(straight.posterior(x_two).mean), float(straight.posterior(x_two).covariance)
mus, sigmas = torch.linspace(-0.6, 2.6, 161).double(), torch.linspace(0.05, 1.5, 146).double()
mu_map, sigma_map = torch.meshgrid(mus, sigmas, indexing="xy")  # each (146, 161)
landscape = linear_elbo(x_two, w, 0.5, mu_map, 2 * sigma_map.log())
plotting.elbo_map(
    mus,
    sigmas,
    landscape,
    (best_mu, best_var**0.5),
    "contours of the ELBO over mu and sigma: one peak, at the posterior's mean and standard deviation, and closed rings around it",
)

# %%
# NBVAL_CHECK_OUTPUT
row, column = divmod(int(landscape.argmax()), len(mus))
assert abs(mus[column] - best_mu) < 0.03 and abs(sigmas[row] - best_var**0.5) < 0.02
at_posterior = linear_elbo(x_two, w, 0.5, torch.tensor(best_mu).double(), torch.tensor(best_var).double().log())
assert abs(at_posterior - straight.log_marginal(x_two)) < 1e-10 and landscape.max() <= straight.log_marginal(x_two)
print("the peak is the posterior, and there the ELBO equals log p(x) to 1e-10; it is above log p(x) nowhere:", True)

# %% [markdown]
# ## 7 · Which knob moves what?
#
# A VAE has two sets of knobs, and its training turns both at once. **Predict:** which of these changes $\log p_\theta(x)$ itself? (a) the
# encoder's weights $\phi$, (b) the decoder's weights $\theta$, (c) drawing more samples $z_s$ for the estimate of the bound. Answer with
# three booleans.

# %%
### BEGIN SOLUTION
moves_log_p = (False, True, False)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
moves_log_p = check.moves_log_p(moves_log_p)

# %% [markdown]
# Watch it happen. The next cell improves $q$ by gradient ascent on the ELBO, starting from the bad guess of section 4, and prints all three
# numbers.

# %%
# NBVAL_CHECK_OUTPUT
mu, log_var = (torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
optimizer = torch.optim.Adam([mu, log_var], lr=0.05)
for step_number in range(501):
    elbo = model.elbo(x, mu, log_var)
    if step_number in (0, 5, 10, 20, 50, 500):
        gap = model.kl_to_posterior(x, mu, log_var)
        print(f"step {step_number:3d}: ELBO {elbo:6.2f} + gap {gap:5.2f} = log p(x) {elbo + gap:.2f}")
        assert abs(elbo + gap - model.log_marginal(x)) < 1e-10
    optimizer.zero_grad()
    (-elbo).backward()
    optimizer.step()

assert elbo > model.elbo(x, 0 * mu, 0 * log_var) + 10

# %% [markdown]
# You can read in a tutorial that maximising the bound also maximises the probability of the data. Here the bound rose by more than ten nats,
# and $\log p(x)$ did not move in the tenth digit. Turning $\phi$ moves the bound and the gap, and nothing else. (The gap stops at 0.05, not
# at 0; section 8 says why.)
#
# And turning $\theta$? That moves the truth, *but not always up*. The next picture has one hidden and one visible number, $x = 2$, a
# decoder $f(z) = \theta z$ and $\sigma_x = 1$. The black line is $\log p_\theta(x)$; each coloured line is an ELBO with its own **fixed**
# $q$, and touches the black line where that $q$ is the posterior. The orange one has the prior for its $q$: at $\theta = 0$ the code leaves
# no trace in $x$, so there the posterior is the prior. **Follow the orange line from right to left.**

# %%
thetas = torch.linspace(0, 3.5, 176).double()
family = [exact.LinearGaussian([[float(t)]], [0.0], sigma_x=1.0) for t in thetas]
seen = torch.tensor([2.0], dtype=torch.float64)
log_p_theta = torch.stack([one.log_marginal(seen) for one in family])
bounds = {}
for place in (0, 50, 100):  # theta = 0, 1, 2
    mean, covariance = family[place].posterior(seen)
    values = torch.stack([one.elbo(seen, mean, covariance[0].log()) for one in family])
    bounds[f"ELBO, q the posterior at θ = {thetas[place]:.0f}"] = (float(thetas[place]), values)
plotting.bounds_over_theta(
    thetas,
    log_p_theta,
    bounds,
    "decoder parameter θ",
    "log p(x) against a decoder parameter, highest near theta 1.7, and three bounds below it, each touching it at one point; the bound with q fixed at the prior rises towards theta 0 while log p(x) falls",
)

# %%
# NBVAL_CHECK_OUTPUT
_, with_prior = bounds["ELBO, q the posterior at θ = 0"]
assert with_prior[0] > with_prior[50] > with_prior[100] and log_p_theta[0] < log_p_theta[50] < log_p_theta[100]
assert all((values <= log_p_theta + 1e-12).all() for _, values in bounds.values())
_, at_one = bounds["ELBO, q the posterior at θ = 1"]
assert log_p_theta[at_one.argmax()] > log_p_theta[50]
print("with q fixed at the prior, going from theta 2 to 0 raises the ELBO and lowers log p(x):", True)

# %% [markdown]
# With $q$ stuck at the prior, the bound is best at $\theta = 0$, where the code is ignored altogether and the likelihood is the lowest of
# the picture. Better *guarantee*, worse model. What does hold: if the bound touches the truth at the current $\theta$ (blue line,
# $\theta = 1$), then going to the bound's own peak cannot lower the truth, which starts level with the bound and stays above it. Alternating the two
# steps, *first tighten with $\phi$, then climb with $\theta$*, is the EM algorithm. A VAE does both at once, with a $q$ that never quite
# touches. So "bring $q$ close to the posterior" is only half of the story: $\theta$ moves the posterior, too, and moves it to where $q$ can
# follow.
#
# ## 8 · The shape of q
#
# The encoder of a VAE returns one mean and one variance per dimension: $q$ factorises over dimensions (**mean field**), while the true
# posterior usually has correlations. In the linear model the best such $q$ can be found with pen and paper. With $m$ the posterior mean,
# the gap is $\frac12\big(\sum_j M_{jj}\sigma_j^2 + (\mu-m)^\top M (\mu-m) - d - \log\det M - \sum_j\log\sigma_j^2\big)$; set its
# derivatives to zero:
#
# $$ \mu^\star = \mathbb{E}[z \mid x], \qquad (\sigma_j^\star)^2 = \frac{1}{M_{jj}}, \qquad \text{gap} = \tfrac12\Big( \sum_{j=1}^{d} \log M_{jj} - \log\det M \Big). \tag{1.16} $$
#
# **Guess:** is $1/M_{jj}$ larger or smaller than the posterior's true variance $(M^{-1})_{jj}$?

# %%
best = model.best_mean_field(x)
plotting.mean_field_figure(
    model.posterior(x),
    *best,
    "a tilted elliptical posterior and the best axis-parallel q, with the same centre and narrower along both axes",
)

# %%
# NBVAL_CHECK_OUTPUT
M = model.M
assert torch.allclose(mu.detach(), best.mu, atol=1e-3)
assert torch.allclose(log_var.detach().exp(), 1 / M.diagonal(), atol=1e-3)
gap_formula = 0.5 * (M.diagonal().log().sum() - torch.logdet(M))  # (1.16)
assert abs(model.kl_to_posterior(x, *best) - gap_formula) < 1e-10
assert (best.log_var.exp() < model.posterior(x).covariance.diagonal()).all()
print(
    f"gradient ascent found (1.16); gap {gap_formula:.4f} nats; q is narrower than the posterior in each dimension:",
    True,
)

# %% [markdown]
# Smaller. $q$ stays *inside* the posterior: it reports the uncertainty about $z_1$ as if $z_2$ were known. A VAE's variances tend to be too
# small for the same reason. Here it costs a twentieth of a nat. Without correlations ($M$ diagonal) it costs nothing.
#
# Why inside? Because of the order in $\text{KL}(q \,\|\, p)$. The other order is a different question with a different answer:
#
# $$ \text{KL}(q \,\|\, p) = \mathbb{E}_q\!\left[\log\frac{q}{p}\right] \qquad \text{and} \qquad \text{KL}(p \,\|\, q) = \mathbb{E}_p\!\left[\log\frac{p}{q}\right]. \tag{1.17} $$
#
# The first asks *at the places where $q$ is*: do not be where $p$ is not. The second asks *at the places where $p$ is*: do not miss
# anything. On the two bumps the two best Gaussians could not be more different. (The best one for the second has the mean and the variance
# of $p$.)

# %%
log_two = log_line - evidence
density = torch.exp(log_two)
variance = float((density * line[:, 0] ** 2).sum() * step)  # its mean is 0
seeking = tries[gaps.argmin()]  # the best of section 6
covering = losses.gaussian_log_prob(line, 0.0, math.log(variance))
plotting.density_lines(
    line[:, 0],
    density,
    {"best for KL(q‖p)": seeking.exp(), "best for KL(p‖q)": covering.exp()},
    "a posterior with two bumps; the Gaussian best for KL(q‖p) sits on one bump, the one best for KL(p‖q) spreads over both and the valley between",
)


# %%
# NBVAL_CHECK_OUTPUT
def both_orders(log_q):  # (1.17)
    return exact.kl_grid(log_q, log_two, step), exact.kl_grid(log_two, log_q, step)


one, both = both_orders(seeking), both_orders(covering)
assert one[0] < both[0] and one[1] > both[1]
print(f"q on one bump:   KL(q‖p) {one[0]:5.1f}   KL(p‖q) {one[1]:5.0f} nats")
print(f"q on both bumps: KL(q‖p) {both[0]:5.1f}   KL(p‖q) {both[1]:5.1f} nats")

# %% [markdown]
# The ELBO fixes the order: its gap is $\text{KL}(q \,\|\, p(z \mid x))$. So the best $q$ **picks one explanation** and reports it with
# confidence. When a VAE's $q$ looks certain, the posterior need not be.
#
# ## 9 · What the bound does not bound
#
# One more trap, found in a tutorial behind this course (source S2): the ELBO is presented as a lower bound on $\log p^*(x)$, the density of
# the *true data*. It is not. It bounds the **model's** $\log p_\theta(x)$, and a model may believe anything. Let the data be $N(0,1)$, and
# the model so sure of itself that $p_\theta(x) = N(0, 0.1^2)$. At $x = 0$:

# %%
# NBVAL_CHECK_OUTPUT
confident = exact.LinearGaussian([[0.06]], [0.0], sigma_x=0.08)  # variance 0.06^2 + 0.08^2 = 0.1^2
origin = torch.zeros(1, dtype=torch.float64)
mean, covariance = confident.posterior(origin)
elbo = float(confident.elbo(origin, mean, covariance[0].log()))
log_data = float(Normal(0.0, 1.0).log_prob(origin))
assert abs(elbo - confident.log_marginal(origin)) < 1e-10 and elbo > log_data
print(f"ELBO at x = 0: {elbo:.2f} nats · true log density there: {log_data:.2f} nats")

# %% [markdown]
# The "lower bound" is above. What *is* true holds on average over the data, and only there:
#
# $$ \mathbb{E}_{p^*}[\text{ELBO}(x)] \;\le\; \mathbb{E}_{p^*}[\log p_\theta(x)] \;\le\; \mathbb{E}_{p^*}[\log p^*(x)] = -H(p^*). \tag{1.18} $$
#
# The first step is (1.8) for every $x$; the second is again that a KL, from $p^*$ to $p_\theta$, is not negative. What the confident model
# gains at $x = 0$, it loses many times over elsewhere.

# %%
# NBVAL_CHECK_OUTPUT
points, dx = exact.grid(-8, 8, 1601)
weight = Normal(0.0, 1.0).log_prob(points[:, 0]).exp() * dx
ceiling = -float(Normal(0.0, 1.0).entropy())
for slope, sigma_x in ((0.06, 0.08), (0.6, 0.8), (1.2, 1.6)):
    candidate = exact.LinearGaussian([[slope]], [0.0], sigma_x)
    average_log_p = float((weight * candidate.log_marginal(points)).sum())
    average_elbo = float((weight * candidate.elbo(points, torch.zeros(1), torch.zeros(1))).sum())  # q = prior for all x
    assert average_elbo <= average_log_p <= ceiling + 1e-9  # (1.18)
    std = (slope**2 + sigma_x**2) ** 0.5
    print(
        f"model N(0, {std:.1f}²): mean ELBO {average_elbo:6.2f} ≤ mean log p {average_log_p:6.2f} ≤ {ceiling:.2f} = -H(p*)"
    )

# %% [markdown]
# So the loss, averaged over all images that the world may send, has a floor that no model can beat, the entropy of the data; the floor of
# lesson 00 comes from the same inequality. On one image a high ELBO says little: in lesson 08 a model will find a blank page likelier than
# real digits. (The objective is therefore always the sum, or mean, over a whole data set: $\sum_n \log p_\theta(x_n)$.)
#
# ## 10 · The same on a real image
#
# Everything so far was small. Now the VAE from lesson 00, with a neural decoder and a code of two numbers, on a real image: two numbers are
# few enough for a grid. The picture shows the **true posterior** of that image, which nobody gets to see for larger codes, with the
# encoder's answer $q(z \mid x)$ in red. Pixels are black or white here, so that $p(x \mid z)$ is an honest probability.

# %%
vae = lesson.shipped("latent-2d").model
image = (data.load(split="test").x[46] > 0.5).float()
with torch.no_grad():
    mu, log_var = (value[0].double() for value in vae.encode(image[None]))
    reach = max(4.0, 1.0 + float(mu.abs().max()))
    codes, area = exact.grid(-reach, reach, 251, d=2)
    log_likelihood = torch.cat([-losses.bernoulli_nll(vae.decode(part.float()), image) for part in codes.split(8192)])
    reconstruction = vae.mean_image(vae.decode(mu[None].float()))[0]
log_joint_image = log_likelihood.double() + losses.gaussian_log_prob(codes)
log_p = log_marginal_grid(log_joint_image, area)

# %%
log_posterior = log_joint_image - log_p
plotting.image_posterior(
    image,
    reconstruction,
    codes,
    log_posterior,
    mu,
    torch.exp(log_var / 2),
    "a test image, its reconstruction, and the exact posterior of its code with the encoder's ellipses; for MNIST the posterior has two patches, and the ellipses lie between them",
)

# %% [markdown]
# There it is again, in a trained network and on a real digit: on MNIST this 1 has *two* explanations, two separate patches of codes that
# redraw it about equally well, and the encoder's single Gaussian sits between them, where the posterior has little. The *best* Gaussian
# would sit on one of them (section 8); the encoder, one network that answers for all images, did not manage. (With the small digits you see
# another image, whose posterior may look simpler.) Does the identity hold here, too? $\log p(x)$ and the gap come from the grid; the ELBO
# comes from draws, as in training. The second cell has the numbers, and next to them the naive average of section 3: compare the scatter of
# the two.

# %%
# NBVAL_CHECK_OUTPUT
log_q = losses.gaussian_log_prob(codes, mu, log_var)
gap = exact.kl_grid(log_q, log_posterior, area)
z_q = mu + torch.exp(log_var / 2) * torch.randn(5000, 2, dtype=torch.float64)
with torch.no_grad():
    log_px_z = -losses.bernoulli_nll(vae.decode(z_q.float()), image).double()
log_w = log_px_z + log_normal(z_q, 0 * z_q, 0 * z_q) - log_normal(z_q, mu, log_var)
standard_error = log_w.std() / len(log_w) ** 0.5
assert gap > 0 and abs(log_w.mean() + gap - log_p) < 4 * standard_error + 0.01  # 0.01 for the coarse grid
print("log p(x) from the grid = ELBO from draws + gap from the grid, within four standard errors:", True)

# %%
with torch.no_grad():
    from_prior = [-losses.bernoulli_nll(vae.decode(torch.randn(1000, 2)), image) for _ in range(20)]
naive = torch.logsumexp(torch.stack(from_prior, 1).double(), 0) - math.log(1000)
print(f"log p(x) {log_p:.2f} = ELBO {log_w.mean():.2f} ± {standard_error:.2f} + gap {gap:.2f} nats")
print(f"scatter with 1000 draws: ELBO {log_w.std() / 1000**0.5:.2f}, naive estimate of log p(x) {naive.std():.2f} nats")

# %% [markdown]
# With only two hidden numbers the naive estimate is already far noisier than the ELBO, whose draws are taken where they count.
#
# How much of the gap is the encoder's haste, and how much is due to the Gaussian shape? Search for the best Gaussian for *this one image*,
# starting from the highest point of the posterior. **Predict** its gap, if it sits on a patch with 62 % of the mass. (In section 6 it was one
# half.)

# %%
own_mu = codes[log_posterior.argmax()].clone().requires_grad_()
own_log_var = (log_var - 0.5).clone().requires_grad_()
optimizer = torch.optim.Adam([own_mu, own_log_var], lr=0.02)
for _ in range(150):
    optimizer.zero_grad()
    own_gap = exact.kl_grid(losses.gaussian_log_prob(codes, own_mu, own_log_var), log_posterior, area)
    own_gap.backward()
    optimizer.step()
assert 0 < own_gap < gap
share = (log_posterior.exp() * area)[(codes - mu) @ (own_mu - mu).detach() > 0].sum()  # its side of the encoder's mean
print(f"gap of the encoder's q: {gap:.2f} nats · of the best Gaussian for this image: {own_gap:.2f} nats")
print(f"share of its patch: {share:.0%}, and minus the logarithm of that: {-share.log():.2f} nats")

# %% [markdown]
# What the best Gaussian leaves is the **approximation gap**, the price of the shape. On MNIST most of it is $-\log$ of the patch's share, as
# in section 6: the price for not mentioning the other patch. The rest of the encoder's gap is the **amortisation gap**, the price of
# answering for all images with one quick network. Lesson 05 measures both on average, and shows what can be said about $\log p(x)$ when the
# code is too large for a grid.
#
# **Questions worth thinking about**
#
# 1. Your ELBO rises from $-110$ to $-105$. Name two different things that may have happened.
# 2. Why can the gap not be made zero by a better optimiser, in the picture with the two bumps?
# 3. You replace $q(z \mid x)$ by the prior for every image. Which of the two terms in (1.11) becomes zero, and what does the decoder then
#    learn?
# 4. Somebody reports $\log p(x) = -97$ from (1.6) with a million draws, and an ELBO of $-95$. What do you say?
#
# <details><summary>Answers</summary>
#
# 1. $\log p_\theta$ rose (the decoder improved), or the gap shrank (the encoder improved), or both. The ELBO alone cannot tell; lesson 05
#    can.
# 2. No Gaussian has two bumps. The gap that the best member of the family leaves is a property of the *family*, whatever the optimiser
#    does. (A mixture of two Gaussians could close it.)
# 3. The KL to the prior. The decoder hears nothing about the image, so the best it can do is the same guess for everyone: the baseline of
#    lesson 00. This is *posterior collapse*.
# 4. An ELBO above $\log p(x)$ is impossible, but (1.6) is biased low for the logarithm: it has most likely missed the region that matters.
#    Trust the bound: $\log p(x) \ge -95$, up to the ELBO's own standard error.
# </details>
#
# ## Recap
#
# - $p(x)$ is an integral over codes: exact on a grid for one or two hidden numbers, hopeless for twenty; averages over prior draws explode
#   in variance.
# - $\log p_\theta(x) = \text{ELBO} + \text{KL}(q \,\|\, p_\theta(z \mid x))$, an identity. The gap is at least 0, and 0 only for the exact
#   posterior.
# - $\text{ELBO} = \mathbb{E}_q[\log p(x \mid z)] - \text{KL}(q \,\|\, p(z))$; the second term is
#   $\tfrac12\sum(\mu^2 + \sigma^2 - 1 - \log\sigma^2)$, and 0 for the prior.
# - $\phi$ moves the gap, never $\log p$. $\theta$ moves both; a larger ELBO is a larger guarantee, not always a larger likelihood.
# - $\text{KL}(q \,\|\, p)$ makes $q$ pick one bump and stay inside it.
# - The bound is on the model's likelihood, not on the true density; on average over data it is at most $-H(p^*)$.
#
# **Before:** [00 · What would a model that knows nothing score?](00_start_here.ipynb) · **Next:**
# [02 · How do you differentiate through a dice roll?](02_reparameterization.ipynb)
#
# **Further reading**
# - D. P. Kingma, M. Welling, *Auto-Encoding Variational Bayes*, ICLR 2014, section 2.2 and appendix B (the bound, and the KL).
# - C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006, sections 9.4 (EM as a bound), 10.1 (mean field, both orders of KL), 12.2
#   (probabilistic PCA).
# - M. E. Tipping, C. M. Bishop, *Probabilistic Principal Component Analysis*, Journal of the Royal Statistical Society B, 1999 (the exact
#   model).
# - R. M. Neal, G. E. Hinton, *A view of the EM algorithm that justifies incremental, sparse, and other variants*, in: Learning in Graphical
#   Models, 1998.
# - D. M. Blei, A. Kucukelbir, J. D. McAuliffe, *Variational Inference: A Review for Statisticians*, Journal of the American Statistical
#   Association, 2017.

# %% [markdown] tags=["solution"]
# **For instructors.** Let students commit to the prediction in section 7 in writing; about the meaning of "maximising the bound" most are
# sure, and wrong. The log 2 of section 6 is a good two-minute discussion in pairs. If time is short, skip the landscape exercise and
# section 9. The bugs of section 5 come from source S0, the code of *Analysis by Synthesis* classifiers (`loss_functions.KLD`), and
# jmtomczak/intro_dgm; all are described in kind, none is quoted.
