"""Every figure of the course: one style, grey images on one fixed scale, and a sentence that says what is to be seen."""

import io
import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

DIGIT_COLORS = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]  # petroff10
DIGIT_MARKERS = ["o", "s", "^", "v", "D", "P", "X", "<", ">", "*"]
WIDTH = 8.0


def use_style() -> None:
    """The look of all figures: fixed sizes, quiet axes, petroff10 colours."""
    plt.rcParams.update(
        {
            "figure.dpi": 96,
            "savefig.dpi": 96,
            "figure.figsize": (WIDTH, 3.2),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=DIGIT_COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "font.size": 10,
        }
    )


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a PNG whose alt text is `alt`, print that sentence below it, and close the figure."""
    from IPython.display import Image, display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    display(Image(buffer.getvalue(), format="png", alt=alt), metadata={"image/png": {"alt": alt}})
    print(f"Figure: {alt}")


def as_picture(x: Tensor | np.ndarray) -> np.ndarray:
    """One image of 784 values, any shape -> (28, 28) floats clipped to [0, 1], as the screen shows them."""
    return np.clip(torch.as_tensor(x).detach().cpu().float().reshape(28, 28).numpy(), 0, 1)


def tile(images: Tensor, columns: int, gap: int = 2) -> np.ndarray:
    """Images (N, 784) -> one picture of ceil(N / columns) rows, row by row from the top left, white gaps between them."""
    rows = math.ceil(len(images) / columns)
    sheet = np.ones((rows * (28 + gap) - gap, columns * (28 + gap) - gap), dtype=np.float32)
    for i, image in enumerate(images):
        top, left = (i // columns) * (28 + gap), (i % columns) * (28 + gap)
        sheet[top : top + 28, left : left + 28] = as_picture(image)
    return sheet


def draw_images(axes: Axes, images: Tensor, columns: int, title: str = "") -> None:
    """Draw images (N, 784) on `axes` as a sheet, black 0 and white 1."""
    axes.imshow(tile(images, columns), vmin=0, vmax=1, cmap="gray")
    axes.set_title(title)
    axes.axis("off")


def image_rows(rows: dict[str, Tensor], alt: str, *, column_titles: Sequence[str] | None = None, scale: float = 0.75) -> None:
    """Rows of images, each row (n, 784) with its name at the left; all rows have the same n."""
    n = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), n, figsize=(scale * n + 1.1, scale * len(rows) + (0.25 if column_titles else 0)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for i, cell in enumerate(line):
            cell.set_xticks([])
            cell.set_yticks([])
            for spine in cell.spines.values():
                spine.set_visible(False)
            if i < len(images):
                cell.imshow(as_picture(images[i]), vmin=0, vmax=1, cmap="gray")
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for cell, text in zip(axes[0], column_titles or [], strict=False):
        cell.set_title(text, fontsize=9)
    show(figure, alt)


def image_sheet(images: Tensor, alt: str, *, columns: int = 10, title: str = "") -> None:
    """One sheet of images (N, 784), row by row from the top left."""
    rows = math.ceil(len(images) / columns)
    figure, axes = plt.subplots(figsize=(0.62 * columns, 0.62 * rows + (0.3 if title else 0)))
    draw_images(axes, images, columns, title)
    show(figure, alt)


def latent_scatter(axes: Axes, mu: Tensor, labels: Tensor, *, size: float = 6) -> None:
    """Two-dimensional codes (N, 2) coloured and marked by digit, each digit's number written at its median."""
    for digit in range(10):
        points = mu[labels == digit]
        if len(points):
            axes.scatter(*points.T, s=size, c=DIGIT_COLORS[digit], marker=DIGIT_MARKERS[digit], linewidths=0, alpha=0.6)
    for digit in range(10):
        points = mu[labels == digit]
        if len(points):
            x, y = points.median(0).values.tolist()
            axes.text(x, y, str(digit), fontsize=13, fontweight="bold", ha="center", va="center",
                      bbox=dict(boxstyle="circle,pad=0.15", fc="white", ec=DIGIT_COLORS[digit], alpha=0.9))  # fmt: skip
    axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")


def png(x: Tensor | np.ndarray, scale: int = 8) -> bytes:
    """A picture (28, 28), a flat image (784,), or any 2-D sheet of values in [0, 1], as PNG bytes, each pixel `scale` wide. Fast."""
    from PIL import Image

    array = np.asarray(torch.as_tensor(x).detach().cpu(), dtype=np.float32)
    array = array.reshape(28, 28) if array.ndim == 1 else array
    picture = Image.fromarray((np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8), mode="L")
    buffer = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
