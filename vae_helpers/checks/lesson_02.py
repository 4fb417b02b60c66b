"""Checks of lesson 02: the score-function estimator, what it costs, the reparameterised draw, and the missing half."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_helpers import gradients
from vae_helpers.checks.exercise import Bug, Exercise
from vae_helpers.models import reparameterize

ROWS = 50_000  # times two dimensions: 1e5 draws
MEAN, LOG_VAR = (1.5, -0.5), (-2.0, 1.0)
MATHEMATICS_OF_A14 = (
    "That is sigma^2 eps: exp(log_var) is the variance. sigma = exp(log_var / 2), so the 1/2 is missing."
)


@dataclass(frozen=True)
class Fingerprint:
    """What 1e5 draws of a sampler look like: enough to pass it, or to name its mistake. Each entry compares with a tolerance of its own."""

    mean: Tensor
    std: Tensor  # over the rows of the batch
    fourth: Tensor  # E[eps^4] of the standardised draws; 3 for a Gaussian, 1.8 for a uniform
    correlation: float  # between the two latent dimensions
    grad_mu: Tensor  # mean derivative with respect to mu
    grad_log_var: float  # largest |derivative - (z - mu)/2|, infinite where there is none
    repeats: float  # 1 if a second call returns the same draws
    seeded: float  # 1 if torch.manual_seed decides the draws
    keeps_dtype: float
    connected: float  # 1 if the draws are part of a graph at all (torch.normal's are, with gradients of zero)

    TOLERANCES = (0.05, 0.03, 0.3, 0.05, 1e-3, 1e-3, 0.5, 0.5, 0.5, 0.5)

    def entries(self) -> list[Tensor]:
        return [torch.as_tensor(value, dtype=torch.float64) for value in vars(self).values()]

    def resembles(self, other: "Fingerprint") -> bool:
        """Whether two samplers behave alike; two derivatives that are both wrong count as alike."""
        for place, (a, b, tolerance) in enumerate(zip(self.entries(), other.entries(), self.TOLERANCES, strict=True)):
            if place == 5:
                if bool(a < tolerance) != bool(b < tolerance):
                    return False
                continue
            both_nan = a.isnan() & b.isnan()
            if not bool((both_nan | ((a - b).abs() <= tolerance * b.abs().clamp(min=1))).all()):
                return False
        return True


class WrongShape(ValueError):
    """The sampler returned something that is no tensor of mu's shape. The message says what came back."""


def fingerprint(sampler: Callable) -> Fingerprint:
    """Run a sampler on 50 000 rows of two dimensions. Raises WrongShape; errors of the sampler itself pass through."""
    mu = torch.tensor(MEAN).repeat(ROWS, 1).requires_grad_()
    log_var = torch.tensor(LOG_VAR).repeat(ROWS, 1).requires_grad_()
    torch.manual_seed(0)
    z = sampler(mu, log_var)
    if not isinstance(z, Tensor) or z.shape != mu.shape:
        found = f"a tensor of shape {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise WrongShape(f"expected a tensor of shape {tuple(mu.shape)}, got {found}")
    with torch.no_grad():
        second = sampler(mu, log_var)
        torch.manual_seed(0)
        third = sampler(mu, log_var)
    grad_mu, grad_log_var, connected = torch.zeros(2), math.inf, float(z.requires_grad)
    if z.requires_grad:
        gradients_ = torch.autograd.grad(z.sum(), [mu, log_var], allow_unused=True)
        if gradients_[0] is not None:
            grad_mu = gradients_[0].mean(0)
        if gradients_[1] is not None and z.dtype == mu.dtype:
            grad_log_var = float((gradients_[1] - 0.5 * (z - mu)).detach().abs().max())
    z = z.detach().double()
    standard = (z - z.mean(0)) / z.std(0).clamp(min=1e-12)
    return Fingerprint(
        mean=z.mean(0),
        std=z.std(0),
        fourth=(standard**4).mean(0),
        correlation=float((standard[:, 0] * standard[:, 1]).mean()),
        grad_mu=grad_mu,
        grad_log_var=grad_log_var,
        repeats=float(torch.equal(z, second.double())),
        seeded=float(torch.equal(z, third.double())),
        keeps_dtype=float(second.dtype == mu.dtype),
        connected=connected,
    )


_known = functools.cache(fingerprint)  # of the bugs: they stay the same


