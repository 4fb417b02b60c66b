"""Time to each source's final figure: `python -m benchmarks.figure`.

The source's time is its seconds per epoch times its epochs, clocked on some of its steps before, between and after our runs, so that a
busy moment meets both. Ours is the wall time of a fresh `S?-fast` run, from building the network to the end of the first epoch whose
running training loss is at or below the figure printed last, the source's mistakes taken out of it (`target`). Three seeds, medians. The
settings were chosen by training loss, with other seeds than these; the test images are measured once, at the end.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import conditions
from benchmarks.sources import SOURCES
from benchmarks.speed import SOURCE, clocked, part_of, pipelines
from vae_helpers import data, paths
from vae_helpers.devices import use_quota_threads
from vae_helpers.evaluation import evaluate
from vae_helpers.history import History
from vae_helpers.images import ImageSet
from vae_helpers.recipes import RECIPES
from vae_helpers.reproduce import write

WANTED = {"S0": 18.0, "S1": 30.0, "S2-VAE": 7.0, "S2-CVAE": 9.0, "S4": 4.5}  # times faster than the source
WANTED_MEAN = 11.0  # of all five, geometric
STEPS = 240  # of the source, for one clocking
WORSE = 0.5  # nats per image that the fast recipe may lose on the test images against the faithful one
UNIT = "seconds of the wall; nats per image in the source's unit, without its mistakes"


def target(name: str) -> float:
    """The figure that the source printed last, less what its mistake adds, in nats per image."""
    printed = RECIPES[name].printed
    return printed[max(printed)] - RECIPES[name].added_constant


def fast_run(name: str, seed: int, train: ImageSet, test: ImageSet, **settings) -> dict:
    """One run of the fast recipe. `seconds` is None where it never meets the target."""
    recipe, met = RECIPES[f"{name}-fast"], []
    start = time.perf_counter()

    def look(history: History) -> None:
        if not met and recipe.bound(history[-1].rec, history[-1].kl) <= target(name):
            met.append((len(history), time.perf_counter() - start))

    model, history = recipe.train(train, seed=seed, progress=False, on_epoch=look, **settings)
    whole = time.perf_counter() - start
    epoch, seconds = met[0] if met else (None, None)
    return dict(
        recipe=recipe.name, seed=seed, target=round(target(name), 3), met_in_epoch=epoch, seconds=seconds and round(seconds, 2),
        epochs=len(history), seconds_of_all=round(whole, 2), train=round(recipe.bound(history[-1].rec, history[-1].kl), 3),
        test=round(_test(name, model, test, seed), 3),
    )  # fmt: skip


def _test(name: str, model, test: ImageSet, seed: int) -> float:
    """As `reproduce` measures it: one code an image."""
    found = evaluate(model, test, seed=seed)
    return RECIPES[name].bound(found.rec, found.kl)


def faithful_test(name: str, *, stored: Path = paths.RESULTS / "reproduction.json") -> float:
    """-ELBO on the test images at the end of the faithful recipe: the stored run of `python -m vae_helpers reproduce`."""
    rows = json.loads(stored.read_text(encoding="utf-8"))["rows"]
    return [row["test"] for row in rows if row["recipe"] == name][-1]


def seconds_of_source(name: str, run: Callable[[ImageSet], object], images: ImageSet, steps: int = STEPS) -> float:
    """Seconds of the source's whole training, from `steps` steps of its pipeline now."""
    part, scale = part_of(name, images, steps)
    return clocked(run, part) * scale * SOURCES[name].epochs


def summary(name: str, runs: list[dict], source: float) -> dict:
    """Medians over the seeds; a run that never met the target counts as endless, so two of them leave no ratio."""
    seconds = statistics.median(math.inf if run["seconds"] is None else run["seconds"] for run in runs)
    test, faithful = statistics.median(run["test"] for run in runs), faithful_test(name)
    return dict(
        recipe=name, seed="median", target=round(target(name), 3), seconds=seconds if math.isfinite(seconds) else None,
        source_seconds=round(source, 1), ratio=round(source / seconds, 2), wanted=WANTED[name], seeds_met=sum(run["seconds"] is not None for run in runs),
        test=test, faithful_test=faithful, no_worse=test - faithful <= WORSE,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="RECIPE", help=f"some of {', '.join(SOURCES)} (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "figure.json", help="where to store the result")
    arguments = parser.parse_args()
    threads = use_quota_threads()
    names = arguments.names or list(SOURCES)
    train, test = data.load("mnist"), data.load("mnist", "test")
    rows, ratios = [], []
    for name in names:
        runs, source = [], pipelines(name)[SOURCE]
        source(train[: 20 * SOURCES[name].batch_size])  # warm-up
        times = [seconds_of_source(name, source, train)]
        for seed in arguments.seeds:
            runs.append(fast_run(name, seed, train, test))
            times.append(seconds_of_source(name, source, train))
        found = summary(name, runs, statistics.median(times))
        rows += [*runs, found]
        ratios.append(found["ratio"])
        when = "never" if found["seconds"] is None else f"after {found['seconds']:.1f} s"
        print(
            f"{name:8} {found['target']:8.3f} met {when}, the source after {found['source_seconds']:.0f} s: {found['ratio']:.1f} times "
            f"({found['wanted']:g} wanted); test {found['test']:.2f}, faithful {found['faithful_test']:.2f}; "
            f"training loss at the end {', '.join(str(run['train']) for run in runs)}",
            flush=True,
        )
    mean = statistics.geometric_mean(ratios) if all(ratios) else 0.0
    stored = conditions() | {"unit": UNIT, "geometric_mean_ratio": round(mean, 2), "wanted_mean": WANTED_MEAN}
    write(arguments.out, rows, stored, complete=not arguments.names)
    print(f"geometric mean {mean:.1f} ({WANTED_MEAN:g} wanted), {threads} threads; stored in {arguments.out}")


if __name__ == "__main__":
    main()
