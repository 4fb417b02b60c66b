"""The static twins of the explorers: the latent map, a drawing's reconstruction, its restylings and its label, the path between two digits."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor

from vae_helpers.evaluation import posteriors
from vae_helpers.images import ImageSet
from vae_helpers.interpolation import lerp, slerp
from vae_helpers.losses import BoundTerms, gaussian_kl, reconstruction_nll
from vae_helpers.models import VAE, reparameterize
from vae_helpers.plotting.base import show
from vae_helpers.plotting.images import as_picture, image_rows
from vae_helpers.plotting.latent import latent_scatter

PATHS = {"straight": lerp, "arc": slerp, "pixels": lerp}


@torch.no_grad()
def latent_map_figure(
    model: VAE, images: ImageSet, stops: Sequence[tuple[float, float]], alt: str, *, digit: int | None = None
) -> None:
    """Codes of `images` on the map of a model with two latent dimensions, and the decoder's mean image at each of the lettered stops."""
    z = torch.tensor(stops, dtype=torch.float32)
    y = None if digit is None else torch.full((len(z),), digit)
    decoded = model.mean_image(model.decode(z, y))
    rows = -(-len(z) // 3)
    figure = plt.figure(figsize=(9, 5.2))
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    axes = left.subplots()
    latent_scatter(axes, posteriors(model, images).mu, images.y, size=6)
    for number, (z1, z2) in enumerate(z.tolist()):
        letter = chr(ord("A") + number)
        axes.annotate(letter, (z1, z2), color="white", fontweight="bold", ha="center", va="center",
                      bbox=dict(boxstyle="square,pad=0.25", fc="black"))  # fmt: skip
    for number, cell in enumerate(right.subplots(rows, 3, squeeze=False).flat):
        cell.axis("off")
        if number < len(z):
            cell.imshow(as_picture(decoded[number]), vmin=0, vmax=1, cmap="gray")
            cell.set_title(chr(ord("A") + number))
    show(figure, alt)


@torch.no_grad()
def reconstruction_cost(
    model: VAE, x: Tensor, y: Tensor | None = None, *, draws: int = 10, seed: int = 0
) -> BoundTerms:
    """(rec, kl) of images (n, 784), each (n,), in nats; rec is the mean over `draws` codes, the same random numbers at each call."""
    generator = torch.Generator(x.device).manual_seed(seed)
    q, prior = model.encode(x, y), model.prior(y)
    z = reparameterize(*(part.expand(draws, -1, -1) for part in q), generator=generator)
    output = model.decode(z.flatten(0, 1), None if y is None else y.repeat(draws)).unflatten(0, (draws, len(x)))
    rec = reconstruction_nll(output, x, model.likelihood, model.sigma_x).mean(0)
    return BoundTerms(rec, gaussian_kl(*q, *prior))


def reconstruction_figure(model: VAE, x: Tensor, alt: str, *, y: Tensor | None = None) -> None:
    """Images (n, 784) above their reconstructions, with rec + kl of each in nats."""
    rec, kl = reconstruction_cost(model, x, y)
    titles = [f"{r:.0f} + {k:.0f}" for r, k in zip(rec.tolist(), kl.tolist(), strict=True)]
    image_rows({"image": x, "reconstruction": model.reconstruct(x, y)}, alt, column_titles=titles, scale=0.9)


@torch.no_grad()
def restyled(model: VAE, x: Tensor, y: Tensor) -> Tensor:
    """One image (1, 784) with its label (1,): its code, decoded with every label of a conditional model, (labels, 784)."""
    labels = torch.arange(model.num_classes, device=x.device)
    return model.mean_image(model.decode(model.encode(x, y).mu.expand(len(labels), -1), labels))


def restyled_figure(model: VAE, x: Tensor, y: Tensor, alt: str) -> None:
    """One row for each image (n, 784) with its label (n,): the image, then its code decoded with every label."""
    rows = {
        f"a {int(label)}": torch.cat([x[i : i + 1], restyled(model, x[i : i + 1], y[i : i + 1])])
        for i, label in enumerate(y)
    }
    if len(rows) < len(y):
        raise ValueError("each row is named after its label: pass images of different digits")
    image_rows(rows, alt, column_titles=["image", *map(str, range(model.num_classes))], scale=0.65)


class LabelBars:
    """An image beside bars of log p(x|y). What stands still is drawn once, so that a new drawing costs a few milliseconds."""

    def __init__(self, labels: int = 10) -> None:
        figure = Figure(figsize=(7.5, 3), dpi=80, layout="none")  # no pyplot: nothing stays open
        self.canvas = FigureCanvasAgg(figure)
        picture, self.axes = figure.subplots(1, 2, width_ratios=[1, 1.9])
        figure.subplots_adjust(left=0.02, right=0.98, bottom=0.17, top=0.9)
        picture.axis("off")
        self.shown = picture.imshow(np.zeros((28, 28)), vmin=0, vmax=1, cmap="gray")
        self.bars = draw_label_bars(self.axes, torch.zeros(labels))
        self.moving = [self.shown, *self.bars, *self.axes.texts]
        for artist in self.moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def png(self, x: Tensor, log_p: Tensor) -> bytes:
        """The picture for an image (784,) and its log p(x|y), one for each label, in nats."""
        self.shown.set_data(as_picture(x))
        move_label_bars(self.bars, self.axes.texts, log_p)
        self.canvas.restore_region(self.still)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        buffer = io.BytesIO()
        picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def draw_label_bars(axes: Axes, log_p: Tensor) -> BarContainer:
    """Bars of log p(x|y), from the lowest to the highest, with their values in nats; the highest is coloured."""
    bars = axes.bar(range(len(log_p)), [1.0] * len(log_p))
    for label in range(len(log_p)):
        axes.text(label, 0, "", ha="center", va="bottom", fontsize=8)
    axes.set(xticks=range(len(log_p)), yticks=[], ylim=(0, 1.12), xlabel="label y", title="score of each label, nats")
    axes.spines[["left", "top", "right"]].set_visible(False)
    move_label_bars(bars, axes.texts, log_p)
    return bars


def move_label_bars(bars: BarContainer, texts: Sequence[Text], log_p: Tensor) -> None:
    """The highest bar has height 1 and the lowest 0.08: a log-density has no zero from which bars could start."""
    low, high = float(log_p.min()), float(log_p.max())
    for bar, text, value in zip(bars, texts, log_p.tolist(), strict=True):
        bar.set(height=0.08 + 0.92 * (value - low) / max(high - low, 1e-9), color="C2" if value == high else "0.75")
        text.set(y=bar.get_height() + 0.01, text=f"{value:.1f}".replace("-", "−"))


def label_bars_figure(x: Tensor, log_p: Tensor, alt: str) -> None:
    """One image for each row: x (n, 784), and bars of log p(x|y) (n, labels), in nats."""
    figure, lines = plt.subplots(len(x), 2, figsize=(8, 2.2 * len(x)), width_ratios=[1, 3], squeeze=False)
    for (left, right), image, row in zip(lines, x, log_p, strict=True):
        left.imshow(as_picture(image), vmin=0, vmax=1, cmap="gray")
        left.axis("off")
        draw_label_bars(right, row)
    show(figure, alt)


class Interpolation(NamedTuple):
    """The images along a path, (steps, 784), and the norms of their codes (steps,), none for a path through the pixels."""

    images: Tensor
    norms: Tensor | None


@torch.no_grad()
def interpolate(model: VAE, first: ImageSet, second: ImageSet, path: str, steps: int = 9) -> Interpolation:
    """From one image to another (two sets of one image each), along one of `PATHS` between their posterior means (not draws of z).

    A conditional model decodes each half with the label of its own end. Two equal images make every path stand still.
    """
    t = torch.linspace(0, 1, steps)
    if path == "pixels":
        return Interpolation(lerp(first.x[0], second.x[0], t), None)
    ends = [model.encode(s.x, s.y if model.num_classes else None).mu[0] for s in (first, second)]
    z = PATHS[path](*ends, t)
    y = torch.where(t < 0.5, first.y, second.y) if model.num_classes else None
    return Interpolation(model.mean_image(model.decode(z, y)), z.norm(dim=-1))


def interpolation_figure(model: VAE, images: ImageSet, first: int, second: int, alt: str, *, steps: int = 9) -> None:
    """The paths from image `first` to image `second`, one row each, with |z| at the start, half-way and at the end."""
    rows = {}
    for name in PATHS:
        images_between, norms = interpolate(model, images[first], images[second], name, steps)
        note = "" if norms is None else "\n|z| " + " → ".join(f"{norms[i]:.1f}" for i in (0, steps // 2, -1))
        rows[name + note] = images_between
    titles = [f"{t:.3g}" for t in torch.linspace(0, 1, steps).tolist()]
    image_rows(rows, alt, column_titles=titles, scale=0.8)
