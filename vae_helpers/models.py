"""The encoder q(z|x), the decoder p(x|z) and the VAE that joins them; a conditional VAE is a VAE with `num_classes > 0`."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_helpers import losses
from vae_helpers.flows import FlowPrior
from vae_helpers.images import check_images

PIXELS = 784
CLAMP_WARNING = (  # one text without numbers, so that Python shows it once
    "log_var left [-20, 20] and was clamped. With the usual loss: "
    "lower the learning rate, or check that the images lie in [0, 1]"
)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus}
LABEL_PLACES = ("encoder", "decoder", "prior")


class Gaussian(NamedTuple):
    """Mean and log-variance of a diagonal Gaussian over codes, each (batch, d)."""

    mu: Tensor
    log_var: Tensor


class VAEOutput(NamedTuple):
    """What one forward pass returns. `logits` is the raw decoder output (logits, or means for Gaussian and Laplace), (batch, 784)."""

    logits: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor


def reparameterize(
    mu: Tensor, log_var: Tensor, *, generator: torch.Generator | None = None, eps: Tensor | None = None
) -> Tensor:
    """z = mu + sigma * eps with eps ~ N(0, I) and sigma = exp(log_var / 2): (batch, d) -> (batch, d), differentiable in both.

    Pass `eps`, (..., batch, d), to choose the noise. Source: Kingma & Welling (2014), section 2.4.
    """
    if eps is None:
        eps = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + torch.exp(0.5 * log_var) * eps


def one_hot(y: Tensor, num_classes: int) -> Tensor:
    """Labels (batch,) -> (batch, num_classes) of zeros and one 1.0. Raises ValueError for another shape or a label out of range."""
    return F.one_hot(_checked_labels(y, num_classes), num_classes).float()


def _mlp(sizes: Sequence[int], activation: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """q(z|x) = N(mu(x), diag exp(log_var(x))): (batch, inputs) -> Gaussian of (batch, latent_dim)."""

    def __init__(self, inputs: int, hidden: Sequence[int], latent_dim: int, activation: str = "relu") -> None:
        super().__init__()
        self.body = _mlp([inputs, *hidden], activation)
        width = hidden[-1] if hidden else inputs
        self.mu = nn.Linear(width, latent_dim)
        self.log_var = nn.Linear(width, latent_dim)

    def forward(self, x: Tensor) -> Gaussian:
        h = self.body(x)
        return Gaussian(
            self.mu(h).to(x.dtype), self.log_var(h).to(x.dtype)
        )  # as x is, also where layers compute in bfloat16


class Decoder(nn.Module):
    """The parameters of p(x|z): (batch, inputs) -> (batch, 784), logits or means."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int = PIXELS, activation: str = "relu") -> None:
        super().__init__()
        self.body = _mlp([inputs, *hidden], activation)
        self.out = nn.Linear(hidden[-1] if hidden else inputs, outputs)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.body(z)).to(z.dtype)


