"""Gradients of E_q[f(z)] with respect to the mean of a Gaussian q: the two estimators of lesson 02, and their exact variances."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class GradientDraws(NamedTuple):
    """Single-draw estimates of the same derivative by the two methods, each (samples,)."""

    score: Tensor
    pathwise: Tensor


class GradientVariances(NamedTuple):
    """Exact variances of one single-draw estimate: score function, score function with its best constant baseline, pathwise."""

    score: float
    baseline: float
    pathwise: float


def hermite(nodes: int = 100) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite nodes and weights for eps ~ N(0, 1), each (nodes,), float64; the weights add up to 1.

    sum_i weight_i g(node_i) is E[g(eps)], exactly so for polynomials of a degree up to 2 nodes - 1.

    >>> eps, weight = hermite(10)
    >>> round(float((weight * eps**4).sum()), 9)
    3.0
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(points), torch.from_numpy(weights / weights.sum())


def gaussian_mean(g: Callable[[Tensor], Tensor], mu: float = 0.0, std: float = 1.0, nodes: int = 100) -> float:
    """E[g(z)] for z ~ N(mu, std^2), by Gauss-Hermite quadrature in float64; g maps (nodes,) to (nodes,) and must be smooth."""
    eps, weight = hermite(nodes)
    return float((weight * g(mu + std * eps)).sum())


class Moments(NamedTuple):
    """Mean and variance of a function of eps ~ N(0, 1)."""

    mean: float
    variance: float


def moments(values: Tensor) -> Moments:
    """Exact mean and variance of g(eps) from its values at the nodes of `hermite(len(values))`: (nodes,) -> two numbers.

    >>> eps, _ = hermite()
    >>> round(moments(2 * (1 + eps)).variance, 9)
    4.0
    """
    _, weight = hermite(len(values))
    mean = (weight * values).sum()
    return Moments(float(mean), float((weight * (values - mean) ** 2).sum()))


def score_gradient(f_z: Tensor, z: Tensor, mu: Tensor | float, std: Tensor | float) -> Tensor:
    """Score-function estimates of d/dmu E[f(z)], one per draw z ~ N(mu, std^2): f(z) (z - mu) / std^2, equations (2.2) and (2.3).

    All arguments broadcast; nothing is averaged. f needs no derivative. Source: Williams (1992), REINFORCE.
    """
    return f_z * (z - mu) / std**2


def square_norm_variances(mu: float, d: int) -> GradientVariances:
    """Exact variances of single-draw estimates of d/dmu_1 E|z|^2 = 2 mu_1 for z ~ N((mu, 0, ..., 0), I_d), equation (2.7).

    The best constant baseline is E[f eps_1^2] = mu^2 + d + 2; with it, (2.8). At mu = 0 they are (d+2)(d+4), 2(d+2) and 4.
    """
    if d < 1:
        raise ValueError(f"d is a number of dimensions and must be at least 1, got {d}")
    score = mu**4 + 14 * mu**2 + 15 + 2 * (mu**2 + 3) * (d - 1) + (d - 1) * (d + 1)
    return GradientVariances(score, 8 * mu**2 + 2 * d + 4, 4.0)


def square_norm_gradients(
    mu: float, d: int, samples: int, *, generator: torch.Generator | None = None
) -> GradientDraws:
    """`samples` single-draw estimates of d/dmu_1 E|z|^2 by each method, from the same noise; z ~ N((mu, 0, ..., 0), I_d)."""
    eps = torch.randn(samples, d, generator=generator)
    mean = torch.zeros(d)
    mean[0] = mu
    z = mean + eps
    return GradientDraws(score_gradient((z**2).sum(1), z[:, 0], mu, 1.0), 2 * z[:, 0])


def dreg_objective(log_w: Tensor) -> Tensor:
    """What to differentiate for the doubly reparameterised gradient of L_K with respect to the encoder: (K, ...) -> (...), (2.17).

    `log_w` must be computed with q's own mu and log_var detached, so that they enter through z = mu + sigma eps only. The *value* of
    the result means nothing, its gradient is an unbiased estimate; for K = 1 it is "sticking the landing" (Roeder et al., 2017).
    Source: Tucker, Lawson, Gu & Maddison (2019), eq. 8.
    """
    share = torch.softmax(log_w.detach(), 0)
    return (share**2 * log_w).sum(0)