def judge_sampler(sampler: Callable) -> tuple[bool, str]:
    """The first property of z = mu + sigma eps that a sampler lacks, in words, or that it has them all."""
    try:
        found = fingerprint(sampler)
    except WrongShape as error:
        return False, str(error)
    sigma = torch.exp(0.5 * torch.tensor(LOG_VAR)).double()
    shown = [f"{v:.2f}" for v in [*found.mean.tolist(), *found.std.tolist(), *sigma.tolist()]]
    if bool(found.std.isnan().any()):
        return False, "some draws are NaN."
    if found.repeats:
        return False, "two calls return the very same draws."
    if bool(((found.std - sigma).abs() > 0.02 * sigma).any()):
        return False, (
            f"over a batch of 50 000 equal rows the draws have standard deviations {shown[2]} and {shown[3]}, expected {shown[4]} and {shown[5]}."
        )
    if bool(((found.mean - torch.tensor(MEAN)).abs() > 0.02 * sigma).any()):
        return False, f"the draws have means {shown[0]} and {shown[1]}, expected {MEAN[0]:.2f} and {MEAN[1]:.2f}."
    if bool(((found.fourth - 3).abs() > 0.25).any()):
        return False, "mean and standard deviation fit, but the draws are not Gaussian."
    if abs(found.correlation) > 0.03:
        return False, "the two latent dimensions are not independent."
    if bool(((found.grad_mu - 1).abs() > 1e-5).any()):
        return False, f"the derivative with respect to mu is {float(found.grad_mu[0]):.2f}, expected 1."
    if not found.grad_log_var < 1e-5:
        return False, "the derivative with respect to log_var is not half of sigma eps."
    if not found.seeded:
        return False, "torch.manual_seed does not decide the draws."
    if not found.keeps_dtype:
        return False, "the draws have another dtype than mu."
    return True, "mean, standard deviation and shape of 100 000 draws, and both derivatives, are right."


class SamplerExercise(Exercise):
    """An exercise whose answer is random: an answer is taken for a known bug if 1e5 of its draws have the same fingerprint."""

    def _behaves_like(self, answer: Any, wrong: Any) -> bool:
        if answer is wrong:
            return True
        try:
            return fingerprint(answer).resembles(_known(wrong))
        except Exception:
            return False


def _sigma(log_var: Tensor) -> Tensor:
    return torch.exp(0.5 * log_var)


def _constant_seed(mu: Tensor, log_var: Tensor) -> Tensor:
    torch.manual_seed(1)
    return mu + _sigma(log_var) * torch.randn_like(mu)


def _from_numpy(mu: Tensor, log_var: Tensor) -> Tensor:
    eps = torch.from_numpy(np.random.default_rng().standard_normal(mu.shape)).float()
    return mu + _sigma(log_var) * eps


def _noise(*shape: int) -> Callable:
    def sampler(mu: Tensor, log_var: Tensor) -> Tensor:
        sizes = [mu.shape[i] if s < 0 else s for i, s in enumerate(shape)]
        return mu + _sigma(log_var) * torch.randn(sizes)

    return sampler


