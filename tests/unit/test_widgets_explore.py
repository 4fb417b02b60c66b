"""The explorers in the kernel: what lies under them is right, each control changes the picture, nothing is left behind or swallowed."""

import gc
import importlib.util
import io
import sys
import weakref

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import traitlets
from PIL import Image, ImageDraw

from vae_helpers import data, losses, plotting, widgets
from vae_helpers.handwriting import mnist_like
from vae_helpers.interpolation import lerp, slerp
from vae_helpers.models import VAE
from vae_helpers.plotting.explore import interpolate, reconstruction_cost, restyled
from vae_helpers.widgets import javascript
from vae_helpers.widgets.latent_map import page_state

T = torch.linspace(0, 1, 9)


def network(latent_dim: int = 2, **settings) -> VAE:
    torch.manual_seed(0)
    model = VAE(latent_dim, (16,), (20,), **settings).eval()
    with torch.no_grad():
        model.decoder.out.weight.mul_(8)  # so that codes differ visibly
        model.encoder.mu.weight.mul_(8)
    return model


PLAIN, LABELLED = network(), network(num_classes=10)


@pytest.fixture(scope="module")
def images() -> data.ImageSet:
    return data.load("digits").random_subset(60)


def ink(points=((40, 20), (100, 20), (60, 120)), width: int = 10) -> bytes:
    """What the pad sends for a stroke along `points`."""
    paper = Image.new("L", (140, 140))
    ImageDraw.Draw(paper).line(list(points), fill=255, width=width, joint="curve")
    return np.asarray(paper).tobytes()


def by_description(box) -> dict:
    return {getattr(c, "description", ""): c for c in box.children[0].children}


def only(box, kind):
    return next(c for c in box.children[0].children if isinstance(c, kind))


def texts(box) -> tuple[str, str]:
    """The caption, and the line for problems."""
    return tuple(c.value for c in box.children[0].children if isinstance(c, ipywidgets.Label))


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("path", [lerp, slerp])
def test_a_path_begins_and_ends_at_its_codes(path):
    a, b = torch.tensor([3.0, 1.0, -2.0]), torch.tensor([-1.0, 0.5, 0.5])
    z = path(a, b, T)
    assert z.shape == (9, 3)
    assert torch.allclose(z[0], a, atol=1e-6) and torch.allclose(z[-1], b, atol=1e-6)
    assert torch.allclose(path(a, a, T), a.expand(9, 3), atol=1e-6)


def test_the_arc_keeps_equal_norms_and_stays_between_unequal_ones():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        a, b = torch.randn(2, 50, generator=generator)
        b = b * a.norm() / b.norm()
        assert torch.allclose(slerp(a, b, T).norm(dim=-1), a.norm().expand(9), rtol=1e-5)
        assert lerp(a, b, T).norm(dim=-1)[4] < 0.95 * a.norm()
    nearly_opposite = torch.tensor([-2.99, 0.2])
    norms = slerp(torch.tensor([1.0, 0.0]), nearly_opposite, T).norm(dim=-1)
    assert torch.allclose(norms, 1 + T * (nearly_opposite.norm() - 1), atol=1e-5)


def test_the_arc_turns_at_an_even_pace_for_wide_and_tiny_angles():
    for angle in (3.1, 1.0, 1e-3):
        b = torch.tensor([torch.tensor(angle).cos(), torch.tensor(angle).sin()])
        z = slerp(torch.tensor([1.0, 0.0]), b, T)
        assert torch.allclose(torch.atan2(z[:, 1], z[:, 0]), T * angle, atol=1e-6 + 1e-4 * angle)


def test_paths_refuse_what_has_no_answer():
    a = torch.tensor([1.0, 0.0])
    for b, words in ((torch.zeros(2), "centre"), (-2 * a, "opposite"), (torch.zeros(3), "one shape")):
        with pytest.raises(ValueError, match=words):
            slerp(a, b, T)
    with pytest.raises(ValueError, match="mu\\[0\\]"):
        lerp(a[None], a[None], T)


# ---------------------------------------------------------------- handwriting


def box_and_centre(x: torch.Tensor) -> tuple[int, int, float, float]:
    x = x.reshape(28, 28)
    rows, columns = (x > 0).any(1).nonzero(), (x > 0).any(0).nonzero()
    place = torch.arange(28.0)
    height, width = (int(r[-1] - r[0]) + 1 for r in (rows, columns))
    return height, width, float((x.sum(1) * place).sum() / x.sum()), float((x.sum(0) * place).sum() / x.sum())


