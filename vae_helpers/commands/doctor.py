"""Is this machine fit for the course?"""

from __future__ import annotations

import argparse
import json

HELP = "check Python, packages, Jupyter, data, memory and threads; print one command for each fault"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No argument of its own."""


def run(arguments: argparse.Namespace) -> int:
    from vae_helpers import doctor

    results = doctor.examine()
    arguments.result = json.dumps([result._asdict() for result in results], indent=2, ensure_ascii=False)
    print(doctor.report(results))
    return 0 if all(result.ok for result in results) else 1
