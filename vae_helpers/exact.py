"""Latent-variable models that are solved exactly, in float64: a linear decoder in closed form, a curved one on a grid.

Both draw z ~ N(0, I_d) and x ~ N(decode(z), sigma_x^2 I_D). With a linear decoder (probabilistic PCA; Tipping & Bishop, 1999) the
evidence, the posterior and the ELBO of a Gaussian q are closed forms; with one latent dimension any decoder is solved by a sum over
a fine grid. So each bound of the course can be held against the truth. Results are in nats per image; leading axes may broadcast.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_helpers import losses
from vae_helpers.models import Gaussian


class Posterior(NamedTuple):
    """p(z|x) = N(mean, covariance): mean (..., d), and one covariance (d, d) for all x."""

    mean: Tensor
    covariance: Tensor


class Draws(NamedTuple):
    """Codes z (n, d) from the prior, and x (n, D) from p(x|z): n pairs from the joint distribution."""

    x: Tensor
    z: Tensor


def _float64(values) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


# ---------------------------------------------------------------- integrals over z on a grid


def grid(low: float, high: float, points: int, d: int = 1) -> tuple[Tensor, float]:
    """An equidistant grid on [low, high]^d: codes (points^d, d) in float64, and the volume of one cell.

    float64 matters: torch.linspace in float32 puts the points off by 1e-7, which a difference of two integrals shows.
    """
    axis = torch.linspace(low, high, points, dtype=torch.float64)
    mesh = torch.meshgrid(*[axis] * d, indexing="ij")
    return torch.stack([m.flatten() for m in mesh], -1), math.pow((high - low) / (points - 1), d)


def log_marginal_grid(log_joint_on_grid: Tensor, dz: float | Tensor) -> Tensor:
    """log of the integral of p(x, z) over z, as the Riemann sum log( sum_g p(x, z_g) dz ): (..., G) -> (...), in nats.

    `dz` is the length (area, volume) of one grid cell. The sum runs over the last axis: flatten a grid of several dimensions first.
    logsumexp keeps it exact where exp(log_joint) is too small for a float.
    """
    dz = torch.as_tensor(dz, dtype=log_joint_on_grid.dtype, device=log_joint_on_grid.device)
    if not bool((dz > 0).all()):
        raise ValueError(f"dz must be positive, got {dz}: it is the distance of neighbouring grid points.")
    return torch.logsumexp(log_joint_on_grid, -1) + torch.log(dz)


def elbo_grid(log_joint_on_grid: Tensor, log_q_on_grid: Tensor, dz: float | Tensor) -> Tensor:
    """E_q[log p(x, z) - log q(z)] as a Riemann sum over the last axis: (..., G) -> (...), in nats; any density q on the grid."""
    return (torch.exp(log_q_on_grid) * (log_joint_on_grid - log_q_on_grid)).sum(-1) * dz


def kl_grid(log_q_on_grid: Tensor, log_p_on_grid: Tensor, dz: float | Tensor) -> Tensor:
    """KL(q || p) of two densities as a Riemann sum over the last axis: (..., G) -> (...), in nats."""
    return (torch.exp(log_q_on_grid) * (log_q_on_grid - log_p_on_grid)).sum(-1) * dz


# ---------------------------------------------------------------- the models


class _GaussianNoise:
    """z ~ N(0, I_d), x ~ N(decode(z), sigma_x^2 I_D): what both models share."""

    def __init__(self, D: int, d: int, sigma_x: float) -> None:
        self.D, self.d, self.sigma_x = D, d, float(sigma_x)
        if not self.sigma_x > 0:
            raise ValueError(f"sigma_x is a standard deviation and must be positive, got {sigma_x}.")

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x|z): (..., d) -> (..., D)."""
        raise NotImplementedError

    def _observation(self, x: Tensor) -> Tensor:
        x = _float64(x)
        if x.shape[-1:] != (self.D,):
            raise ValueError(f"x must be (..., {self.D}) for this model, got {tuple(x.shape)}.")
        return x

    def _code(self, z: Tensor) -> Tensor:
        z = _float64(z)
        if z.shape[-1:] != (self.d,):
            raise ValueError(f"z, mu and log_var must be (..., {self.d}) for this model, got {tuple(z.shape)}.")
        return z

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I): (..., d) -> (...)."""
        return losses.gaussian_log_prob(self._code(z))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) = log N(x; decode(z), sigma_x^2 I): (..., D) and (..., d) -> (...)."""
        return -losses.gaussian_nll(self.decode(z), self._observation(x), self.sigma_x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(x|z) + log p(z): (..., D) and (..., d) -> (...)."""
        return self.log_likelihood(x, z) + self.log_prior(z)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Draws:
        """n independent pairs from p(z) p(x|z)."""
        z = torch.randn(n, self.d, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, self.D, generator=generator, dtype=torch.float64)
        return Draws(self.decode(z) + self.sigma_x * noise, z)


class Curve(_GaussianNoise):
    """One hidden number, two observed ones: decode(z) = (0.8 z - sin 2z, cos 2z), a looped line in the plane (1.2).

    The line crosses itself, so an x at a crossing has two explanations and its posterior two modes.
    """

    crossing = 1.0626725956937344  # the root of 0.8 z = sin 2z: decode(crossing) = decode(-crossing)

    def __init__(self, sigma_x: float = 0.25) -> None:
        super().__init__(2, 1, sigma_x)

    def decode(self, z: Tensor) -> Tensor:
        z = self._code(z)[..., 0]
        return torch.stack([0.8 * z - torch.sin(2 * z), torch.cos(2 * z)], -1)


class LinearGaussian(_GaussianNoise):
    """The linear-Gaussian model, decode(z) = Wz + b, of given W (D, d), b (D,) and standard deviation sigma_x > 0.

    >>> model = LinearGaussian([[1.0]], [0.0], sigma_x=1.0)
    >>> model.posterior([2.0]).mean  # half-way between the prior's 0 and x = 2
    tensor([1.], dtype=torch.float64)
    """

    def __init__(self, W: Tensor, b: Tensor, sigma_x: float) -> None:
        self.W, self.b = _float64(W), _float64(b)
        if self.W.ndim != 2 or self.b.shape != self.W.shape[:1]:
            raise ValueError(f"W must be (D, d) and b (D,), got {tuple(self.W.shape)} and {tuple(self.b.shape)}.")
        super().__init__(*self.W.shape, sigma_x)
        identity = torch.eye(self.d, dtype=torch.float64)
        self.M = identity + self.W.T @ self.W / self.sigma_x**2  # the posterior precision, (d, d)
        self._marginal = self._gaussian(self.sigma_x**2)

    def _gaussian(self, noise_variance: float) -> torch.distributions.MultivariateNormal:
        covariance = self.W @ self.W.T + noise_variance * torch.eye(self.D, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.b, covariance)

    def decode(self, z: Tensor) -> Tensor:
        return self._code(z) @ self.W.T + self.b

    def log_marginal(self, x: Tensor) -> Tensor:
        """log p(x) = log N(x; b, W W' + sigma_x^2 I), the evidence: (..., D) -> (...)."""
        return self._marginal.log_prob(self._observation(x))

    def posterior(self, x: Tensor) -> Posterior:
        """p(z|x) = N( M^-1 W'(x - b) / sigma_x^2, M^-1 ) with M = I + W'W / sigma_x^2. Source: Tipping & Bishop (1999)."""
        covariance = torch.linalg.inv(self.M)
        return Posterior((self._observation(x) - self.b) @ self.W @ covariance / self.sigma_x**2, covariance)

    def expected_log_likelihood(self, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
        """E_q[log p(x|z)] of q = N(mu, diag exp(log_var)), exactly: log p(x|mu) - sum_j sigma_j^2 |w_j|^2 / (2 sigma_x^2)."""
        spread = torch.exp(self._code(log_var)) @ (self.W**2).sum(0) / (2 * self.sigma_x**2)
        return self.log_likelihood(x, mu) - spread

    def elbo(self, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
        """ELBO = E_q[log p(x|z)] - KL(q || p(z)) of q = N(mu, diag exp(log_var)): (..., D), (..., d), (..., d) -> (...)."""
        kl = losses.gaussian_kl(self._code(mu), self._code(log_var))
        return self.expected_log_likelihood(x, mu, log_var) - kl

    def kl_to_posterior(self, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
        """KL(q || p(z|x)), the gap of the ELBO, from the formula for two Gaussians (never as log p(x) - ELBO)."""
        mu, log_var = self._code(mu), self._code(log_var)
        distance = mu - self.posterior(x).mean
        mahalanobis = (distance @ self.M * distance).sum(-1)
        trace = torch.exp(log_var) @ self.M.diagonal()
        return 0.5 * (trace + mahalanobis - self.d - torch.logdet(self.M) - log_var.sum(-1))

    def best_mean_field(self, x: Tensor) -> Gaussian:
        """The diagonal Gaussian with the largest ELBO: the posterior mean, and variances 1 / M_jj; mu and log_var, each (..., d).

        Source: Bishop (2006), section 10.1.2.
        """
        mean = self.posterior(x).mean
        return Gaussian(mean, (-torch.log(self.M.diagonal())).expand_as(mean))

    def naive_relative_variance(self, x: Tensor) -> Tensor:
        """Var[p(x|z)] / p(x)^2 for one z drawn from the prior, exactly: (..., D) -> (...), no unit; over S draws it shrinks to 1/S of this (1.7).

        The square of a Gaussian density is a narrower Gaussian: N(x; m, s^2 I)^2 = (4 pi s^2)^(-D/2) N(x; m, s^2/2 I).
        """
        x = self._observation(x)
        log_square = self._gaussian(self.sigma_x**2 / 2).log_prob(x)
        log_square = log_square - 0.5 * self.D * math.log(4 * math.pi * self.sigma_x**2)
        return torch.expm1(log_square - 2 * self.log_marginal(x))

    def entropy(self) -> Tensor:
        """H(p) = -E[log p(x)] of the model's own x, a scalar, in nats."""
        return self._marginal.entropy()
