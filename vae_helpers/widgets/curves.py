"""A training curve that grows while `fit` runs."""

import io

import ipywidgets as w
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vae_helpers.plotting.training import draw_curves
from vae_helpers.training import History
from vae_helpers.widgets.base import replace


class LiveCurve(w.VBox):
    """Shows rec and kl after every epoch: `curve = live_curve(); curve` in one cell, `fit(..., on_epoch=curve.update)` in the next."""

    def __init__(self) -> None:
        self._picture = w.Image(format="png", layout=w.Layout(width="640px"))
        self._text = w.Label("waiting for the first epoch")
        super().__init__([self._text, self._picture])

    def update(self, history: History) -> None:
        """Draw the history so far."""
        figure = Figure(figsize=(8, 2.8), layout="constrained")  # no pyplot: nothing stays open
        FigureCanvasAgg(figure)
        draw_curves(*figure.subplots(1, 2), history)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        self._picture.value = buffer.getvalue()
        row = history[-1]
        self._text.value = f"epoch {row.epoch + 1}: rec {row.rec:.1f} + kl {row.kl:.1f} = {row.loss:.1f} nats per image"


def live_curve(*, name: str = "live curve") -> LiveCurve:
    """An empty curve to hand to `fit` as `on_epoch=curve.update`; its static twin is `plotting.training_curves`."""
    return replace(name, LiveCurve())
