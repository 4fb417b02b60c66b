"""Going on where a run stopped: all that the next epoch depends on, as plain tensors."""

import warnings

import torch
from torch import Tensor

from vae_helpers.history import Epoch, History
from vae_helpers.models import VAE
from vae_helpers.optimizers import Optimizers


def state_of(
    model: VAE, optimizers: Optimizers, order: torch.Generator, noise: torch.Generator, epochs: int
) -> dict[str, Tensor]:
    """A copy of weights, moments, both random generators and the number of whole epochs."""
    state = {"epochs": torch.tensor(epochs), "order": order.get_state(), "noise": noise.get_state()}
    state |= {f"model.{name}": value.detach().clone() for name, value in model.state_dict().items()}
    return state | {f"optimizer.{name}": value for name, value in optimizers.state().items()}


def restore(
    run: History,
    settings: dict,
    defaults: dict,
    model: VAE,
    optimizers: Optimizers,
    order: torch.Generator,
    noise: torch.Generator,
) -> list[Epoch]:
    """Put everything back to the end of the run's last whole epoch; returns the rows up to there.

    `defaults` are the settings of a run that does not name them. Warns where `settings` are not those of the run; raises ValueError
    for a run without its state, of another architecture or on another device.
    """
    if run.state is None:
        raise ValueError(
            "this history holds no training state: save it with checkpoints.save(path, model, history=history)"
        )
    began = defaults | run.settings
    divides_up_the_run = settings["schedule"] == "cosine" or settings["warmup"] > 0
    changed = [k for k, v in settings.items() if began.get(k) != v and (k != "epochs" or divides_up_the_run)]
    if "device" in changed:
        raise ValueError(f"this run began on {began['device']}: pass device={began['device']!r} to go on")
    if changed:
        was = ", ".join(f"{k}={began.get(k)!r}" for k in changed)
        warnings.warn(f"this run began with {was}: it will not end where one uninterrupted run would", stacklevel=3)
    load_weights(model, run.state)
    order.set_state(run.state["order"].cpu())
    noise.set_state(run.state["noise"].cpu())
    optimizers.load({k.removeprefix("optimizer."): v for k, v in run.state.items() if k.startswith("optimizer.")})
    return run.epochs[: int(run.state["epochs"])]


def load_weights(model: VAE, state: dict[str, Tensor]) -> None:
    """The weights of `state` into the model. Raises ValueError for another architecture."""
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"this run belongs to another architecture than the model: {error}") from None
