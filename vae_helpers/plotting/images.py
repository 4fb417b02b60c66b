"""Digits as pictures: rows, sheets, and PNG bytes for the sliders; black is 0 and white is 1 everywhere."""

import io
import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from vae_helpers.plotting.base import show


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


def image_rows(
    rows: dict[str, Tensor], alt: str, *, column_titles: Sequence[str] | None = None, scale: float = 0.75
) -> None:
    """Rows of images, each row (n, 784) with its name at the left; all rows have the same n."""
    n = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows), n, figsize=(scale * n + 1.1, scale * len(rows) + (0.25 if column_titles else 0)), squeeze=False
    )
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


def png(x: Tensor | np.ndarray, scale: int = 8) -> bytes:
    """A picture (28, 28), a flat image (784,), or any 2-D sheet of values in [0, 1], as PNG bytes, each pixel `scale` wide. Fast."""
    from PIL import Image

    array = np.asarray(torch.as_tensor(x).detach().cpu(), dtype=np.float32)
    array = array.reshape(28, 28) if array.ndim == 1 else array
    picture = Image.fromarray((np.clip(array, 0, 1) * 255 + 0.5).astype(np.uint8), mode="L")
    buffer = io.BytesIO()
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(
        buffer, "PNG", compress_level=1
    )
    return buffer.getvalue()
