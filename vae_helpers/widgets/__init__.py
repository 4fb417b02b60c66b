"""Every slider of the course; each has a static twin in `plotting` for readers without a kernel."""

from vae_helpers.widgets.base import close, picture_explorer, slider
from vae_helpers.widgets.capacity import beta_explorer, importance_explorer
from vae_helpers.widgets.curves import LiveCurve, live_curve
from vae_helpers.widgets.drawing import (
    DrawingPad,
    drawing_classified,
    drawing_explorer,
    drawing_pad,
    drawing_reconstruction,
    drawing_restyled,
)
from vae_helpers.widgets.elbo import bound_explorer, curve_explorer
from vae_helpers.widgets.families import family_explorer, family_row
from vae_helpers.widgets.gradients import gradient_explorer
from vae_helpers.widgets.latent import latent_explorer
from vae_helpers.widgets.latent_map import LatentMap, latent_map, save_latent_map
from vae_helpers.widgets.museum import chart_explorer
from vae_helpers.widgets.pairs import DigitPicker, pair_explorer
from vae_helpers.widgets.pixels import binarization_explorer
from vae_helpers.widgets.traversal import traversal_explorer

__all__ = [
    "DigitPicker",
    "DrawingPad",
    "LatentMap",
    "LiveCurve",
    "beta_explorer",
    "binarization_explorer",
    "bound_explorer",
    "chart_explorer",
    "close",
    "curve_explorer",
    "drawing_classified",
    "drawing_explorer",
    "drawing_pad",
    "drawing_reconstruction",
    "drawing_restyled",
    "family_explorer",
    "family_row",
    "gradient_explorer",
    "importance_explorer",
    "latent_explorer",
    "latent_map",
    "live_curve",
    "pair_explorer",
    "picture_explorer",
    "save_latent_map",
    "slider",
    "traversal_explorer",
]
