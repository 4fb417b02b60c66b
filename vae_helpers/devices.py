"""Which device to compute on, and how many threads this machine really grants."""

import math
import os
from pathlib import Path

import torch


def pick_device(name: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU; "mps" only when asked for by name. Raises ValueError for one that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise ValueError(f"device {name!r} is not available here: use device='cpu', or 'auto' to let the course choose")
    return device


def cpu_quota() -> int:
    """The number of cores this process may use: the smallest of the machine, its affinity mask and its container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # cgroup v2, as Docker and Kubernetes set it
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        try:  # cgroup v1
            quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
            period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
            if quota > 0:
                cores = min(cores, math.ceil(quota / period))
        except (OSError, ValueError):
            pass
    return max(1, cores)


def use_quota_threads() -> int:
    """Make torch use as many threads as the quota grants, unless OMP_NUM_THREADS says otherwise; returns the number in use."""
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(cpu_quota())
    return torch.get_num_threads()
