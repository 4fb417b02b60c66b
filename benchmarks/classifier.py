"""The generative classifier over its seeds: `python -m benchmarks.classifier`, after `python -m benchmarks.trained classifier 0 1 2`.

Held-out training images choose the temperature, and show which rule to take; the test images are only scored.
"""

import json

import numpy as np
import torch

from benchmarks.machine import conditions
from benchmarks.trained import trained
from vae_helpers import checkpoints, data, paths
from vae_helpers.classifier import GenerativeClassifier, expected_calibration_error
from vae_helpers.devices import use_quota_threads

RULES = (("plug-in", 1), ("importance-weighted", 10))


def worth(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy, label NLL (nats) and expected calibration error of probabilities (N, 10)."""
    nll = -np.log(p[np.arange(len(y)), y].clip(1e-30)).mean()
    figures = dict(accuracy=(p.argmax(1) == y).mean(), label_nll=nll, ece=expected_calibration_error(p, y))
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def measure() -> dict:
    """Every trained classifier by every rule, on the held-out and on the test images."""
    parts = {"validation": data.load("mnist").split_off(5000)[1], "test": data.load("mnist", "test")}
    rows = []
    for path in trained("classifier", "classifier-3min"):
        stored = checkpoints.load(path)
        for rule, samples in RULES:
            classifier = GenerativeClassifier.from_model(stored.model, rule=rule, samples=samples)
            with torch.autocast("cpu", torch.bfloat16):
                classifier.calibrate(parts["validation"].x.numpy(), parts["validation"].y.numpy())
                row = dict(
                    recipe=stored.recipe, rule=rule, samples=samples, temperature=round(classifier.temperature_, 3)
                )
                for name, part in parts.items():
                    figures = worth(classifier.predict_proba(part.x.numpy()), part.y.numpy())
                    row |= {f"{name}_{key}": figure for key, figure in figures.items()}
            rows.append(row | stored.metrics)
            print(json.dumps(rows[-1]), flush=True)
    return {"conditions": conditions(), "rows": rows}


if __name__ == "__main__":
    use_quota_threads()
    (paths.RESULTS / "classifier.json").write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
