"""The drawings of lesson 04: likelihoods of one pixel, the noise sigma_x, and what families of models trade."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from vae_helpers import losses
from vae_helpers.plotting.base import show

STYLES = ["-", "--", "-.", ":"]


def density_curves(alt: str, *, output: float = 0.3, width: float = 0.2) -> None:
    """p(x | z) of one pixel under four likelihoods whose decoder says `output`; `width` is the scale of Gaussian and Laplace."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    wide = torch.linspace(-0.5, 1.3, 721)[:, None]
    unit = torch.linspace(0, 1, 401)[:, None]
    logit, mean = torch.logit(torch.tensor([output])), torch.tensor([output])
    for i, (name, x, nll) in enumerate(
        [
            (f"Gaussian, $\\sigma_x$ = {width:g}", wide, losses.gaussian_nll(mean, wide, width)),
            (f"Laplace, scale {width:g}", wide, losses.laplace_nll(mean, wide, width)),
            ("continuous Bernoulli", unit, losses.continuous_bernoulli_nll(logit, unit)),
        ]
    ):
        axes.plot(x[:, 0], torch.exp(-nll), STYLES[i], color=f"C{i}", label=name)
    axes.vlines([0, 1], 0, [1 - output, output], color="C4", linewidth=3)
    axes.plot([0, 1], [1 - output, output], "o", color="C4", label="Bernoulli: probabilities of 0 and 1")
    axes.axvspan(-0.5, 0, color="0.93", zorder=0)
    axes.axvspan(1, 1.3, color="0.93", zorder=0)
    axes.axvline(output, color="0.7", linewidth=0.8, zorder=0)
    axes.text(output + 0.02, 2.62, f"the decoder says {output:g}", color="0.4", fontsize=9)
    axes.set(xlabel="pixel value $x$", ylabel="density, or probability", xlim=(-0.5, 1.3), ylim=(0, 2.75))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=9)
    show(figure, alt)


def continuous_bernoulli_figure(alt: str) -> None:
    """Left: the area under p^x (1-p)^(1-x) for every p. Right: the mean of the continuous Bernoulli for every p."""
    p = torch.linspace(0.001, 0.999, 999, dtype=torch.double)
    logits = torch.logit(p)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    left.plot(p, torch.exp(-losses.continuous_bernoulli_log_constant(logits)), color="C0")
    left.axhline(1, color="0.3", linestyle="--", linewidth=1)
    left.text(0.5, 0.94, "what a density needs", ha="center", va="top", color="0.3")
    left.set(xlabel="$p$", ylabel="area over [0, 1]", ylim=(0, 1.08), title="grey BCE: too small an area")
    right.plot(p, losses.continuous_bernoulli_mean(logits), color="C0", label="continuous Bernoulli")
    right.plot([0, 1], [0, 1], "--", color="0.3", linewidth=1, label="Bernoulli: the mean is p")
    right.plot(0.1, float(losses.continuous_bernoulli_mean(torch.logit(torch.tensor(0.1)))), "o", color="C2")
    right.annotate(
        "p = 0.1, mean 0.330",
        (0.1, 0.33),
        (0.34, 0.1),
        color="C2",
        arrowprops=dict(arrowstyle="-", color="C2", shrinkB=5),
    )
    right.set(xlabel="$p$ = sigmoid(logit)", ylabel="mean of the pixel", title="sigmoid is not the mean")
    right.legend(loc="upper left", fontsize=9)
    show(figure, alt)


def sigma_curve(sse: float, alt: str, *, marks: dict[str, float], pixels: int = 784) -> None:
    """-log N(x; mean, sigma_x^2 I) of an image with squared error `sse` for every sigma_x; `marks` names some of them."""
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    sigma = torch.logspace(math.log10(0.05), math.log10(2), 300)
    nll = sse / (2 * sigma**2) + pixels / 2 * torch.log(2 * math.pi * sigma**2)
    axes.plot(sigma, nll, color="C0", label="SSE / ($2\\sigma_x^2$) + constant")
    axes.plot(sigma, sse / (2 * sigma**2), "--", color="C2", label="SSE / ($2\\sigma_x^2$) alone")
    for i, (name, s) in enumerate(marks.items()):
        at = sse / (2 * s**2) + pixels / 2 * math.log(2 * math.pi * s**2)
        axes.plot(s, at, "o", color="k", markersize=5)
        axes.annotate(name, (s, at), (7, -16 if i else -14), textcoords="offset points", fontsize=9)
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xscale="log", xlabel="$\\sigma_x$", ylabel="nats per image", ylim=(-700, 1500))
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.legend(loc="upper center", fontsize=9)
    show(figure, alt)


