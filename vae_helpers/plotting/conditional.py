"""The figures of lesson 07: where a label can enter, codes of several models side by side, sheets of single digits, and the price of the label."""

import json
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch
from torch import Tensor

from vae_helpers import paths
from vae_helpers.models import VAE
from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import tile
from vae_helpers.plotting.latent import latent_grid, latent_scatter

PLACES = {"y": (0.0, 0.0), "z": (1.0, 1.1), "x": (2.0, 0.0)}
RADIUS = 0.3
GRAPHS = {  # title: (what the model draws from what, what the encoder reads, the two in formulas)
    "encoder only": (["zx"], ["xz", "yz"], "$p(x|z)$", "$q(z|x,y)$"),
    "decoder only": (["zx", "yx"], ["xz"], "$p(x|z,y)$", "$q(z|x)$"),
    "encoder and decoder": (["zx", "yx"], ["xz", "yz"], "$p(x|z,y)$", "$q(z|x,y)$"),
    "prior only": (["yz", "zx"], ["xz"], "$p(z|y)\\,p(x|z)$", "$q(z|x)$"),
}


def _edge(axes: Axes, start: str, end: str, **look) -> None:
    """An arrow from the rim of one node to the rim of another."""
    arrow = FancyArrowPatch(
        PLACES[start], PLACES[end], arrowstyle="-|>", mutation_scale=13, shrinkA=17, shrinkB=17, **look
    )
    axes.add_patch(arrow)


def label_graphs_figure() -> None:
    """Four places for a label: solid arrows tell how the model draws an image, dashed ones what the encoder reads; grey nodes are known."""
    figure, row = plt.subplots(1, len(GRAPHS), figsize=(9.4, 2.9))
    for axes, (title, (model, encoder, formula, answer)) in zip(row, GRAPHS.items(), strict=True):
        for start, end in model:
            _edge(axes, start, end, color="#1b6fb8", linewidth=2)
        for start, end in encoder:
            bend = 0.38 if start == "x" else -0.38
            _edge(
                axes,
                start,
                end,
                color="#bd1f01",
                linewidth=1.4,
                linestyle=(0, (4, 2)),
                connectionstyle=f"arc3,rad={bend}",
            )
        for name, place in PLACES.items():
            known = name != "z"
            axes.add_patch(Circle(place, RADIUS, facecolor="0.85" if known else "white", edgecolor="0.2", zorder=3))
            axes.text(*place, f"${name}$", ha="center", va="center", fontsize=13, zorder=4)
        axes.text(1, -0.75, formula, ha="center", color="#1b6fb8", fontsize=11)
        axes.text(1, -1.2, answer, ha="center", color="#bd1f01", fontsize=11)
        axes.set(xlim=(-0.5, 2.5), ylim=(-1.35, 1.75), aspect="equal", title=title)
        axes.axis("off")
    show(
        figure,
        "four graphs of label y, code z and image x. Solid: z to x in all; also y to x in the second and third, y to z in the fourth. "
        "Dashed, into the code: from x in all, also from y in the first and third",
    )


def code_maps_figure(maps: Mapping[str, tuple[Tensor, Tensor]], alt: str, *, reach: float = 4.0) -> None:
    """Codes (N, 2) with their labels (N,) for each title, all on one scale; circles one and two standard deviations of the prior wide."""
    figure, row = plt.subplots(1, len(maps), figsize=(3.4 * len(maps), 3.7), squeeze=False, sharex=True, sharey=True)
    for axes, (title, (mu, labels)) in zip(row[0], maps.items(), strict=True):
        latent_scatter(axes, mu, labels, size=10)
        for text in axes.texts:
            text.set_fontsize(9)
        for radius in (1, 2):
            axes.add_patch(Circle((0, 0), radius, fill=False, linestyle="--", linewidth=0.9, color="0.3", zorder=3))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), title=title)
        axes.label_outer()
    show(figure, alt)


@torch.no_grad()
def class_sheets_figure(model: VAE, digits: Sequence[int], alt: str, *, n: int = 9) -> None:
    """For each digit a sheet of what a conditional model with two latent dimensions decodes at codes of equal prior shares."""
    z = latent_grid(n, spacing="quantile")
    figure, row = plt.subplots(1, len(digits), figsize=(3.1 * len(digits), 3.4), squeeze=False)
    for axes, digit in zip(row[0], digits, strict=True):
        images = model.mean_image(model.decode(z, torch.full((len(z),), digit)))
        axes.imshow(tile(images, n, gap=0), vmin=0, vmax=1, cmap="gray")
        axes.set(xticks=[], yticks=[], title=f"y = {digit}", xlabel="$z_1$ →")
    row[0, 0].set_ylabel("$z_2$ →")
    show(figure, alt)


def label_price_figure(alt: str) -> None:
    """Stored training losses of source S2's two models, the conditional one with and without the price of its label; dots are S2's printed ones, shifted with their curve."""
    rows = json.loads((paths.RESULTS / "reproduction.json").read_text(encoding="utf-8"))["rows"]
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    lines = [("S2-VAE", 0.0, "C0", "−ELBO(x), no label"), ("S2-CVAE", math.log(10), "C2", "−ELBO(x|y) + log 10"),
             ("S2-CVAE", 0.0, "C1", "−ELBO(x|y)")]  # fmt: skip
    for recipe, price, color, name in lines:
        mine = [row for row in rows if row["recipe"] == recipe]
        axes.plot([r["epoch"] for r in mine], [r["train"] + price for r in mine], color=color, label=name)
        printed = [(r["epoch"], r["source"] + price) for r in mine if r["source"] is not None]
        axes.plot(*zip(*printed, strict=True), "o", color=color, markersize=4)
    axes.plot([], [], "o", color="0.4", markersize=4, label="printed by S2, in the middle plus log 10")
    axes.set(xlabel="epoch", ylabel="nats per training image", ylim=(126, 165))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    show(figure, alt)
