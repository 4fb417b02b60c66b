"""Training the models that come with the course: the recipe, its metrics on held-out images, float16 weights.

`python -m vae_helpers.shipping latent-2d` makes data/checkpoints/latent-2d.safetensors anew; a slow test holds it to its band.
"""

import sys
from pathlib import Path

import torch

from vae_helpers import data, paths
from vae_helpers.checkpoints import load, save
from vae_helpers.evaluation import active_units, evaluate, posteriors
from vae_helpers.history import History
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES


def ship(name: str, *, seed: int = 0, folder: Path = paths.CHECKPOINTS, **settings) -> Path:
    """Train recipe `name` on MNIST's training images less 5 000 held out, and write it with its metrics (nats per image)."""
    train, _ = data.load("mnist").split_off(5000)
    model, history = RECIPES[name].train(train, seed=seed, **settings)
    return store(folder / f"{name}.safetensors", model, name, seed, history)


def store(path: Path, model: VAE, name: str, seed: int, history: History) -> Path:
    """Write `model` as float16 with what it is worth as stored: its weights were rounded."""
    save(path, model, dtype=torch.float16)
    as_stored = load(path).model
    pixels, (_, held_out_images) = history.settings["pixels"], data.load("mnist").split_off(5000)
    held_out, test = (
        evaluate(as_stored, s, pixels=pixels, samples=5) for s in (held_out_images, data.load("mnist", "test"))
    )
    metrics = dict(
        validation=round(held_out.negative_elbo, 2), test=round(test.negative_elbo, 2), test_rec=round(test.rec, 2), test_kl=round(test.kl, 2),
        active_units=int(active_units(posteriors(as_stored, held_out_images, pixels=pixels).mu).sum()),
        seed=seed, epochs=len(history), train_images=history.settings["images"], pixels=pixels, train=round(history[-1].loss, 2),
    )  # fmt: skip
    return save(path, as_stored, metrics=metrics, recipe=name, dtype=torch.float16)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = ship(name)
        print(path.name, load(path).metrics, f"{path.stat().st_size / 1e6:.2f} MB")
