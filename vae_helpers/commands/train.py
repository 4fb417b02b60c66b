"""Train one recipe, and keep it after each epoch."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from vae_helpers.commands.common import PROG, UsageError, complain, positive, seed, writable

HELP = "train one recipe; after each epoch a checkpoint is kept, so Ctrl-C loses nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", default="first-vae", metavar="RECIPE", help="default: first-vae")
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs in all (default: the recipe's)")
    parser.add_argument("--data", choices=("auto", "mnist", "digits"), help="default: auto, MNIST where it can be had")
    parser.add_argument("--out", type=Path, metavar="PATH", help="the checkpoint (default: runs/RECIPE.safetensors)")
    parser.add_argument("--seed", type=seed, metavar="N", help="default: 0")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")


def run(arguments: argparse.Namespace) -> int:
    from vae_helpers import distributed

    with distributed.started():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from vae_helpers import runs
    from vae_helpers.devices import use_quota_threads
    from vae_helpers.recipes import RECIPES

    name = arguments.recipe
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    use_quota_threads()
    path = writable(arguments.out or runs.path_of(RECIPES[name]))
    again = f"{PROG} train {name} --resume" + (f' --out "{path}"' if arguments.out else "")
    if path.exists() and not arguments.resume:
        print(
            f"{path} holds an earlier run, which the first epoch replaces. To go on with it: Ctrl-C, then {again}",
            flush=True,
        )
    with contextlib.redirect_stdout(sys.stderr):  # an interrupt's message is progress, not result
        _, history = runs.train(
            RECIPES[name],
            path,
            epochs=arguments.epochs,
            images=arguments.data,
            seed=arguments.seed,
            resume=arguments.resume,
        )
    settings, figures = history.settings, runs.metrics(history)
    result = {"recipe": name, "data": settings["data"], "seed": settings["seed"], "epochs": len(history)}
    result |= figures | {"interrupted": history.interrupted, "checkpoint": str(path)}
    arguments.result = json.dumps(result, indent=2)
    if len(history):
        print(f"{name} on {settings['data']}, epochs {len(history)}, seed {settings['seed']}; nats per image")
        print(f"{'':12}{'rec':>9}{'kl':>9}{'bound':>9}")
        for part, terms in figures.items():
            print(f"{part:12}{terms['rec']:9.2f}{terms['kl']:9.2f}{terms['bound']:9.2f}")
        print(f"kept in {path}")
    if history.interrupted:
        kept = f"To go on: {again}" if len(history) else "No epoch was complete, so nothing was kept"
        return complain(f"interrupted. {kept}", 130)
    return 0
