"""Checks of lesson 01: an integral on a grid, the Gaussian KL, an exact ELBO, two formulas to mend, and two predictions."""

import math

import torch

from vae_helpers import exact, losses
from vae_helpers.checks.exercise import Bug, Exercise

# ---------------------------------------------------------------- log_marginal_grid

_Z = torch.linspace(-8, 8, 401, dtype=torch.float64)
_BELL = losses.gaussian_log_prob(_Z[:, None])
_TWO_IMAGES = torch.stack([_BELL - 3.0, _BELL - 700.0 + _Z])


def _sum(values: torch.Tensor, dz: float) -> torch.Tensor:
    return torch.exp(values).sum(-1) * dz


# ---------------------------------------------------------------- gaussian_kl and linear_elbo

_MU, _LOG_VAR = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[-1.0, 0.3], [0.2, -2.0]])
_KL_CASES = [
    ("two images, two dimensions", (_MU, _LOG_VAR)),
    ("q equal to the prior", (torch.zeros(3, 4), torch.zeros(3, 4))),
    ("a narrow q in five dimensions", (torch.full((1, 5), 0.1), torch.full((1, 5), -6.0))),
]
_X = torch.tensor([1.2, -0.4, 0.9], dtype=torch.float64)
_W = torch.tensor([1.0, 0.5, -0.3], dtype=torch.float64)
_MEANS, _LOGS = (torch.tensor(v, dtype=torch.float64) for v in ([0.0, 0.8, -1.0, 0.3], [0.0, -2.0, 0.7, -1.0]))


def linear_elbo(x, w, sigma_x, mu, log_var):
    """The exact ELBO (1.15) of q = N(mu, exp(log_var)) for x = w z + noise: (D,), (D,), number, (...), (...) -> (...)."""
    model = exact.LinearGaussian(w[:, None], torch.zeros_like(w), sigma_x)
    return model.elbo(x, mu[..., None], log_var[..., None])


def _kl(mu, log_var):
    return 0.5 * (mu**2 + log_var.exp() - 1 - log_var)


def _elbo(x, w, s, mu, log_var, *, spread=0.5, variance=torch.exp, noise=2, constant=1.0, kl=1.0, slope=2, half=0.5):
    """(1.15) with one part at a time made wrong."""
    square = ((x - w * mu[..., None]) ** 2).sum(-1)
    error = (half * square + spread * variance(log_var) * (w**slope).sum()) / s**noise
    return -error - constant * 0.5 * len(x) * math.log(2 * math.pi * s**2) - kl * _kl(mu, log_var)


# ---------------------------------------------------------------- log_normal and kl_two_gaussians


def _log_normal(z, mu, log_var, *, constant=losses.LOG_2PI, log=1.0, precision=lambda v: torch.exp(-v)):
    return (-0.5 * (constant + log * log_var + (z - mu) ** 2 * precision(log_var))).sum(-1)


def kl_two_gaussians(mu, sigma, prior_mu, prior_sigma):
    """KL( N(mu, sigma^2) || N(prior_mu, prior_sigma^2) ), (1.14), summed over the last axis: four times (batch, d) -> (batch,)."""
    return losses.gaussian_kl(mu, 2 * sigma.log(), prior_mu, 2 * prior_sigma.log())


def _kl_two(mu, s, prior_mu, t, *, log=2.0, minus=1.0, half=0.5, power=2):
    return half * ((s**2 + (mu - prior_mu) ** 2) / t**power - minus - log * torch.log(s / t)).sum(-1)


_Q = (torch.tensor([[0.3, -1.0, 0.5], [1.0, 0.0, 0.2]]), torch.tensor([[0.5, 2.0, 1.0], [0.3, 1.5, 0.8]]))
_P = (torch.tensor([[0.0, 0.4, -1.0], [0.5, 0.0, 0.0]]), torch.tensor([[1.5, 1.0, 0.6], [2.0, 0.7, 1.0]]))

