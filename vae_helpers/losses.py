"""Every bound and every likelihood of the course: one number per image, in nats, with all constants kept.

Shapes: images and decoder outputs are (..., D), codes are (..., d), results drop the last axis. Nothing here averages over images:
the one `.mean()` of a training step stays visible in the training loop (`free_bits` is the exception: it is defined on a batch mean).
Any leading axes may broadcast (importance samples, labels).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2 * math.pi)
NEAR_ZERO = 0.1  # below this |logit| the continuous Bernoulli uses its Taylor series, exact to 4e-10
LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian", "laplace")


class BoundTerms(NamedTuple):
    """The two halves of -ELBO, each of shape (batch,), in nats per image. Their sum is the bound on -log p(x)."""

    rec: Tensor
    kl: Tensor


def _same_last_axis(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(
            f"{name}: the last axes must have the same length, got {tuple(a.shape)} and {tuple(b.shape)}. "
            "Flatten images to (batch, 784) first: x.flatten(1)."
        )


# ---------------------------------------------------------------- Gaussians in latent space


def gaussian_kl_per_dim(
    mu: Tensor, log_var: Tensor, prior_mu: Tensor | float = 0.0, prior_log_var: Tensor | float = 0.0
) -> Tensor:
    """KL( N(mu, exp(log_var)) || N(prior_mu, exp(prior_log_var)) ) of each latent dimension, shape of `mu`, in nats.

    Source: Kingma & Welling (2014), appendix B; with the default prior N(0, 1) it is 1/2 (mu^2 + sigma^2 - 1 - log sigma^2).
    """
    _same_last_axis("gaussian_kl", mu, log_var)
    prior_log_var = torch.as_tensor(prior_log_var, dtype=mu.dtype, device=mu.device)
    log_ratio = log_var - prior_log_var
    # expm1(r) = exp(r) - 1 without cancellation: near q = p the KL stays exact, and never turns negative
    return 0.5 * ((mu - prior_mu) ** 2 * torch.exp(-prior_log_var) + torch.expm1(log_ratio) - log_ratio)


def gaussian_kl(
    mu: Tensor, log_var: Tensor, prior_mu: Tensor | float = 0.0, prior_log_var: Tensor | float = 0.0
) -> Tensor:
    """KL(q(z|x) || p(z)) summed over latent dimensions: (batch, d) -> (batch,), in nats per image; zero when q is the prior.

    >>> gaussian_kl(torch.zeros(3, 2), torch.zeros(3, 2))
    tensor([0., 0., 0.])
    """
    return gaussian_kl_per_dim(mu, log_var, prior_mu, prior_log_var).sum(-1)


def gaussian_log_prob(z: Tensor, mu: Tensor | float = 0.0, log_var: Tensor | float = 0.0) -> Tensor:
    """log N(z; mu, diag exp(log_var)), summed over the last axis: (..., d) -> (...), in nats. The defaults are the prior N(0, I)."""
    log_var = torch.as_tensor(log_var, dtype=z.dtype, device=z.device)
    return -0.5 * (LOG_2PI + log_var + (z - mu) ** 2 * torch.exp(-log_var)).sum(-1)


# ---------------------------------------------------------------- likelihoods p(x|z): minus log density, per image


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log Bernoulli(x; sigmoid(logits)), summed over pixels: (..., D) -> (...), in nats.

    For binary x this is the exact negative log-likelihood. For grey x in [0, 1] it is the mean over b ~ Bernoulli(x) of the one for
    b (lesson 03), never below the entropy of the pixels. It stays exact for large logits, where log(sigmoid(.)) would not.
    """
    _same_last_axis("bernoulli_nll", logits, x)
    logits, x = torch.broadcast_tensors(logits, x)  # each pixel costs log(1 + exp(logit)) - x logit
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def _split_at_zero(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits for the Taylor series and for the closed form, each harmless where the other one is used.

    Masking only the results would not do: the gradient of the unused branch, 0 times infinity, would still be NaN.
    """
    near = logits.clamp(-NEAR_ZERO, NEAR_ZERO)
    return near, torch.where(logits.abs() < NEAR_ZERO, NEAR_ZERO, logits)


def continuous_bernoulli_log_constant(logits: Tensor) -> Tensor:
    """log C(p) of the continuous Bernoulli per pixel, p = sigmoid(logits): C = logit(p) / (2p - 1) >= 2. Same shape back.

    Source: Loaiza-Ganem & Cunningham (2019), eq. 5, in the logit a: C = a / tanh(a / 2), with its Taylor series near a = 0.
    """
    near, far = _split_at_zero(logits)
    series = math.log(2) + near**2 / 12 - 7 * near**4 / 1440
    closed = torch.log(far.abs()) - torch.log(torch.tanh(far.abs() / 2))
    return torch.where(logits.abs() < NEAR_ZERO, series, closed)


def continuous_bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """-log density on [0, 1]^D of the continuous Bernoulli, summed over pixels: (..., D) -> (...), in nats (often negative).

    Source: Loaiza-Ganem & Cunningham (2019), eq. 5.
    """
    return bernoulli_nll(logits, x) - continuous_bernoulli_log_constant(logits).sum(-1)


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Mean of the continuous Bernoulli, per pixel; sigmoid(logits) is *not* its mean. Any shape, same shape back.

    Source: Loaiza-Ganem & Cunningham (2019), eq. 6: p / (2p - 1) - 1 / logit(p).
    """
    near, far = _split_at_zero(logits)
    series = 0.5 + near / 12 - near**3 / 720
    closed = torch.sigmoid(far) / torch.tanh(far / 2) - 1 / far
    return torch.where(logits.abs() < NEAR_ZERO, series, closed)


def gaussian_nll(mean: Tensor, x: Tensor, sigma_x: Tensor | float = 1.0) -> Tensor:
    """-log N(x; mean, sigma_x^2 I), summed over pixels: SSE / (2 sigma_x^2) + D/2 log(2 pi sigma_x^2), (..., D) -> (...), in nats.

    `sigma_x` is a standard deviation: a number, or a tensor that broadcasts against (..., D).
    """
    _same_last_axis("gaussian_nll", mean, x)
    sigma_x = torch.as_tensor(sigma_x, dtype=mean.dtype, device=mean.device)
    if not sigma_x.ndim:  # one for all pixels: sum first, which costs a third
        squares = ((x - mean) ** 2).sum(-1)
        return squares / (2 * sigma_x**2) + x.shape[-1] * (torch.log(sigma_x) + 0.5 * LOG_2PI)
    return (0.5 * ((x - mean) / sigma_x) ** 2 + torch.log(sigma_x) + 0.5 * LOG_2PI).sum(-1)


def laplace_nll(mean: Tensor, x: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """-log Laplace(x; mean, scale), summed over pixels: L1 / scale + D log(2 scale), (..., D) -> (...), in nats."""
    _same_last_axis("laplace_nll", mean, x)
    scale = torch.as_tensor(scale, dtype=mean.dtype, device=mean.device)
    return ((x - mean).abs() / scale + torch.log(2 * scale)).sum(-1)


def reconstruction_nll(
    output: Tensor, x: Tensor, likelihood: str = "bernoulli", sigma_x: Tensor | float = 1.0
) -> Tensor:
    """-log p(x|z) of the named likelihood: (..., D) -> (...), in nats.

    `output` is what the decoder returns: logits for the two Bernoullis, means for the others. `sigma_x` is the standard deviation of
    the Gaussian or the scale of the Laplace. Raises ValueError for an unknown name.
    """
    if likelihood == "bernoulli":
        return bernoulli_nll(output, x)
    if likelihood == "continuous_bernoulli":
        return continuous_bernoulli_nll(output, x)
    if likelihood == "gaussian":
        return gaussian_nll(output, x, sigma_x)
    if likelihood == "laplace":
        return laplace_nll(output, x, sigma_x)
    raise ValueError(f"unknown likelihood {likelihood!r}: choose one of {', '.join(LIKELIHOODS)}")


def squared_error(mean: Tensor, x: Tensor) -> Tensor:
    """Sum of squared errors per image, (..., D) -> (...). NOT a likelihood: -log N(x; mean, I/2) without its constant D/2 log(pi).

    Sources S0 and S4 report this; here it serves only to compare with their printed figures.
    """
    _same_last_axis("squared_error", mean, x)
    return ((x - mean) ** 2).sum(-1)


def absolute_error(mean: Tensor, x: Tensor) -> Tensor:
    """Sum of absolute errors per image, (..., D) -> (...). NOT a likelihood: -log Laplace(x; mean, 1) without D log(2)."""
    _same_last_axis("absolute_error", mean, x)
    return (x - mean).abs().sum(-1)


# ---------------------------------------------------------------- bounds


def negative_elbo(
    output: Tensor,
    x: Tensor,
    mu: Tensor,
    log_var: Tensor,
    *,
    likelihood: str = "bernoulli",
    sigma_x: Tensor | float = 1.0,
    prior_mu: Tensor | float = 0.0,
    prior_log_var: Tensor | float = 0.0,
) -> BoundTerms:
    """One-sample estimate of -ELBO as (rec, kl), each (batch,), in nats; rec + kl estimates an upper bound of -log p(x).

    `output` is the decoder's output for one z drawn from N(mu, exp(log_var)). Source: Kingma & Welling (2014), eq. 10.
    """
    rec = reconstruction_nll(output, x, likelihood, sigma_x)
    return BoundTerms(rec, gaussian_kl(mu, log_var, prior_mu, prior_log_var))


def free_bits(kl_per_dim: Tensor, minimum: float) -> Tensor:
    """KL with free bits: each dimension's batch mean counts at least `minimum` nats; (batch, d) -> scalar, nats per image.

    Source: Kingma et al. (2016), "Improved variational inference with inverse autoregressive flow", eq. 15.
    """
    return kl_per_dim.mean(0).clamp(min=minimum).sum()


def log_importance_weights(log_px_z: Tensor, log_pz: Tensor, log_qz: Tensor) -> Tensor:
    """log w = log p(x|z) + log p(z) - log q(z|x) for each sample, same shape as its arguments, in nats."""
    return log_px_z + log_pz - log_qz


def iw_bound(log_w: Tensor) -> Tensor:
    """Importance-weighted bound L_K = log( 1/K sum_k w_k ) over the *first* axis: (K, ...) -> (...), in nats.

    E[L_K] rises with K towards log p(x); K = 1 is the ELBO. Source: Burda, Grosse & Salakhutdinov (2016), eq. 8.
    """
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])


def effective_sample_size(log_w: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 over the first axis: (K, ...) -> (...), between 1 and K. Source: Kong (1992)."""
    return torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))
