"""The drawings of lesson 02: two views of a moving distribution, where the gradient flows, and how noisy its estimates are."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from vae_helpers.gradients import GradientDraws, square_norm_gradients, square_norm_variances
from vae_helpers.plotting.base import show

SCORE, PATH, EXACT = "#e76300", "#3f90da", "0.15"


def _density(z: torch.Tensor, mu: float) -> torch.Tensor:
    return torch.exp(-0.5 * (z - mu) ** 2) / (2 * torch.pi) ** 0.5


def two_views_figure(mu: float = 0.0, step: float = 0.6) -> None:
    """The mean rises by `step`. Left: the draws stay, their weights change. Right: every draw moves by `step`."""
    grid = torch.linspace(-3, 4, 300)
    draws = torch.tensor([-1.6, -0.9, -0.4, 0.0, 0.35, 0.8, 1.5])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
    for axes in (left, right):
        axes.plot(grid, _density(grid, mu), color="0.6")
        axes.plot(grid, _density(grid, mu + step), "--", color="0.3")
        axes.text(mu - 1.15, 0.3, "$q$ before", color="0.5", ha="right")
        axes.text(mu + step + 1.1, 0.3, "$q$ after", color="0.3")
        axes.axhline(0, color="0.8", linewidth=0.8)
        axes.set(xlabel="$z$", ylim=(-0.12, 0.44), yticks=[])
    weights = _density(draws, mu + step) / _density(draws, mu)
    left.scatter(draws, torch.full_like(draws, -0.05), s=60 * weights, color=SCORE, zorder=3)
    left.set_title("score function: draws stay, weights change")
    right.scatter(draws, torch.full_like(draws, -0.05), s=40, facecolor="white", edgecolor=PATH, zorder=3)
    right.scatter(draws + step, torch.full_like(draws, -0.09), s=40, color=PATH, zorder=3)
    for z in draws.tolist():
        right.add_patch(
            FancyArrowPatch((z, -0.05), (z + step, -0.09), arrowstyle="-|>", mutation_scale=9, color="0.4", zorder=2)
        )
    right.set_title("pathwise: weights stay, draws move")
    show(
        figure,
        "raising the mean of q seen in two ways: on the left seven draws stay in place and the right-hand ones gain weight, "
        "on the right all seven draws move to the right",
    )


def _box(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    axes.add_patch(Rectangle((x - 0.62, y - 0.3), 1.24, 0.6, facecolor=color, edgecolor="0.2", zorder=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=10, zorder=3)


def _dice(axes: Axes, x: float, y: float, text: str) -> None:
    axes.add_patch(Circle((x, y), 0.56, facecolor="#ffe3b3", edgecolor="0.2", zorder=2))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, zorder=3)


def _forward(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.35", zorder=1))


def _back(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color="#bd1f01", linewidth=1.8, zorder=4)
    )


def reparameterization_figure() -> None:
    """Where the gradient flows: blocked by a draw that sits between the parameters and f, free once the draw stands at the side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.1))
    for axes in (left, right):
        axes.set(xlim=(-0.9, 6.4), ylim=(-2.0, 1.25), aspect="equal")
        axes.axis("off")
        _box(axes, 0, 0.75, "$\\mu$", "#e8dcf5")
        _box(axes, 0, -0.75, "$\\sigma$", "#e8dcf5")
        _box(axes, 5.6, 0, "$f(z)$", "#dce9f7")
        _back(axes, (4.95, -0.2), (3.42, -0.2))
    _dice(left, 2.8, 0, "$z\\sim q$")
    left.set_title("a draw in the way")
    for y in (0.75, -0.75):
        _forward(left, (0.62, y), (2.3, 0.3 if y > 0 else -0.3))
    _forward(left, (3.36, 0.1), (4.98, 0.1))
    left.text(1.35, 0, "✕", color="#bd1f01", fontsize=20, ha="center", va="center")
    left.text(2.8, -1.5, "the roll itself depends on $\\mu$ and $\\sigma$", ha="center", fontsize=9)
    _box(right, 2.8, 0, "$\\mu+\\sigma\\varepsilon$", "#d8efd9")
    _dice(right, 2.8, -1.2, "$\\varepsilon\\sim N(0,1)$")
    right.set_title("the same draw, with the dice at the side")
    _forward(right, (2.8, -0.64), (2.8, -0.3))
    for y in (0.75, -0.75):
        end = 0.22 if y > 0 else -0.12
        _forward(right, (0.62, y + 0.1), (2.18, end))
        _back(right, (2.18, end - 0.1 if y > 0 else end - 0.15), (0.62, y - 0.12))
    _forward(right, (3.42, 0.1), (4.98, 0.1))
    right.text(4.2, 0.2, "$z$", fontsize=10, ha="center")
    figure.supxlabel("grey: computed forwards    red: the gradient, backwards", fontsize=9)
    show(
        figure,
        "on the left the gradient stops at the random draw between the parameters and f; on the right the noise enters from the side "
        "and the gradient flows through mu plus sigma epsilon to both parameters",
    )


