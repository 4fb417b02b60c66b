"""What a measurement depends on, to be stored beside it; nothing that names the machine."""

import datetime
import os
import platform

import torch

from vae_helpers.reproduce import cpu_model


def conditions() -> dict:
    """Date, versions, processor, cores and threads."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