@pytest.mark.parametrize("scale, dx, dy", [(1.0, 0, 0), (0.5, 0, 0), (0.5, 60, 50), (0.5, 3, 65)])
def test_a_drawing_takes_the_form_of_mnist_wherever_and_however_large_it_is(scale, dx, dy):
    points = [(scale * x + dx, scale * y + dy) for x, y in ((10, 70), (70, 10), (130, 70), (70, 130), (10, 70))]
    x = mnist_like(np.frombuffer(ink(points, max(1, int(10 * scale))), np.uint8).reshape(140, 140))
    assert x.shape == (784,) and x.dtype == torch.float32
    assert float(x.min()) == 0 and 0.8 < float(x.max()) <= 1
    height, width, row, column = box_and_centre(x)
    assert 19 <= max(height, width) <= 20
    assert abs(row - 14) <= 0.51 and abs(column - 14) <= 0.51
    assert ((x > 0.02) & (x < 0.98)).sum() > 50, "its edges are grey"


def test_what_has_the_form_of_mnist_already_keeps_it():
    first = mnist_like(np.frombuffer(ink(), np.uint8).reshape(140, 140))
    bytes_ = (first * 255).round().to(torch.uint8).reshape(28, 28).numpy()
    assert torch.allclose(mnist_like(bytes_), first, atol=0.003)


def test_proportions_stay_and_the_image_is_never_left():
    tall = np.zeros((140, 140), np.uint8)
    tall[10:130, 60:66] = 255
    assert box_and_centre(mnist_like(tall))[:2] == (20, 1)
    lopsided = np.zeros((140, 140), np.uint8)
    lopsided[:100, 20:22] = 255
    lopsided[80:100, :100] = 255
    height, width, *_ = box_and_centre(mnist_like(lopsided))
    assert (height, width) == (20, 20)


