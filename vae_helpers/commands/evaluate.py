"""What a trained model is worth on the test images: both halves of -ELBO, log p(x) by importance weights, active units."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from vae_helpers.commands.common import PROG, UsageError, complain, positive

BINARIZATION_SEED = 1234  # one binary test set for all models and all figures
CODES_FOR_THE_ELBO = 10  # an image; it needs fewer than log p(x), as it is an average
PIXELS = ("grey", "dynamic", "static")  # those of vae_helpers.images, which imports torch
HELP = "give -ELBO, log p(x) by importance weights, and active units on the test images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="as in data/checkpoints or runs")
    parser.add_argument(
        "--samples", type=positive, default=100, metavar="K", help="codes an image for log p(x) (default: 100)"
    )
    parser.add_argument("--images", type=positive, metavar="N", help="a random N of the test images (default: all)")
    parser.add_argument(
        "--pixels", choices=PIXELS, help="how grey pixels are read (default: as in training); dynamic: drawn once"
    )


def run(arguments: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from vae_helpers import data, evaluation
    from vae_helpers.devices import pick_device, use_quota_threads

    use_quota_threads()
    model, pixels = _model_and_pixels(arguments.checkpoint, arguments.pixels)
    model.to(pick_device())
    images = _test_images(data.load("auto", "test"), pixels, arguments.images)
    bounds = []
    interrupted = False
    with tqdm(total=len(images), unit="image") as bar:
        try:
            for part in evaluation.iw_bounds(model, images, samples=arguments.samples, pixels="grey"):
                bounds.append(part)
                bar.update(len(part))
        except KeyboardInterrupt:  # what is done is whole images in random order, so it is an estimate too
            interrupted = True
    if not bounds:
        return complain("interrupted before the first images were done", 130)
    estimate = evaluation.summary(bounds, arguments.samples)
    done = images[: estimate.images]  # all figures are of the same images
    elbo = evaluation.evaluate(model, done, samples=CODES_FOR_THE_ELBO)
    active = int(evaluation.active_units(evaluation.posteriors(model, done).mu).sum()) if len(done) > 1 else None
    result = {
        "negative_elbo": elbo.negative_elbo,
        "rec": elbo.rec,
        "kl": elbo.kl,
        "log_likelihood": estimate.log_likelihood,
        "standard_error": None if math.isnan(estimate.standard_error) else estimate.standard_error,
        "active_units": active,
        "images": estimate.images,
        "samples": arguments.samples,
        "binarization": pixels,
        "binarization_seed": BINARIZATION_SEED if pixels == "dynamic" else None,
        "conditional": model.num_classes > 0,
        "data": images.name,
        "checkpoint": str(arguments.checkpoint),
        "interrupted": interrupted,
    }
    result = {name: round(value, 4) if isinstance(value, float) else value for name, value in result.items()}
    arguments.result = json.dumps(result, indent=2)
    print(_text(result, model))
    if interrupted:
        return complain(f"interrupted after a random {len(done):,} of {len(images):,} images", 130)
    return 0


def _model_and_pixels(path: Path, pixels: str | None):
    """The model in the checkpoint, and how it reads pixels: as asked, or as in its training. Raises CheckpointError, UsageError."""
    from vae_helpers.checkpoints import CheckpointError, load

    stored = load(path)
    if stored.model.num_classes not in (0, 10) or stored.model.pixels != 784:
        raise CheckpointError(
            f"{path} holds a model with {stored.model.num_classes} labels and {stored.model.pixels} pixels, but the images have 10 "
            f"and 784: choose another one, such as that of {PROG} train first-vae"
        )
    trained_on = stored.metrics if stored.history is None else stored.history.settings
    pixels = pixels or trained_on.get("pixels")
    if pixels not in PIXELS:
        raise UsageError(
            f"{path} does not say how its training read grey pixels: add --pixels {', '.join(PIXELS[:-1])} or {PIXELS[-1]}"
        )
    return stored.model, pixels


def _test_images(test, pixels: str, n: int | None):
    """`n` test images (default: all) in random order, with their pixels read: what is drawn for an image depends on nothing else."""
    import torch

    from vae_helpers.images import ImageSet, binarize

    if n is not None and n > len(test):
        raise UsageError(f"--images {n}: there are only {len(test):,} test images ({test.name})")
    if pixels != "grey":
        x = binarize(test.x, pixels, generator=torch.Generator().manual_seed(BINARIZATION_SEED))
        test = ImageSet.from_floats(x, test.labels, name=test.name, split=test.split)
    return test.random_subset(n or len(test))


def _text(result: dict, model) -> str:
    """The result for a person."""
    pixels, conditional = result["binarization"], result["conditional"]
    once = f", drawn once with seed {BINARIZATION_SEED}" if pixels == "dynamic" else ""
    error = "" if result["standard_error"] is None else f" ± {result['standard_error']:.2f}"
    lines = [
        f"{result['images']:,} test images ({result['data']}), {pixels} pixels{once}; nats per image",
        f"-ELBO      {result['negative_elbo']:9.2f} = rec {result['rec']:.2f} + kl {result['kl']:.2f}",
        f"log p{'(x|y)' if conditional else '(x)  '} {result['log_likelihood']:9.2f}{error} "
        f"(from {result['samples']:,} codes an image; too low on average)",
    ]
    if conditional:
        lines.append("each image with its true label y, so it compares with other log p(x|y), not with log p(x)")
    if model.likelihood != "bernoulli":
        lines.append("these are densities, so log p may exceed 0")
    elif pixels == "grey":
        lines.append(
            "grey pixels as Bernoulli means: it bounds the mean over b ~ Bernoulli(x), and is no density of greys"
        )
    if result["active_units"] is not None:
        lines.append(f"{result['active_units']} of {model.latent_dim} latent dimensions in use")
    return "\n".join(lines)
