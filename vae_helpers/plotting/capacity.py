"""Figures of lesson 05: how tight a bound is, what a code costs, and how many of its dimensions are used."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_helpers import paths
from vae_helpers.evaluation import active_units, kl_per_dimension, posteriors
from vae_helpers.images import ImageSet
from vae_helpers.losses import iw_bound
from vae_helpers.models import VAE
from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import draw_images


def draw_bound_histogram(axes: Axes, log_w: Tensor, log_p: float, K: int, reach: float = 22.0) -> None:
    """How single estimates L_K scatter: log_w is (samples, repeats), the first K samples count; log p(x) and the mean are marked.

    The first bar gathers all estimates further to the left.
    """
    estimates = iw_bound(log_w[:K])
    low, high = log_p - reach, log_p + 4
    axes.hist(estimates.clamp(low, high).numpy(), bins=52, range=(low, high), density=True, color="C0", alpha=0.75)
    if float((estimates < low).double().mean()) > 0.01:
        top = axes.get_ylim()[1]
        axes.annotate(
            "all that lie\nfurther left", (low, top), (9, -4), textcoords="offset points", va="top", fontsize=9
        )
    mean = float(estimates.mean())
    axes.axvline(mean, color="C2", linestyle="--", linewidth=1.8, label="mean of $L_K$")
    axes.axvline(log_p, color="k", linewidth=1.4, label="log p(x), exact")
    axes.set(xlim=(low, high), yticks=[], xlabel="nats", title=f"K = {K}: mean {mean:.2f}".replace("-", "−"))


def bound_histograms(log_w: Tensor, log_p: float, ks: Sequence[int], alt: str) -> None:
    """Histograms of single estimates for several K, side by side."""
    figure, all_axes = plt.subplots(1, len(ks), figsize=(9, 2.7))
    for axes, K in zip(all_axes, ks, strict=True):
        draw_bound_histogram(axes, log_w, log_p, K)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    show(figure, alt)


def bound_curve(rows: Mapping[int, tuple[float, float]], log_p: float, alt: str) -> None:
    """The mean of L_K against K (logarithmic), with two standard errors; rows: {K: (mean, standard error)}."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    means, errors = zip(*rows.values(), strict=True)
    axes.errorbar(list(rows), means, yerr=[2 * e for e in errors], fmt="o-", capsize=3, color="C0")
    axes.axhline(log_p, color="k", linewidth=1.2)
    axes.annotate(
        f"log p(x) = {log_p:.2f}".replace("-", "−"), (1, log_p), (0, 4), textcoords="offset points", va="bottom"
    )
    axes.annotate("K = 1: the ELBO", (1, means[0]), (10, -3), textcoords="offset points", color="C0")
    axes.set(xscale="log", xlabel="number of samples K", ylabel="mean of $L_K$, nats", ylim=(None, log_p + 1.6))
    show(figure, alt)


class CodeUse(NamedTuple):
    """How one model uses its code: KL per dimension from the largest down (d,), which of these are active, images and x_hat."""

    kl: Tensor
    active: Tensor
    images: Tensor
    reconstructions: Tensor


def code_use(model: VAE, images: ImageSet, shown: int = 8) -> CodeUse:
    """Measure `model` on `images` (grey): KL and activity of each dimension, and the first `shown` images with their x_hat."""
    posterior = posteriors(model, images)
    kl, order = kl_per_dimension(posterior).sort(descending=True)
    some = images[:shown].x
    return CodeUse(kl, active_units(posterior.mu)[order], some, model.reconstruct(some))


def draw_kl_bars(axes: Axes, use: CodeUse, top: float | None = None) -> None:
    """Sorted bars of KL per dimension, their sum and the number of active ones in the title; inactive dimensions are grey."""
    colors = ["C0" if on else "0.8" for on in use.active]
    axes.bar(range(1, len(use.kl) + 1), use.kl.tolist(), color=colors)
    axes.set(
        xlabel="latent dimension, sorted",
        ylabel="KL, nats",
        ylim=(0, top),
        title=f"KL = {float(use.kl.sum()):.1f} nats, {int(use.active.sum())} active",
    )