_SAMPLER_BUGS = [
    Bug("A14: variance as sigma", lambda m, v: m + v.exp() * torch.randn_like(m), MATHEMATICS_OF_A14),
    Bug(
        "torch.normal with a variance",
        lambda m, v: torch.normal(m, v.exp()),
        "torch.normal takes a standard deviation, you gave it a variance; and its result passes no gradient on. Write mu + sigma * eps.",
    ),
    Bug(
        "torch.normal",
        lambda m, v: torch.normal(m, _sigma(v)),
        "The draws are right, but torch.normal hands back gradients of zero, without a warning. Write mu + sigma * eps.",
    ),
    Bug(
        "E11: log_var as sigma",
        lambda m, v: m + v * torch.randn_like(m),
        "You multiply the noise by log_var itself. It is a logarithm: sigma = exp(log_var / 2).",
    ),
    Bug(
        "E22: root of sigma",
        lambda m, v: m + _sigma(v).sqrt() * torch.randn_like(m),
        "You took the root twice: sigma^0.5 eps, as a source's docstring says. The noise is multiplied by sigma itself.",
    ),
    Bug(
        "root of log_var",
        lambda m, v: m + v.sqrt() * torch.randn_like(m),
        "The root of a logarithm is NaN where the variance is below 1. Exponentiate first.",
    ),
    Bug(
        "sign",
        lambda m, v: m + torch.exp(-0.5 * v) * torch.randn_like(m),
        "The exponent has the wrong sign: you multiply by 1/sigma.",
    ),
    Bug(
        "twice",
        lambda m, v: m + torch.exp(2 * v) * torch.randn_like(m),
        "The exponent is 2 log_var where it should be half of log_var.",
    ),
    Bug("no noise", lambda m, v: m + 0 * v, "There is no noise in your z: it equals mu each time."),
    Bug("mu missing", lambda m, v: _sigma(v) * torch.randn_like(m), "mu is missing: z = mu + sigma * eps."),
    Bug(
        "sigma missing",
        lambda m, v: m + torch.randn_like(m) + 0 * v,
        "The noise is not multiplied by sigma: each dimension has its own.",
    ),
    Bug(
        "sum multiplied",
        lambda m, v: (m + torch.randn_like(m)) * _sigma(v),
        "mu was multiplied by sigma, too: only the noise is.",
    ),
    Bug(
        "rand for randn",
        lambda m, v: m + _sigma(v) * torch.rand_like(m),
        "torch.rand is uniform on [0, 1]. Gaussian noise comes from torch.randn.",
    ),
    Bug(
        "standardised uniform noise",
        lambda m, v: m + _sigma(v) * (torch.rand_like(m) - 0.5) * 12**0.5,
        "That noise has mean 0 and variance 1, but it is uniform. The KL of the loss holds for Gaussian codes: torch.randn.",
    ),
    Bug(
        "noise shared over the batch",
        _noise(1, -1),
        "All images of the batch get the same eps. Draw noise of the full shape: torch.randn_like(mu).",
    ),
    Bug(
        "noise shared over the dimensions",
        _noise(-1, 1),
        "All latent dimensions of an image get the same eps. Draw noise of the full shape: torch.randn_like(mu).",
    ),
    Bug(
        "detached",
        lambda m, v: (m + _sigma(v) * torch.randn_like(m)).detach(),
        "The draws are right, but they have no graph: leave .detach() and torch.no_grad() away, and use rsample in place of sample.",
    ),
    Bug(
        "sigma detached",
        lambda m, v: m + _sigma(v).detach() * torch.randn_like(m),
        "The gradient reaches mu, but not log_var: sigma was cut off from it.",
    ),
    Bug(
        "constant seed",
        _constant_seed,
        "You set the seed inside the function, so every call returns the same noise (and everybody else's noise repeats, too).",
    ),
    Bug(
        "numpy noise",
        _from_numpy,
        "The noise comes from another generator, so torch.manual_seed does not repeat your run: use torch.randn_like(mu).",
    ),
    Bug(
        "in double precision",
        lambda m, v: (m + _sigma(v) * torch.randn_like(m)).double(),
        "z must have the dtype of mu, or the decoder's weights will not accept it: torch.randn_like(mu).",
    ),
]

_Z = torch.tensor([0.3, 1.7, -0.4, 2.9], dtype=torch.float64)
_SCORE_CASES = [
    ("sigma = 1", (_Z**2, _Z, 1.0, 1.0)),
    ("sigma = 0.5", (_Z**2 + _Z.sin(), _Z, 0.8, 0.5)),
    ("sigma = 2", (_Z.cos(), _Z, -1.0, 2.0)),
]


def _q(z: Tensor, mu: float, std: float) -> Tensor:
    return torch.exp(-0.5 * ((z - mu) / std) ** 2) / (std * math.sqrt(2 * math.pi))


_SCORE_BUGS = [
    Bug(
        "not divided by the variance",
        lambda f, z, m, s: f * (z - m),
        "The derivative of log q is (z - mu) / sigma^2; yours lacks the division.",
    ),
    Bug(
        "divided by sigma",
        lambda f, z, m, s: f * (z - m) / s,
        "Divided by sigma, where the derivative of log q has sigma squared.",
    ),
    Bug(
        "sign",
        lambda f, z, m, s: f * (m - z) / s**2,
        "The sign is turned: log q rises with mu where z lies above mu, so (z - mu).",
    ),
    Bug("f missing", lambda f, z, m, s: (z - m) / s**2, "f(z) is missing. The score alone has mean zero."),
    Bug("mu missing", lambda f, z, m, s: f * z / s**2, "The score is measured from mu: (z - mu), not z."),
    Bug(
        "averaged",
        lambda f, z, m, s: (f * (z - m) / s**2).mean(),
        "You averaged over the draws. Keep one estimate per draw: their scatter is what the lesson measures.",
    ),
    Bug(
        "times the density",
        lambda f, z, m, s: f * (z - m) / s**2 * _q(z, m, s),
        "You multiplied by q(z) as well. The draws come from q, so averaging over them does that already.",
    ),
    Bug(
        "log q not differentiated",
        lambda f, z, m, s: f * _q(z, m, s).log(),
        "That is f(z) log q(z). The estimator needs the derivative of log q with respect to mu.",
    ),
    Bug(
        "with respect to sigma",
        lambda f, z, m, s: f * ((z - m) ** 2 / s**3 - 1 / s),
        "That is the estimator for the derivative with respect to sigma; here mu is asked.",
    ),
    Bug(
        "multiplied by the variance",
        lambda f, z, m, s: f * (z - m) * s**2,
        "You multiply by sigma squared where you should divide by it.",
    ),
]