def draw_clouds(axes: Axes, draws: GradientDraws, mu: float, d: int) -> None:
    """Both clouds of single-draw estimates with their means, and the exact derivative as a line; one scale, three score deviations wide."""
    reach = max(3 * square_norm_variances(mu, d).score ** 0.5, 8.0)
    jitter = torch.rand(len(draws.score), generator=torch.Generator().manual_seed(12345)) - 0.5
    for row, (name, values, color) in enumerate((("pathwise", draws.pathwise, PATH), ("score", draws.score, SCORE))):
        axes.scatter(values, row + 0.55 * jitter, s=6, color=color, alpha=0.35, linewidths=0)
        axes.errorbar(
            values.mean(),
            row + 0.4,
            xerr=values.std() / len(values) ** 0.5,
            fmt="D",
            color=EXACT,
            markersize=5,
            capsize=4,
        )
        axes.text(2 * mu - 0.98 * reach, row + 0.36, name, color=color, fontsize=10)
    axes.axvline(2 * mu, color=EXACT, linewidth=1)
    axes.set(xlim=(2 * mu - reach, 2 * mu + reach), ylim=(-0.45, 1.65), yticks=[], title=f"$\\mu$ = {mu:g}, d = {d}")
    axes.spines["left"].set_visible(False)


def gradient_clouds(mu: float, dimensions: tuple[int, ...], samples: int, alt: str) -> None:
    """The static twin of the widget: the two clouds of single-draw estimates of d/dmu_1 E|z|^2 for some numbers of dimensions."""
    figure, all_axes = plt.subplots(1, len(dimensions), figsize=(9.5, 2.9), squeeze=False)
    for axes, d in zip(all_axes[0], dimensions, strict=True):
        draw_clouds(axes, square_norm_gradients(mu, d, samples, generator=torch.Generator().manual_seed(0)), mu, d)
        axes.set_xlabel("one estimate of the derivative")
    figure.supxlabel("line: exact derivative    diamond: mean of all draws    (mind the different scales)", fontsize=9)
    show(figure, alt)


def variance_curves(alt: str, *, mu: float = 0.0, largest: int = 100) -> None:
    """The exact variances against the number of dimensions: score function, with its best baseline, and pathwise."""
    d = range(1, largest + 1)
    columns = zip(*[square_norm_variances(mu, n) for n in d], strict=True)
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    labels = ("score function", "score function,\nbest baseline", "pathwise")
    for label, values, style, color in zip(labels, columns, ("-", "--", "-"), (SCORE, SCORE, PATH), strict=True):
        axes.plot(d, values, style, color=color)
        axes.text(largest * 1.07, values[-1], label, color=color, va="center")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="dimensions $d$",
        ylabel=f"variance of one estimate, $\\mu$ = {mu:g}",
        ylim=(2, 2e4),
    )
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.minorticks_off()
    show(figure, alt)
