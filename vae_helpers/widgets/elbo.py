"""The sliders of lesson 01: one code of a solved model and its posterior, and a q over a posterior with its bound and gap."""

import io

import ipywidgets as w
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from vae_helpers.exact import Curve
from vae_helpers.plotting.elbo import BoundPicture, CurvePicture
from vae_helpers.widgets.base import picture_explorer, slider

ONE_MODE, TWO_MODES = "one explanation", "two explanations"


def observations(curve: Curve) -> dict[str, torch.Tensor]:
    """Two x on the curve, each (2,): one that a single z explains, and the crossing, which two explain equally well."""
    return {ONE_MODE: curve.decode([0.0]), TWO_MODES: curve.decode([curve.crossing])}


class _Redrawn:
    """A picture whose still parts are drawn once, so that a slider's step costs a few milliseconds."""

    def __init__(self, kind, *details) -> None:
        figure = Figure(figsize=(6.4, 2.9), dpi=90, layout="constrained")  # no pyplot: nothing stays open
        self.canvas = FigureCanvasAgg(figure)
        self.picture = kind(*figure.subplots(1, 2), *details)
        for artist in self.picture.moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(figure.bbox)

    def png(self, *values: float) -> bytes:
        self.picture.move(*values)
        self.canvas.restore_region(self.still)
        for artist in self.picture.moving:
            artist.axes.draw_artist(artist)
        buffer = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def _wide(box: w.HBox) -> w.HBox:
    box.children[1].layout.width = "576px"
    return box


def curve_explorer(*, name: str = "one code of the curve") -> w.HBox:
    """A slider for z: p(x|z) over p(x), and the posterior of the x in its centre. Its static twin is `plotting.curve_figure`."""
    redrawn = _Redrawn(CurvePicture, Curve())
    picture = redrawn.picture

    def caption(z: float) -> str:
        density = picture.density(z)
        mean = float((density * picture.codes[:, 0]).sum() * picture.dz)
        std = float((density * (picture.codes[:, 0] - mean) ** 2).sum() * picture.dz) ** 0.5
        return f"p(z|x) has mean {mean:.2f} and standard deviation {std:.2f}"

    return _wide(picture_explorer(name, [slider("z", 0.0, -3.0, 3.0, 0.05, "the code")], redrawn.png, caption))


def bound_explorer(*, name: str = "a bound and its gap") -> w.HBox:
    """Choose an x, then sliders for mu and sigma of q: the bar shows log p(x) = ELBO + gap. Its static twin is `plotting.bound_figure`."""
    curve = Curve()
    redrawn = {words: _Redrawn(BoundPicture, curve, x) for words, x in observations(curve).items()}
    which = w.ToggleButtons(
        options=list(redrawn), description="x has", style=w.ToggleButtonsStyle(button_width="150px")
    )
    mu = slider("mu", 1.5, -2.0, 2.0, 0.05, "mean of q")
    sigma = slider("sigma", 1.0, 0.05, 2.0, 0.05, "standard deviation of q")

    def caption(words: str, mean: float, std: float) -> str:
        elbo, gap = redrawn[words].picture.terms(mean, std)
        return f"log p(x) {elbo + gap:.2f} = ELBO {elbo:.2f} + gap {gap:.2f} nats"

    return _wide(picture_explorer(name, [which, mu, sigma], lambda words, *q: redrawn[words].png(*q), caption))
