"""How each exhibit of lesson 09 shows: run a function (broken or mended) on the workbench, and return the chart that a student sees."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vae_helpers import losses, workbench
from vae_helpers.evaluation import log_weights
from vae_helpers.exact import LinearGaussian
from vae_helpers.models import VAE
from vae_helpers.workbench import Bench, Chart, Line, Reading, over_epochs

EVERY_IMAGE_THE_SAME = "every image guessed by the pixel means"
FEW, FEW_HELD_OUT, FEW_EPOCHS, EVERY = 60, 20, 500, 20  # so few images that a model learns them by heart


def _trained(bench: Bench, run: workbench.Run, readings: tuple, code: Callable = workbench.sampled) -> Chart:
    """The usual chart of a training: printed rec and kl, KL of each dimension, images, their reconstructions, samples."""
    return Chart(
        {"rec, as printed": over_epochs(rec=run.rec), "kl, as printed": over_epochs(kl=run.kl)},
        "epoch",
        workbench.kl_bars(run.model, bench.held_out),
        workbench.three_rows(run.model, bench.held_out, code),
        readings,
    )


def healthy(bench: Bench) -> Chart:
    """The control: the run that nothing is wrong with."""
    rec, kl = (float(term.mean()) for term in workbench.honest_terms(bench.healthy.model, bench.held_out))
    readings = (
        Reading("rec on held-out images", rec, EVERY_IMAGE_THE_SAME, bench.pixel_means),
        Reading("kl on held-out images", kl, "sum of the bars", float(_bars(bench).sum())),
    )
    return _trained(bench, bench.healthy, readings)


def _bars(bench: Bench) -> Tensor:
    return workbench.kl_bars(bench.healthy.model, bench.held_out)


# ---------------------------------------------------------------- first wing: the training itself


def of_loss_terms(loss_terms: Callable, bench: Bench) -> Chart:
    """Train with `loss_terms(logits, x, mu, log_var) -> rec, kl`."""
    run = workbench.short_run(bench.train, epochs=bench.epochs, terms=loss_terms)
    rec = float(workbench.honest_terms(run.model, bench.held_out)[0].mean())
    used = workbench.active(run.model, bench.held_out)
    readings = (
        Reading("rec measured again, nats per held-out image", rec, EVERY_IMAGE_THE_SAME, bench.pixel_means),
        Reading("latent dimensions in use", used, "there are", run.model.latent_dim),
    )
    return _trained(bench, run, readings)


def of_pixel_cost(pixel_cost: Callable, bench: Bench) -> Chart:
    """Train with `pixel_cost(logits, x) -> rec` in place of the cross-entropy."""

    def terms(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        return pixel_cost(logits, x), losses.gaussian_kl(mu, log_var)

    run = workbench.short_run(bench.train, epochs=bench.epochs, terms=terms)
    reading = Reading("rec in the last epoch", run.rec[-1], EVERY_IMAGE_THE_SAME, bench.pixel_means)
    return _trained(
        bench, run, (reading, Reading("rec in the first epoch", run.rec[0], "784 coin flips", 784 * math.log(2)))
    )


def of_code(code: Callable, bench: Bench) -> Chart:
    """Train with `code(output, eps) -> z`, where `output` (batch, 2d) holds mu and log_var side by side."""

    def drawn(mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
        return code(torch.cat([mu, log_var], 1), eps)

    run = workbench.short_run(bench.train, epochs=bench.epochs, code=drawn)
    found, n = recognised(run.model, bench.held_out, drawn), len(bench.held_out)
    kl = float(workbench.kl_bars(run.model, bench.held_out).sum())
    readings = (
        Reading("kl on held-out images", kl, f"log {n}, to name one image of {n}", math.log(n)),
        Reading("share of images recognised by their codes", found, "at random", 1 / n),
    )
    return _trained(bench, run, readings, drawn)


@torch.no_grad()
def recognised(model: VAE, x: Tensor, code: Callable = workbench.sampled) -> float:
    """The share of images (N, D) whose drawn code lies nearest to their own mean, of all N means; one code each.

    The guess is made from the code alone, as Fano's inequality asks.
    """
    mu, log_var = model.encode(x)
    z = code(mu, log_var, workbench.noise_like(mu))
    nearest = torch.cdist(z, mu, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    return float((nearest == torch.arange(len(x))).double().mean())


# ---------------------------------------------------------------- second wing: what is reported


@torch.no_grad()
def of_kl_per_dim(kl_per_dim: Callable, bench: Bench) -> Chart:
    """Report the healthy model's KL by `kl_per_dim(mu, log_var) -> (batch, d)`."""
    reported = [kl_per_dim(*model.encode(bench.held_out)).mean(0) for model in bench.snapshots]
    curve = [float(bars.sum()) for bars in reported]
    readings = (
        Reading("kl before the first step", curve[0], "an encoder that ignores its image should pay", 0.0),
        Reading("smallest bar", float(reported[-1].min()), "an unused dimension should cost", 0.0),
        Reading("tallest bar", float(reported[-1].max()), "of the healthy run", float(_bars(bench).max())),
    )
    bars = reported[-1].sort(descending=True).values
    return Chart({"kl on held-out images, as reported": over_epochs(first=0, kl=curve)}, "epoch", bars, {}, readings)


