"""Every figure of the course: one style, grey images on one fixed scale, and a sentence that says what is to be seen."""

from vae_helpers.plotting.base import DIGIT_COLORS, DIGIT_MARKERS, WIDTH, show, use_style
from vae_helpers.plotting.basics import bce_curves, reshape_figure
from vae_helpers.plotting.images import as_picture, draw_images, image_rows, image_sheet, png, tile
from vae_helpers.plotting.latent import code_map, decoder_sheet, latent_grid, latent_scatter
from vae_helpers.plotting.training import architecture_figure, reproduction_figure, training_curves

__all__ = [
    "DIGIT_COLORS",
    "DIGIT_MARKERS",
    "WIDTH",
    "architecture_figure",
    "as_picture",
    "bce_curves",
    "code_map",
    "decoder_sheet",
    "draw_images",
    "image_rows",
    "image_sheet",
    "latent_grid",
    "latent_scatter",
    "png",
    "reproduction_figure",
    "reshape_figure",
    "show",
    "tile",
    "training_curves",
    "use_style",
]
