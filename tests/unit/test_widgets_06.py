"""The sliders and figures of lesson 06: they redraw, leave nothing behind, and hide no exception."""

import io

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from vae_helpers import plotting, widgets
from vae_helpers.models import VAE
from vae_helpers.plotting.base import smaller


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(6, (20,), (20,))


START = torch.tensor([0.5, -1.0, 0.0, 4.0, 1.0, 0.2])


def make(model, dimensions=(3, 0), name="test of lesson 06"):
    return widgets.traversal_explorer(model, START, dimensions, name=name)


def test_each_slider_moves_its_own_dimension_and_no_other(model):
    box = make(model)
    *sliders, _, problem = box.children[0].children
    picture = box.children[1]
    assert [s.description for s in sliders] == ["z4", "z1"]
    assert [s.value for s in sliders] == [4.0, 0.5], "a start beyond the reach is kept"
    before = bytes(picture.value)
    sliders[0].value = -2.0
    moved = START.clone()
    moved[3] = -2.0
    with torch.no_grad():
        images = model.mean_image(model.decode(torch.stack([moved, START])))
    assert bytes(picture.value) == plotting.png(plotting.tile(images, 2), scale=6) != before
    sliders[0].value = 4.0
    assert bytes(picture.value) == before and problem.value == ""
    widgets.close(box)


def test_a_failing_decoder_is_shown_and_not_swallowed(model):
    box = make(model)
    *sliders, _, problem = box.children[0].children
    body, model.decoder.body = model.decoder.body, None
    try:
        sliders[0].value = 0.0
    finally:
        model.decoder.body = body
    assert "TypeError" in problem.value
    widgets.close(box)


def test_running_a_cell_again_leaves_nothing_behind(model):
    make(model)
    live = len(w.widgets.widget._instances)
    for _ in range(5):
        box = make(model)
    after = len(w.widgets.widget._instances)
    assert after == live and not plt.get_fignums()
    widgets.close(box)


def test_a_batch_of_codes_is_refused(model):
    with pytest.raises(ValueError, match=r"mu\[0\]"):
        widgets.traversal_explorer(model, START[None], [0])


def pictures(capsys):
    assert not plt.get_fignums()
    return capsys.readouterr().out


def test_the_figures_say_what_they_show_and_close(capsys):
    points = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    plotting.embedding_figure({"one": points, "two": points.numpy()}, torch.arange(40) % 10, "two maps of points")
    plotting.prior_and_codes_figure(points, points, "prior beside codes", holes=points[:2])
    plotting.contrast_figure(torch.rand(2, 784), "fixed and automatic contrast")
    printed = pictures(capsys)
    for alt in ("two maps of points", "prior beside codes", "fixed and automatic contrast"):
        assert f"Figure: {alt}" in printed


def test_the_sheet_of_equal_shares_shows_the_decoded_grid(monkeypatch, capsys):
    shown = {}
    monkeypatch.setattr("vae_helpers.plotting.latent.show", lambda figure, alt: shown.update(axes=figure.axes[0]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flat = VAE(2, (10,), (10,))
    plotting.decoder_sheet(flat, "a sheet", n=5, spacing="quantile")
    axes = shown["axes"]
    with torch.no_grad():
        images = flat.mean_image(flat.decode(plotting.latent_grid(5, spacing="quantile")))
    assert torch.equal(torch.as_tensor(axes.images[0].get_array()), torch.as_tensor(plotting.tile(images, 5, gap=0)))
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["−1.28", "−0.52", "0.00", "0.52", "1.28"]
    plt.close("all")


@pytest.mark.parametrize(("colour", "mode"), [("0.4", "L"), ("tab:red", "RGB")])
def test_a_stored_figure_has_the_same_pixels_in_fewer_bytes(colour, mode):
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.plot([0, 1], [0, 1], color=colour)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    less = smaller(buffer.getvalue())
    before, after = (Image.open(io.BytesIO(picture)) for picture in (buffer.getvalue(), less))
    assert after.mode == mode and len(less) < len(buffer.getvalue())
    assert after.convert("RGB").tobytes() == before.convert("RGB").tobytes()
