"""What the commands share: how they complain, and how they read numbers and paths."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

PROG = "python -m vae_helpers"


class UsageError(Exception):
    """The command cannot mean what was typed."""


def complain(message: str, code: int) -> int:
    """Print one line to stderr; returns `code`."""
    print(f"{PROG}: {' '.join(message.split())}", file=sys.stderr)
    return code


def whole(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A seed, for argparse."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def writable(path: Path | None) -> Path | None:
    """`path`, after its folder was made: hours of training must not end at a name that cannot be written."""
    if path is not None:
        if path.is_dir():
            raise UsageError(f"--out {path} is a folder: give the name of a file")
        path.parent.mkdir(parents=True, exist_ok=True)
    return path
