"""What every notebook does first: seed, figure style, threads, and one line that says how long this run is and on which images."""

import os
import random
import warnings
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from vae_helpers import data, paths
from vae_helpers.checkpoints import Checkpoint, load
from vae_helpers.devices import use_quota_threads

T = TypeVar("T")
QUICK_SIZES = (3000, 500, 1000)


class Splits(NamedTuple):
    """Training and validation images (both from the training file) and the test images."""

    train: data.ImageSet
    validation: data.ImageSet
    test: data.ImageSet


def profile() -> str:
    """ "full" (default) or "quick", from VAE_PROFILE. Raises ValueError for anything else."""
    name = os.environ.get("VAE_PROFILE", "full")
    if name not in ("full", "quick"):
        raise ValueError(f"VAE_PROFILE={name!r} does not exist: use full, or quick for a short run on few images")
    return name


def pick(*, full: T, quick: T) -> T:
    """The value for this run's profile: `epochs = pick(full=10, quick=1)`."""
    return full if profile() == "full" else quick


def start(seed: int = 0) -> None:
    """Seed every generator, set the figure style and the threads, and say which profile this is."""
    from vae_helpers import plotting

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (scikit-learn without a random_state uses it)
    torch.manual_seed(seed)
    plotting.use_style()
    warnings.formatwarning = lambda message, *_where, **_more: f"Warning: {message}\n"  # one readable line, no paths
    threads = use_quota_threads()
    print(f"profile: {profile()} · seed: {seed} · threads: {threads}")


def images(validation: int = 5000, *, seed: int = 0) -> Splits:
    """Training, validation and test images for a lesson; prints one line about them. The quick profile takes a few thousand."""
    train, test = data.load(split="train"), data.load(split="test")
    train, held_out = train.split_off(min(validation, len(train) // 5), seed=seed)
    if profile() == "quick":
        train, held_out, test = (s.random_subset(n) for s, n in zip((train, held_out, test), QUICK_SIZES, strict=True))
    print(
        f"images: {train.name} · {len(train):,} for training, {len(held_out):,} held out for validation, {len(test):,} for the test"
    )
    return Splits(train, held_out, test)


def shipped(name: str) -> Checkpoint:
    """A trained model that comes with the course, by its recipe's name."""
    return load(paths.CHECKPOINTS / f"{name}.safetensors")