EXERCISES = [
    Exercise(
        "log_marginal_grid",
        exact.log_marginal_grid,
        cases=[
            ("a bell with integral one", (_BELL, 0.04)),
            ("a joint of 1e-304", (_BELL - 700.0, 0.04)),
            ("a joint too small for any float", (_BELL - 5000.0, 0.04)),
            ("two images at once", (_TWO_IMAGES, 0.04)),
        ],
        bugs=[
            Bug(
                "no dz",
                lambda v, dz: torch.logsumexp(v, -1),
                "A sum is not yet an integral: each term is a height, and an area is height times width. Add log dz.",
            ),
            Bug(
                "divided by dz",
                lambda v, dz: torch.logsumexp(v, -1) - math.log(dz),
                "You divide by dz. Area is height times width: multiply, so add log dz. (The notebooks of a well-known textbook have this slip.)",
            ),
            Bug(
                "dz for log dz",
                lambda v, dz: torch.logsumexp(v, -1) + dz,
                "Multiplying by dz becomes, after the logarithm, adding log(dz), not dz.",
            ),
            Bug(
                "underflow",
                lambda v, dz: torch.log(_sum(v, dz)),
                "Right on paper, but exp(-5000) is 0 on a computer and its logarithm -inf. Use torch.logsumexp.",
            ),
            Bug(
                "no logarithm",
                lambda v, dz: _sum(v, dz),
                "That is p(x). The function must return its logarithm, log p(x).",
            ),
            Bug(
                "mean of the heights",
                lambda v, dz: torch.logsumexp(v, -1) - math.log(v.shape[-1]),
                "A mean over the grid depends on how wide the grid is. Sum the heights and multiply by dz.",
            ),
            Bug(
                "integral of the logarithm",
                lambda v, dz: v.sum(-1) * dz,
                "You integrate the logarithm. The integral comes first, the logarithm last: exp, sum, times dz, log.",
            ),
            Bug(
                "the highest point",
                lambda v, dz: v.max(-1).values,
                "That is the joint at its best z. The evidence adds up all z.",
            ),
            Bug(
                "all images together",
                lambda v, dz: torch.logsumexp(v.flatten(), 0) + math.log(dz),
                "Sum over the last axis only, the grid: each image keeps its own number.",
            ),
        ],
        general_hint="exp, sum over the last axis, times dz, log; torch.logsumexp does the first two and the last in one.",
        goes_on_with="vae_helpers.exact.log_marginal_grid",
    ),
    Exercise(
        "gaussian_kl",
        losses.gaussian_kl,
        cases=_KL_CASES,
        bugs=[
            Bug(
                "the 1 is missing",
                lambda m, v: -0.5 * (v - m**2 - v.exp()).sum(-1),
                "Too large by exactly d/2: KL must be 0 when q is the prior. The 1 is missing inside the sum (source S0 has this bug).",
            ),
            Bug("negative", lambda m, v: -_kl(m, v).sum(-1), "KL is never negative. Turn the sign."),
            Bug(
                "without 1/2",
                lambda m, v: 2 * _kl(m, v).sum(-1),
                "Twice too large: the factor 1/2 of (1.13) is missing.",
            ),
            Bug(
                "log_var taken for the variance",
                lambda m, v: 0.5 * (m**2 + v - 1 - v.abs().log().nan_to_num(neginf=0)).sum(-1),
                "log_var is the logarithm of the variance: sigma^2 is log_var.exp(), log sigma^2 is log_var itself.",
            ),
            Bug(
                "log_var taken for log sigma",
                lambda m, v: _kl(m, 2 * v).sum(-1),
                "You treat log_var as log sigma. It is log sigma^2, so log_var.exp() is the variance already.",
            ),
            Bug(
                "sigma for the variance",
                lambda m, v: 0.5 * (m**2 + (v / 2).exp() - 1 - v).sum(-1),
                "exp(log_var / 2) is sigma; (1.13) needs sigma^2, which is exp(log_var).",
            ),
            Bug(
                "mu not squared", lambda m, v: (_kl(m, v) + 0.5 * (m - m**2)).sum(-1), "mu enters as its square: mu**2."
            ),
            Bug(
                "mean over dimensions",
                lambda m, v: _kl(m, v).mean(-1),
                "A mean over the latent dimensions. Dimensions are independent, so their KLs add: .sum(-1).",
            ),
            Bug(
                "one number for the batch",
                lambda m, v: _kl(m, v).sum(),
                "One number for all images came back. Sum over the last axis only.",
            ),
            Bug("per dimension", _kl, "One number per dimension came back. Sum them over the last axis."),
            Bug(
                "the other direction",
                lambda m, v: 0.5 * ((1 + m**2) * (-v).exp() - 1 + v).sum(-1),
                "That is KL(p || q). The order matters (section 8): here q comes first.",
            ),
        ],
        general_hint="(1.13): one half of mu^2 + sigma^2 - 1 - log sigma^2, summed over the last axis, with sigma^2 = log_var.exp().",
        goes_on_with="vae_helpers.losses.gaussian_kl",
    ),
    Exercise(
        "kl_two_gaussians",
        kl_two_gaussians,
        cases=[
            ("sigma = 1 everywhere", (_Q[0], torch.ones(2, 3), _P[0], torch.ones(2, 3))),
            ("q narrower than a standard prior", (_Q[0], torch.full((2, 3), 0.5), torch.zeros(2, 3), torch.ones(2, 3))),
            ("two different Gaussians", (*_Q, *_P)),
            ("q equal to p", (*_P, *_P)),
        ],
        bugs=[
            Bug(
                "log sigma for log sigma^2",
                lambda m, s, pm, t: _kl_two(m, s, pm, t, log=1.0),
                "(1.14) has log sigma^2, which is 2 log sigma. Your formula is right only where sigma equals prior_sigma.",
            ),
            Bug(
                "the logarithm left out",
                lambda m, s, pm, t: _kl_two(m, s, pm, t, log=0.0),
                "The logarithm of the two variances is missing.",
            ),
            Bug(
                "the logarithm upside down",
                lambda m, s, pm, t: _kl_two(m, s, pm, t, log=-2.0),
                "The logarithm has the wrong sign: a narrow q must cost more, so minus log sigma^2.",
            ),
            Bug(
                "the 1 is missing",
                lambda m, s, pm, t: _kl_two(m, s, pm, t, minus=0.0),
                "KL must be 0 when q equals p. Yours is d/2 there: the 1 is missing.",
            ),
            Bug(
                "swapped",
                lambda m, s, pm, t: _kl_two(pm, t, m, s),
                "That is KL(p || q). Divide by the prior's variance.",
            ),
            Bug(
                "prior_sigma not squared",
                lambda m, s, pm, t: _kl_two(m, s, pm, t, power=1),
                "Divide by prior_sigma squared, its variance.",
            ),
            Bug("without 1/2", lambda m, s, pm, t: _kl_two(m, s, pm, t, half=1.0), "The factor 1/2 is missing."),
        ],
        general_hint="Try sigma = prior_sigma = 1 first, then only change sigma: which term moves wrongly?",
        goes_on_with="vae_helpers.losses.gaussian_kl",
    ),
    Exercise(
        "linear_elbo",
        linear_elbo,
        cases=[
            ("four different q", (_X, _W, 0.5, _MEANS, _LOGS)),
            ("a single q", (_X, _W, 1.0, torch.tensor(0.4).double(), torch.tensor(-1.0).double())),
            ("a grid of q", (_X[:2], _W[:2], 0.3, _MEANS[:, None] + torch.zeros(2).double(), _LOGS[:2].repeat(4, 1))),
        ],
        bugs=[
            Bug(
                "no spread",
                lambda *a: _elbo(*a, spread=0.0),
                "You put the mean of q in place of z. The mean of (x - w z)^2 is (x - w mu)^2 + w^2 sigma^2: the second part is missing.",
            ),
            Bug(
                "spread with sigma",
                lambda *a: _elbo(*a, variance=lambda v: torch.exp(v / 2)),
                "The spread term takes the variance exp(log_var), not the standard deviation.",
            ),
            Bug(
                "spread with log_var",
                lambda *a: _elbo(*a, variance=lambda v: v),
                "The spread term takes the variance, which is exp(log_var), not its logarithm.",
            ),
            Bug("spread without w", lambda *a: _elbo(*a, slope=0), "z is multiplied by w, so its variance by w^2."),
            Bug("w not squared", lambda *a: _elbo(*a, slope=1), "The variance of w z is w^2 sigma^2: square the w."),
            Bug("spread without 1/2", lambda *a: _elbo(*a, spread=1.0), "The spread term lacks its factor 1/2."),
            Bug(
                "square without 1/2",
                lambda *a: _elbo(*a, half=1.0, spread=1.0),
                "The squared error lacks its factor 1/2.",
            ),
            Bug(
                "sigma_x not squared", lambda *a: _elbo(*a, noise=1), "Divide by sigma_x^2, the variance of the noise."
            ),
            Bug(
                "no constant",
                lambda *a: _elbo(*a, constant=0.0),
                "The constant D/2 log(2 pi sigma_x^2) is missing. Without it the result bounds nothing.",
            ),
            Bug(
                "one constant for all",
                lambda *a: _elbo(*a, constant=1 / len(a[0])),
                "Each of the D coordinates brings its own constant.",
            ),
            Bug("kl added", lambda *a: _elbo(*a, kl=-1.0), "The ELBO is E_q[log p(x|z)] minus the KL."),
            Bug("no kl", lambda *a: _elbo(*a, kl=0.0), "Only the first half is there: subtract the KL to the prior."),
            Bug("negative", lambda *a: -_elbo(*a), "That is -ELBO, the loss. Here return the ELBO itself."),
            Bug(
                "spread added",
                lambda *a: _elbo(*a, spread=-0.5),
                "A wider q guesses worse: its spread lowers the ELBO. Turn that sign.",
            ),
        ],
        general_hint="(1.15) has three parts: the squared error, its spread, and the constant; then subtract the KL to the prior.",
        goes_on_with="the exact ELBO of vae_helpers.exact",
    ),
    Exercise(
        "log_normal",
        losses.gaussian_log_prob,
        cases=[
            (
                "one dimension",
                (torch.tensor([[0.3], [2.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [-1.0]])),
            ),
            ("two dimensions", (_MU + 0.5, _MU, _LOG_VAR)),
            ("five draws for each of two images", (_MU + torch.linspace(-1, 1, 5)[:, None, None], _MU, _LOG_VAR)),
        ],
        bugs=[
            Bug(
                "the constant D times too often",
                lambda z, m, v: _log_normal(z, m, v, constant=z.shape[-1] * losses.LOG_2PI),
                "Look at the constant: it stands inside the sum over d dimensions and carries a factor d of its own.",
            ),
            Bug(
                "no constant",
                lambda z, m, v: _log_normal(z, m, v, constant=0.0),
                "log(2 pi) is missing, once for each dimension: the density would not integrate to one.",
            ),
            Bug(
                "one constant in all",
                lambda z, m, v: _log_normal(z, m, v, constant=losses.LOG_2PI / z.shape[-1]),
                "Each dimension brings its own log(2 pi); you count it once in all.",
            ),
            Bug(
                "per dimension",
                lambda z, m, v: -0.5 * (losses.LOG_2PI + v + (z - m) ** 2 * torch.exp(-v)),
                "One number per dimension came back: sum over the last axis.",
            ),
            Bug(
                "summed over everything",
                lambda z, m, v: _log_normal(z, m, v).sum(),
                "One number in all came back: sum over the last axis only, .sum(-1).",
            ),
            Bug(
                "negative",
                lambda z, m, v: -_log_normal(z, m, v),
                "The function returns the log density, not its negative.",
            ),
            Bug(
                "log_var taken for log sigma",
                lambda z, m, v: _log_normal(z, m, v, log=2.0, precision=lambda u: torch.exp(-2 * u)),
                "log_var is log sigma^2 already: no factor 2.",
            ),
        ],
        general_hint="Compare with torch.distributions.Normal(mu, exp(log_var / 2)).log_prob(z).sum(-1) in one dimension, then in two.",
        goes_on_with="vae_helpers.losses.gaussian_log_prob",
    ),
    Exercise(
        "moves_log_p",
        (False, True, False),
        bugs=[
            Bug(
                "phi as well",
                (True, True, False),
                "Look at (1.1): log p(x) is made of p(z) and p(x|z) only. Where would q enter?",
            ),
            Bug(
                "phi in place of theta",
                (True, False, False),
                "The other way round: the decoder stands in (1.1), q does not.",
            ),
            Bug("nothing", (False, False, False), "The decoder's parameters stand in (1.1): p(x|z) is the decoder."),
            Bug(
                "draws as well",
                (False, True, True),
                "More draws make the *estimate* of the bound less noisy. The number that is estimated stays.",
            ),
            Bug(
                "everything", (True, True, True), "Two of the three leave log p(x) alone. Which of them stand in (1.1)?"
            ),
            Bug("all but theta", (True, False, True), "It is just the opposite in all three. Look for q in (1.1)."),
        ],
        general_hint="Answer with three booleans, in this order: phi, theta, draws. What stands in (1.1)?",
        goes_on_with="(False, True, False)",
    ),
    Exercise(
        "gap_of_one_bump",
        math.log(2),
        bugs=[
            Bug("none", 0.0, "The gap is zero only if q is the posterior, and one bump is not two."),
            Bug("negative", -math.log(2), "Right size, wrong sign: a KL is never negative."),
            Bug(
                "one half",
                0.5,
                "Where q lives, the posterior is half as high as q. The gap is the mean of a *logarithm* of that ratio.",
            ),
            Bug("two", 2.0, "The ratio q / posterior is 2; the gap is the mean of its logarithm."),
            Bug("in bits", 1.0, "One bit, right! In nats, the unit of this course, multiply by log 2."),
            Bug(
                "twice",
                2 * math.log(2),
                "The mean is taken under q, which has all its mass on one bump: count that bump once.",
            ),
            Bug("without bound", math.inf, "KL(q || p) is infinite only if q puts mass where the posterior has none."),
        ],
        general_hint="Where q has its mass, the posterior's bump has the same shape but half the height: log of q / posterior?",
        goes_on_with="log 2",
        exact=2e-3,
        close=1e-2,
    ),
]