_MU2, _LOG_VAR2 = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[-3.0, 0.4], [1.0, -2.0]])
_EPS2 = torch.tensor([[1.2, -0.3], [0.8, 2.0]])

EXERCISES = [
    Exercise(
        "score_gradient",
        gradients.score_gradient,
        cases=_SCORE_CASES,
        bugs=_SCORE_BUGS,
        general_hint="One number per draw: f(z) times the derivative of log q(z) with respect to mu, (2.3).",
        goes_on_with="vae_helpers.gradients.score_gradient",
    ),
    Exercise(
        "draws_needed",
        132,
        bugs=[
            Bug("the variance itself", 528, "That is the variance of the score estimator. The pathwise one has variance 4: take the ratio."),
            Bug("ratio of deviations", math.sqrt(132), "That is the ratio of the standard deviations. The variance of a mean falls with the number of draws: take the ratio of the variances."),
            Bug("one per dimension", 20, "It grows with the square of d: put d = 20 into (d + 2)(d + 4) and compare with 4."),
            Bug("in one dimension", 15 / 4, "That is the ratio for d = 1. Put d = 20 into (d + 2)(d + 4)."),
            Bug("leading term only", 100, "d squared over 4 is the right size; the exact ratio is (d + 2)(d + 4) / 4."),
            Bug("the other way round", 1 / 132, "The other way round: the noisier estimator needs more draws."),
            Bug("with a baseline", 11, "That is the ratio with the best baseline, 2(d + 2) / 4. Here there is none."),
        ],
        general_hint="The variance of a mean of n draws is the variance of one, divided by n: (d + 2)(d + 4) / n = 4.",
        goes_on_with="132",
    ),
    SamplerExercise(
        "reparameterize",
        reparameterize,
        judge=judge_sampler,
        bugs=_SAMPLER_BUGS,
        general_hint="z = mu + sigma * eps, with eps = torch.randn_like(mu) and sigma = exp(log_var / 2).",
        goes_on_with="vae_helpers.models.reparameterize",
    ),
    Exercise(
        "code_from_noise",
        lambda mu, log_var, eps: mu + torch.exp(0.5 * log_var) * eps,
        cases=[
            ("two images", (_MU2, _LOG_VAR2, _EPS2)),
            ("variance 1", (_MU2, torch.zeros(2, 2), _EPS2)),
            ("a narrow posterior", (_MU2, torch.full((2, 2), -4.0), _EPS2)),
        ],
        bugs=[
            Bug("A14: variance as sigma", lambda m, v, e: m + v.exp() * e, "exp(log_var) is the variance. What is its root?"),
            Bug("log_var as sigma", lambda m, v, e: m + v * e, "log_var is a logarithm, it may be negative: exponentiate half of it."),
            Bug("squared instead of rooted", lambda m, v, e: m + torch.exp(2 * v) * e, "Now the variance is squared. The exponent must shrink: log_var / 2."),
            Bug("root taken twice", lambda m, v, e: m + torch.exp(v / 4) * e, "That is the root of sigma. One root of the variance is enough: exp(log_var / 2)."),
            Bug("half in the wrong place", lambda m, v, e: m + 0.5 * v.exp() * e, "The half belongs into the exponent: exp(log_var / 2) is the root of exp(log_var), half of exp(log_var) is not."),
            Bug("one over sigma", lambda m, v, e: m + torch.exp(-0.5 * v) * e, "That is 1/sigma: mind the sign of the exponent."),
            Bug("mu dropped", lambda m, v, e: torch.exp(0.5 * v) * e, "mu is gone: the code is centred on mu."),
            Bug("noise replaced", lambda m, v, e: m + torch.exp(0.5 * v) * torch.randn_like(m), "Right, but use the noise that is handed in: both samplers are compared on the same eps."),
        ],
        general_hint="sigma is the root of the variance, and the variance is exp(log_var).",
        goes_on_with="mu + exp(log_var / 2) * eps",
    ),
]  # fmt: skip
