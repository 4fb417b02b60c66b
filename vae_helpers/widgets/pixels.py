"""One image read as grey values, as random binary draws, or cut at a threshold."""

import ipywidgets as w
import torch

from vae_helpers import plotting
from vae_helpers.data import ImageSet, binarize
from vae_helpers.losses import bernoulli_nll
from vae_helpers.widgets.base import picture_explorer, slider


def binarization_explorer(images: ImageSet, *, name: str = "binarisation") -> w.HBox:
    """Choose an image, a pixel convention and (for the static one) a threshold; the caption counts the nats that stay random."""
    which = w.IntSlider(
        value=0, min=0, max=min(99, len(images) - 1), description="image", layout=w.Layout(width="340px")
    )
    how = w.ToggleButtons(
        options=["grey", "dynamic", "static"], description="pixels", style=w.ToggleButtonsStyle(button_width="80px")
    )
    threshold = slider("threshold", 0.5, 0.05, 0.95, 0.05, "static only: white where the grey value exceeds this")
    again = w.IntSlider(
        value=1,
        min=1,
        max=50,
        description="draw again",
        layout=w.Layout(width="340px"),
        tooltip="dynamic only: another draw",
    )

    def seen(index: int, convention: str, cut: float, draw: int) -> torch.Tensor:
        x = images[index : index + 1].x
        if convention == "static":
            return (x > cut).float()
        return binarize(x, convention, generator=torch.Generator().manual_seed(draw))

    def caption(index: int, convention: str, cut: float, draw: int) -> str:
        x = images[index : index + 1].x
        entropy = float(bernoulli_nll(torch.logit(x, eps=1e-7), x))
        if convention == "grey":
            return f"as stored; read as coins, its pixels hold {entropy:.1f} nats of chance"
        if convention == "dynamic":
            cost = float(bernoulli_nll(torch.logit(x, eps=1e-7), seen(index, convention, cut, draw)))
            return f"draw {draw}: costs {cost:.1f} nats, {entropy:.1f} on average"
        return f"{int(seen(index, convention, cut, draw).sum())} white pixels, no chance left"

    def draw(*values) -> bytes:
        return plotting.png(seen(*values)[0], scale=10)

    return picture_explorer(name, [which, how, threshold, again], draw, caption)
