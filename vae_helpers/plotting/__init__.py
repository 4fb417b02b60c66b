"""Every figure of the course: one style, grey images on one fixed scale, and a sentence that says what is to be seen."""

from vae_helpers.plotting.base import DIGIT_COLORS, DIGIT_MARKERS, WIDTH, show, use_style
from vae_helpers.plotting.basics import bce_curves, reshape_figure
from vae_helpers.plotting.capacity import (
    CodeUse,
    bound_curve,
    bound_histograms,
    code_use,
    code_use_sheet,
    spectrum_figure,
)
from vae_helpers.plotting.elbo import (
    BoundPicture,
    CurvePicture,
    bound_figure,
    bounds_over_theta,
    curve_figure,
    density_lines,
    elbo_map,
    image_posterior,
    mean_field_figure,
    naive_histograms,
)
from vae_helpers.plotting.explore import (
    interpolation_figure,
    label_bars_figure,
    latent_map_figure,
    reconstruction_figure,
    restyled_figure,
)
from vae_helpers.plotting.gradients import gradient_clouds, reparameterization_figure, two_views_figure, variance_curves
from vae_helpers.plotting.images import as_picture, draw_images, image_rows, image_sheet, png, tile
from vae_helpers.plotting.latent import code_map, decoder_sheet, latent_grid, latent_scatter
from vae_helpers.plotting.latent_space import contrast_figure, embedding_figure, prior_and_codes_figure
from vae_helpers.plotting.likelihoods import (
    continuous_bernoulli_figure,
    density_curves,
    mean_histogram,
    rate_distortion_figure,
    sigma_curve,
    sigma_family_figure,
    sigma_paths,
)
from vae_helpers.plotting.training import architecture_figure, reproduction_figure, training_curves

__all__ = [
    "DIGIT_COLORS",
    "DIGIT_MARKERS",
    "WIDTH",
    "BoundPicture",
    "CodeUse",
    "CurvePicture",
    "architecture_figure",
    "as_picture",
    "bce_curves",
    "bound_curve",
    "bound_figure",
    "bound_histograms",
    "bounds_over_theta",
    "code_map",
    "code_use",
    "code_use_sheet",
    "continuous_bernoulli_figure",
    "contrast_figure",
    "curve_figure",
    "decoder_sheet",
    "density_curves",
    "density_lines",
    "draw_images",
    "elbo_map",
    "embedding_figure",
    "gradient_clouds",
    "image_posterior",
    "image_rows",
    "image_sheet",
    "interpolation_figure",
    "label_bars_figure",
    "latent_grid",
    "latent_map_figure",
    "latent_scatter",
    "mean_field_figure",
    "mean_histogram",
    "naive_histograms",
    "png",
    "prior_and_codes_figure",
    "rate_distortion_figure",
    "reconstruction_figure",
    "reparameterization_figure",
    "reproduction_figure",
    "reshape_figure",
    "restyled_figure",
    "show",
    "sigma_curve",
    "sigma_family_figure",
    "sigma_paths",
    "spectrum_figure",
    "tile",
    "training_curves",
    "two_views_figure",
    "use_style",
    "variance_curves",
]
