"""Sliders for the latent dimensions that matter most, from the code of one image."""

from collections.abc import Sequence

import ipywidgets as w
import torch
from torch import Tensor

from vae_helpers import plotting
from vae_helpers.models import VAE
from vae_helpers.widgets.base import picture_explorer, slider


def traversal_explorer(
    model: VAE, start: Tensor, dimensions: Sequence[int], *, reach: float = 3.0, name: str = "traversal"
) -> w.HBox:
    """One slider for each of `dimensions` (counted from 0); all others stay at the code `start` (d,). At the right, the start itself.

    Its static twin is `plotting.image_rows` of the same steps. Raises ValueError for a start of another shape.
    """
    if start.shape != (model.latent_dim,):
        raise ValueError(f"start must have shape ({model.latent_dim},), got {tuple(start.shape)}: use mu[0]")
    model.eval()
    order = list(dimensions)
    sliders = [
        slider(
            f"z{j + 1}",
            float(start[j]),
            min(-reach, float(start[j])),
            max(reach, float(start[j])),
            0.05,
            f"latent coordinate {j + 1}",
        )
        for j in order
    ]

    @torch.no_grad()
    def draw(*values: float) -> bytes:
        moved = start.clone()
        moved[order] = torch.tensor(values)
        return plotting.png(plotting.tile(model.mean_image(model.decode(torch.stack([moved, start]))), 2), scale=6)

    return picture_explorer(name, sliders, draw, lambda *_: "left: the code of the sliders, right: the start")
