"""A pad to draw a digit on, and what a model makes of the drawing: its reconstruction, its ten restylings, its label."""

from collections.abc import Callable, Sequence

import ipywidgets as w
import numpy as np
import torch
import traitlets as t
from ipywidgets.widgets.trait_types import CByteMemoryView
from torch import Tensor

from vae_helpers import plotting
from vae_helpers.handwriting import mnist_like
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.plotting.explore import LabelBars, reconstruction_cost, restyled
from vae_helpers.widgets import javascript
from vae_helpers.widgets.base import digit_buttons, picture_explorer, replace

DRAWN = "my drawing"
NOTHING = "Draw a digit, or choose an example."


class DrawingPad(javascript.Base or object):
    """A pad of 280x280 screen pixels. `value` holds the ink, `side` x `side` bytes or none; `image` is what a model should see."""

    _esm = javascript.source("drawing.js")
    side = t.Int(140, read_only=True).tag(sync=True)
    value = CByteMemoryView(b"").tag(sync=True, echo_update=False)  # the view that drew it has it already
    problem = t.Unicode("").tag(sync=True)

    @t.validate("value")
    def _whole(self, proposal: dict) -> memoryview:
        if len(proposal["value"]) not in (0, self.side**2):
            raise t.TraitError(f"ink is {self.side**2} bytes, or none; got {len(proposal['value'])}")
        return proposal["value"]

    @property
    def image(self) -> Tensor:
        """The drawing the way MNIST holds a digit (see `handwriting.mnist_like`): (784,) in [0, 1], all zero for an empty pad."""
        return _image(self.value)

    def clear(self) -> None:
        self.value = b""

    def __repr__(self) -> str:  # the same in every run, so that stored notebooks do not change
        return "DrawingPad()"


def drawing_pad(on_draw: Callable[[Tensor], object] | None = None, *, name: str = "drawing pad") -> w.Widget:
    """A pad on its own. While somebody draws, `on_draw(x)` is called with the image x (784,); its exceptions appear under the pad.

    Read the drawing at any time from `.image`. Where anywidget is missing, prints a sentence and returns a line that says so.
    """
    if not javascript.has_javascript("there is no pad to draw on"):
        return replace(name, w.VBox([w.Label("No drawing pad here.")]))
    pad = DrawingPad()

    def drawn(_change: dict) -> None:
        try:
            pad.problem = ""
            on_draw(pad.image)
        except Exception as error:  # a callback's exception would vanish: show it
            pad.problem = f"{type(error).__name__}: {error}"

    if on_draw is not None:
        pad.observe(drawn, "value")
    return replace(name, pad)


def drawing_explorer(
    draw: Callable[..., bytes],
    caption: Callable[..., str],
    examples: ImageSet,
    *,
    controls: Sequence[w.Widget] = (),
    name: str = "drawing",
    width: str = "560px",
) -> w.HBox:
    """A pad, or an example chosen with a slider (which the arrow keys can do), and beside it a picture of what is made of the digit.

    draw, caption   from x (1, 784) and the values of `controls`: a picture as PNG bytes, and the words under it
    examples        the first twenty at most are offered, each with its label
    """
    x = examples[:20].x
    options = [(f"{i}: a {int(y)}", i) for i, y in enumerate(examples.y[:20])]
    has_pad = javascript.has_javascript("there is no pad to draw on, and you choose among the examples")
    pad = [DrawingPad()] if has_pad else []
    # a slider, not a Dropdown: in JupyterLab the arrow keys changed nothing on that one
    which = w.SelectionSlider(
        options=[*options, *([(DRAWN, DRAWN)] if pad else [])], value=0, description="digit",
        tooltip="an example, or your drawing", layout=w.Layout(width="340px"),
    )  # fmt: skip

    def chosen(source: int | str, *rest) -> tuple[Tensor, tuple]:
        ink, values = (rest[0], rest[1:]) if pad else (b"", rest)
        return (_image(ink) if source == DRAWN else x[source])[None], values

    def picture(*values) -> bytes:
        image, settings = chosen(*values)
        return draw(image, *settings)

    def words(*values) -> str:
        image, settings = chosen(*values)
        return caption(image, *settings) if bool(image.any()) else NOTHING

    if pad:
        pad[0].observe(lambda change: setattr(which, "value", DRAWN if len(change["new"]) else which.value), "value")
    box = picture_explorer(name, [which, *pad, *controls], picture, words)
    box.children[1].layout.width = width
    return box


def drawing_reconstruction(model: VAE, examples: ImageSet, *, name: str = "drawing and reconstruction") -> w.HBox:
    """Your digit as the model sees it, its reconstruction, and the two terms of the loss. A conditional model asks for the label.

    Its static twin is `plotting.reconstruction_figure`.
    """
    model.eval()

    def draw(x: Tensor, *label: int) -> bytes:
        return plotting.png(plotting.tile(torch.cat([x, model.reconstruct(x, _labels(label))]), 2), scale=6)

    def caption(x: Tensor, *label: int) -> str:
        rec, kl = (float(part) for part in reconstruction_cost(model, x, _labels(label)))
        return f"at the left what the model sees; rec {rec:.1f} + kl {kl:.1f} = {rec + kl:.1f} nats"

    controls = [digit_buttons("it is a", int(examples.y[0]), model.num_classes)] if model.num_classes else []
    return drawing_explorer(draw, caption, examples, controls=controls, name=name, width="348px")


def drawing_restyled(model: VAE, examples: ImageSet, *, name: str = "drawing in ten labels") -> w.HBox:
    """Your handwriting in all labels: the digit is encoded once, with the label you give it, and decoded with every label.

    Needs a conditional model. Its static twin is `plotting.restyled_figure`.
    """
    model.eval()

    def draw(x: Tensor, label: int) -> bytes:
        return plotting.png(plotting.tile(restyled(model, x, torch.tensor([label])), 5), scale=4)

    label = digit_buttons("it is a", int(examples.y[0]), model.num_classes)
    words = f"the same code z, decoded with each of the {model.num_classes} labels"
    return drawing_explorer(draw, lambda *_: words, examples, controls=[label], name=name, width="592px")


def drawing_classified(
    log_likelihoods: Callable[[Tensor], Tensor], examples: ImageSet, *, name: str = "drawing and its label"
) -> w.HBox:
    """Bars of log p(x|y) for each label y, and the label that Bayes' rule picks under equal priors.

    log_likelihoods   images (1, 784) -> log p(x|y) or a bound on it, (1, labels), in nats

    Its static twin is `plotting.label_bars_figure`.
    """
    bars = LabelBars()
    scores = torch.zeros(0)  # of the digit drawn last: the words need them as well, and they may be dear

    def draw(x: Tensor) -> bytes:
        nonlocal scores
        scores = log_likelihoods(x)[0].detach().cpu()
        return bars.png(x[0], scores)

    def caption(_x: Tensor) -> str:
        posterior = scores.softmax(0)
        return f"most probable: {int(posterior.argmax())}, with p(y|x) = {float(posterior.max()):.3f}"

    return drawing_explorer(draw, caption, examples, name=name, width="600px")


def _image(ink: bytes | memoryview) -> Tensor:
    side = DrawingPad.side.default_value
    return mnist_like(np.frombuffer(ink, np.uint8).reshape(side, side)) if len(ink) else torch.zeros(784)


def _labels(label: tuple[int, ...]) -> Tensor | None:
    return torch.tensor(label) if label else None
