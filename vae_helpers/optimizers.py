"""The optimisers that `fit` can choose: Adam, AdamW, and Muon for the layers' matrices with AdamW for all the rest."""

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adam", "adamw", "muon")


class Optimizers:
    """One or two optimisers that step together; their learning rates rise and fall together."""

    def __init__(self, parts: list[torch.optim.Optimizer], model: nn.Module) -> None:
        self.parts, self.model = parts, model
        self.full_rates = [part.param_groups[0]["lr"] for part in parts]

    def step(self, share_of_rate: float) -> None:
        """One step at this share of the full learning rates."""
        for part, rate in zip(self.parts, self.full_rates, strict=True):
            part.param_groups[0]["lr"] = rate * share_of_rate
            part.step()

    @property
    def is_adam(self) -> bool:
        """Whether all parameters get Adam or AdamW."""
        return len(self.parts) == 1

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def state(self) -> dict[str, Tensor]:
        """A copy of all moments and counters: {"parameter/moment": tensor}."""
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return {
            f"{names[parameter]}/{key}": torch.as_tensor(value).clone()
            for part in self.parts
            for parameter, moments in part.state.items()
            for key, value in moments.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        found = {}
        for name, value in state.items():
            parameter, key = name.split("/")
            found.setdefault(parameter, {})[key] = value.clone()
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for part in self.parts:
            mine = enumerate(names[parameter] for parameter in part.param_groups[0]["params"])
            moments = {i: found[name] for i, name in mine if name in found}
            # PyTorch's own loading knows which of these tensors belong on the parameters' device
            part.load_state_dict(part.state_dict() | {"state": moments})


def make(
    name: str,
    model: nn.Module,
    learning_rate: float,
    *,
    matrix_rate: float = 0.02,
    weight_decay: float = 0.0,
    fused: bool = True,
) -> Optimizers:
    """The named optimiser over all parameters of `model`.

    "adam"   Kingma & Ba (2015)
    "adamw"  the same, with `weight_decay` taken off the weights themselves: Loshchilov & Hutter (2019)
    "muon"   for each layer's weight matrix, first and last included, at `matrix_rate`: the momentum's singular values are all set to
             about one before the step (Jordan et al. 2024, "Muon"). Biases and the rest get AdamW at `learning_rate`
    """
    if name == "adam":
        return Optimizers([torch.optim.Adam(model.parameters(), lr=learning_rate, fused=fused)], model)
    adamw = dict(lr=learning_rate, weight_decay=weight_decay, fused=fused)
    if name == "adamw":
        return Optimizers([torch.optim.AdamW(model.parameters(), **adamw)], model)
    matrices = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    among = {id(matrix) for matrix in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in among]
    muon = torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=weight_decay, ns_steps=3)
    return Optimizers([muon, torch.optim.AdamW(rest, **adamw)], model)