class VAE(nn.Module):
    """A variational autoencoder for flat images in [0, 1], of 28x28 pixels unless told otherwise, with or without labels.

    latent_dim        d, the length of a code z
    encoder_sizes     widths of the encoder's hidden layers, image side first
    decoder_sizes     widths of the decoder's hidden layers, code side first
    likelihood        "bernoulli", "continuous_bernoulli", "gaussian" or "laplace": the density p(x|z)
    sigma_x           standard deviation (Gaussian) or scale (Laplace) of a pixel; the start value when `learn_sigma_x`
    learn_sigma_x     train one sigma_x for all pixels
    sigmoid_mean      squash Gaussian or Laplace means into (0, 1), as source S0 does
    activation        "relu", "tanh", "silu" or "softplus"
    num_classes       0 for a plain VAE, else the number of labels
    label_in          where the label goes: any of "encoder", "decoder", "prior"
    pixels            D, the length of an image; shapes below say 784
    prior_couplings   above 0, the prior is learned: a flow of so many layers in place of N(0, I) (flows.py)

    Raises ValueError for a setting that does not exist. `config` holds all settings, so `VAE(**model.config)` builds the same network.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        encoder_sizes: Sequence[int] = (400,),
        decoder_sizes: Sequence[int] = (400,),
        *,
        likelihood: str = "bernoulli",
        sigma_x: float = 1.0,
        learn_sigma_x: bool = False,
        sigmoid_mean: bool = False,
        activation: str = "relu",
        num_classes: int = 0,
        label_in: Sequence[str] = ("encoder", "decoder"),
        pixels: int = PIXELS,
        prior_couplings: int = 0,
    ) -> None:
        super().__init__()
        _check_choice("likelihood", likelihood, losses.LIKELIHOODS)
        _check_choice("activation", activation, ACTIVATIONS)
        for place in label_in:
            _check_choice("label_in", place, LABEL_PLACES)
        if latent_dim < 1 or sigma_x <= 0 or num_classes < 0 or pixels < 1:
            raise ValueError(
                "latent_dim must be >= 1, sigma_x > 0, num_classes >= 0, pixels >= 1; "
                f"got {latent_dim}, {sigma_x}, {num_classes}, {pixels}"
            )
        if num_classes and not label_in:
            raise ValueError(f"num_classes={num_classes} needs a place for the label: any of {', '.join(LABEL_PLACES)}")
        if prior_couplings < 0 or (prior_couplings and num_classes and "prior" in label_in):
            raise ValueError(
                'prior_couplings must be >= 0, and a learned prior takes no label: leave "prior" out of label_in'
            )
        if (learn_sigma_x or sigmoid_mean) and likelihood not in ("gaussian", "laplace"):
            raise ValueError(
                f"learn_sigma_x and sigmoid_mean need likelihood='gaussian' or 'laplace', not {likelihood!r}"
            )
        self.config = dict(
            latent_dim=latent_dim,
            encoder_sizes=list(encoder_sizes),
            decoder_sizes=list(decoder_sizes),
            likelihood=likelihood,
            sigma_x=sigma_x,
            learn_sigma_x=learn_sigma_x,
            sigmoid_mean=sigmoid_mean,
            activation=activation,
            num_classes=num_classes,
            label_in=[place for place in LABEL_PLACES if place in label_in],
            pixels=pixels,
            prior_couplings=prior_couplings,
        )
        self.latent_dim, self.num_classes, self.likelihood = latent_dim, num_classes, likelihood
        self.label_in = tuple(label_in) if num_classes else ()
        self.sigmoid_mean, self.pixels = sigmoid_mean, pixels
        extra = {place: num_classes if place in self.label_in else 0 for place in LABEL_PLACES}
        self.encoder = Encoder(pixels + extra["encoder"], encoder_sizes, latent_dim, activation)
        self.decoder = Decoder(latent_dim + extra["decoder"], decoder_sizes, pixels, activation)
        if "prior" in self.label_in:
            self.prior_mu = nn.Embedding(num_classes, latent_dim)
            self.prior_log_var = nn.Embedding(num_classes, latent_dim)
            nn.init.zeros_(self.prior_log_var.weight)
        self.flow = FlowPrior(latent_dim, prior_couplings) if prior_couplings else None
        log_sigma_x = torch.tensor(float(sigma_x)).log()
        if learn_sigma_x:
            self.log_sigma_x = nn.Parameter(log_sigma_x)
        else:
            self.register_buffer("log_sigma_x", log_sigma_x, persistent=False)

    @property
    def sigma_x(self) -> Tensor:
        """Standard deviation (Gaussian) or scale (Laplace) of one pixel, a scalar."""
        return self.log_sigma_x.exp()

    def prior(self, y: Tensor | None = None) -> Gaussian:
        """p(z), or p(z|y) where the label is in the prior: tensors that broadcast against (batch, d).

        Raises ValueError for a learned prior, which is no Gaussian: ask `log_prior`.
        """
        if self.flow is not None:
            raise ValueError("this model's prior is learned and no Gaussian: use model.log_prior(z)")
        if "prior" in self.label_in:
            y = self._labels(y).to(self.prior_mu.weight.device)
            return Gaussian(self.prior_mu(y), self.prior_log_var(y))
        zeros = self.log_sigma_x.new_zeros(1, self.latent_dim)
        return Gaussian(zeros, zeros)

    def log_prior(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(z), or log p(z|y) where the label is in the prior: (..., batch, d) -> (..., batch), in nats."""
        return losses.gaussian_log_prob(z, *self.prior(y)) if self.flow is None else self.flow.log_prob(z)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Gaussian:
        """q(z|x), or q(z|x, y): images (batch, 784) -> mu and log_var, each (batch, d).

        Raises DataError for another shape, for integers, and (on the CPU, where looking is free) for pixels outside [0, 1].
        Log-variances outside [-20, 20] are clamped, with a warning: training is going wrong.
        """
        _check_images(x, self.pixels)
        mu, log_var = self.encoder(self._with_label(x, y, "encoder"))
        return Gaussian(mu, _clamped(log_var))

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The decoder's raw output: codes (batch, d) -> (batch, 784), logits for the two Bernoullis, means otherwise."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(
                f"codes must have shape (batch, {self.latent_dim}), got {tuple(z.shape)}: use z[None] for one code"
            )
        output = self.decoder(self._with_label(z, y, "decoder"))
        return torch.sigmoid(output) if self.sigmoid_mean else output

    def forward(self, x: Tensor, y: Tensor | None = None, *, generator: torch.Generator | None = None) -> VAEOutput:
        """Encode, draw one z per image, decode."""
        mu, log_var = self.encode(x, y)
        z = reparameterize(mu, log_var, generator=generator)
        return VAEOutput(self.decode(z, y), mu, log_var, z)

    def negative_elbo(
        self, x: Tensor, y: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> losses.BoundTerms:
        """(rec, kl) of a batch, each (batch,), in nats per image, from one z per image.

        For a learned prior kl is log q(z|x) - log p(z) at that z: right on average, and negative at times.
        """
        out = self(x, y, generator=generator)
        if self.flow is not None:
            rec = losses.reconstruction_nll(out.logits, x, self.likelihood, self.sigma_x)
            return losses.BoundTerms(rec, losses.gaussian_log_prob(out.z, out.mu, out.log_var) - self.log_prior(out.z))
        prior = self.prior(y)
        return losses.negative_elbo(
            out.logits,
            x,
            out.mu,
            out.log_var,
            likelihood=self.likelihood,
            sigma_x=self.sigma_x,
            prior_mu=prior.mu,
            prior_log_var=prior.log_var,
        )

    def mean_image(self, logits: Tensor) -> Tensor:
        """x_hat = E[x|z] for a decoder output, same shape, not clamped."""
        if self.likelihood == "bernoulli":
            return torch.sigmoid(logits)
        if self.likelihood == "continuous_bernoulli":
            return losses.continuous_bernoulli_mean(logits)
        return logits

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """x_hat decoded from the posterior mean: (batch, 784) -> (batch, 784)."""
        return self.mean_image(self.decode(self.encode(x, y).mu, y))

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """n new mean images, decoded from z ~ p(z) (p(z|y) where the label is in the prior): (n, 784).

        A conditional model needs n labels, shape (n,).
        """
        if y is not None and len(y) != n:
            raise ValueError(f"{n} images but {len(y)} labels: pass one label per image")
        shape = (n, self.latent_dim)
        if self.flow is not None:
            z = self.flow.transform(torch.randn(shape, generator=generator, device=self.log_sigma_x.device))
        else:
            mu, log_var = self.prior(y)
            z = reparameterize(mu.expand(shape), log_var.expand(shape), generator=generator)
        return self.mean_image(self.decode(z, y))

    def _labels(self, y: Tensor | None) -> Tensor:
        if y is None:
            raise ValueError(f"this model is conditional: pass labels y of shape (batch,) in 0..{self.num_classes - 1}")
        return _checked_labels(y, self.num_classes)

    def _with_label(self, features: Tensor, y: Tensor | None, place: str) -> Tensor:
        if not self.num_classes and y is not None:
            raise ValueError("this model takes no labels: build it with num_classes=10, or leave y out")
        if place not in self.label_in:
            return features
        y = self._labels(y)
        if len(y) != len(features):
            raise ValueError(f"{len(features)} rows but {len(y)} labels: pass one label per row")
        return torch.cat([features, F.one_hot(y, self.num_classes).to(features)], dim=1)


def _check_choice(what: str, value: str, choices) -> None:
    if value not in choices:
        raise ValueError(f"{what}={value!r} does not exist: choose one of {', '.join(choices)}")


def _may_look(values: Tensor) -> bool:
    """Whether a Python `if` on these values is free: on a GPU it would wait for the queue, in a compiled graph it would break it."""
    return values.device.type == "cpu" and values.numel() > 0 and not torch.compiler.is_compiling()


def _check_images(x: Tensor, pixels: int) -> None:
    if x.ndim == 2 and x.shape[1] == pixels and x.is_floating_point():
        if not _may_look(x):
            return
        low, high = torch.aminmax(x.detach())
        if low >= -0.001 and high <= 1.001:  # a little room for rounding, in mixtures and enlargements of images
            return
    check_images(x, pixels)  # raises, with the line that mends it


def _checked_labels(y: Tensor, num_classes: int) -> Tensor:
    """The labels as int64 (batch,), after their shape and range were checked."""
    if y.ndim != 1 or y.is_floating_point():
        raise ValueError(
            f"labels must be whole numbers of shape (batch,), got {y.dtype} of shape {tuple(y.shape)}: use y.flatten().long()"
        )
    if _may_look(y) and (y.min() < 0 or y.max() >= num_classes):
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {int(y.min())}..{int(y.max())}")
    return y.long()


def _clamped(log_var: Tensor) -> Tensor:
    """log_var, inside [-20, 20]; warns where that changes anything."""
    inside = log_var.clamp(-20, 20)
    if _may_look(log_var) and not torch.equal(inside, log_var) and not log_var.isnan().any():
        warnings.warn(CLAMP_WARNING, stacklevel=3)  # not for NaN: training stops at it with its own message
    return inside