def draw_code_use(bar_axes: Axes, image_axes: Axes, use: CodeUse, title: str, top: float | None = None) -> None:
    """Bars at the left, images above their reconstructions at the right."""
    draw_kl_bars(bar_axes, use, top)
    draw_images(image_axes, torch.cat([use.images, use.reconstructions]), len(use.images), title)


def code_use_sheet(uses: Mapping[float, CodeUse], alt: str) -> None:
    """One line for each beta: sorted KL bars, and images above their reconstructions."""
    figure, lines = plt.subplots(len(uses), 2, figsize=(9, 1.75 * len(uses)), width_ratios=[1, 1.7], squeeze=False)
    top = max(float(use.kl.max()) for use in uses.values()) * 1.05
    for (left, right), (beta, use) in zip(lines, uses.items(), strict=True):
        draw_code_use(left, right, use, f"β = {beta:g}", top)
        if left is not lines[-1, 0]:
            left.set_xlabel("")
    show(figure, alt)


def spectrum_figure(eigenvalues: Tensor, variances: Sequence[float], alt: str, *, count: int = 50) -> None:
    """The largest eigenvalues of the covariance, and a line for each noise variance sigma_x^2 with the number above it."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    axes.plot(range(1, count + 1), eigenvalues[:count].tolist(), "o", color="C0", markersize=4)
    for i, variance in enumerate(variances):
        above = int((eigenvalues > variance).sum())
        axes.axhline(variance, color=f"C{i + 1}", linewidth=1.4)
        label = f"$\\sigma_x^2$ = {variance:g}: {above} above"
        axes.annotate(label, (count + 1, variance), (0, 4), textcoords="offset points", color=f"C{i + 1}")
    axes.set(yscale="log", xlim=(-1, 1.25 * count), xlabel="principal component $j$", ylabel="eigenvalue $e_j$")
    axes.set_yticks([0.2, 0.5, 1, 2, 5], labels=["0.2", "0.5", "1", "2", "5"])
    axes.minorticks_off()
    show(figure, alt)


PUBLISHED = {  # nats per image, 3 280 epochs, K = 5 000: Burda et al. (2016), table 1
    "VAE, one layer": 86.76,
    "IWAE, K = 50, one layer": 84.78,
    "IWAE, K = 50, two layers": 82.90,
}


def likelihood_figure(alt: str) -> list[dict]:
    """The stored likelihood models: their -ELBO while they learned, their test log-likelihood beside published ones; returns the rows."""
    rows = json.loads((paths.RESULTS / "likelihood.json").read_text(encoding="utf-8"))["rows"]
    figure, (curve_axes, axes) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(1.2, 1))
    for index, row in enumerate(rows):
        epochs = range(1, len(row["curve"]) + 1)
        curve_axes.plot(epochs, row["curve"], color=f"C{index}", label=row["recipe"])
    lowest = min(min(row["curve"]) for row in rows)
    curve_axes.set(
        xscale="log", ylim=(lowest - 2, lowest + 30), xlabel="epoch", ylabel="−ELBO of training images, nats"
    )
    curve_axes.legend(loc="lower left")
    bars = {row["recipe"]: -row["log_likelihood"] for row in rows}
    entries = sorted((bars | PUBLISHED).items(), key=lambda entry: -entry[1])
    names, values = zip(*entries, strict=True)
    colors = ["C0" if name in bars else "0.6" for name in names]
    for height, (name, value, color) in enumerate(zip(names, values, colors, strict=True)):
        axes.plot(value, height, "o" if name in bars else "s", color=color, markersize=8)
        axes.annotate(f"{value:.2f}", (value, height), (0, 7), textcoords="offset points", ha="center")
    axes.set(
        yticks=range(len(names)),
        yticklabels=names,
        ylim=(-0.6, len(names) - 0.2),
        xlim=(min(values) - 1, max(values) + 1),
    )
    axes.set(xlabel="−log p(x) of test images, nats")
    show(figure, alt)
    return rows
