"""Clouds of gradient estimates: how far single draws of the two estimators scatter around the exact derivative."""

import io

import ipywidgets as w
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vae_helpers.gradients import GradientDraws, square_norm_gradients
from vae_helpers.plotting.gradients import draw_clouds
from vae_helpers.widgets.base import picture_explorer, slider


def gradient_explorer(*, name: str = "gradient clouds") -> w.HBox:
    """Sliders for mu, the number of dimensions d and the number of draws; estimates of d/dmu_1 E|z|^2, z ~ N((mu, 0, ..., 0), I_d).

    Its static twin is `plotting.gradient_clouds`.
    """
    wide = w.Layout(width="340px")
    mean = slider("mu", 1.0, -3.0, 3.0, 0.25, "first coordinate of the mean")
    dimensions = w.IntSlider(value=1, min=1, max=50, description="d", tooltip="number of dimensions", layout=wide)
    draws = w.IntSlider(
        value=200, min=10, max=2000, step=10, description="draws", tooltip="number of draws", layout=wide
    )

    def estimates(mu: float, d: int, samples: int) -> GradientDraws:
        return square_norm_gradients(mu, d, samples, generator=torch.Generator().manual_seed(0))

    def draw(mu: float, d: int, samples: int) -> bytes:
        figure = Figure(figsize=(6, 3), layout="constrained")  # no pyplot: nothing stays open
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        draw_clouds(axes, estimates(mu, d, samples), mu, d)
        axes.set_xlabel("one estimate of the derivative")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
        return buffer.getvalue()

    def caption(mu: float, d: int, samples: int) -> str:
        found = [f"{v.mean():.2f} ± {v.std() / samples**0.5:.2f}" for v in estimates(mu, d, samples)]
        return f"exact {2 * mu:g} · score {found[0]} · pathwise {found[1]}"

    box = picture_explorer(name, [mean, dimensions, draws], draw, caption)
    box.children[1].layout.width = "540px"
    return box
