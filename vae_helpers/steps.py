"""One training step: the loss of a batch, its gradients, and the optimiser's move. As PyTorch takes it, or all of it in one compiled graph.

Both forms are called with a batch and return `Taken`. Neither moves the weights where the loss is not finite, except the plain
form on a GPU, where looking at the loss would stop the queue.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from vae_helpers import losses
from vae_helpers.distributed import Ranks
from vae_helpers.objective import Objective
from vae_helpers.optimizers import Optimizers


class Taken(NamedTuple):
    """rec and kl of the images that this process computed, each (batch,), in nats; `finite` is False where the step was seen not to be taken."""

    rec: Tensor
    kl: Tensor
    finite: bool


def make(
    objective: Objective, stepper: Optimizers, ranks: Ranks, *, free_bits: float, compiled: bool
) -> Callable[[Tensor, Tensor | None, float, Tensor, float], Taken]:
    """A function of x (batch, 784), labels or None, beta, eps (K, batch, d) and the share of the learning rate.

    Compiled, Adam and AdamW become part of the graph; for Muon, and on several processes, the graph is that of the bound alone.
    """
    if compiled and ranks.world == 1 and stepper.is_adam:
        return CompiledStep(objective, stepper, free_bits)
    module = torch.compile(objective, dynamic=False) if compiled else objective
    return PlainStep(ranks.wrap(module), stepper, ranks, free_bits)


def loss_of(
    objective: Callable, x: Tensor, y: Tensor | None, beta: float | Tensor, minimum: float, eps: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(rec, kl, loss): (batch,), (batch,) and the scalar to minimise, in nats per image."""
    terms = objective(x, y, eps)
    if terms.iw is not None:
        return terms.rec, terms.kl, -terms.iw.mean()
    if minimum:
        return terms.rec, terms.kl, terms.rec.mean() + beta * losses.free_bits(terms.kl_per_dim, minimum)
    return terms.rec, terms.kl, (terms.rec + beta * terms.kl).mean()


class PlainStep:
    """`loss.backward()` and `optimizer.step()`, the batch shared by the processes there are."""

    def __init__(self, objective: nn.Module, stepper: Optimizers, ranks: Ranks, free_bits: float) -> None:
        self.objective, self.stepper, self.ranks, self.free_bits = objective, stepper, ranks, free_bits

    def __call__(self, x: Tensor, y: Tensor | None, beta: float, eps: Tensor, share_of_rate: float) -> Taken:
        mine = self.ranks.rows
        labels = None if y is None else y[mine]
        rec, kl, loss = loss_of(self.objective, x[mine], labels, beta, self.free_bits, eps[:, mine])
        if self.ranks.stop_if(not _is_finite(loss, rec)):
            return Taken(rec, kl, False)
        self.stepper.zero_grad()
        if self.ranks.world > 1:  # the mean over the whole batch, whoever holds its rows
            loss = loss * (len(rec) * self.ranks.world / len(x))
        loss.backward()
        self.stepper.step(share_of_rate)
        return Taken(rec.detach(), kl.detach(), True)


class CompiledStep:
    """Loss, gradients and Adam (Kingma & Ba 2015, algorithm 1) in one graph: fewer tensors are written to memory and read back.

    The moments are those of the torch.optim.Adam or AdamW in `stepper`, which saves them. Parameters without `requires_grad` stay.
    """

    def __init__(self, objective: Objective, stepper: Optimizers, free_bits: float) -> None:
        self.objective, self.free_bits, self.full_rate = objective, free_bits, stepper.full_rates[0]
        (adam,) = stepper.parts
        (self.settings,) = adam.param_groups
        trained = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
        first = next(iter(trained.values()))
        self.steps = adam.state[first].get("step", torch.zeros((), device=first.device))
        self.taken = int(self.steps)
        self.weights, self.moments, self.squares = {}, {}, {}
        for name, weight in trained.items():
            state = adam.state[weight]
            state["step"] = self.steps  # one counter for all
            self.weights[name] = weight.detach()
            self.moments[name] = state.setdefault("exp_avg", torch.zeros_like(weight.detach()))
            self.squares[name] = state.setdefault("exp_avg_sq", torch.zeros_like(weight.detach()))

    def __call__(self, x: Tensor, y: Tensor | None, beta: float, eps: Tensor, share_of_rate: float) -> Taken:
        t, (beta_1, beta_2), rate = self.taken + 1, self.settings["betas"], self.full_rate * share_of_rate
        decay = 1 - rate * self.settings["weight_decay"]  # of the weights themselves: Loshchilov & Hutter (2019)
        numbers = [beta, rate / (1 - beta_1**t), (1 - beta_2**t) ** -0.5, decay]
        # a tensor: a Python number would be a constant of the graph, and each new one another graph
        scalars = torch.tensor(numbers).to(x.device, non_blocking=True)
        rec, kl, loss = _compiled_step()(
            self.objective, self.weights, self.moments, self.squares, x, y, eps, self.free_bits, scalars, beta_1, beta_2, self.settings["eps"]
        )  # fmt: skip
        finite = _is_finite(loss, rec)
        if finite:
            self.taken = t
            self.steps.fill_(t)
        return Taken(rec, kl, finite)


def _whole_step(
    objective: Objective,
    weights: dict[str, Tensor],
    moments: dict[str, Tensor],
    squares: dict[str, Tensor],
    x: Tensor,
    y: Tensor | None,
    eps: Tensor,
    free_bits: float,
    scalars: Tensor,
    beta_1: float,
    beta_2: float,
    small: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """(rec, kl, loss), after moving weights and both moments in place, if the loss is finite."""
    beta, rate, correction, decay = scalars.unbind()

    def loss_at(weights: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        # the network as a function of its weights, which is what `grad` differentiates
        found = loss_of(lambda *inputs: functional_call(objective, weights, inputs), x, y, beta, free_bits, eps)
        return found[2], found

    gradients, (rec, kl, loss) = grad(loss_at, has_aux=True)(weights)
    finite = torch.isfinite(loss)
    for name, weight in weights.items():
        moment = moments[name].lerp(gradients[name], 1 - beta_1)
        square = squares[name] * beta_2 + (1 - beta_2) * gradients[name] ** 2
        moved = weight * decay - rate * moment / (square.sqrt() * correction + small)
        for old, new in ((weight, moved), (moments[name], moment), (squares[name], square)):
            old.copy_(torch.where(finite, new, old))
    return rec, kl, loss


@functools.cache
def _compiled_step() -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """`_whole_step`, compiled; one for all fits, so that a second one of the same network need not wait.

    The short last batch of an epoch is a variant by itself.
    """
    return torch.compile(_whole_step, dynamic=False, fullgraph=True, recompile_limit=64)


def _is_finite(loss: Tensor, rec: Tensor) -> bool:
    """Whether the loss is; taken on trust on a GPU, where looking would stop the queue, and by a process that has no rows."""
    return loss.device.type != "cpu" or len(rec) == 0 or math.isfinite(loss.item())
