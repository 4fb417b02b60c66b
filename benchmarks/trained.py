"""Train a recipe over seeds, for the measurements: `python -m benchmarks.trained NAME SEED …` keeps runs/NAME-SEED.safetensors.

Seconds of the wall mean something on a quiet machine only, and on another processor something else: beside them stands what a large
product of matrices reaches here at that moment.
"""

import sys
import time
from pathlib import Path

import torch

from benchmarks.speed import product_limit
from vae_helpers import checkpoints, data, paths
from vae_helpers.devices import use_quota_threads
from vae_helpers.history import History
from vae_helpers.recipes import RECIPES


def train(name: str, seed: int) -> Path:
    """Train on MNIST's training images less 5 000 held out; the file tells the loss of each epoch and how long training took.

    The weights are stored as float16, as shipped; seconds are those of the wall and of the processor.
    """
    images, _ = data.load("mnist").split_off(5000)
    mm = round(product_limit(torch.bfloat16) / 1e9)
    wall, processor = time.perf_counter(), time.process_time()

    def tell(history: History) -> None:
        row = history[-1]
        print(f"{name} seed {seed} epoch {len(history)}: {row.loss:.2f}, {row.seconds:.1f} s", flush=True)

    model, history = RECIPES[name].train(images, seed=seed, progress=False, on_epoch=tell)
    history.state = None
    metrics = dict(
        seed=seed, train_images=len(images), epochs=len(history), train=round(history[-1].loss, 2), threads=torch.get_num_threads(),
        torch_mm_gflops=mm, pixels=history.settings["pixels"], wall_seconds=round(time.perf_counter() - wall), processor_seconds=round(time.process_time() - processor),
    )  # fmt: skip
    path = paths.RUNS / f"{name}-{seed}.safetensors"
    return checkpoints.save(path, model, history=history, metrics=metrics, recipe=name, dtype=torch.float16)


def trained(*names: str) -> list[Path]:
    """The files that `train` kept, by recipe and seed."""
    return [path for name in names for path in sorted(paths.RUNS.glob(f"{name}-[0-9].safetensors"))]


if __name__ == "__main__":
    use_quota_threads()
    for seed in sys.argv[2:]:
        print(train(sys.argv[1], int(seed)))