def sigma_paths(paths: dict[str, Sequence[float]], alt: str, *, best: float | None = None) -> None:
    """sigma_x after each training step, one line per run, on a logarithmic axis; `best` draws a level."""
    figure, axes = plt.subplots(figsize=(6.4, 3))
    for i, (name, values) in enumerate(paths.items()):
        axes.plot(range(len(values)), values, STYLES[i % 4], color=f"C{i}", label=name)
    if best is not None:
        axes.axhline(best, color="0.5", linestyle=":", label="√(SSE / D) of the trained model")
    axes.set(yscale="log", xlabel="training step", ylabel="$\\sigma_x$")
    axes.legend(fontsize=9)
    show(figure, alt)


def sigma_family_figure(
    sigmas: Sequence[float], rms: Sequence[float], rates: Sequence[float], active: Sequence[int], bounds: Sequence[float], alt: str
) -> None:  # fmt: skip
    """A family over sigma_x: typical error of a pixel against sigma_x, nats in the code (with active units), and the bound."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9.4, 3.1))
    left.plot(sigmas, rms, "o-", color="C0", label="√(SSE / D)")
    left.plot(sigmas, sigmas, "--", color="0.4", linewidth=1, label="$\\sigma_x$ itself")
    left.set(yscale="log", title="typical error of a pixel")
    left.set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
    left.yaxis.minorticks_off()
    left.legend(fontsize=9)
    middle.plot(sigmas, rates, "s-", color="C1")
    for s, rate, units in zip(sigmas, rates, active, strict=True):
        middle.annotate(str(units), (s, rate), (3, 5), textcoords="offset points", fontsize=9)
    middle.set(title="kl, in nats (units in use)", ylim=(0, 1.15 * max(rates)))
    right.plot(sigmas, bounds, "^-", color="C2")
    best = min(range(len(bounds)), key=lambda i: bounds[i])
    right.annotate(
        "lowest", (sigmas[best], bounds[best]), (0, -12), textcoords="offset points", ha="center", fontsize=9
    )
    right.set(title="−ELBO, nats of density", ylim=(min(bounds) - 250, None))
    ticks = [0.05, 0.1, 0.2, 0.5, 1]
    for axes in (left, middle, right):
        axes.set(xscale="log", xlabel="$\\sigma_x$")
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.xaxis.minorticks_off()
    show(figure, alt)


def rate_distortion_figure(
    betas: Sequence[float], rates: Sequence[float], distortions: Sequence[float], alt: str
) -> None:
    """Each model of a family over beta at (kl, rec), with a short line of slope -beta, and the line rec + kl = const through beta = 1."""
    figure, axes = plt.subplots(figsize=(6.4, 4))
    span = max(rates) * 1.2
    axes.plot(rates, distortions, color="0.85", zorder=0)
    for beta, rate, distortion in zip(betas, rates, distortions, strict=True):
        reach = 7 / math.hypot(1, beta)
        ends = torch.tensor([-reach, reach])
        axes.plot(rate + ends, distortion - beta * ends, color="C1", linewidth=1.6)
        axes.plot(rate, distortion, "o", color="C0")
        axes.annotate(f"β = {beta:g}", (rate, distortion), (8, 5), textcoords="offset points")
    if 1 in betas:
        total = rates[list(betas).index(1)] + distortions[list(betas).index(1)]
        axes.plot([0, span], [total, total - span], "--", color="0.5", linewidth=1)
        axes.text(0.02 * span, total - 0.28 * span, "same rec + kl", color="0.4", fontsize=9, va="top")
    axes.plot([], [], color="C1", label="slope −β")
    axes.set(xlabel="rate: kl, nats per image", ylabel="distortion: rec, nats per image", xlim=(-2, span))
    axes.set_ylim(min(distortions) - 14, max(distortions) + 12)
    axes.legend(loc="upper right")
    show(figure, alt)


def mean_histogram(means: dict[str, Tensor], alt: str) -> None:
    """How often a decoder's means take each value, not clamped; the grey zones lie outside [0, 1]."""
    figure, axes = plt.subplots(figsize=(6.4, 3))
    bins = torch.linspace(-0.5, 1.5, 101)
    for i, (name, values) in enumerate(means.items()):
        axes.hist(
            values.flatten().numpy(), bins=bins.numpy(), histtype="step", color=f"C{i}", linestyle=STYLES[i], label=name
        )
    axes.axvspan(-0.5, 0, color="0.9", zorder=0)
    axes.axvspan(1, 1.5, color="0.9", zorder=0)
    axes.set(yscale="log", xlabel="predicted mean of a pixel", ylabel="pixels", xlim=(-0.5, 1.5))
    axes.legend(fontsize=9)
    show(figure, alt)