@torch.no_grad()
def of_report(report: Callable, bench: Bench) -> Chart:
    """Report the healthy model's loss on training images by `report(summed, counts, dataset)`, large batches, the rest dropped."""
    size = int(0.41 * len(bench.train))
    reported, again = [], []
    for model in bench.snapshots:
        loss = sum(workbench.honest_terms(model, bench.train))
        batches = loss[: len(loss) // size * size].split(size)
        reported.append(float(report([b.sum() for b in batches], [len(b) for b in batches], len(loss))))
        again.append(float(loss.mean()))
    readings = (
        Reading("reported before the first step", reported[0], "784 coin flips", 784 * math.log(2)),
        Reading("reported in the end", reported[-1], "same weights, same images, measured again", again[-1]),
        Reading("share of the images in whole batches", len(batches) * size / len(loss), "all", 1.0),
    )
    lines = over_epochs(first=0, reported=reported, measured_again=again)
    return Chart({"loss on training images": lines}, "epoch", None, {}, readings)


@torch.no_grad()
def of_bound(bound: Callable, bench: Bench) -> Chart:
    """Report the healthy model's -ELBO by `bound(decode, x, mu, log_var, eps) -> (batch,)`, beside the bound from five draws."""
    x, reported, tighter = bench.held_out, [], []
    for model in bench.snapshots[1:]:
        mu, log_var = model.encode(x)
        reported.append(float(bound(model.decode, x, mu, log_var, workbench.noise_like(mu)).mean()))
        log_w = log_weights(model, x, samples=5, generator=torch.Generator().manual_seed(0))
        tighter.append(-float(losses.iw_bound(log_w).mean()))
    honest = [workbench.bound(model, x, seed) for seed in range(1, 6)]
    others = [float(bound(model.decode, x, mu, log_var, workbench.noise_like(mu, seed)).mean()) for seed in range(1, 6)]
    readings = (
        Reading("−ELBO, reported", reported[-1], "−L_K with K = 5", tighter[-1]),
        Reading(
            "highest minus lowest of five seeds",
            max(others) - min(others),
            "of the package's own estimate",
            max(honest) - min(honest),
        ),
    )
    lines = over_epochs(reported=reported) | {"−L_K with K = 5": over_epochs(k=tighter)["k"]}
    return Chart({"cost of held-out images": lines}, "epoch", None, {}, readings)


def small_exact_model() -> tuple[LinearGaussian, Tensor]:
    """A linear-Gaussian model with four pixels whose log p(x) is known, and one image."""
    W = [[1.0, 0.0], [0.5, 1.0], [-0.5, 0.5], [0.0, 0.8]]
    return LinearGaussian(W, [0.0, 0.1, 0.0, -0.1], 0.5), torch.tensor([1.0, 0.5, -0.5, 0.5], dtype=torch.float64)


def of_log_weights(log_weights_of: Callable, bench: Bench) -> Chart:
    """The mean of L_K from `log_weights_of(rec, z, mu, log_var) -> (K, repeats)` where log p(x) is known."""
    exact, x = small_exact_model()
    truth, q = float(exact.log_marginal(x)), exact.best_mean_field(x)
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(100, 2000, 2, generator=generator, dtype=torch.float64)
    z = q.mu + torch.exp(0.5 * q.log_var) * eps
    log_w = log_weights_of(-exact.log_likelihood(x, z), z, q.mu, q.log_var)
    ks = [1, 2, 5, 10, 20, 50, 100]
    means = [float(losses.iw_bound(log_w[:k]).mean()) for k in ks]
    readings = (
        Reading("mean of L_K with K = 100", means[-1], "log p(x), exact", truth),
        Reading("mean of L_K with K = 1", means[0], "log p(x), exact", truth),
    )
    lines = {"mean of L_K": Line(ks, means), "log p(x), exact": Line(ks, [truth] * len(ks))}
    return Chart({"bound on log p(x), small exact model": lines}, "K", None, {}, readings)


# ---------------------------------------------------------------- third wing: data and pictures


def of_split(split: Callable, bench: Bench) -> Chart:
    """Train on few images, held out by `split(order, held_out) -> train, held_out`, for long enough to learn them by heart."""
    order = torch.randperm(FEW, generator=torch.Generator().manual_seed(0))
    parts = dict(zip(("training", "held out"), (bench.train[part] for part in split(order, FEW_HELD_OUT)), strict=True))
    curves: dict[str, list[float]] = {name: [] for name in parts}
    epoch = iter(range(FEW_EPOCHS + 1))

    def measure(model: VAE) -> None:
        if next(epoch) % EVERY == 0:
            for name, x in parts.items():
                curves[name].append(workbench.bound(model, x))

    run = workbench.short_run(parts["training"], epochs=FEW_EPOCHS, on_epoch=measure)
    new, final = workbench.bound(run.model, bench.held_out), {name: y[-1] for name, y in curves.items()}
    readings = (
        Reading("−ELBO of the held-out images", final["held out"], "training images", final["training"]),
        Reading("−ELBO of 300 images from next week", new, "held out", final["held out"]),
    )
    lines = {name: Line(list(range(0, FEW_EPOCHS + 1, EVERY)), y) for name, y in curves.items()}
    return Chart({f"−ELBO, {FEW} images in all": lines}, "epoch", None, {}, readings)


def of_order(order: Callable, bench: Bench) -> Chart:
    """Train in the order of `order(n, generator) -> (n,)`; the batch losses of the last two epochs, one above the other."""
    run = workbench.short_run(bench.train, epochs=bench.epochs, order=order)
    last = run.batch_losses[-2:]
    numbers = list(range(1, last.shape[1] + 1))[:40]
    lines = {name: Line(numbers, row[:40].tolist()) for name, row in zip(("last but one", "last"), last, strict=True)}
    readings = (
        Reading("correlation of the two epochs", _same_tune(last), "batches of other images each time, about", 0.0),
        Reading(
            "training loss in the last epoch",
            float(last[1].mean()),
            "of the healthy run",
            float(bench.healthy.batch_losses[-1].mean()),
        ),
    )
    return Chart({"loss of each batch, last two epochs": lines}, "batch", None, {}, readings)


def _same_tune(two: Tensor) -> float:
    """Correlation of two epochs' batch losses, (2, batches), after a straight line is taken out of each."""
    t = torch.linspace(-1, 1, two.shape[1], dtype=two.dtype)
    centred = two - two.mean(1, keepdim=True)
    return float(torch.corrcoef(centred - (centred @ t / (t @ t))[:, None] * t)[0, 1])


@torch.no_grad()
def of_new_images(new_images: Callable, bench: Bench) -> Chart:
    """'Sample' from the healthy model by `new_images(encode, decode, images, eps)`, twice, with other noise."""
    model, images = bench.healthy.model, bench.train[:100]

    def press(seed: int) -> Tensor:
        eps = workbench.noise_like(images[:, : model.latent_dim], seed)
        return torch.sigmoid(new_images(model.encode, model.decode, images, eps))

    first, second = press(0), press(1)
    between = float((first - second).norm(dim=1).mean() / (first - second.roll(1, 0)).norm(dim=1).mean())
    readings = (
        Reading(
            "mean distance between sample k of the two seeds, relative to samples of different k",
            between,
            "independent samples",
            1.0,
        ),
    )
    return Chart({}, "", None, {"seed 0": first[:10], "seed 1": second[:10]}, readings)
