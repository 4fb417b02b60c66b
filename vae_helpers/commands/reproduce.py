"""Train the models of the source tutorials again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vae_helpers.commands.common import UsageError, complain, positive, seed, writable

HELP = "train the source tutorials' models again and compare with the figures they print"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="which sources (default: S0 S1 S2-VAE S2-CVAE S4)")
    parser.add_argument("--epochs", type=positive, metavar="N", help="epochs each (default: as many as the source)")
    parser.add_argument("--seed", type=seed, metavar="N", help="default: each recipe's own")
    parser.add_argument("--out", type=Path, metavar="FILE", help="store rows and conditions as JSON, epoch by epoch")


def run(arguments: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from vae_helpers import reproduce as work
    from vae_helpers.devices import use_quota_threads
    from vae_helpers.recipes import SOURCES

    for name in arguments.names:
        if name not in SOURCES:
            raise UsageError(f"no source {name!r}: choose from {', '.join(SOURCES)}")
    use_quota_threads()
    out = writable(arguments.out)
    stored = work.conditions(names=arguments.names or SOURCES, seed=arguments.seed, epochs=arguments.epochs)
    rows: list[dict] = []

    def on_row(row: dict) -> None:
        if not rows:
            tqdm.write(work.HEADER)
        rows.append(row)
        tqdm.write(work.line_of(row))
        sys.stdout.flush()
        if out:
            work.write(out, rows, stored, complete=False)

    try:
        work.reproduce(arguments.names or SOURCES, epochs=arguments.epochs, seed=arguments.seed, on_row=on_row)
        if out:
            work.write(out, rows, stored, complete=True)
        return 0
    except KeyboardInterrupt:
        return complain("interrupted: the rows so far are complete epochs", 130)
    finally:
        arguments.result = work.rows_as_json(rows)
