"""What a trained model is worth: held-out bounds, importance-weighted likelihoods, and how much of the code is used."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_helpers import losses
from vae_helpers.images import DataError, ImageSet
from vae_helpers.models import VAE, Gaussian, reparameterize

EVALUATION_BATCH = 1000
CODES_AT_ONCE = {"cpu": 1000, "cuda": 65_536}  # decoded together: few enough for the cache, or many enough for a GPU
IMAGES_AT_ONCE = 10  # at least so many images share those codes, each with a part of its K


class Evaluation(NamedTuple):
    """-ELBO = rec + kl, averaged over images, in nats per image; `standard_error` is that of the mean over images."""

    negative_elbo: float
    rec: float
    kl: float
    standard_error: float
    images: int


class LogLikelihood(NamedTuple):
    """Mean importance-weighted estimate of log p(x) in nats per image (biased low), with its standard error over images."""

    log_likelihood: float
    standard_error: float
    images: int
    samples: int


def _device(model: VAE) -> torch.device:
    return model.log_sigma_x.device


def _batches(model: VAE, images: ImageSet, pixels: str, generator: torch.Generator, batch_size: int):
    for x, y in images.batches(batch_size, pixels=pixels, noise_generator=generator, device=_device(model)):
        yield x, (y if model.num_classes else None)


def _check(images: ImageSet, samples: int) -> None:
    if not isinstance(images, ImageSet) or len(images) == 0:
        raise DataError("this needs a non-empty ImageSet, as vae_helpers.data.load returns it")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")


def _standard_error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan


@torch.no_grad()
def evaluate(model: VAE, images: ImageSet, *, pixels: str = "grey", samples: int = 1, seed: int = 0) -> Evaluation:
    """-ELBO on `images` with `samples` draws of z per image. Leaves the model in eval mode, and every other generator alone."""
    _check(images, samples)
    model.eval()
    generator = torch.Generator(_device(model)).manual_seed(seed)
    rec_parts, kl_parts = [], []
    for x, y in _batches(model, images, pixels, generator, EVALUATION_BATCH):
        draws = [model.negative_elbo(x, y, generator=generator) for _ in range(samples)]
        rec_parts.append(torch.stack([d.rec for d in draws]).mean(0))
        kl_parts.append(draws[0].kl)
    rec, kl = torch.cat(rec_parts).cpu().double(), torch.cat(kl_parts).cpu().double()
    total = rec + kl
    return Evaluation(float(total.mean()), float(rec.mean()), float(kl.mean()), _standard_error(total), len(total))


@torch.no_grad()
def log_weights(
    model: VAE,
    x: Tensor,
    y: Tensor | None = None,
    *,
    samples: int,
    generator: torch.Generator | None = None,
    posterior: Gaussian | None = None,
) -> Tensor:
    """log w of `samples` codes per image, (samples, batch), in nats: the input of `losses.iw_bound`.

    The codes are drawn from the encoder's q(z|x), or from `posterior` where that is given.
    """
    mu, log_var = model.encode(x, y) if posterior is None else posterior
    rows = []
    for _ in range(samples):
        z = reparameterize(mu, log_var, generator=generator)
        log_px_z = -losses.reconstruction_nll(model.decode(z, y), x, model.likelihood, model.sigma_x)
        log_pz = model.log_prior(z, y)
        rows.append(losses.log_importance_weights(log_px_z, log_pz, losses.gaussian_log_prob(z, mu, log_var)))
    return torch.stack(rows)


def log_likelihood(
    model: VAE, images: ImageSet, *, samples: int = 100, pixels: str = "dynamic", seed: int = 0
) -> LogLikelihood:
    """Importance-weighted estimate L_K of log p(x) with K = `samples`, Burda et al. (2016), eq. 8; below log p(x) on average.

    With grey pixels it estimates a bound on the mean over b ~ Bernoulli(x), not a density of grey values (lesson 03).
    """
    return summary(list(iw_bounds(model, images, samples=samples, pixels=pixels, seed=seed)), samples)


def summary(bounds: list[Tensor], samples: int) -> LogLikelihood:
    """The mean of what `iw_bounds` yielded, so far."""
    values = torch.cat(bounds)
    return LogLikelihood(float(values.mean()), _standard_error(values), len(values), samples)


def iw_bounds(
    model: VAE, images: ImageSet, *, samples: int = 100, pixels: str = "dynamic", seed: int = 0
) -> Iterator[Tensor]:
    """L_K of every image with K = `samples` codes: a few images at a time, in order, float64 (batch,), in nats.

    Each image is encoded once. Its codes are decoded a part at a time, and a running log-sum-exp takes each part in, so that memory does
    not grow with K. The matrix products of the decoder are four fifths of the time. Each core works on images of its own, which needs
    no waiting for the others, and the numbers are the same for any number of cores. Puts the model in eval mode.
    """
    _check(images, samples)
    model.eval()
    device = _device(model)
    generator = torch.Generator(device).manual_seed(seed)
    codes = CODES_AT_ONCE.get(device.type, CODES_AT_ONCE["cpu"])
    batches = _batches(model, images, pixels, generator, max(IMAGES_AT_ONCE, codes // samples))

    def work() -> Iterator[tuple]:
        for x, y in batches:
            noise = int(torch.randint(2**31, (), generator=generator, device=device))
            yield model, x, y, samples, max(1, codes // len(x)), noise

    yield from _in_order(_iw_bound, work(), torch.get_num_threads() if device.type == "cpu" else 1)


def _in_order(function: Callable[..., Tensor], work: Iterator[tuple], threads: int) -> Iterator[Tensor]:
    """function(*arguments) for all `work`, in order, on so many threads, which take one core each."""
    if threads == 1:
        yield from (function(*arguments) for arguments in work)
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        waiting = deque(pool.submit(function, *arguments) for arguments in islice(work, 2 * threads))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, *arguments) for arguments in islice(work, 1))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads that start from now on take as many again


@torch.inference_mode()
def _iw_bound(model: VAE, x: Tensor, y: Tensor | None, samples: int, at_once: int, seed: int) -> Tensor:
    """L_K of a batch, (batch,), from `at_once` codes of each image at a time."""
    generator = torch.Generator(x.device).manual_seed(seed)
    mu, log_var = (part[:, None] for part in model.encode(x, y))
    log_sum = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    for start in range(0, samples, at_once):
        k = min(at_once, samples - start)
        eps = torch.randn((len(x), k, model.latent_dim), generator=generator, device=x.device, dtype=mu.dtype)
        z = mu + torch.exp(0.5 * log_var) * eps
        output = model.decode(z.flatten(0, 1), None if y is None else y.repeat_interleave(k))
        log_px_z = log_prob_of_images(model, output.view(len(x), k, -1), x)
        log_qz = losses.gaussian_log_prob(eps) - 0.5 * log_var.sum(-1)  # the density of eps, stretched by sigma
        log_pz = model.log_prior(z.transpose(0, 1), y).T
        log_w = losses.log_importance_weights(log_px_z, log_pz, log_qz).double()
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_w, 1))
    return (log_sum - math.log(samples)).cpu()


def log_prob_of_images(model: VAE, output: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of many codes an image, from the decoder's output for them: (batch, C, D), images (batch, D) -> (batch, C), in nats.

    Equal to -`losses.reconstruction_nll`. Of a Bernoulli, sum_j [x_j l_j - softplus(l_j)], the first part is one matrix product,
    which costs next to nothing, and x is not copied once a code.
    """
    if model.likelihood not in ("bernoulli", "continuous_bernoulli"):
        return -losses.reconstruction_nll(output, x[:, None], model.likelihood, model.sigma_x)
    log_px_z = torch.bmm(output, x[:, :, None]).squeeze(2) - F.softplus(output).sum(-1)
    if model.likelihood == "bernoulli":
        return log_px_z
    return log_px_z + losses.continuous_bernoulli_log_constant(output).sum(-1)


