"""The generative classifier over three seeds: `python -m benchmarks.classifier train NAME SEED`, then `… measure`.

`train` keeps runs/NAME-SEED.safetensors; `measure` scores held-out and test images with every trained one and stores the table.
"""

import argparse
import json
import time

import torch

from benchmarks.machine import conditions
from vae_helpers import checkpoints, data, paths
from vae_helpers.classifier import GenerativeClassifier, expected_calibration_error
from vae_helpers.recipes import RECIPES

NAMES = ("classifier", "classifier-3min")
RULES = (("plug-in", 1), ("importance-weighted", 10), ("importance-weighted", 100))
RESULTS = paths.ROOT / "benchmarks" / "results" / "classifier.json"


def train(name: str, seed: int) -> None:
    """Train on the training images less 5 000 held out; the file says how long it took, in seconds of the wall and of the processor."""
    images, _ = data.load("mnist").split_off(5000)
    wall, processor = time.perf_counter(), time.process_time()
    model, history = RECIPES[name].train(images, seed=seed, progress=False)
    metrics = dict(
        seed=seed, train_images=len(images), epochs=len(history), train=round(history[-1].loss, 2), threads=torch.get_num_threads(),
        wall_seconds=round(time.perf_counter() - wall, 1), processor_seconds=round(time.process_time() - processor, 1),
    )  # fmt: skip
    checkpoints.save(
        paths.RUNS / f"{name}-{seed}.safetensors", model, metrics=metrics, recipe=name, dtype=torch.float16
    )


def measure() -> None:
    """Score every trained classifier by every rule; held-out images choose rule and temperature, test images are only scored."""
    _, held_out = data.load("mnist").split_off(5000)
    test = data.load("mnist", "test")
    rows = []
    for path in sorted(path for name in NAMES for path in paths.RUNS.glob(f"{name}-[0-9].safetensors")):
        stored = checkpoints.load(path)
        for rule, samples in RULES:
            classifier = GenerativeClassifier.from_model(stored.model, rule=rule, samples=samples)
            with torch.autocast("cpu", torch.bfloat16):
                classifier.calibrate(held_out.x.numpy(), held_out.y.numpy())
                parts = {
                    name: (part, classifier.predict_proba(part.x.numpy()))
                    for name, part in (("validation", held_out), ("test", test))
                }
            row = (
                dict(recipe=stored.recipe, rule=rule, samples=samples, temperature=round(classifier.temperature_, 3))
                | stored.metrics
            )
            for name, (part, p) in parts.items():
                y = part.y.numpy()
                row[f"{name}_accuracy"] = round(float((p.argmax(1) == y).mean()), 4)
                row[f"{name}_ece"] = round(expected_calibration_error(p, y), 4)
            rows.append(row)
            print(json.dumps(row), flush=True)
    RESULTS.write_text(json.dumps({"conditions": conditions(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    training = commands.add_parser("train")
    training.add_argument("name", choices=NAMES)
    training.add_argument("seed", type=int)
    commands.add_parser("measure")
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(arguments.name, arguments.seed)
    else:
        measure()
