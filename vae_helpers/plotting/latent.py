"""Latent space seen from above: codes of images, and what the decoder makes of a grid of codes."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_helpers.data import ImageSet
from vae_helpers.evaluation import posteriors
from vae_helpers.models import VAE
from vae_helpers.plotting.base import DIGIT_COLORS, DIGIT_MARKERS, show
from vae_helpers.plotting.images import tile


def latent_scatter(axes: Axes, mu: Tensor, labels: Tensor, *, size: float = 6) -> None:
    """Two-dimensional codes (N, 2) coloured and marked by digit, each digit's number written at its median."""
    for digit in range(10):
        points = mu[labels == digit]
        if len(points):
            axes.scatter(*points.T, s=size, c=DIGIT_COLORS[digit], marker=DIGIT_MARKERS[digit], linewidths=0, alpha=0.6)
    for digit, (x, y) in label_places(mu, labels).items():
        axes.text(x, y, str(digit), fontsize=13, fontweight="bold", ha="center", va="center",
                  bbox=dict(boxstyle="circle,pad=0.15", fc="white", ec=DIGIT_COLORS[digit], alpha=0.9))  # fmt: skip
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")


def label_places(mu: Tensor, labels: Tensor, gap: float = 0.055) -> dict[int, list[float]]:
    """Where to write each digit: at the median of its codes, pushed apart where two would cover each other."""
    present = [digit for digit in range(10) if bool((labels == digit).any())]
    places = torch.stack([mu[labels == digit].median(0).values for digit in present]).double()
    smallest = gap * float((mu.max(0).values - mu.min(0).values).max())
    for _ in range(50):
        away = places[:, None] - places[None]
        distance = away.norm(dim=-1, keepdim=True) + torch.eye(len(places))[..., None] * 1e9
        away = torch.where(distance < 1e-6, torch.tensor([smallest, 0.0]).double(), away)
        places = places + 0.25 * ((smallest - distance).clamp(min=0) * away / distance.clamp(min=1e-6)).sum(1)
    return dict(zip(present, places.tolist(), strict=True))


def code_map(model: VAE, images: ImageSet, alt: str) -> None:
    """The posterior means of `images` under a model with two latent dimensions, coloured by digit."""
    figure, axes = plt.subplots(figsize=(5.4, 5.4))
    latent_scatter(axes, posteriors(model, images).mu, images.y)
    show(figure, alt)


SPACINGS = ("linear", "quantile")


def latent_grid(n: int, reach: float = 2.5, *, spacing: str = "linear") -> Tensor:
    """n x n codes on a square, in reading order of the picture: z1 grows to the right, z2 grows *upwards*. (n * n, 2).

    spacing "linear"    equal steps from -reach to reach
            "quantile"  at the quantiles (i + 1/2)/n of N(0, 1), so that each code stands for the same share of the prior; `reach` is
                        not used. Source: Kingma & Welling (2014), figure 4.
    """
    line = _grid_line(n, reach, spacing)
    z2, z1 = torch.meshgrid(line.flip(0), line, indexing="ij")
    return torch.stack([z1.flatten(), z2.flatten()], dim=1)


def _grid_line(n: int, reach: float, spacing: str) -> Tensor:
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    if spacing == "linear":
        return torch.linspace(-reach, reach, n)
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n).float()


@torch.no_grad()
def decoder_sheet(
    model: VAE, alt: str, *, n: int = 15, reach: float = 2.5, spacing: str = "linear", size: float = 6.4
) -> None:
    """The decoder's mean images on an n x n grid of a two-dimensional code, with the axes of latent space (see `latent_grid`).

    `size` is the width of the figure in inches.
    """
    images = model.mean_image(model.decode(latent_grid(n, reach, spacing=spacing)))
    figure, axes = plt.subplots(figsize=(size, size))
    half = reach * n / (n - 1) if n > 1 else reach
    axes.imshow(tile(images, n, gap=0), vmin=0, vmax=1, cmap="gray", extent=(-half, half, -half, half))
    if spacing == "quantile":  # the cells are of one size, the steps between their codes are not
        line, shown = _grid_line(n, reach, spacing), range(0, n, max(1, n // 7))
        places = [-half + (2 * i + 1) * half / n for i in shown]
        names = [f"{float(line[i]):.2f}".replace("-", "−") for i in shown]
        axes.set(xticks=places, yticks=places, xticklabels=names, yticklabels=names)
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    show(figure, alt)
