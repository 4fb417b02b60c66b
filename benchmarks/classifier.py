"""The generative classifier over its seeds: `python -m benchmarks.classifier`, after `python -m benchmarks.trained classifier 0 1 2`.

Held-out training images choose the temperature, and show which rule to take; the test images are only scored. The last rows are an
ensemble of all seeds of "classifier": log p̂(x|y) is the mean of theirs.
"""

import json

import numpy as np
import torch

from benchmarks.machine import conditions
from benchmarks.trained import trained
from vae_helpers import checkpoints, data, paths
from vae_helpers.classifier import GenerativeClassifier, best_temperature, expected_calibration_error
from vae_helpers.devices import use_quota_threads

RULES = (("plug-in", 1), ("importance-weighted", 20))
ENSEMBLE = "classifier"


def worth(scores: np.ndarray, y: np.ndarray, temperature: float) -> dict[str, float]:
    """Accuracy, label NLL (nats) and expected calibration error of softmax(scores / T): scores (N, 10), labels (N,)."""
    log_p = torch.log_softmax(torch.from_numpy(scores).double() / temperature, 1).numpy()
    nll = -log_p[np.arange(len(y)), y].mean()
    figures = dict(
        accuracy=(log_p.argmax(1) == y).mean(), label_nll=nll, ece=expected_calibration_error(np.exp(log_p), y)
    )
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def row_of(scores: dict[str, np.ndarray], labels: dict[str, np.ndarray], **about) -> dict:
    """What the scores of each part are worth, at the temperature that suits the held-out images."""
    temperature = best_temperature(scores["validation"], labels["validation"])
    row = about | {"temperature": round(temperature, 3)}
    for part in scores:
        row |= {f"{part}_{key}": value for key, value in worth(scores[part], labels[part], temperature).items()}
    print(json.dumps(row), flush=True)
    return row


def measure() -> dict:
    """Every trained classifier by every rule, on the held-out and on the test images."""
    parts = {"validation": data.load("mnist").split_off(5000)[1], "test": data.load("mnist", "test")}
    labels = {name: part.y.numpy() for name, part in parts.items()}
    rows, of_seeds = [], {rule: [] for rule in RULES}
    for path in trained("classifier", "classifier-3min"):
        stored = checkpoints.load(path)
        for rule, samples in RULES:
            classifier = GenerativeClassifier.from_model(stored.model, rule=rule, samples=samples)
            with torch.autocast("cpu", torch.bfloat16):
                scores = {name: classifier.log_px_y(part.x.numpy()) for name, part in parts.items()}
            rows.append(row_of(scores, labels, recipe=stored.recipe, rule=rule, samples=samples, **stored.metrics))
            if stored.recipe == ENSEMBLE:
                of_seeds[rule, samples].append(scores)
    for (rule, samples), several in of_seeds.items():
        if len(several) > 1:
            mean = {name: np.mean([scores[name] for scores in several], 0) for name in parts}
            about = dict(recipe=f"{ENSEMBLE}, {len(several)} seeds together", rule=rule, samples=samples, seed="all")
            ours = [row for row in rows if (row["recipe"], row["rule"]) == (ENSEMBLE, rule)]
            clocks = {name: sum(row[name] for row in ours) for name in ("wall_seconds", "processor_seconds")}
            rows.append(row_of(mean, labels, **about, **clocks))
    about = {name: value for name, value in conditions().items() if name != "threads"}  # each row tells its own
    return {"conditions": about, "rows": rows}


if __name__ == "__main__":
    use_quota_threads()
    (paths.RESULTS / "classifier.json").write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
