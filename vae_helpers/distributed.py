"""Training on several processes that share each batch: `torchrun --nproc-per-node=2 -m vae_helpers train …`, by PyTorch's own engine.

Every process draws the order and the noise of the whole batch and keeps its share of the rows, so that all of them together take the
steps that one process would take, and the loss is the same whatever their number.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vae_helpers.launch import rank_and_world

_interrupted = threading.Event()  # set by Ctrl-C while several processes train: see `Ranks.stop_if`


class RanksError(RuntimeError):
    """The processes cannot work together. The message says what to type."""


class Ranks(NamedTuple):
    """The number of this process, and how many there are: (0, 1) without torchrun."""

    rank: int
    world: int

    @property
    def rows(self) -> slice:
        """This process's rows of a batch; there may be none in the last one."""
        return slice(self.rank, None, self.world)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The objective, its gradients averaged over the processes."""
        return objective if self.world == 1 else DistributedDataParallel(objective)

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of `numbers` over the processes."""
        if self.world > 1:
            distributed.all_reduce(numbers)
        return numbers

    def anywhere(self, *here: bool) -> list[bool]:
        """Which of these hold on at least one process; every process must ask, and all get the same answer."""
        if self.world == 1:
            return list(here)
        there = torch.tensor(here, dtype=torch.int32)
        distributed.all_reduce(there, distributed.ReduceOp.MAX)
        return there.bool().tolist()

    def stop_if(self, here: bool) -> bool:
        """Whether `here` holds anywhere, so that all stop at the same step and none waits for one that has gone.

        Raises KeyboardInterrupt on all of them once one was interrupted.
        """
        if self.world == 1:
            return here
        found, interrupted = self.anywhere(here, _interrupted.is_set())
        if interrupted:
            raise KeyboardInterrupt
        return found


def ranks() -> Ranks:
    """Where this process stands."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks(0, 1)


@contextmanager
def started() -> Iterator[Ranks]:
    """Join the processes that torchrun started, and leave them at the end; without torchrun, nothing happens.

    On GPUs each process takes the one of its local number, and NCCL carries the gradients; on CPUs gloo does. Only the first process
    prints. Where several fail, the first to fail raises its error and the others end in silence (SystemExit). Ctrl-C stops training
    before the next step. Raises RanksError for more processes than GPUs.
    """
    rank, world = rank_and_world()
    if world == 1:
        yield Ranks(0, 1)
        return
    store, _, _ = next(distributed.rendezvous("env://", rank, world))
    with _deferred_interrupts(), _only_the_first_prints(rank):
        try:
            if torch.cuda.is_available():
                _take_gpu(int(os.environ["LOCAL_RANK"]))
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=distributed.PrefixStore("training", store),
                rank=rank,
                world_size=world,
            )
            yield ranks()
        except BaseException as error:
            if not _is_first(store):
                raise SystemExit(1) from error  # silent: another process has said why, this one lost its partner
            raise
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()


def _take_gpu(local_rank: int) -> None:
    there = torch.cuda.device_count()
    if local_rank >= there:
        raise RanksError(
            f"more processes than the {there} GPUs here: use --nproc-per-node={there}, or CUDA_VISIBLE_DEVICES= for the processor"
        )
    torch.cuda.set_device(local_rank)  # "cuda" without a number means this one from here on


def _is_first(store: distributed.Store) -> bool:
    """Whether no other process has failed before."""
    try:
        return store.add("failures", 1) == 1
    except RuntimeError:  # the store is gone, and with it the process that kept it
        return False


@contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Note Ctrl-C for `Ranks.stop_if`: raised at once it would leave the other processes waiting in the middle of a sum."""
    _interrupted.clear()
    if threading.current_thread() is not threading.main_thread():  # Python lets the main thread alone set handlers
        yield
        return
    before = signal.signal(signal.SIGINT, lambda *_: _interrupted.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _only_the_first_prints(rank: int) -> Iterator[None]:
    if rank == 0:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
