"""Seconds to classify 10 000 images by Bayes' rule, as source S2 does it and as we do: `python -m benchmarks.scoring`.

The source asks for one image and one label at a time, with autograd on; it is clocked over a few hundred images and scaled. Ours scores all
images under all labels ("plug-in", the ELBO's formula at z = mu), in float32 and with bfloat16 layers. In turns, in one process; same weights.
"""

import argparse
import statistics
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from benchmarks.machine import conditions
from benchmarks.sources import SOURCES, PilMnist
from benchmarks.speed import clocked
from vae_helpers import data, lesson, paths
from vae_helpers.classifier import GenerativeClassifier
from vae_helpers.devices import use_quota_threads
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.reproduce import write

WANTED = 25.0  # times faster than the source, by the faster of ours
UNIT = "seconds of the wall for 10 000 images and 10 labels, median over repeats"


def source_of(model: VAE) -> nn.Module:
    """The source's network with our weights: the layers come in the same order."""
    network = SOURCES["S2-CVAE"].build()
    ours = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    theirs = [
        layer for part in (network.encoder, network.mu, network.log_var, network.decoder) for layer in part.modules()
    ]
    for theirs_, ours_ in zip((layer for layer in theirs if isinstance(layer, nn.Linear)), ours, strict=True):
        theirs_.load_state_dict(ours_.state_dict())
    return network


def source_labels(network: nn.Module, images: ImageSet) -> list[int]:
    """The label whose reconstruction costs least, one random z each: the source's loop, gradients recorded."""
    found = []
    for x, _ in DataLoader(PilMnist(images), batch_size=1):
        x = x.view(-1, 784)
        costs = []
        for label in range(10):
            x_hat, _, _ = network(x, torch.tensor([label]))
            costs.append(F.binary_cross_entropy(x_hat, x, reduction="sum").item())
        found.append(min(range(10), key=costs.__getitem__))
    return found


def our_labels(model: VAE, images: ImageSet, precision: str) -> list[int]:
    """The most probable label by the plug-in rule."""
    layers = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
    with layers:
        return GenerativeClassifier.from_model(model, rule="plug-in").predict(images.x.numpy()).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=300, help="images that stand for all in the source's loop")
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "scoring.json", help="where to store the result")
    arguments = parser.parse_args()
    use_quota_threads()
    test = data.load("mnist", "test")
    few = test[: arguments.images]
    model = lesson.shipped("cvae-2d").model.eval()
    network = source_of(model)
    runs = {
        "source": (lambda: source_labels(network, few), few),
        "ours, float32": (lambda: our_labels(model, test, "float32"), test),
        "ours, bfloat16": (lambda: our_labels(model, test, "bfloat16"), test),
    }
    right = {label: _share_right(run(), images) for label, (run, images) in runs.items()}  # the first call warms up
    times: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(arguments.repeats):
        for label, (run, images) in runs.items():
            times[label].append(clocked(run) * len(test) / len(images))
    medians = {label: statistics.median(found) for label, found in times.items()}
    rows = [
        dict(
            way=label,
            seconds=round(median, 3),
            ratio=round(medians["source"] / median, 1),
            wanted=None if label == "source" else WANTED,
            accuracy=round(right[label], 4),
            images=len(runs[label][1]),
            repeats=arguments.repeats,
        )
        for label, median in medians.items()
    ]
    write(arguments.out, rows, conditions() | {"unit": UNIT, "model": "cvae-2d"}, complete=True)
    for row in rows:
        print(
            f"{row['way']:16}{row['seconds']:8.2f} s{row['ratio']:8.1f} times   {row['accuracy']:.1%} right of {row['images']:,}"
        )
    print(f"{WANTED:g} times wanted; stored in {arguments.out}")


def _share_right(labels: list[int], images: ImageSet) -> float:
    return float((torch.tensor(labels) == images.y).float().mean())


if __name__ == "__main__":
    main()
