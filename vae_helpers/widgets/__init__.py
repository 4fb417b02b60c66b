"""Every slider of the course; each has a static twin in `plotting` for readers without a kernel."""

from vae_helpers.widgets.base import close, picture_explorer, slider
from vae_helpers.widgets.curves import LiveCurve, live_curve
from vae_helpers.widgets.families import family_explorer, family_row
from vae_helpers.widgets.gradients import gradient_explorer
from vae_helpers.widgets.latent import latent_explorer
from vae_helpers.widgets.pixels import binarization_explorer

__all__ = [
    "LiveCurve",
    "binarization_explorer",
    "close",
    "family_explorer",
    "family_row",
    "gradient_explorer",
    "latent_explorer",
    "live_curve",
    "picture_explorer",
    "slider",
]
