"""Seconds per epoch, each source's own pipeline against `fit`: `python -m benchmarks.speed`.

One process, in turns: source, ours, ours compiled, …, source, ours, … so that a busy moment meets all of them. Network, batch size, number of
steps and Adam 1e-3 are the same; first a warm-up, which also compiles. Clocked is a whole call: `fit` with its copies of the state, the
source's loop without its printing. Beside the seconds stand the products per second, as a share of what one large torch.mm reaches here.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.machine import conditions
from benchmarks.sources import SOURCES, optimizer_of
from vae_helpers import data, paths
from vae_helpers.devices import use_quota_threads
from vae_helpers.history import History
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES
from vae_helpers.reproduce import write

SOURCE = "source"
OURS = {  # name: settings of `fit` on top of the recipe's
    "ours, float32": dict(),
    "ours, bfloat16": dict(precision="bfloat16"),
    "ours, bfloat16, compiled": dict(precision="bfloat16", compile=True),
}
BEST = "ours, bfloat16, compiled"
WANTED = {"S0": 5.0, "S1": 4.0, "S2-VAE": 3.3, "S2-CVAE": 3.3, "S4": 2.7}  # times faster than the source, on two cores
UNIT = "seconds of the wall for an epoch of 60 000 images, median over repeats; ratio: the source's seconds over these"


def steps_of(name: str) -> int:
    """Steps of an epoch over MNIST."""
    source = SOURCES[name]
    return 60_000 // source.batch_size if source.drop_last else -(-60_000 // source.batch_size)


def part_of(name: str, images: ImageSet, steps: int) -> tuple[ImageSet, float]:
    """As many images as make `steps` steps (0: all of them), and what their seconds are to be multiplied by."""
    if not steps or steps >= steps_of(name):
        return images, 1.0
    return images[: steps * SOURCES[name].batch_size], steps_of(name) / steps


def pipelines(name: str) -> dict[str, Callable[[ImageSet], object]]:
    """An epoch over the given images by each pipeline; each has its own network and goes on with it."""
    source, recipe = SOURCES[name], RECIPES[name]
    network = source.build()
    optimizer = optimizer_of(network)

    def ours(model: VAE, settings: dict) -> Callable[[ImageSet], History]:
        def epoch(images: ImageSet) -> History:
            return recipe.train(images, model=model, epochs=1, progress=False, device="cpu", **settings)[1]

        return epoch

    return {SOURCE: lambda images: list(source.epoch(network, optimizer, source.loader(images)))} | {
        label: ours(recipe.build(), settings) for label, settings in OURS.items()
    }


def clocked(run: Callable, *arguments) -> float:
    """Seconds of the wall."""
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start


def in_turns(runs: dict[str, Callable[[ImageSet], object]], images: ImageSet, repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, `repeats` times, in turns."""
    times = {label: [] for label in runs}
    for _ in range(repeats):
        for label, run in runs.items():
            times[label].append(clocked(run, images))
    return times


def flops(model: nn.Module, images: int) -> float:
    """Floating-point operations of an epoch's matrix products: forward, weights' and inputs' gradients, but none for the pixels.

    Two for each weight, image and product. The first layer has no use for its inputs' gradient.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    return 2.0 * images * (3 * weights - layers[0].weight.numel())


def product_limit(dtype: torch.dtype, *, size: int = 1536, repeats: int = 15) -> float:
    """The best of some torch.mm of two square matrices: floating-point operations a second."""
    a, b = torch.randn(2, size, size).to(dtype)
    torch.mm(a, b)
    return 2 * size**3 / min(clocked(torch.mm, a, b) for _ in range(repeats))


def measure(name: str, images: ImageSet, *, repeats: int, steps: int, limits: dict[str, float]) -> list[dict]:
    """One row a pipeline."""
    part, scale = part_of(name, images, steps)
    runs, batch = pipelines(name), SOURCES[name].batch_size
    for run in runs.values():  # twenty steps, and the short last batch, which is compiled by itself
        run(images[: 20 * batch + len(part) % batch])
    times = {label: [scale * t for t in found] for label, found in in_turns(runs, part, repeats).items()}
    source = statistics.median(times[SOURCE])
    work = flops(RECIPES[name].build(), min(60_000, steps_of(name) * batch))
    rows = []
    for label, found in times.items():
        median = statistics.median(found)
        limit = limits["bfloat16" if "bfloat16" in label else "float32"]
        rows.append(
            dict(
                recipe=name,
                pipeline=label,
                batch_size=batch,
                steps=steps_of(name),
                median=round(median, 3),
                fastest=round(min(found), 3),
                slowest=round(max(found), 3),
                repeats=repeats,
                ratio=round(source / median, 2),
                wanted=WANTED[name] if label == BEST else None,
                share_of_mm=round(work / median / limit, 3),
            )
        )
    return rows


def line_of(row: dict) -> str:
    wanted = f"  ({row['wanted']:g} wanted)" if row["wanted"] else ""
    return (
        f"{row['recipe']:8} {row['pipeline']:26}{row['median']:8.3f} s an epoch ({row['fastest']:.3f} to {row['slowest']:.3f})"
        f"{row['ratio']:7.2f} times{row['share_of_mm']:8.0%} of torch.mm{wanted}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="RECIPE", help=f"some of {', '.join(SOURCES)} (default: all)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="steps that stand for an epoch (default: the whole epoch)")
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "speed.json", help="where to store the result")
    arguments = parser.parse_args()
    use_quota_threads()
    images = data.load("mnist")
    limits = {"float32": product_limit(torch.float32), "bfloat16": product_limit(torch.bfloat16)}
    rows = []
    for name in arguments.names or SOURCES:
        found = measure(name, images, repeats=arguments.repeats, steps=arguments.steps, limits=limits)
        print(*map(line_of, found), sep="\n", flush=True)
        rows += found
    mm = {dtype: round(limit / 1e9) for dtype, limit in limits.items()}
    stored = conditions() | {"unit": UNIT, "steps_clocked": arguments.steps or "all", "torch_mm_gflops": mm}
    write(arguments.out, rows, stored, complete=not arguments.names)
    print(f"torch.mm: {mm['float32']} GFLOP/s in float32, {mm['bfloat16']} in bfloat16; stored in {arguments.out}")


if __name__ == "__main__":
    main()
