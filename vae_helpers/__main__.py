"""The command line: python -m vae_helpers doctor | fetch | train | reproduce | classify, each with --json and --help.

Exit codes: 0 all is well, 1 something is wrong with the machine, the data or the training, 2 the command was not understood or its
reader went away, 130 it was interrupted. torch is imported inside the commands, so that --help is quick and `doctor` works without it.
"""

from __future__ import annotations  # an old Python must get as far as `doctor`, which tells it so

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

PROG = "python -m vae_helpers"
RULES = ("reconstruction", "elbo", "plug-in", "importance-weighted")  # the classifier's, which imports torch


class UsageError(Exception):
    """The command cannot mean what was typed."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that cannot show ✓ shows ? instead of failing
    try:
        try:
            arguments = _parser().parse_args(argv)
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains again when it flushes at exit
        return _complain("nobody reads the output any more: it was cut short", 2)


def _run(arguments: argparse.Namespace) -> int:
    try:
        if not arguments.json:
            return arguments.command(arguments)
        return _run_for_json(arguments)
    except UsageError as error:
        return _complain(f"{error} (see {PROG} --help)", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except BrokenPipeError:
        raise
    except ImportError as error:
        return _complain(f"{error}. Type: {PROG} doctor", 1)
    except OSError as error:
        return _complain(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except RuntimeError as error:
        if not isinstance(error, _course_errors()):
            raise
        return _complain(str(error), 1)


def _run_for_json(arguments: argparse.Namespace) -> int:
    """Nothing but the JSON may reach stdout, so all that is printed on the way goes to stderr."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        code = arguments.command(arguments)
    print(arguments.result, file=out)
    return code


