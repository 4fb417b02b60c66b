"""The path between two chosen digits: through latent space, straight or on an arc, and for comparison through the pixels."""

from functools import lru_cache

import ipywidgets as w
import torch
import traitlets as t

from vae_helpers import plotting
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.plotting.explore import PATHS, Interpolation, interpolate
from vae_helpers.widgets import javascript
from vae_helpers.widgets.base import picture_explorer

SHOWN = 40


class DigitPicker(javascript.Base or object):
    """Thumbnails to click: each click replaces the older of the two choices."""

    _esm = javascript.source("pairs.js")
    pixels = t.Bytes().tag(sync=True)
    labels = t.List(t.Int()).tag(sync=True)
    first = t.Int(0).tag(sync=True)
    second = t.Int(1).tag(sync=True)

    def __repr__(self) -> str:  # the same in every run, so that stored notebooks do not change
        return f"DigitPicker(first={self.first}, second={self.second})"


def pair_explorer(
    model: VAE, images: ImageSet, *, steps: int = 9, scale: int = 3, name: str = "path between two digits"
) -> w.HBox:
    """Choose two of the first forty images, by a click or with the sliders, and a path; see what lies between their posterior means.

    The paths are "straight" (lerp of the means), "arc" (slerp of the means) and "pixels" (no model: one picture fades into the other).
    A conditional model decodes each half with the label of its own end. Its static twin is `plotting.interpolation_figure`.
    Raises ValueError for fewer than two images.
    """
    some = images[:SHOWN]
    if len(some) < 2:
        raise ValueError(f"a path needs two images, got {len(some)}")
    model.eval()
    last = len(some) - 1
    first, second = (
        w.IntSlider(value=i, min=0, max=last, description=text, tooltip=f"{text} image", layout=w.Layout(width="340px"))
        for i, text in enumerate(("first", "second"))
    )
    path = w.ToggleButtons(options=list(PATHS), description="path", style=w.ToggleButtonsStyle(button_width="80px"))

    @lru_cache(maxsize=1)  # the picture and the words under it ask for the same one
    def strip(i: int, j: int, kind: str) -> Interpolation:
        return interpolate(model, some[i], some[j], kind, steps)

    def draw(i: int, j: int, kind: str) -> bytes:
        ends = torch.ones(steps, 784)  # above the path: the two images themselves, the rest white
        ends[0], ends[-1] = some[i].x[0], some[j].x[0]
        return plotting.png(plotting.tile(torch.cat([ends, strip(i, j, kind).images]), steps), scale=scale)

    def caption(i: int, j: int, kind: str) -> str:
        norms = strip(i, j, kind).norms
        if norms is None:
            return "mixed pixel by pixel, without the model"
        return (
            f"|z| is {norms[0]:.2f} at the first, {norms[len(norms) // 2]:.2f} half-way, {norms[-1]:.2f} at the second"
        )

    box = picture_explorer(name, [first, second, path], draw, caption)
    box.children[1].layout.width = f"{scale * (30 * steps - 2)}px"
    if javascript.has_javascript("you choose the two digits with the sliders"):
        picker = DigitPicker(pixels=some.images.numpy().tobytes(), labels=some.y.tolist())
        t.link((picker, "first"), (first, "value"))
        t.link((picker, "second"), (second, "value"))
        left = box.children[0]
        left.children = [picker, *left.children]
    return box
