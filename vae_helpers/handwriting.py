"""What MNIST did to handwriting, so that a digit drawn on the screen reaches a model in the form it was trained on."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

BOX, SIDE = 20, 28
CENTRE = 14  # the pixel, counted from 0, on which the centre of mass lies: measured on MNIST, to half a pixel


def mnist_like(ink: np.ndarray) -> Tensor:
    """A drawing, bytes (H, W) with 0 for paper and 255 for ink -> a flat image (784,) in [0, 1], all zero where nothing is drawn.

    The ink's bounding box is scaled to fit 20x20 pixels without changing its proportions, smoothly, so that edges turn grey; then
    it is moved, by whole pixels, until its centre of mass lies on pixel (14, 14) of a 28x28 image. Source: LeCun, Bottou, Bengio &
    Haffner (1998), "Gradient-based learning applied to document recognition", section III.A. Raises ValueError for other arrays.
    """
    ink = np.asarray(ink)
    if ink.ndim != 2 or ink.dtype != np.uint8:
        raise ValueError(
            f"a drawing is a uint8 array (height, width), got {ink.dtype} {ink.shape}: use (255 * ink).astype('uint8')"
        )
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if len(rows) == 0:
        return torch.from_numpy(image).flatten()
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(n * BOX / max(ink.shape))) for n in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.BILINEAR)
    small = np.asarray(small, dtype=np.float32) / 255
    top, left = (_start(small.sum(axis)) for axis in (1, 0))
    image[top : top + height, left : left + width] = small
    return torch.from_numpy(image).flatten()


def _start(profile: np.ndarray) -> int:
    """Where a profile of ink must start for its centre of mass to lie at CENTRE, without leaving the image."""
    mass = float((np.arange(len(profile)) * profile).sum() / profile.sum())
    return int(np.clip(round(CENTRE - mass), 0, SIDE - len(profile)))