@torch.no_grad()
def posteriors(model: VAE, images: ImageSet, *, pixels: str = "grey", seed: int = 0) -> Gaussian:
    """q(z|x) of every image: mu and log_var, each (N, d), on the CPU."""
    model.eval()
    generator = torch.Generator(_device(model)).manual_seed(seed)
    parts = [model.encode(x, y) for x, y in _batches(model, images, pixels, generator, EVALUATION_BATCH)]
    return Gaussian(torch.cat([p.mu for p in parts]).cpu(), torch.cat([p.log_var for p in parts]).cpu())


def best_sigma_x(mean: Tensor, x: Tensor) -> Tensor:
    """The sigma_x under which N(x; mean, sigma_x^2 I) gives images their highest density: (N, D), (N, D) -> scalar, sqrt(SSE / D).

    There d NLL / d sigma_x = 0, and the NLL is D/2 log(2 pi e sigma_x^2) nats per image on average.
    Source: Rybkin, Daniilidis & Levine (2021), "Simple and effective VAE training with calibrated decoders", eq. 6.
    """
    return ((x - mean) ** 2).mean().sqrt()


def refine_posterior(
    model: VAE, x: Tensor, *, steps: int = 200, samples: int = 8, learning_rate: float = 0.03, seed: int = 0
) -> Gaussian:
    """The diagonal Gaussian q that is best for each image by itself: mu and log_var, each (batch, d). The model is left as it is.

    Starts at the encoder's answer and maximises the ELBO of each image over (mu, log_var), with Adam and `samples` draws a step. What
    the ELBO gains is the amortisation gap (Cremer, Li & Duvenaud, 2018).
    """
    if steps < 1 or samples < 1:
        raise ValueError(f"steps and samples must be at least 1, got {steps} and {samples}")
    generator = torch.Generator(_device(model)).manual_seed(seed)
    with torch.no_grad():
        mu, log_var = (part.clone().requires_grad_() for part in model.encode(x))
    optimizer = torch.optim.Adam([mu, log_var], lr=learning_rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        draws = [reparameterize(mu, log_var, generator=generator) for _ in range(samples)]
        rec = losses.reconstruction_nll(
            model.decode(torch.cat(draws)), x.repeat(samples, 1), model.likelihood, model.sigma_x
        )
        loss = rec.sum() / samples + losses.gaussian_kl(mu, log_var).sum()
        optimizer.zero_grad()
        loss.backward(inputs=[mu, log_var])  # no gradient for the decoder
        optimizer.step()
    return Gaussian(mu.detach(), log_var.detach())


def kl_per_dimension(posterior: Gaussian) -> Tensor:
    """Mean KL of each latent dimension to N(0, 1) over the images: (N, d) -> (d,), in nats; they sum to the KL of the bound."""
    return losses.gaussian_kl_per_dim(*posterior).mean(0)


def active_units(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Which latent dimensions are used: Var_x mu_j(x) > threshold, (N, d) -> (d,) booleans. Source: Burda et al. (2016)."""
    return mu.var(0) > threshold


class Surgery(NamedTuple):
    """mean KL = mutual_information + marginal_kl, in nats; the information is at most log N."""

    mean_kl: float
    mutual_information: float
    marginal_kl: float


@torch.no_grad()
def elbo_surgery(posterior: Gaussian, *, samples: int = 4, seed: int = 0) -> Surgery:
    """Split the mean KL into I_q(x; z) + KL(q(z) || p(z)), with q(z) the mixture of the N posteriors given: (N, d) each.

    A Monte-Carlo estimate with `samples` draws per image; its cost grows with N squared, so pass a few thousand images.
    Source: Hoffman & Johnson (2016), "ELBO surgery".
    """
    mu, log_var = posterior.mu.double(), posterior.log_var.double()
    generator = torch.Generator().manual_seed(seed)
    information = 0.0
    for _ in range(samples):
        z = reparameterize(mu, log_var, generator=generator)
        log_q_each = losses.gaussian_log_prob(z, mu, log_var)
        log_q_agg = torch.cat([_log_mixture(part, mu, log_var) for part in z.split(max(1, 2**22 // len(mu)))])
        information += float((log_q_each - log_q_agg).mean()) / samples
    mean_kl = float(losses.gaussian_kl(mu, log_var).mean())
    return Surgery(mean_kl, information, mean_kl - information)


def _log_mixture(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log 1/N sum_n N(z; mu_n, var_n): (B, d) -> (B,).

    The square is multiplied out, so that the B x N exponents are two matrix products and no (B, N, d) tensor is made.
    """
    precision = torch.exp(-log_var)
    square = z**2 @ precision.T - 2 * z @ (mu * precision).T + (mu**2 * precision).sum(-1)
    log_each = -0.5 * (square + (losses.LOG_2PI + log_var).sum(-1))
    return torch.logsumexp(log_each, 1) - math.log(len(mu))
