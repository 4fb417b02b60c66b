"""Training on several processes that share each batch: `torchrun --nproc-per-node=2 -m vae_helpers train …`, by PyTorch's own engine.

Every process draws the order and the noise of the whole batch and keeps its share of the rows, so that all of them together take the
steps that one process would take, and the loss is the same whatever their number.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


class Ranks(NamedTuple):
    """The number of this process, and how many there are: (0, 1) without torchrun."""

    rank: int
    world: int

    @property
    def rows(self) -> slice:
        """This process's rows of a batch."""
        return slice(self.rank, None, self.world)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The objective, its gradients averaged over the processes."""
        return objective if self.world == 1 else DistributedDataParallel(objective)

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of `numbers` over the processes."""
        if self.world > 1:
            distributed.all_reduce(numbers)
        return numbers


def ranks() -> Ranks:
    """Where this process stands."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks(0, 1)


@contextmanager
def started() -> Iterator[Ranks]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun, nothing happens.

    On GPUs each process takes the one of its local number, and NCCL carries the gradients; on CPUs gloo does.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield Ranks(0, 1)
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield ranks()
    finally:
        distributed.destroy_process_group()
