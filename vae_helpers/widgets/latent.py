"""Sliders that steer a decoder through its latent space."""

import ipywidgets as w
import torch
from torch import Tensor

from vae_helpers import plotting
from vae_helpers.models import VAE
from vae_helpers.widgets.base import digit_buttons, picture_explorer, slider


def latent_explorer(
    model: VAE, *, name: str = "latent explorer", labels: bool = False, reach: float = 3.0, start: Tensor | None = None
) -> w.HBox:
    """One slider per latent dimension; the picture is the decoder's mean image x_hat at that code.

    model    a VAE of any latent dimension; with `labels=True` (a conditional VAE) a digit selector joins the sliders
    reach    the sliders run from -reach to reach prior standard deviations
    """
    model.eval()
    first = torch.zeros(model.latent_dim) if start is None else start
    sliders = [
        slider(f"z{i + 1}", float(first[i]), -reach, reach, 0.05, f"latent coordinate {i + 1}")
        for i in range(model.latent_dim)
    ]
    digits = [digit_buttons("digit", 0, model.num_classes)] if labels and model.num_classes else []

    @torch.no_grad()
    def draw(*values) -> bytes:
        z = torch.tensor([values[-model.latent_dim :]])
        y = torch.tensor([values[0]]) if digits else None
        return plotting.png(model.mean_image(model.decode(z, y))[0], scale=10)

    return picture_explorer(name, [*digits, *sliders], draw)