def _complain(message: str, code: int) -> int:
    print(f"{PROG}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _course_errors() -> tuple[type[Exception], ...]:
    from vae_helpers.checkpoints import CheckpointError
    from vae_helpers.data import DataError
    from vae_helpers.training import TrainingError

    return CheckpointError, DataError, TrainingError


# ---------------------------------------------------------------- the commands


def doctor(arguments: argparse.Namespace) -> int:
    from vae_helpers import doctor

    results = doctor.examine()
    arguments.result = json.dumps([result._asdict() for result in results], indent=2, ensure_ascii=False)
    print(doctor.report(results))
    return 0 if all(result.ok for result in results) else 1


def fetch(arguments: argparse.Namespace) -> int:
    from vae_helpers import data

    if data.offline():
        raise data.MissingData("VAE_OFFLINE is set, so nothing is fetched: unset it and try again")
    folder = data.fetch(arguments.to)
    arguments.result = json.dumps({"folder": str(folder), "files": sorted(file.name for file in data.FILES.values())})
    print(f"MNIST is in {folder}: {len(data.FILES)} files, each with the right SHA-256")
    return 0


def train(arguments: argparse.Namespace) -> int:
    from vae_helpers import runs
    from vae_helpers.devices import use_quota_threads
    from vae_helpers.recipes import RECIPES

    name = arguments.recipe
    if name not in RECIPES:
        raise UsageError(f"no recipe {name!r}: choose one of {', '.join(RECIPES)}")
    use_quota_threads()
    path = _writable(arguments.out or runs.path_of(RECIPES[name]))
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
        return _complain(f"interrupted. {kept}", 130)
    return 0


def reproduce(arguments: argparse.Namespace) -> int:
    from tqdm.auto import tqdm

    from vae_helpers import reproduce as work
    from vae_helpers.devices import use_quota_threads
    from vae_helpers.recipes import SOURCES

    for name in arguments.names:
        if name not in SOURCES:
            raise UsageError(f"no source {name!r}: choose from {', '.join(SOURCES)}")
    use_quota_threads()
    out = _writable(arguments.out)
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
        return _complain("interrupted: the rows so far are complete epochs", 130)
    finally:
        arguments.result = work.rows_as_json(rows)


def classify(arguments: argparse.Namespace) -> int:
    import time

    import numpy as np

    from vae_helpers import data, paths
    from vae_helpers.checkpoints import CheckpointError, load
    from vae_helpers.classifier import GenerativeClassifier
    from vae_helpers.devices import pick_device, use_quota_threads
    from vae_helpers.scoring import check_rule

    try:
        check_rule(arguments.rule, arguments.samples)
    except ValueError as error:
        raise UsageError(str(error)) from error
    use_quota_threads()
    path = arguments.checkpoint or paths.CHECKPOINTS / "classifier.safetensors"
    if arguments.checkpoint is None and not path.exists():
        raise CheckpointError(
            f"{path} does not exist. Type: {PROG} train classifier (some minutes), then "
            f'{PROG} classify "{paths.RUNS / "classifier.safetensors"}"'
        )
    model = load(path).model
    if model.num_classes != 10 or model.pixels != 784:
        raise CheckpointError(
            f"{path} holds a model with {model.num_classes} labels and {model.pixels} pixels, but the images have 10 and 784: "
            f"choose a conditional one, such as that of {PROG} train S2-CVAE"
        )
    settings = {"rule": arguments.rule, "samples": arguments.samples}
    classifier = GenerativeClassifier.from_model(model.to(pick_device()), **settings)
    test = data.load("auto", "test")
    test = test if arguments.images is None else test.random_subset(arguments.images)
    x, y = test.x.numpy(), test.y.numpy()
    started = time.perf_counter()
    log_p = classifier.predict_log_proba(x)
    seconds = time.perf_counter() - started
    result = {
        "accuracy": round(float((log_p.argmax(1) == y).mean()), 4),
        "label_nll": round(-float(log_p[np.arange(len(y)), y].mean()), 4),
        "images": len(y),
        "images_per_second": round(len(y) / seconds, 1),
        **settings,
        "checkpoint": str(path),
    }
    arguments.result = json.dumps(result, indent=2)
    print(
        f"{100 * result['accuracy']:.2f} % of {len(y)} test images ({test.name}) right, label NLL {result['label_nll']:.3f} nats; "
        f"{result['images_per_second']:.0f} images a second by the rule {arguments.rule}"
    )
    return 0


def _writable(path: Path | None) -> Path | None:
    """`path`, after its folder was made: hours of training must not end at a name that cannot be written."""
    if path is not None:
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder: give the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------- the arguments


def _parser() -> Parser:
    parser = Parser(
        prog=PROG, description="Look after the course: check the machine, fetch the data, train and test the models."
    )
    commands = parser.add_subparsers(
        title="commands", metavar="doctor | fetch | train | reproduce | classify", required=True
    )

    def add(command, text: str) -> Parser:
        added = commands.add_parser(command.__name__, help=text, description=text)
        added.add_argument("--json", action="store_true", help="print JSON and nothing else")
        added.set_defaults(command=command)
        return added

    add(doctor, "check Python, packages, Jupyter, data, memory and threads; print one command for each fault")

    fetching = add(fetch, "download MNIST (12 MB) and verify it")
    fetching.add_argument("--to", type=Path, metavar="DIR", help="where to put it (default: the course's data/)")

    training = add(train, "train one recipe; after each epoch a checkpoint is kept, so Ctrl-C loses nothing")
    training.add_argument("recipe", nargs="?", default="first-vae", metavar="RECIPE", help="default: first-vae")
    training.add_argument("--epochs", type=_positive, metavar="N", help="epochs in all (default: the recipe's)")
    training.add_argument(
        "--data", choices=("auto", "mnist", "digits"), help="default: auto, MNIST where it can be had"
    )
    training.add_argument("--out", type=Path, metavar="PATH", help="the checkpoint (default: runs/RECIPE.safetensors)")
    training.add_argument("--seed", type=_seed, metavar="N", help="default: 0")
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint")

    reproducing = add(reproduce, "train the source tutorials' models again and compare with the figures they print")
    reproducing.add_argument(
        "names", nargs="*", metavar="NAME", help="which sources (default: S0 S1 S2-VAE S2-CVAE S4)"
    )
    reproducing.add_argument(
        "--epochs", type=_positive, metavar="N", help="epochs each (default: as many as the source)"
    )
    reproducing.add_argument("--seed", type=_seed, metavar="N", help="default: each recipe's own")
    reproducing.add_argument(
        "--out", type=Path, metavar="FILE", help="store rows and conditions as JSON, epoch by epoch"
    )

    classifying = add(classify, "classify the test images by Bayes' rule over a conditional VAE")
    classifying.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        metavar="CHECKPOINT",
        help="default: data/checkpoints/classifier.safetensors",
    )
    classifying.add_argument(
        "--rule", choices=RULES, default="plug-in", help="how log p(x|y) is estimated (default: plug-in)"
    )
    classifying.add_argument(
        "--samples",
        type=_whole,
        default=1,
        metavar="K",
        help="codes an image and label (default: 1; 0: reconstruct from the posterior mean; plug-in draws none)",
    )
    classifying.add_argument(
        "--images", type=_positive, metavar="N", help="a random N of the test images (default: all)"
    )
    return parser


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
