"""All measurements, or those you name: `python -m benchmarks [NAME …]`, or `make bench`. Each has options: `python -m benchmarks.NAME --help`.

Each runs in a process of its own and stores `benchmarks/results/NAME.json` with its conditions. Leave the machine alone meanwhile.
"""

import argparse
import os
import subprocess
import sys
import time

from vae_helpers import paths

MEASUREMENTS = {
    "speed": "seconds per epoch, the sources' pipelines against ours (5 to 10 minutes on two cores)",
    "figure": "time to the sources' final figures (6 minutes)",
    "scoring": "time to classify 10 000 images (1 minute)",
    "footprint": "memory and import time (1 minute)",
    "gpu": "S1 on a GPU, where there is one",
    "slider": "from a key to the picture in JupyterLab (2 minutes, needs Chromium)",
    "tables": "nothing new: README's tables, from what is stored",
    "classifier": "the classifiers that `python -m benchmarks.trained` kept (long; only by name)",
    "likelihood": "log p(x) of the models that it kept (long; only by name)",
}
LONG = ("classifier", "likelihood")
ALONE = {"slider": {"OMP_NUM_THREADS": "1", "VAE_OFFLINE": "1"}}  # the browser wants the other core


def main() -> int:
    listed = "\n".join(f"  {name:12}{what}" for name, what in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"{__doc__}\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones")
    names = parser.parse_args().names or [name for name in MEASUREMENTS if name not in LONG]
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        parser.error(f"there is no {unknown[0]}: choose some of {', '.join(MEASUREMENTS)}")
    failed = []
    for name in names:
        print(f"== {name}: {MEASUREMENTS[name]}", flush=True)
        start = time.perf_counter()
        environment = os.environ | ALONE.get(name, {})
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=paths.ROOT, env=environment).returncode:
            failed.append(name)
        print(f"== {name}: {time.perf_counter() - start:.0f} s\n", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
