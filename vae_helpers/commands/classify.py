"""Classify the test images by Bayes' rule."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vae_helpers.commands.common import PROG, UsageError, positive, whole

RULES = (
    "reconstruction",
    "elbo",
    "plug-in",
    "importance-weighted",
)  # those of vae_helpers.scoring, which imports torch
HELP = "classify the test images by Bayes' rule over a conditional VAE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        metavar="CHECKPOINT",
        help="default: data/checkpoints/classifier.safetensors",
    )
    parser.add_argument(
        "--rule", choices=RULES, default="plug-in", help="how log p(x|y) is estimated (default: plug-in)"
    )
    parser.add_argument(
        "--samples",
        type=whole,
        default=1,
        metavar="K",
        help="codes an image and label (default: 1; 0: reconstruct from the posterior mean; plug-in draws none)",
    )
    parser.add_argument("--images", type=positive, metavar="N", help="a random N of the test images (default: all)")


def run(arguments: argparse.Namespace) -> int:
    import time

    import numpy as np

    from vae_helpers import data, paths
    from vae_helpers.checkpoints import CheckpointError, load
    from vae_helpers.classifier import GenerativeClassifier
    from vae_helpers.devices import pick_device, use_quota_threads
    from vae_helpers.scoring import check_rule

    try:
        check_rule(arguments.rule, arguments.samples)
    except ValueError as error:
        raise UsageError(str(error)) from error
    use_quota_threads()
    path = arguments.checkpoint or paths.CHECKPOINTS / "classifier.safetensors"
    if arguments.checkpoint is None and not path.exists():
        raise CheckpointError(
            f"{path} does not exist. Type: {PROG} train classifier (some minutes), then "
            f'{PROG} classify "{paths.RUNS / "classifier.safetensors"}"'
        )
    model = load(path).model
    if model.num_classes != 10 or model.pixels != 784:
        raise CheckpointError(
            f"{path} holds a model with {model.num_classes} labels and {model.pixels} pixels, but the images have 10 and 784: "
            f"choose a conditional one, such as that of {PROG} train S2-CVAE"
        )
    settings = {"rule": arguments.rule, "samples": arguments.samples}
    classifier = GenerativeClassifier.from_model(model.to(pick_device()), **settings)
    test = data.load("auto", "test")
    test = test if arguments.images is None else test.random_subset(arguments.images)
    x, y = test.x.numpy(), test.y.numpy()
    started = time.perf_counter()
    log_p = classifier.predict_log_proba(x)
    seconds = time.perf_counter() - started
    result = {
        "accuracy": round(float((log_p.argmax(1) == y).mean()), 4),
        "label_nll": round(-float(log_p[np.arange(len(y)), y].mean()), 4),
        "images": len(y),
        "images_per_second": round(len(y) / seconds, 1),
        **settings,
        "checkpoint": str(path),
    }
    arguments.result = json.dumps(result, indent=2)
    print(
        f"{100 * result['accuracy']:.2f} % of {len(y)} test images ({test.name}) right, label NLL {result['label_nll']:.3f} nats; "
        f"{result['images_per_second']:.0f} images a second by the rule {arguments.rule}"
    )
    return 0
