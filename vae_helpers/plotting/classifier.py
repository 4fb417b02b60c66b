"""The figures of lesson 08: what an image costs under each label, what a confidence is worth, which digits are mixed up, and what noise does."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from torch import Tensor

from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import draw_images

FEW = 5


class LabelCosts(NamedTuple):
    """One image under each of C labels: what the model redraws (C, 784), and its two costs in nats, each (C,)."""

    redrawn: Tensor
    rec: Tensor
    kl: Tensor


class ReliabilityBins(NamedTuple):
    """Per bin of the largest probability: mean confidence, share of right answers (both NaN where a bin is empty), and count."""

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def label_costs_figure(models: Mapping[str, LabelCosts], alt: str) -> None:
    """A column for each model: one image redrawn under every label, and under each the stacked costs, rec above its lowest value + kl.

    The labels with the lowest rec and with the lowest sum of both are named.
    """
    figure, axes = plt.subplots(2, len(models), figsize=(4.6 * len(models), 3.6), height_ratios=[1, 4.6], squeeze=False)
    for (top, bottom), (name, costs) in zip(axes.T, models.items(), strict=True):
        labels = range(len(costs.rec))
        draw_images(top, costs.redrawn, len(labels), name)
        rec = costs.rec - costs.rec.min()
        bottom.bar(labels, rec.tolist(), color="C0", label="rec, above its lowest")
        bottom.bar(labels, costs.kl.tolist(), bottom=rec.tolist(), color="C1", label="kl")
        total = rec + costs.kl
        by_rec, by_sum = int(rec.argmin()), int(total.argmin())
        named = {by_rec: "least\nboth"} if by_rec == by_sum else {by_rec: "least\nrec", by_sum: "least\nsum"}
        for label, words in named.items():
            place = (label, float(total[label]))
            box = dict(boxstyle="square,pad=0.1", fc="white", ec="none", alpha=0.75)
            bottom.annotate(words, place, (0, 5), textcoords="offset points", ha="center", fontsize=8, bbox=box)
        bottom.set(xticks=labels, xlabel="label y", ylim=(0, 1.3 * float(total.max())))
    axes[1, 0].set_ylabel("nats")
    handles, names = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    show(figure, alt)


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> ReliabilityBins:
    """Bin images by their largest probability, in equal steps from 0 to 1: (N, C) probabilities, (N,) right columns."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        sums = (np.bincount(which, weights=values, minlength=bins) for values in (confidence, right))
        return ReliabilityBins(*(s / count for s in sums), count)


def reliability_figure(models: Mapping[str, tuple[np.ndarray, np.ndarray]], alt: str, *, bins: int = 10) -> None:
    """A panel for each model, (probabilities (N, C), labels (N,)): accuracy against confidence; a point's area is its share of the images.

    Bins of fewer than `FEW` images are left out: their accuracy is mostly chance.
    """
    figure, axes = plt.subplots(1, len(models), figsize=(2.9 * len(models), 3.1), sharey=True, squeeze=False)
    for panel, (name, (probabilities, labels)) in zip(axes[0], models.items(), strict=True):
        found = reliability_bins(probabilities, labels, bins)
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        found = ReliabilityBins(*(values[found.count >= FEW] for values in found))
        panel.plot(found.confidence, found.accuracy, color="C0", linewidth=1)
        panel.scatter(
            found.confidence, found.accuracy, s=8 + 300 * found.count / found.count.sum(), color="C0", alpha=0.8
        )
        panel.set(title=name, xlabel="confidence", xlim=(0, 1.06), ylim=(0, 1.06))
    axes[0, 0].set_ylabel("share of right answers")
    show(figure, alt)


def answered_curve(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share answered, and the errors among the answers, when the surest n of N images are answered, n = 1 … N: two arrays (N,)."""
    order = np.argsort(-confidence, kind="stable")
    n = np.arange(1, len(order) + 1)
    return n / len(order), np.cumsum(~right[order]) / n


def abstention_figure(models: Mapping[str, tuple[np.ndarray, np.ndarray]], alt: str) -> None:
    """Errors among the answered images against the share answered, the surest first; a line for each (confidence (N,), right (N,))."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for name, (confidence, right) in models.items():
        share, errors = answered_curve(np.asarray(confidence), np.asarray(right, bool))
        shown = share >= 0.5  # the first few answers make a jagged line
        axes.plot(100 * share[shown], 100 * errors[shown], label=name)
    axes.set(xlabel="images answered, the surest first, %", ylabel="wrong answers, %", xlim=(50, 100.5))
    axes.legend(loc="upper left")
    show(figure, alt)


def confusion_figure(counts: np.ndarray, alt: str) -> None:
    """Which label (column) was given to which digit (row), counts (C, C): mistakes are shaded, right answers are written only."""
    mistakes = counts.astype(float)
    np.fill_diagonal(mistakes, 0)
    figure, axes = plt.subplots(figsize=(4.6, 4.3))
    axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(1.0, 1.4 * mistakes.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            grey = "0.55" if row == column else "black"
            axes.text(column, row, int(count), ha="center", va="center", fontsize=8, color=grey)
    axes.set(xticks=range(len(counts)), yticks=range(len(counts)), xlabel="label given", ylabel="digit")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    show(figure, alt)


def accuracy_curves(
    strengths: Sequence[float], curves: Mapping[str, Sequence[float]], alt: str, *, xlabel: str
) -> None:
    """Shares of right answers against the strength of a disturbance, one line each, named at its legend."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    for i, (name, shares) in enumerate(curves.items()):
        axes.plot(strengths, [100 * s for s in shares], marker="osD^vP"[i % 6], markersize=5, label=name)
    axes.axhline(10, color="0.6", linewidth=1, linestyle="--")
    axes.annotate("chance", (strengths[0], 10), (0, 3), textcoords="offset points", ha="left", fontsize=8, color="0.4")
    axes.set(xlabel=xlabel, ylabel="right answers, %", ylim=(-3, 103))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    show(figure, alt)
