"""The command line: python -m vae_helpers doctor | fetch | train | evaluate | classify | reproduce, each with --json and --help.

Exit codes: 0 all is well, 1 something is wrong with the machine, the data or the training, 2 the command was not understood or its
reader went away, 130 it was interrupted. The commands are in vae_helpers/commands.
"""

from __future__ import annotations  # an old Python must get as far as `doctor`, which tells it so

import argparse
import contextlib
import os
import sys

from vae_helpers.commands import classify, doctor, evaluate, fetch, reproduce, train
from vae_helpers.commands.common import PROG, UsageError, complain
from vae_helpers.launch import rank_and_world, speaks

MODULES = (doctor, fetch, train, evaluate, classify, reproduce)
COMMANDS = {module.__name__.rpartition(".")[2]: module for module in MODULES}


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file=None) -> None:
        if speaks():  # under torchrun every process would print it
            super()._print_message(message, file)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that cannot show ✓ shows ? instead of failing
    try:
        try:
            arguments = _parser().parse_args(argv)
            if rank_and_world()[1] > 1 and arguments.run is not train.run:
                return complain("train alone runs on several processes: leave out torchrun", 2) if speaks() else 2
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python complains again when it flushes at exit
        return complain("nobody reads the output any more: it was cut short", 2)


def _run(arguments: argparse.Namespace) -> int:
    try:
        if not arguments.json:
            return arguments.run(arguments)
        return _run_for_json(arguments)
    except UsageError as error:
        return complain(f"{error} (see {PROG} --help)", 2)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    except BrokenPipeError:
        raise
    except ImportError as error:
        return complain(f"{error}. Type: {PROG} doctor", 1)
    except OSError as error:
        return complain(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
    except RuntimeError as error:
        if not isinstance(error, _course_errors()):
            raise
        return complain(str(error), 1)


def _run_for_json(arguments: argparse.Namespace) -> int:
    """Nothing but the JSON may reach stdout, so all that is printed on the way goes to stderr."""
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        code = arguments.run(arguments)
    if speaks():
        print(arguments.result, file=out)
    return code


def _course_errors() -> tuple[type[Exception], ...]:
    from vae_helpers.checkpoints import CheckpointError
    from vae_helpers.data import DataError
    from vae_helpers.distributed import RanksError
    from vae_helpers.training import TrainingError

    return CheckpointError, DataError, RanksError, TrainingError


def _parser() -> Parser:
    parser = Parser(
        prog=PROG, description="Look after the course: check the machine, fetch the data, train and test the models."
    )
    commands = parser.add_subparsers(title="commands", metavar=" | ".join(COMMANDS), required=True)
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.HELP, description=command.HELP)
        added.add_argument("--json", action="store_true", help="print JSON and nothing else")
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
