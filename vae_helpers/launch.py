"""Which process this is of those that torchrun started, read from the environment; needs no torch."""

import os

SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are: (0, 1) without torchrun."""
    if any(
        name not in os.environ for name in SET_BY_TORCHRUN
    ):  # other programs set WORLD_SIZE too, but not all of these
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def speaks() -> bool:
    """Whether this process is the one that prints what all of them would print."""
    return rank_and_world()[0] == 0
