"""What training looks like: the network, its curves, and our runs beside the sources' printed figures."""

import json

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle

from vae_helpers import paths
from vae_helpers.plotting.base import show
from vae_helpers.training import History


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="0.2", alpha=0.9))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=10)


def _funnel(axes: Axes, x: float, left: float, right: float, text: str, color: str) -> None:
    corners = [(x, -left), (x, left), (x + 1.6, right), (x + 1.6, -right)]
    axes.add_patch(Polygon(corners, facecolor=color, edgecolor="0.2", alpha=0.9))
    axes.text(x + 0.8, 0, text, ha="center", va="center", fontsize=10)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="0.3"))


def architecture_figure() -> None:
    """Encoder, reparameterised draw and decoder of the VAE of lesson 03, drawn from left to right."""
    figure, axes = plt.subplots(figsize=(9, 2.9))
    axes.set(xlim=(-0.4, 11.6), ylim=(-1.65, 1.75))
    axes.axis("off")
    _box(axes, -0.2, -1.1, 0.6, 2.2, "$x$\n784", "#dce9f7")
    _funnel(axes, 0.9, 1.1, 0.6, "encoder\n784→400→", "#ffe3b3")
    _box(axes, 3.1, 0.25, 1.2, 0.7, "$\\mu$   20", "#e8dcf5")
    _box(axes, 3.1, -0.95, 1.2, 0.7, "log_var   20", "#e8dcf5")
    _box(axes, 5.2, -0.4, 1.5, 0.8, "$z=\\mu+\\sigma\\odot\\varepsilon$\n20", "#d8efd9")
    _box(axes, 5.35, -1.55, 1.2, 0.6, "$\\varepsilon\\sim N(0,I)$", "#f2f2f2")
    _funnel(axes, 7.4, 0.6, 1.1, "decoder\n→400→784", "#ffe3b3")
    _box(axes, 9.3, -1.1, 0.75, 2.2, "logits\n784", "#dce9f7")
    _box(axes, 10.8, -1.1, 0.6, 2.2, "$\\hat x$\n784", "#dce9f7")
    for start, end in [
        ((0.4, 0), (0.9, 0)),
        ((2.5, 0.2), (3.1, 0.6)),
        ((2.5, -0.2), (3.1, -0.6)),
        ((4.3, 0.6), (5.2, 0.15)),
        ((4.3, -0.6), (5.2, -0.15)),
        ((5.95, -0.95), (5.95, -0.4)),
        ((6.7, 0), (7.4, 0)),
        ((9.0, 0), (9.3, 0)),
        ((10.05, 0), (10.8, 0)),
    ]:
        _arrow(axes, start, end)
    axes.text(10.42, 0.1, "sigmoid", ha="center", fontsize=8)
    axes.text(3.7, 1.25, "$q(z\\,|\\,x)$", ha="center", fontsize=12)
    axes.text(9.68, 1.25, "$p(x\\,|\\,z)$", ha="center", fontsize=12)
    axes.text(5.95, 0.62, "a draw", ha="center", fontsize=9)
    show(
        figure,
        "an image goes through the encoder to mu and log_var, a code z is drawn, and the decoder turns it into one logit per pixel",
    )


def draw_curves(rec_axes: Axes, kl_axes: Axes, history: History) -> None:
    """rec on the left, kl on the right, over epochs counted from 1; held-out values dashed."""
    epochs = [row.epoch + 1 for row in history]
    for axes, name, color in ((rec_axes, "rec", "C0"), (kl_axes, "kl", "C1")):
        axes.plot(epochs, history.column(name), "o-", color=color, markersize=4, label="training")
        held_out = history.column(f"val_{name}")
        if held_out and held_out[0] is not None:
            axes.plot(epochs, held_out, "s--", color="0.35", markersize=4, label="held out")
        axes.set(xlabel="epoch", ylabel="nats per image", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()


def training_curves(history: History, alt: str) -> None:
    """The two halves of the loss, each on its own axes, and their sum."""
    figure, (rec_axes, kl_axes, sum_axes) = plt.subplots(1, 3, figsize=(9, 3))
    draw_curves(rec_axes, kl_axes, history)
    epochs = [row.epoch + 1 for row in history]
    sum_axes.plot(epochs, history.column("loss"), "o-", color="C2", markersize=4, label="training")
    if history.epochs and history[0].val_loss is not None:
        sum_axes.plot(epochs, history.column("val_loss"), "s--", color="0.35", markersize=4, label="held out")
    sum_axes.set(xlabel="epoch", title="rec + kl = −ELBO")
    sum_axes.xaxis.get_major_locator().set_params(integer=True)
    sum_axes.legend()
    show(figure, alt)


def reproduction_figure(alt: str) -> None:
    """The stored full runs of the five sources: printed figures, our training curves, and the held-out bound."""
    rows = json.loads((paths.RESULTS / "reproduction.json").read_text(encoding="utf-8"))["rows"]
    names = list(dict.fromkeys(row["recipe"] for row in rows))
    figure, all_axes = plt.subplots(1, len(names), figsize=(11, 3), squeeze=False)
    for axes, name in zip(all_axes[0], names, strict=True):
        mine = [row for row in rows if row["recipe"] == name]
        epochs = [row["epoch"] for row in mine]
        axes.plot(epochs, [row["train"] for row in mine], color="C0", label="ours, training")
        axes.plot(epochs, [row["test"] for row in mine], "--", color="0.35", label="ours, held out")
        printed = [(row["epoch"], row["source"]) for row in mine if row["source"] is not None]
        axes.plot(*zip(*printed, strict=True), "o", color="C2", markersize=4, label="printed by the source")
        best = min(row["train"] for row in mine)
        axes.set(title=name, xlabel="epoch", ylim=(best - 3, best + 22), xscale="log")
        axes.set_xticks([1, 3, 10, 30, 100] if len(mine) > 30 else [1, 3, 10], minor=False)
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.minorticks_off()
    all_axes[0, 0].set_ylabel("nats per image, the source's unit")
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    show(figure, alt)
