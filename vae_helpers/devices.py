"""Which device to compute on, and how many threads this machine really grants."""

import math
import os
from pathlib import Path

import torch


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; "mps" only when asked for by name.

    Raises ValueError for a name that does not exist and for a device that is not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fix = "use device='cpu', or 'auto' to let the course choose"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} does not exist: {fix}") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there.get(device.type, 0):
        raise ValueError(f"device {name!r} is not available here: {fix}")
    return device


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of cores this process may use: the smallest of the machine, its affinity mask and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _container_cores(cgroup)
    return cores if granted is None else min(cores, math.ceil(granted))


def _container_cores(cgroup: Path) -> float | None:
    """Cores granted by cgroup v2 (one file: quota and period, in µs) or v1 (two files); None where there is no limit."""
    v1 = cgroup / "cpu"
    for files in ([cgroup / "cpu.max"], [v1 / "cpu.cfs_quota_us", v1 / "cpu.cfs_period_us"]):
        try:
            quota, period = " ".join(file.read_text() for file in files).split()
            return int(quota) / int(period) if int(quota) > 0 else None
        except (OSError, ValueError):  # not this version, or "max": no limit
            continue
    return None


def use_quota_threads() -> int:
    """Make torch use as many threads as the quota grants, unless OMP_NUM_THREADS says otherwise; returns the number in use."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(cpu_quota())
    return torch.get_num_threads()
