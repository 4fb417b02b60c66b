"""The figures of lesson 06: several maps of one set of codes, the codes beside the prior, and what automatic contrast does to a picture."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import as_picture
from vae_helpers.plotting.latent import latent_scatter


def embedding_figure(maps: Mapping[str, Tensor], labels: Tensor, alt: str) -> None:
    """Maps of the same points, each (N, 2) with its title, coloured and marked by digit; their axes have no units, so none are drawn."""
    figure, row = plt.subplots(1, len(maps), figsize=(3.1 * len(maps), 3.3), squeeze=False)
    for axes, (title, points) in zip(row[0], maps.items(), strict=True):
        latent_scatter(axes, torch.as_tensor(points).float(), labels, size=5)
        for text in axes.texts:
            text.set_fontsize(9)
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="", title=title)
        axes.set_aspect("auto")
    show(figure, alt)


def prior_and_codes_figure(
    draws: Tensor, codes: Tensor, alt: str, *, holes: Tensor | None = None, reach: float = 3.5
) -> None:
    """Draws from the prior beside the codes of images, (N, 2) each, with circles at radius 1, 2, 3; `holes` (k, 2) are lettered."""
    figure, row = plt.subplots(1, 2, figsize=(8, 4.6), sharex=True, sharey=True)
    for axes, points, title in zip(row, (draws, codes), ("prior $p(z)$", "codes of images"), strict=True):
        axes.scatter(*points.T, s=2, c="#3f90da", linewidths=0)
        for radius in (1, 2, 3):
            axes.add_patch(plt.Circle((0, 0), radius, fill=False, ls="--", lw=0.8, color="0.4"))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="$z_1$", title=title)
        _letters(axes, holes)
    row[0].set_ylabel("$z_2$")
    show(figure, alt)


def _letters(axes: Axes, places: Tensor | None) -> None:
    for number, (z1, z2) in enumerate([] if places is None else places.tolist()):
        axes.annotate(chr(ord("A") + number), (z1, z2), color="white", fontweight="bold", ha="center", va="center", fontsize=8,
                      bbox=dict(boxstyle="square,pad=0.2", fc="black"))  # fmt: skip


def contrast_figure(x: Tensor, alt: str) -> None:
    """Images (n, 784) on the fixed scale from 0 to 1, and below with automatic contrast, each stretched from its own minimum to its maximum."""
    figure, lines = plt.subplots(2, len(x), figsize=(1.1 * len(x) + 1.4, 2.5), squeeze=False)
    for column, image in zip(lines.T, x, strict=True):
        column[0].imshow(as_picture(image), vmin=0, vmax=1, cmap="gray")
        column[1].imshow(as_picture(image), cmap="gray")
        for axes in column:
            axes.set(xticks=[], yticks=[])
    for axes, name in zip(lines[:, 0], ("0 to 1", "automatic"), strict=True):
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    show(figure, alt)
