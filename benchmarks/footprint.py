"""Seconds to import and memory to train, each in a process of its own: `python -m benchmarks.footprint`."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import conditions
from vae_helpers import paths
from vae_helpers.reproduce import write

IMPORTS = {  # what a first cell waits for
    "python": "pass",
    "torch": "import torch",
    "vae_helpers.training": "import vae_helpers.training",
    "vae_helpers.widgets and plotting": "import vae_helpers.training, vae_helpers.plotting, vae_helpers.widgets",
}
PEAK = "\nimport resource, sys\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == 'darwin' else 2**10))"
TRAININGS = {  # one epoch of S1, 60 000 images
    "torch alone": "import torch",
    "source S1": """from benchmarks.sources import SOURCES, optimizer_of
from vae_helpers import data
model = SOURCES["S1"].build()
list(SOURCES["S1"].epoch(model, optimizer_of(model), SOURCES["S1"].loader(data.load("mnist"))))""",
    "ours S1, float32": """from vae_helpers import data
from vae_helpers.recipes import RECIPES
RECIPES["S1"].train(data.load("mnist"), epochs=1, progress=False, device="cpu")""",
    "ours S1, bfloat16": """from vae_helpers import data
from vae_helpers.recipes import RECIPES
RECIPES["S1"].train(data.load("mnist"), epochs=1, progress=False, device="cpu", precision="bfloat16")""",
}


def seconds_of(code: str, repeats: int) -> float:
    """Median wall seconds of a fresh Python that runs `code`; one run before them warms the disk's cache."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.ROOT)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def peak_of(code: str) -> float:
    """The largest resident memory of a fresh Python that runs `code`, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK], check=True, cwd=paths.ROOT, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "footprint.json", help="where to store the result")
    arguments = parser.parse_args()
    rows = [
        dict(what=f"import {name}", value=round(seconds_of(code, arguments.repeats), 2), unit="s")
        for name, code in IMPORTS.items()
    ]
    rows += [
        dict(what=f"peak memory, {name}", value=round(peak_of(code)), unit="MiB") for name, code in TRAININGS.items()
    ]
    write(arguments.out, rows, conditions() | {"repeats": arguments.repeats}, complete=True)
    for row in rows:
        print(f"{row['what']:46}{row['value']:10g} {row['unit']}")
    print(f"stored in {arguments.out}")


if __name__ == "__main__":
    main()
