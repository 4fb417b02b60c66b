"""The workbench of lesson 09: a small training whose parts can be exchanged for broken ones, and the chart that is read off it."""

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from vae_helpers import evaluation, losses
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE

LATENT_DIM, HIDDEN, BATCH, RATE = 32, 128, 50, 3e-3


class Line(NamedTuple):
    """One curve of a chart: positions and values of equal length."""

    x: list[float]
    y: list[float]


class Reading(NamedTuple):
    """A number and what to hold it against, both in the unit that `what` names."""

    what: str
    value: float
    beside: str
    reference: float

    def __str__(self) -> str:
        return f"{self.what}: {_short(self.value)} ({self.beside}: {_short(self.reference)})"


class Chart(NamedTuple):
    """What there is to see of one run.

    curves      {panel title: {line: Line}}, one panel each
    axis        what the x axis of the curves counts
    kl          KL of each latent dimension as the code reports it (d,), in nats, or None
    pictures    {name: images (n, 784)}, rows of one sheet
    readings    numbers beside what they should be compared with
    """

    curves: Mapping[str, Mapping[str, Line]]
    axis: str
    kl: Tensor | None
    pictures: Mapping[str, Tensor]
    readings: tuple[Reading, ...]

    def value(self, what: str) -> float:
        """The reading of that name. Raises KeyError."""
        return {r.what: r.value for r in self.readings}[what]


class Run(NamedTuple):
    """A trained model, and what its own code reported: rec and kl after each epoch, and every batch's loss, an epoch a row."""

    model: VAE
    rec: list[float]
    kl: list[float]
    batch_losses: Tensor


def sampled(mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """z = mu + sigma * eps, all (batch, d)."""
    return mu + torch.exp(0.5 * log_var) * eps


def bound_terms(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """(rec, kl), each (batch,), in nats per image."""
    return tuple(losses.negative_elbo(logits, x, mu, log_var))


def shuffled(n: int, generator: torch.Generator) -> Tensor:
    """A new order of n images, (n,)."""
    return torch.randperm(n, generator=generator)


def new_model(latent_dim: int = LATENT_DIM, seed: int = 0) -> VAE:
    """A small network, the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(latent_dim, (HIDDEN,), (HIDDEN,))


def short_run(
    x: Tensor,
    *,
    epochs: int,
    code: Callable = sampled,
    terms: Callable = bound_terms,
    order: Callable = shuffled,
    on_epoch: Callable[[VAE], None] | None = None,
    seed: int = 0,
) -> Run:
    """Train a small VAE on x (N, 784) for a few seconds, with Adam; a rest smaller than a batch is left out.

    code(mu, log_var, eps) -> z      terms(logits, x, mu, log_var) -> rec, kl, whose means are added and minimised
    order(n, generator) -> (n,)      on_epoch is called with the model before the first epoch and after each
    """
    model, generator = new_model(seed=seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    size = min(BATCH, len(x))
    recs, kls, rows = [], [], []
    if on_epoch is not None:
        on_epoch(model)
    for _ in range(epochs):
        parts = []
        for batch in order(len(x), generator)[: len(x) // size * size].split(size):
            mu, log_var = model.encode(x[batch])
            z = code(mu, log_var, torch.randn(mu.shape, generator=generator))
            rec, kl = (term.mean() for term in terms(model.decode(z), x[batch], mu, log_var))
            optimizer.zero_grad()
            (rec + kl).backward()
            optimizer.step()
            parts.append((rec.item(), kl.item()))
        table = torch.tensor(parts, dtype=torch.float64)
        recs.append(float(table[:, 0].mean()))
        kls.append(float(table[:, 1].mean()))
        rows.append(table.sum(1))
        if on_epoch is not None:
            on_epoch(model)
    model.eval()
    return Run(model, recs, kls, torch.stack(rows) if rows else torch.empty(0, 0))


class Bench(NamedTuple):
    """What all exhibits share: images to train on and to hold out, how long to train, and one healthy run.

    snapshots   the healthy model before training and after each epoch
    """

    train: Tensor
    held_out: Tensor
    epochs: int
    healthy: Run
    snapshots: list[VAE]

    @property
    def pixel_means(self) -> float:
        """Cost of the held-out images if every image is guessed by the training images' pixel means, in nats per image."""
        return float(losses.bernoulli_nll(torch.logit(self.train.mean(0), eps=1e-4), self.held_out).mean())


def open_bench(train: ImageSet, held_out: ImageSet, *, images: int = 5000, steps: int = 700) -> Bench:
    """Take `images` of the training images and 300 held-out ones, and train the healthy model for about `steps` steps."""
    x, snapshots = train.random_subset(images).x, []
    epochs = max(4, round(steps / (len(x) // BATCH)))
    run = short_run(x, epochs=epochs, on_epoch=lambda model: snapshots.append(copy.deepcopy(model)))
    return Bench(x, held_out.random_subset(300).x, epochs, run, snapshots)


@torch.no_grad()
def honest_terms(model: VAE, x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(rec, kl) of each image by the package, from one draw of z, (batch,) each; nothing here is exchanged."""
    return tuple(model.negative_elbo(x, generator=torch.Generator().manual_seed(seed)))


@torch.no_grad()
def kl_bars(model: VAE, x: Tensor) -> Tensor:
    """Mean KL of each latent dimension, the largest first, (d,)."""
    return losses.gaussian_kl_per_dim(*model.encode(x)).mean(0).sort(descending=True).values


@torch.no_grad()
def noise_like(mu: Tensor, seed: int = 0) -> Tensor:
    """The same standard normal noise for the same seed, shape of `mu`."""
    return torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def bound(model: VAE, x: Tensor, seed: int = 0) -> float:
    """-ELBO by the package, in nats per image, from one draw of z per image."""
    return float(sum(term.mean() for term in honest_terms(model, x, seed)))


@torch.no_grad()
def active(model: VAE, x: Tensor) -> int:
    """How many latent dimensions are in use."""
    return int(evaluation.active_units(model.encode(x).mu).sum())


@torch.no_grad()
def three_rows(model: VAE, x: Tensor, code: Callable = sampled, n: int = 6) -> dict[str, Tensor]:
    """n images, what is decoded from a drawn code of each, and what is decoded from draws of the prior."""
    mu, log_var = model.encode(x[:n])
    decoded = model.mean_image(model.decode(code(mu, log_var, noise_like(mu))))
    return {"image": x[:n], "decoded": decoded, "sample": model.sample(n, generator=torch.Generator().manual_seed(1))}


def over_epochs(*, first: int = 1, **lines: list[float]) -> dict[str, Line]:
    """Lines over epochs, counted from `first`; underscores in a name become spaces."""
    return {k.replace("_", " "): Line(list(range(first, first + len(y))), y) for k, y in lines.items()}


def reached(model: VAE) -> bool:
    """Whether the last `backward()` gave every weight matrix and every bias a gradient that is not all 0."""
    return all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
