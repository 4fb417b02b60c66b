"""A map of two-dimensional codes with a point to drag: the decoder runs in the page, so the picture follows at once."""

import base64
import json
import re
from html import escape
from pathlib import Path

import ipywidgets as w
import numpy as np
import torch
import traitlets as t
from torch import nn

from vae_helpers.evaluation import posteriors
from vae_helpers.images import ImageSet
from vae_helpers.models import ACTIVATIONS, VAE
from vae_helpers.plotting.base import DIGIT_COLORS, DIGIT_MARKERS
from vae_helpers.plotting.latent import label_places
from vae_helpers.widgets import javascript
from vae_helpers.widgets.base import replace
from vae_helpers.widgets.latent import latent_explorer

LARGEST_HALF = 65504.0


class LatentMap(javascript.Base or object):
    """What `latent_map` shows. `z` (two numbers) and `digit` can be read and set from Python; the picture lives in the page."""

    _esm = javascript.source("latent_map.js")
    z = t.Tuple(t.Float(), t.Float(), default_value=(0.0, 0.0)).tag(sync=True)
    digit = t.Int(0).tag(sync=True)
    reach = t.Float(3.0).tag(sync=True)
    classes = t.Int(0).tag(sync=True)
    sizes = t.List(t.Int()).tag(sync=True)
    activation = t.Unicode("relu").tag(sync=True)
    output = t.Unicode("sigmoid").tag(sync=True)
    weights = t.Bytes().tag(sync=True)
    bytes_per_weight = t.Int(2).tag(sync=True)
    codes = t.Bytes().tag(sync=True)
    labels = t.Bytes().tag(sync=True)
    places = t.List().tag(sync=True)
    circles = t.List(t.Float()).tag(sync=True)
    look = t.Dict().tag(sync=True)

    @t.validate("z")
    def _inside(self, proposal: dict) -> tuple[float, float]:
        if not all(np.isfinite(proposal["value"])):
            raise t.TraitError(f"a code is two finite numbers, got {proposal['value']}")
        return tuple(float(min(self.reach, max(-self.reach, value))) for value in proposal["value"])

    @t.validate("digit")
    def _known(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < max(1, self.classes):
            raise t.TraitError(f"digit must lie in 0..{max(1, self.classes) - 1}, got {proposal['value']}")
        return proposal["value"]

    def __repr__(self) -> str:  # the same in every run, so that stored notebooks do not change
        return f"LatentMap(z={self.z}, digit={self.digit})"


def latent_map(
    model: VAE, images: ImageSet, *, name: str = "latent map", points: int = 2000, reach: float | None = None
) -> w.Widget:
    """Drag the point, or move it with the arrow keys, over the codes of `images`; beside it, the decoder's mean image at that code.

    model    a VAE with two latent dimensions; a conditional one gets ten buttons for the label
    points   so many codes are drawn, coloured and marked by digit
    reach    the map shows -reach .. reach in both directions; by default all codes but the outermost

    Returns a `LatentMap`; where anywidget is missing, or the decoder is no plain chain of layers, prints a sentence and returns the
    sliders of `latent_explorer`. Its static twin is `plotting.latent_map_figure`. Raises ValueError for another latent dimension.
    """
    _check_two(model)
    if not javascript.has_javascript("two sliders stand in for the map"):
        return _sliders(model, name)
    if not _is_plain(model.decoder):
        print("This decoder is no chain of linear layers, and the map can run no other: two sliders stand in for it.")
        return _sliders(model, name)
    return replace(name, LatentMap(**page_state(model, images, points, reach)))


def save_latent_map(
    path: str | Path,
    model: VAE,
    images: ImageSet,
    *,
    title: str = "Latent map",
    points: int = 2000,
    reach: float | None = None,
) -> Path:
    """Write the map as one web page that needs no kernel, no network and no other file: open it in any browser. Returns its path.

    The page takes 2.7 bytes a weight, 1.4 MB for the shipped model. Raises ValueError for a model that `latent_map` could not show either.
    """
    _check_two(model)
    if not _is_plain(model.decoder):
        raise ValueError("this decoder is no chain of linear layers, so it cannot run in a page: use latent_explorer")
    state = page_state(model, images, points, reach) | {"z": (0.0, 0.0), "digit": 0}
    binary = [key for key, value in state.items() if isinstance(value, bytes)]
    state |= {key: base64.b64encode(state[key]).decode() for key in binary}
    parts = {"title": escape(title), "binary": json.dumps(binary), "state": json.dumps(state), "source": LatentMap._esm}
    path = Path(path)
    path.write_text(re.sub("@@([a-z]+)@@", lambda found: parts[found[1]], PAGE), encoding="utf-8")
    return path


def _check_two(model: VAE) -> None:
    if model.latent_dim != 2:
        raise ValueError(
            f"a map needs two latent dimensions, this model has {model.latent_dim}: use latent_explorer(model)"
        )


def _sliders(model: VAE, name: str) -> w.Widget:
    return latent_explorer(model, name=name, labels="decoder" in model.label_in)


def _is_plain(decoder: nn.Module) -> bool:
    body, out = getattr(decoder, "body", None), getattr(decoder, "out", None)
    if not isinstance(body, nn.Sequential) or not isinstance(out, nn.Linear):
        return False
    kinds = [type(layer) for layer in body]
    return all(kind is nn.Linear for kind in kinds[::2]) and len(set(kinds[1::2]) - set(ACTIVATIONS.values())) == 0


def page_state(model: VAE, images: ImageSet, points: int, reach: float | None) -> dict:
    """Everything that the page needs, once."""
    some = images.random_subset(points) if len(images) > points else images
    mu = posteriors(model, some).mu
    reach = reach or max(3.0, 1.03 * float(mu.abs().amax(1).quantile(0.998)))
    gap = 0.13 * reach / float((mu.amax(0) - mu.amin(0)).max().clamp(min=1e-3))  # two circles of the map, side by side
    layers = [layer for layer in [*model.decoder.body, model.decoder.out] if isinstance(layer, nn.Linear)]
    numbers = torch.cat([p.detach().cpu().float().flatten() for layer in layers for p in (layer.weight, layer.bias)])
    half = float(numbers.abs().max()) < LARGEST_HALF
    return {
        "reach": reach,
        "classes": model.num_classes if "decoder" in model.label_in else 0,
        "sizes": [layers[0].in_features, *(layer.out_features for layer in layers)],
        "activation": model.config["activation"],
        "output": _output(model),
        "weights": numbers.numpy().astype("<f2" if half else "<f4").tobytes(),
        "bytes_per_weight": 2 if half else 4,
        "codes": mu.numpy().astype("<f4").tobytes(),
        "labels": some.y.numpy().astype(np.uint8).tobytes(),
        "places": [[digit, *place] for digit, place in label_places(mu, some.y, gap).items()],
        "circles": [] if "prior" in model.label_in else [1.0, 2.0, 3.0],  # a learned prior is not centred there
        "look": {"colors": DIGIT_COLORS, "markers": DIGIT_MARKERS},
    }


def _output(model: VAE) -> str:
    if model.likelihood == "continuous_bernoulli":
        return "continuous_bernoulli"
    return "sigmoid" if model.likelihood == "bernoulli" or model.sigmoid_mean else "identity"


# the policy in its head forbids the page to load anything
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>@@title@@</title>
<body style="font-family: sans-serif; margin: 16px">
<h1 style="font-size: 20px">@@title@@</h1>
<p>Drag the point, or click the map and use the arrow keys (with shift in larger steps). Dashed: one, two, three from the centre.</p>
<div id="map"></div>
<script type="module">
@@source@@
const state = @@state@@;
for (const key of @@binary@@) {
  state[key] = new DataView(Uint8Array.from(atob(state[key]), (letter) => letter.charCodeAt(0)).buffer);
}
const listeners = [];
const model = {
  get: (key) => state[key],
  set: (key, value) => {
    state[key] = value;
    listeners.forEach(([name, act]) => name === `change:${key}` && act());
  },
  on: (name, act) => listeners.push([name, act]),
  off: () => {},
  save_changes: () => {},
};
render({ model, el: document.getElementById("map") });
</script>
</html>
"""
