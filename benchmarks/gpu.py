"""S1 on a GPU, where there is one: seconds per epoch, and the losses beside those of the source: `python -m benchmarks.gpu`."""

import argparse
from pathlib import Path

import torch

from benchmarks.machine import conditions
from vae_helpers import data, paths
from vae_helpers.recipes import RECIPES
from vae_helpers.reproduce import write

NAME = "S1"
SETTINGS = {  # what is added to the recipe
    "float32": dict(),
    "bfloat16": dict(precision="bfloat16"),
    "bfloat16, compiled": dict(precision="bfloat16", compile=True),
}
SOURCE_SECONDS = 7.88  # an epoch on the source's own, unnamed GPU: 1182.5 s for 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "gpu.json", help="where to store the result")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here: skipped.")
        return
    recipe, images = RECIPES[NAME], data.load("mnist")
    rows = []
    for label, settings in SETTINGS.items():
        _, history = recipe.train(images, epochs=arguments.epochs, device="cuda", progress=False, **settings)
        for row in history:
            number = row.epoch + 1
            rows.append(
                dict(
                    recipe=NAME,
                    precision=label,
                    epoch=number,
                    seconds=round(row.seconds, 3),
                    train=round(recipe.bound(row.rec, row.kl), 3),
                    source=recipe.printed.get(number),
                )
            )
            print(
                f"{label:20} epoch {number}: {row.seconds:.2f} s, {rows[-1]['train']:.2f} ({rows[-1]['source'] or '–'})",
                flush=True,
            )
    where = {"gpu": torch.cuda.get_device_name(), "source_seconds_per_epoch": SOURCE_SECONDS}
    write(arguments.out, rows, conditions() | where, complete=True)
    print(f"stored in {arguments.out}")


if __name__ == "__main__":
    main()
