"""Sliders of lesson 05: the number of importance samples, and the weight beta of a family of trained models."""

import io
from collections.abc import Callable, Mapping

import ipywidgets as w
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from vae_helpers.losses import effective_sample_size, iw_bound
from vae_helpers.plotting.capacity import CodeUse, draw_bound_histogram, draw_code_use
from vae_helpers.widgets.base import picture_explorer


def _png(draw: Callable[[Figure], None], size: tuple[float, float]) -> bytes:
    """A figure as PNG bytes, without pyplot: nothing stays open."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()


def _choice(description: str, options: list, value: object, tooltip: str) -> w.SelectionSlider:
    return w.SelectionSlider(
        options=options, value=value, description=description, tooltip=tooltip, continuous_update=True,
        layout=w.Layout(width="340px"),
    )  # fmt: skip


def importance_explorer(log_w: Tensor, log_p: float, *, name: str = "importance samples") -> w.HBox:
    """Choose K: the histogram of single estimates L_K beside log p(x), and the mean effective sample size.

    log_w   (samples, repeats) log-weights of one x; its static twin is `plotting.bound_histograms`
    """
    ks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= len(log_w)]
    control = _choice("K", ks, ks[0], "number of importance samples in one estimate")

    def draw(K: int) -> bytes:
        return _png(lambda figure: draw_bound_histogram(figure.subplots(), log_w, log_p, K), (6, 2.8))

    def caption(K: int) -> str:
        above = float((iw_bound(log_w[:K]) > log_p).double().mean())
        return f"{above:.0%} of the estimates exceed log p(x); effective sample size {float(effective_sample_size(log_w[:K]).mean()):.1f}"

    return _wide(picture_explorer(name, [control], draw, caption), "480px")


def beta_explorer(uses: Mapping[float, CodeUse], *, name: str = "beta") -> w.HBox:
    """Choose beta: sorted KL per dimension, and images above their reconstructions; the scale of the bars stays.

    uses    {beta: plotting.code_use(model, images)}; its static twin is `plotting.code_use_sheet`
    """
    betas = sorted(uses)
    top = max(float(use.kl.max()) for use in uses.values()) * 1.05
    control = _choice("β", [(f"{b:g}", b) for b in betas], 1.0 if 1.0 in uses else betas[0], "weight of KL in training")

    def draw(beta: float) -> bytes:
        def onto(figure: Figure) -> None:
            draw_code_use(
                *figure.subplots(1, 2, width_ratios=[1, 1.5]), uses[beta], f"β = {beta:g}: images, reconstructions", top
            )

        return _png(onto, (8, 2.8))

    def caption(beta: float) -> str:
        use = uses[beta]
        return f"rate {float(use.kl.sum()):.1f} nats, {int(use.active.sum())} of {len(use.kl)} dimensions active"

    return _wide(picture_explorer(name, [control], draw, caption), "640px")


def _wide(box: w.HBox, width: str) -> w.HBox:
    box.children[1].layout.width = width
    return box
