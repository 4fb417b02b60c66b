"""log p(x) of the likelihood models: `python -m benchmarks.likelihood [RECIPE …]`, after `python -m benchmarks.trained likelihood 0`.

Each figure is what `python -m vae_helpers evaluate CHECKPOINT --samples 5000 --json` prints: all 10 000 test images, binarised once.
Rows of models that are not in runs/ stay as they were stored.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import conditions
from benchmarks.trained import trained
from vae_helpers import checkpoints, paths

RECIPES = ("likelihood", "likelihood-10min", "likelihood-3min")
SAMPLES = 5000
STORED = paths.RESULTS / "likelihood.json"


def measure(path: Path) -> dict:
    """Bound and importance-weighted log-likelihood of a trained model, in nats per image, and its losses while it learned."""
    stored, started = checkpoints.load(path), time.perf_counter()
    command = [sys.executable, "-m", "vae_helpers", "evaluate", str(path), "--samples", str(SAMPLES), "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    del result["checkpoint"]
    row = dict(recipe=stored.recipe, date=conditions()["date"]) | stored.metrics | result
    row["measuring_seconds"] = round(time.perf_counter() - started)
    print(json.dumps(row), flush=True)
    return row | {"curve": [round(loss, 2) for loss in stored.history.column("loss")]}


def keep(row: dict) -> None:
    """Put the row into the stored result, in the place of an earlier one of that recipe and seed."""
    about = {name: value for name, value in conditions().items() if name != "threads"}  # each row tells its own
    rows = {(old["recipe"], old["seed"]): old for old in json.loads(STORED.read_text(encoding="utf-8"))["rows"]}
    rows[row["recipe"], row["seed"]] = row
    ordered = sorted(rows.values(), key=lambda row: (RECIPES.index(row["recipe"]), row["seed"]))
    STORED.write_text(json.dumps({"conditions": about, "rows": ordered}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="RECIPE", choices=RECIPES, help="default: all")
    for path in trained(*(parser.parse_args().names or RECIPES)):
        keep(measure(path))
