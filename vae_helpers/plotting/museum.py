"""Figures of lesson 09: the chart of a run (curves, KL bars, pictures, a few numbers), alone and as a sheet of several."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from torch import Tensor

from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import draw_images
from vae_helpers.workbench import Chart, Line

STYLES = ("o-", "s--")
ROW = 2.55  # inches of height for the panels of one chart
LINE = 0.2  # inches of height for one reading
TALLEST = 2.6  # nats: all bar panels share this axis, so that charts can be compared


def draw_chart(figure: FigureBase, chart: Chart, title: str) -> None:
    """Draw all panels of a chart side by side on a figure (or a part of one), its readings between the title and the panels."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    below = figure.subfigures(1, 1)
    lines = "\n".join(str(reading).replace(": -", ": −") for reading in chart.readings)
    below.suptitle(lines, x=0.01, ha="left", fontsize=9.5)
    widths = (
        [1.0] * len(chart.curves)
        + [1.0] * (chart.kl is not None)
        + [_sheet_width(chart.pictures)] * bool(chart.pictures)
    )
    panels = below.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    remaining = list(panels)
    for name, curves in chart.curves.items():
        _draw_curves(remaining.pop(0), name, curves, chart.axis)
    if chart.kl is not None:
        _draw_bars(remaining.pop(0), chart.kl)
    if chart.pictures:
        _draw_pictures(remaining.pop(0), chart.pictures)


def _sheet_width(pictures: Mapping[str, Tensor]) -> float:
    columns = max((len(row) for row in pictures.values()), default=1)
    return 1.15 * columns / max(len(pictures), 1)


def _draw_curves(axes: Axes, name: str, curves: Mapping[str, Line], axis: str) -> None:
    for number, (label, line) in enumerate(curves.items()):
        plain = len(line.x) > 30  # markers would hide each other
        axes.plot(
            line.x,
            line.y,
            STYLES[number][1:] if plain else STYLES[number],
            color=("C0", "C2")[number],
            markersize=4,
            label=label,
        )
    axes.set_title(name, fontsize=10)
    axes.set(xlabel=axis, ylabel="nats per image" if "rec" not in name and "kl" not in name else "nats")
    if axis == "K":
        axes.set(xscale="log", xlabel="number of samples K", ylabel="nats")
        axes.set_xticks([1, 10, 100], labels=["1", "10", "100"])
        axes.minorticks_off()
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    if name == "loss on training images":  # a constant factor is a constant distance
        axes.set_yscale("log")
        axes.set_yticks([100, 200, 300, 500], labels=["100", "200", "300", "500"])
        axes.minorticks_off()
    if len(curves) > 1:
        axes.legend(fontsize=8)


def _draw_bars(axes: Axes, kl: Tensor) -> None:
    axes.bar(range(1, len(kl) + 1), kl.tolist(), color="C0")
    axes.set_title("KL per dimension, sorted", fontsize=9.5)
    axes.set(xlabel="latent dimension", ylabel="nats", ylim=(0, max(TALLEST, 1.05 * float(kl.max()))))
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    if limit := next((limit for limit in (0.01, 0.05) if kl.max() < limit), None):  # too low to be seen
        axes.text(0.5, 0.6, f"all below {limit}", transform=axes.transAxes, ha="center", fontsize=9)


def _draw_pictures(axes: Axes, pictures: Mapping[str, Tensor]) -> None:
    columns = max(len(row) for row in pictures.values())
    draw_images(axes, torch.cat(list(pictures.values())), columns)
    for number, name in enumerate(pictures):
        axes.text(-4, 30 * number + 14, name, ha="right", va="center", fontsize=9)


def chart_height(chart: Chart) -> float:
    """How tall a chart wants to be, in inches."""
    return ROW + LINE * (1 + len(chart.readings)) - (0.9 if not chart.curves else 0.0)


def chart_sheet(charts: Mapping[str, Chart], alt: str) -> None:
    """Several charts, one below the other, each under its name; their numbers also in words, below the picture."""
    heights = [chart_height(chart) for chart in charts.values()]
    figure = plt.figure(figsize=(9.6, sum(heights)))
    parts = figure.subfigures(len(charts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (name, chart) in zip(parts, charts.items(), strict=True):
        draw_chart(part, chart, name)
    show(figure, alt)
    for name, chart in charts.items():
        print(" · ".join([name, *map(str, chart.readings)]))
