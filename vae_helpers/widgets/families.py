"""One slider over a family of trained models: the same images through each of them."""

from collections.abc import Mapping

import ipywidgets as w
import torch

from vae_helpers import plotting
from vae_helpers.checkpoints import Checkpoint
from vae_helpers.images import ImageSet
from vae_helpers.widgets.base import picture_explorer

VIEWS = ("reconstructions", "one draw of each", "samples")


def family_explorer(
    family: Mapping[float, Checkpoint], images: ImageSet, *, symbol: str, name: str = "", columns: int = 8
) -> w.HBox:
    """Choose a model by the value of its setting; above the images, below what the model makes of them, below that its metrics.

    family   the setting's value -> a shipped checkpoint with the metrics test_rec, test_kl, active_units
    images   the first `columns` are shown; "one draw of each" draws pixels from p(x|z), "samples" decodes codes from the prior
    symbol   what the slider is called, "σ" or "β"

    Its static twin is `plotting.image_rows` with one row per model.
    """
    x = images.x[:columns]
    choices = w.SelectionSlider(
        options=[(f"{value:g}", value) for value in family], value=list(family)[len(family) // 2], description=symbol,
        continuous_update=True, layout=w.Layout(width="340px"),
    )  # fmt: skip
    view = w.ToggleButtons(options=VIEWS, description="show", style=w.ToggleButtonsStyle(button_width="150px"))

    def draw(value: float, shown: str) -> bytes:
        return plotting.png(plotting.tile(torch.cat([x, family_row(family[value], x, shown)]), columns), scale=3)

    def caption(value: float, _shown: str) -> str:
        m = family[value].metrics
        return f"{symbol} = {value:g}: rec {m['test_rec']:.1f}, kl {m['test_kl']:.1f} nats; {m['active_units']} units in use"

    box = picture_explorer(name or f"family over {symbol}", [choices, view], draw, caption)
    box.children[1].layout.width = "560px"
    return box


@torch.no_grad()
def family_row(checkpoint: Checkpoint, x: torch.Tensor, shown: str, *, seed: int = 0) -> torch.Tensor:
    """What one model makes of images (n, 784), by the name of a view: (n, 784). The same random numbers for each model."""
    model, noise = checkpoint.model, torch.Generator().manual_seed(seed)
    if shown == "samples":
        return model.sample(len(x), generator=noise)
    mean = model.reconstruct(x)
    if shown == "reconstructions":
        return mean
    if model.likelihood == "gaussian":
        return mean + model.sigma_x * torch.randn(mean.shape, generator=noise)
    if model.likelihood == "bernoulli":
        return torch.bernoulli(mean, generator=noise)
    raise ValueError(f"one draw of each: not written for likelihood {model.likelihood!r}, only bernoulli and gaussian")
