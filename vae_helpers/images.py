"""What a set of images is: bytes at rest, floats one batch at a time, three ways to read a grey pixel, and the check at the door."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

PIXEL_CONVENTIONS = ("grey", "dynamic", "static")


class DataError(RuntimeError):
    """The data cannot be used. The message says what was expected, what was found, and what to type."""


class Batch(NamedTuple):
    """Pixels x (batch, 784) float32 in [0, 1] and labels y (batch,) int64."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)  # == on tensors has no single answer
class ImageSet:
    """Images as they are stored, uint8 (N, 28, 28), with labels int64 (N,); floats exist only one batch at a time.

    Raises DataError when shapes, types or labels are not those of digit images.
    """

    images: Tensor
    labels: Tensor
    name: str = "images"
    split: str = "train"

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != torch.uint8 or images.shape[1:] != (28, 28):
            raise DataError(
                f"an ImageSet holds uint8 images of shape (N, 28, 28), got {images.dtype} {tuple(images.shape)}. "
                "For floats (N, 784) in [0, 1] use ImageSet.from_floats(x, labels)"
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise DataError(
                f"labels must be int64 of shape ({len(images)},), one for each image, "
                f"got {labels.dtype} {tuple(labels.shape)}: use labels.long().flatten()"
            )
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) <= 9):
            raise DataError(f"labels must lie in 0..9, found {int(labels.min())} to {int(labels.max())}")

    @classmethod
    def from_floats(cls, x: Tensor, labels: Tensor, *, name: str = "images", split: str = "train") -> "ImageSet":
        """A set made of floats x (N, 784) in [0, 1] and whole-number labels (N,); each pixel goes to the nearest of 256 greys.

        Raises DataError for what `check_images` or the set itself refuses.
        """
        images = check_images(x).detach().float().mul(255).round().to(torch.uint8).view(-1, 28, 28)
        labels = torch.as_tensor(labels, device=images.device)
        whole = not labels.is_floating_point() and labels.dtype != torch.bool
        return cls(images, labels.long() if whole else labels, name, split)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Tensor) -> "ImageSet":
        """A part of the set, by position, slice, or a tensor of positions or booleans; always a set, so that [3] holds one image."""
        return ImageSet(self.images[index].view(-1, 28, 28), self.labels[index].view(-1), self.name, self.split)

    @property
    def x(self) -> Tensor:
        """All images as grey floats (N, 784) in [0, 1]. Costs 3 kB an image: for all of MNIST prefer `batches`."""
        return _floats(self.images)

    @property
    def y(self) -> Tensor:
        """The labels, int64 (N,)."""
        return self.labels

    def of_digit(self, digit: int) -> "ImageSet":
        """The images that show `digit`."""
        return self[self.labels == digit]

    def random_subset(self, n: int, *, seed: int = 0) -> "ImageSet":
        """n images (all, where there are fewer) without replacement, in random order, the same ones for the same seed."""
        if n < 1:
            raise ValueError(f"cannot draw {n} images: choose at least 1")
        return self[_shuffled(len(self), seed)[:n]]

    def split_off(self, n: int, *, seed: int = 0) -> tuple["ImageSet", "ImageSet"]:
        """(the rest, n held-out images): validation images taken from the training images, so that the test set stays untouched.

        The rest keeps its order; the held-out ones are drawn at random, the same ones for the same seed.
        """
        if not 0 < n < len(self):
            raise ValueError(f"cannot hold out {n} of {len(self)} images")
        order = _shuffled(len(self), seed)
        held_out = self[order[-n:]]
        return self[order[:-n].sort().values], ImageSet(held_out.images, held_out.labels, self.name, "validation")

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        pixels: str = "grey",
        distortion: float = 0.0,
        generator: torch.Generator | None = None,
        noise_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Iterator[Batch]:
        """Batches of floats: one permutation an epoch, bytes to floats one batch at a time.

        `pixels` is "grey", "dynamic" or "static" (see `binarize`). `generator` (CPU) draws the order; `noise_generator` (on the device
        of the batches) the distortions (see `distorted`) and the binarisation. The last batch is shorter where the numbers do not
        divide, or left out with `drop_last`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        images, labels = self.images.to(device), self.labels.to(device)
        order = torch.randperm(len(self), generator=generator).to(device) if shuffle else None
        end = len(self) - len(self) % batch_size if drop_last else len(self)
        for start in range(0, end, batch_size):
            if order is None:
                rows, y = images[start : start + batch_size], labels[start : start + batch_size]
            else:  # index_select copies whole rows: 15 times faster than images[index]
                index = order[start : start + batch_size]
                rows, y = images.index_select(0, index), labels.index_select(0, index)
            x = _floats(rows)
            if distortion:
                x = distorted(x, distortion, generator=noise_generator)
            yield Batch(binarize(x, pixels, generator=noise_generator), y)


def _floats(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return flat if flat.is_floating_point() else flat.float().div_(255)


def _shuffled(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def binarize(x: Tensor, pixels: str = "dynamic", *, generator: torch.Generator | None = None) -> Tensor:
    """Read grey pixels x in [0, 1] by one of three conventions; any shape, same shape back.

    "grey"     leave them as they are
    "dynamic"  a fresh b ~ Bernoulli(x) at every call (Salakhutdinov & Murray 2008; Burda et al. 2016)
    "static"   1 where x > 1/2, else 0
    """
    if pixels == "grey":
        return x
    if pixels == "dynamic":
        return torch.bernoulli(x, generator=generator)
    if pixels == "static":
        return (x > 0.5).to(x.dtype)
    raise ValueError(f"pixels={pixels!r} does not exist: choose one of {', '.join(PIXEL_CONVENTIONS)}")


def distorted(x: Tensor, amount: float, *, generator: torch.Generator | None = None) -> Tensor:
    """Each square image as another hand might have placed it, black coming in at the edges: (N, D) in [0, 1] -> (N, D) in [0, 1].

    At amount 1 each is turned by up to 10 degrees, stretched along each axis and sheared by up to a tenth, and moved along each axis by
    up to 1.5 of 28 pixels, all uniformly at random and independently; another amount scales all of these.
    Raises ValueError for images that are not square and for an amount outside [0, 5].
    """
    side = math.isqrt(x.shape[1])
    if side * side != x.shape[1] or not 0 <= amount <= 5:
        raise ValueError(
            f"cannot distort images of {x.shape[1]} pixels by {amount}: this needs square images, and an amount from 0 to 5"
        )
    a_side = 2.0  # in the units of affine_grid
    most = amount * torch.tensor(
        [math.radians(10), 0.1, 0.1, 0.1, 1.5 / 28 * a_side, 1.5 / 28 * a_side], device=x.device
    )
    draws = most * (2 * torch.rand((len(x), 6), generator=generator, device=x.device) - 1)
    angle, stretch_x, stretch_y, shear, move_x, move_y = draws.unbind(1)
    rows = (
        (torch.cos(angle) * (1 + stretch_x), shear - torch.sin(angle) * (1 + stretch_y), move_x),
        (torch.sin(angle) * (1 + stretch_x), torch.cos(angle) * (1 + stretch_y), move_y),
    )
    maps = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (N, 2, 3): where each output pixel is read
    images = x.view(-1, 1, side, side)
    grid = F.affine_grid(maps, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).clamp(0, 1).flatten(1)


def check_images(x: Tensor, pixels: int = 784) -> Tensor:
    """Return x itself if it is a float batch (N, pixels) within [0, 1]; else raise DataError with the line that mends it."""
    if not isinstance(x, Tensor):
        raise DataError(f"images must be a torch tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if not x.is_floating_point():
        raise DataError(f"images must be floats in [0, 1], got {x.dtype}: use x.float() / 255")
    if x.ndim != 2 or x.shape[1] != pixels:
        whole = x.numel() % pixels == 0
        reads = (
            "this course reads images of 28x28 = 784 pixels" if pixels == 784 else f"this model reads {pixels} pixels"
        )
        fix = f"use x.reshape(-1, {pixels})" if whole else reads
        raise DataError(f"images must have shape (N, {pixels}), got {tuple(x.shape)}: {fix}")
    if len(x) == 0:
        raise DataError(f"there are no images: the batch has shape (0, {pixels}). Look at what selected them")
    if not torch.isfinite(x).all():
        raise DataError("images hold NaN or infinite values: look at what produced them")
    low, high = (float(end) for end in x.detach().aminmax())
    if low < 0 or high > 1:
        if low >= -0.01 and high <= 1.01:
            fix = "use x.clamp(0, 1)"  # interpolation and rounding overshoot a little
        elif low >= 0 and high <= 255:
            fix = "divide by 255"
        else:
            fix = "undo the normalisation, so that black is 0 and white is 1"
        raise DataError(f"pixels must lie in [0, 1], found {low:.6g} to {high:.6g}: {fix}")
    return x
