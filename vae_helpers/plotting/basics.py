"""The drawings of lesson 00: how an image becomes a vector, and what a guess costs."""

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import as_picture


def reshape_figure(image: Tensor) -> None:
    """How 28 rows of pixels become one vector: the picture, three of its rows, and the rows laid end to end."""
    picture = as_picture(image)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.6), width_ratios=[1, 3])
    left.imshow(picture, vmin=0, vmax=1, cmap="gray")
    left.set(title="28 rows of 28 pixels", xticks=[], yticks=[])
    colors = {10: "#ffa90e", 14: "#3f90da", 18: "#bd1f01"}
    right.plot(picture.reshape(-1), color="0.75", linewidth=0.8)
    for row, color in colors.items():
        left.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor=color, linewidth=2)
        places = range(28 * row, 28 * (row + 1))
        right.plot(places, picture[row], color=color, linewidth=1.6)
        right.text(28 * row + 14, 1.06, f"row {row}", color=color, ha="center")
    right.set(
        title="the same numbers as a vector of 784\n",
        xlabel="position $j$ in the vector",
        ylabel="pixel $x_j$",
        xlim=(0, 784),
        ylim=(-0.03, 1.15),
    )
    show(
        figure, "an image, and its 28 rows laid end to end as one vector of 784 numbers; three rows are marked in both"
    )


def bce_curves() -> None:
    """The cost of one grey pixel for every guess p, with the lowest points joined: the entropy h(x)."""
    p = torch.linspace(0.002, 0.998, 500)
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for i, x in enumerate((0.0, 0.1, 0.3, 0.5, 0.9)):
        cost = -(torch.xlogy(torch.tensor(x), p) + torch.xlogy(torch.tensor(1 - x), 1 - p))
        axes.plot(p, cost, color=f"C{i}")
        best = torch.tensor(x)
        lowest = float(-(torch.xlogy(best, best) + torch.xlogy(1 - best, 1 - best)))
        axes.plot(x, lowest, "o", color=f"C{i}")
        axes.annotate(
            f"x = {x:g}",
            (x, lowest),
            (10, -14) if x else (14, 2),
            textcoords="offset points",
            color=f"C{i}",
            bbox=dict(boxstyle="round,pad=0.1", fc="white", ec="none", alpha=0.85),
        )
    h = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
    axes.plot(p, h, "k--", linewidth=1, label="h(x), the lowest point of each curve")
    axes.set(xlabel="guess $p$", ylabel="cost in nats", ylim=(-0.05, 2.65), xlim=(-0.03, 1.03))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.9))
    show(
        figure,
        "cost of one pixel against the guess p for five grey values; each curve is lowest at p = x, on the arch of the entropy h(x)",
    )