def test_an_empty_drawing_is_black_and_other_arrays_are_refused():
    assert not mnist_like(np.zeros((140, 140), np.uint8)).any()
    for wrong in (np.zeros((140, 140)), np.zeros(784, np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            mnist_like(wrong)


# ---------------------------------------------------------------- what the pictures show


def test_the_two_terms_are_those_of_the_loss(images):
    x = images.x[:3]
    with torch.no_grad():
        model = network(num_classes=10, label_in=("encoder", "decoder", "prior"))
        model.encoder.log_var.bias.fill_(-9.5)
        model.encoder.log_var.weight.zero_()  # so narrow that every draw of z is the mean
        y = images.y[:3]
        q, prior = model.encode(x, y), model.prior(y)
        rec, kl = reconstruction_cost(model, x, y, draws=200)
        assert torch.allclose(kl, losses.gaussian_kl(*q, *prior))
        assert torch.allclose(rec, losses.bernoulli_nll(model.decode(q.mu, y), x), rtol=2e-3)
    wide = network()
    rec = reconstruction_cost(wide, x, draws=4000).rec
    with torch.no_grad():
        single = torch.stack([wide.negative_elbo(x).rec for _ in range(1000)])
    assert torch.all((rec - single.mean(0)).abs() < 5 * single.std(0) / 1000**0.5)
    assert torch.equal(reconstruction_cost(wide, x).rec, reconstruction_cost(wide, x).rec)


def test_restyling_keeps_the_code_and_changes_the_label(images):
    x, y = images.x[:1], images.y[:1]
    rows = restyled(LABELLED, x, y)
    assert rows.shape == (10, 784)
    assert torch.allclose(rows[int(y)], LABELLED.reconstruct(x, y)[0], atol=1e-6)
    other = (y + 1) % 10
    with torch.no_grad():
        expected = LABELLED.mean_image(LABELLED.decode(LABELLED.encode(x, y).mu, other))
    assert torch.allclose(rows[int(other)], expected[0], atol=1e-6)


@pytest.mark.parametrize("model", [PLAIN, LABELLED], ids=["plain", "labelled"])
@pytest.mark.parametrize("path", ["straight", "arc"])
def test_a_path_ends_at_the_two_reconstructions_and_is_the_same_each_time(model, path, images):
    first, second = images[3], images[8]
    between, norms = interpolate(model, first, second, path)
    for end, picked in ((0, first), (-1, second)):
        y = picked.y if model.num_classes else None
        assert torch.allclose(between[end], model.reconstruct(picked.x, y)[0], atol=1e-5)
        assert float(norms[end]) == pytest.approx(float(model.encode(picked.x, y).mu.detach().norm()), rel=1e-5)
    assert torch.equal(between, interpolate(model, first, second, path).images)


def test_the_path_through_the_pixels_needs_no_model(images):
    between, norms = interpolate(PLAIN, images[0], images[1], "pixels", 3)
    assert norms is None and torch.allclose(between[1], (images[0].x[0] + images[1].x[0]) / 2)


# ---------------------------------------------------------------- the map


def test_the_map_sends_the_decoder_and_the_codes(images):
    state = page_state(LABELLED, images, 40, None)
    sent = torch.from_numpy(np.frombuffer(state["weights"], "<f2").astype(np.float32))
    layers = LABELLED.decoder.body[0], LABELLED.decoder.out
    expected = torch.cat([part.detach().flatten() for layer in layers for part in (layer.weight, layer.bias)])
    assert torch.allclose(sent, expected, rtol=1e-3, atol=1e-6)
    assert state["sizes"] == [12, 20, 784] and state["classes"] == 10 and state["output"] == "sigmoid"
    assert len(state["labels"]) == 40 and len(state["codes"]) == 40 * 2 * 4
    assert page_state(network(num_classes=10, label_in=("encoder",)), images, 40, None)["classes"] == 0


def test_the_point_can_be_set_from_python_and_stays_on_the_map(images):
    chart = widgets.latent_map(LABELLED, images, reach=4.0)
    chart.z, chart.digit = (1.5, -9.0), 7
    assert chart.z == (1.5, -4.0) and chart.digit == 7
    assert repr(chart) == "LatentMap(z=(1.5, -4.0), digit=7)"
    for name, wrong in (("z", (float("nan"), 0.0)), ("digit", 10)):
        with pytest.raises(traitlets.TraitError):
            setattr(chart, name, wrong)
    with pytest.raises(ValueError, match="latent_explorer"):
        widgets.latent_map(network(3), images)


def test_sliders_stand_in_where_anywidget_is_missing(images, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    spec = importlib.util.spec_from_file_location("without", javascript.__file__)
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    assert without.Base is None, "a missing anywidget is no error"

    monkeypatch.setattr(javascript, "Base", None)
    box = widgets.latent_map(LABELLED, images)
    assert set(by_description(box)) >= {"digit", "z1", "z2"}
    before = box.children[1].value
    by_description(box)["z1"].value = 2.0
    assert box.children[1].value != before
    drawing = widgets.drawing_reconstruction(PLAIN, images)
    before = drawing.children[1].value
    by_description(drawing)["digit"].value = 4
    assert drawing.children[1].value != before and texts(drawing)[1] == ""
    assert set(by_description(widgets.pair_explorer(PLAIN, images))) >= {"first", "second", "path"}
    widgets.drawing_pad()
    assert capsys.readouterr().out.count("anywidget is not installed") == 4


def test_another_kind_of_decoder_gets_sliders(images, capsys):
    model = network()
    model.decoder.body.append(torch.nn.Dropout())
    assert "z1" in by_description(widgets.latent_map(model.eval(), images))
    assert "chain of linear layers" in capsys.readouterr().out
    with pytest.raises(ValueError, match="linear layers"):
        widgets.save_latent_map("never.html", model, images)


def test_the_saved_page_names_no_other_address(images, tmp_path):
    text = widgets.save_latent_map(tmp_path / "map.html", PLAIN, images, title="<b> @@state@@").read_text()
    assert "http:" not in text and "https:" not in text and "src=" not in text
    assert text.count("<script") == text.count("</script>") == 1
    assert text.count("&lt;b&gt; @@state@@") == 2


# ---------------------------------------------------------------- the pad and the pairs


def test_a_drawing_changes_the_picture_and_the_words(images):
    box = widgets.drawing_reconstruction(PLAIN, images)
    pad, which = only(box, widgets.DrawingPad), by_description(box)["digit"]
    before, words = box.children[1].value, texts(box)[0]
    pad.value = ink()
    assert box.children[1].value != before and texts(box)[0] != words and texts(box)[1] == ""
    assert which.value == "my drawing"
    rec, kl = reconstruction_cost(PLAIN, pad.image[None])
    assert f"rec {float(rec):.1f} + kl {float(kl):.1f}" in texts(box)[0]
    seen = (
        Image.open(io.BytesIO(box.children[1].value)).crop((0, 0, 168, 168)).resize((28, 28), Image.Resampling.NEAREST)
    )
    assert np.abs(np.asarray(seen) / 255 - pad.image.reshape(28, 28).numpy()).max() < 0.003
    which.value = 3
    assert f"{float(reconstruction_cost(PLAIN, images[3].x).kl):.1f}" in texts(box)[0]
    which.value = "my drawing"
    pad.clear()
    assert texts(box) == ("Draw a digit, or choose an example.", "")
    with pytest.raises(traitlets.TraitError, match="19600 bytes"):
        pad.value = b"123"


def test_the_pad_hands_over_its_image_and_shows_what_went_wrong():
    seen = []
    pad = widgets.drawing_pad(lambda x: seen.append(x) if len(seen) == 0 else 1 / 0)
    pad.value = ink()
    assert torch.equal(seen[0], pad.image) and seen[0].shape == (784,) and pad.problem == ""
    pad.value = ink(width=14)
    assert pad.problem == "ZeroDivisionError: division by zero"


def test_the_label_of_a_drawing_matters_to_a_conditional_model(images):
    for explorer in (widgets.drawing_reconstruction, widgets.drawing_restyled):
        box = explorer(LABELLED, images)
        label, before = by_description(box)["it is a"], box.children[1].value
        label.value = (label.value + 1) % 10
        assert box.children[1].value != before and texts(box)[1] == ""
    with pytest.raises(ValueError, match="conditional"):
        widgets.drawing_restyled(PLAIN, images)


def test_a_drawing_is_classified_by_bayes_rule(images):
    calls = []

    def scores(x):
        calls.append(x)
        return -100 + 3 * (torch.arange(10) == int(calls[-1].sum()) % 10).float()[None]

    box = widgets.drawing_classified(scores, images)
    before, asked = box.children[1].value, len(calls)
    only(box, widgets.DrawingPad).value = ink()
    assert box.children[1].value != before and texts(box)[1] == ""
    best, share = int(calls[-1].sum()) % 10, np.exp(3) / (np.exp(3) + 9)
    assert texts(box)[0] == f"most probable: {best}, with p(y|x) = {share:.3f}"
    assert len(calls) - asked <= 2, "dear scores are computed once for a picture and its words"


def test_two_digits_and_a_path_are_chosen(images):
    box = widgets.pair_explorer(PLAIN, images)
    controls, picker = by_description(box), only(box, widgets.DigitPicker)
    for control, value in (("first", 5), ("second", 9), ("path", "arc"), ("path", "pixels")):
        before, words = box.children[1].value, texts(box)[0]
        controls[control].value = value
        assert box.children[1].value != before and texts(box)[1] == "", control
        assert texts(box)[0] != words, control
    assert (picker.first, picker.second) == (5, 9)
    picker.first = 20  # a click
    assert controls["first"].value == 20
    controls["path"].value = "straight"
    norms = interpolate(PLAIN, images[20], images[9], "straight").norms
    assert f"|z| is {norms[0]:.2f}" in texts(box)[0]
    with pytest.raises(ValueError, match="two images"):
        widgets.pair_explorer(PLAIN, images[:1])


# ---------------------------------------------------------------- nothing is left behind

MAKERS = {
    "map": lambda images: widgets.latent_map(LABELLED, images),
    "pad": lambda images: widgets.drawing_pad(lambda x: None),
    "reconstruction": lambda images: widgets.drawing_reconstruction(LABELLED, images),
    "restyled": lambda images: widgets.drawing_restyled(LABELLED, images),
    "classified": lambda images: widgets.drawing_classified(lambda x: torch.zeros(1, 10), images),
    "pairs": lambda images: widgets.pair_explorer(PLAIN, images),
}


@pytest.mark.parametrize("name", MAKERS)
def test_running_the_cell_again_leaves_nothing_behind(name, images):
    plt.close("all")
    counts, in_page = [], weakref.WeakSet()
    for _ in range(5):
        box = MAKERS[name](images)
        parts = [box, *(box.children[0].children if hasattr(box, "children") else ())]
        for part in parts:
            if isinstance(part, javascript.Base):
                in_page.add(part)
            if isinstance(part, widgets.DrawingPad):
                for width in range(5, 15):
                    part.value = ink(width=width)
        counts.append(len(ipywidgets.widgets.widget._instances))
    assert len(set(counts)) == 1, counts
    assert plt.get_fignums() == []
    del box, parts, part
    gc.collect()
    assert len(in_page) <= 1, "the weights of closed widgets are given back"


def test_the_static_twins_show_and_describe_themselves(images, capsys):
    x, y = images.x[:2], torch.tensor([1, 2])
    plotting.latent_map_figure(PLAIN, images, [(0.0, 0.0), (1.0, 0.0)], "alt one")
    plotting.latent_map_figure(LABELLED, images, [(0.0, 0.0)] * 4, "alt two", digit=3)
    plotting.reconstruction_figure(PLAIN, x, "alt three")
    plotting.restyled_figure(LABELLED, x, y, "alt four")
    plotting.label_bars_figure(x, torch.randn(2, 10), "alt five")
    plotting.interpolation_figure(PLAIN, images, 0, 1, "alt six")
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("Figure")] == [
        f"Figure: alt {n}" for n in ("one", "two", "three", "four", "five", "six")
    ]
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="different digits"):
        plotting.restyled_figure(LABELLED, x, torch.tensor([1, 1]), "never shown")
