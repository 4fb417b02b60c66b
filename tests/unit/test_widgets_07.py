"""The slider and the figures of lesson 07: each label has its own picture, nothing is left behind, and no exception is hidden."""

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest
import torch

from vae_helpers import plotting, widgets
from vae_helpers.models import VAE
from vae_helpers.plotting import conditional


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(2, (20,), (20,), num_classes=10)


def make(model, name="test of lesson 07"):
    return widgets.latent_explorer(model, labels=True, name=name)


def decoded(model, z, y):
    with torch.no_grad():
        return model.mean_image(model.decode(torch.tensor([z]), torch.tensor([y])))[0]


def test_digit_and_sliders_each_change_the_picture(model):
    box = make(model)
    digits, first, second, _, problem = box.children[0].children
    picture = box.children[1]
    assert digits.options == tuple(range(10)) and digits.description == "digit"
    assert bytes(picture.value) == plotting.png(decoded(model, [0.0, 0.0], 0), scale=10)
    digits.value = 8
    assert bytes(picture.value) == plotting.png(decoded(model, [0.0, 0.0], 8), scale=10)
    first.value, second.value = 1.5, -2.0
    assert bytes(picture.value) == plotting.png(decoded(model, [1.5, -2.0], 8), scale=10)
    assert problem.value == "" and not plt.get_fignums()
    widgets.close(box)


def test_ten_digits_fit_in_one_row(model):
    box = make(model)
    assert int(box.children[0].children[0].style.button_width.removesuffix("px")) <= 40
    widgets.close(box)


def test_a_failing_decoder_is_shown_and_not_swallowed(model):
    box = make(model)
    body, model.decoder.body = model.decoder.body, None
    try:
        box.children[0].children[0].value = 3
    finally:
        model.decoder.body = body
    assert "TypeError" in box.children[0].children[-1].value
    widgets.close(box)


def test_running_a_cell_again_leaves_nothing_behind(model):
    make(model)
    live = len(w.widgets.widget._instances)
    for _ in range(5):
        box = make(model)
    assert len(w.widgets.widget._instances) == live and not plt.get_fignums()
    widgets.close(box)


def test_the_figures_say_what_they_show_and_close(capsys):
    mu = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    plotting.code_maps_figure(
        {"one": (mu, torch.arange(40) % 10), "two": (mu, torch.arange(40) % 3)}, "two maps of codes"
    )
    plotting.label_graphs_figure()
    plotting.label_price_figure("two losses and a price")
    printed = capsys.readouterr().out
    assert not plt.get_fignums()
    for alt in ("two maps of codes", "four graphs of label y", "two losses and a price"):
        assert f"Figure: {alt}" in printed


def shown_by(monkeypatch, draw):
    kept = {}
    monkeypatch.setattr(conditional, "show", lambda figure, alt: kept.update(figure=figure))
    draw()
    return kept["figure"].axes


def test_each_sheet_shows_its_own_digit(monkeypatch, model):
    axes = shown_by(monkeypatch, lambda: plotting.class_sheets_figure(model, [2, 7], "two sheets", n=3))
    z = plotting.latent_grid(3, spacing="quantile")
    for cell, digit in zip(axes, (2, 7), strict=True):
        with torch.no_grad():
            images = model.mean_image(model.decode(z, torch.full((9,), digit)))
        assert torch.equal(
            torch.as_tensor(cell.images[0].get_array()), torch.as_tensor(plotting.tile(images, 3, gap=0))
        )
        assert cell.get_title() == f"y = {digit}"
    plt.close("all")


def test_the_maps_share_their_scale(monkeypatch):
    mu = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    maps = {"narrow": (mu, torch.arange(40) % 10), "wide": (3 * mu, torch.arange(40) % 10)}
    axes = shown_by(monkeypatch, lambda: plotting.code_maps_figure(maps, "two maps", reach=5))
    assert [cell.get_xlim() for cell in axes] == [(-5, 5)] * 2
    plt.close("all")


def test_the_graphs_follow_the_places_of_the_model():
    """What a graph draws and what a VAE with the label in these places does are the same."""
    places = {
        "encoder only": ["encoder"],
        "decoder only": ["decoder"],
        "encoder and decoder": ["encoder", "decoder"],
        "prior only": ["prior"],
    }
    assert list(places) == list(conditional.GRAPHS)
    x, z, y = torch.rand(2, 784), torch.randn(2, 2), (torch.tensor([0, 0]), torch.tensor([1, 1]))
    for title, label_in in places.items():
        drawn, read, *_ = conditional.GRAPHS[title]
        made = VAE(2, (5,), (5,), num_classes=2, label_in=label_in)
        torch.nn.init.normal_(made.prior_mu.weight) if "prior" in label_in else None
        with torch.no_grad():
            assert ("yx" in drawn) != torch.equal(made.decode(z, y[0]), made.decode(z, y[1]))
            assert ("yz" in read) != torch.equal(made.encode(x, y[0]).mu, made.encode(x, y[1]).mu)
            assert ("yz" in drawn) != torch.equal(made.prior(y[0]).mu, made.prior(y[1]).mu)


def test_the_price_is_log_ten_wherever_it_is_drawn(monkeypatch):
    (axes,) = shown_by(monkeypatch, lambda: plotting.label_price_figure("losses"))
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}
    dear, cheap = (torch.tensor(lines[name]) for name in ("−ELBO(x|y) + log 10", "−ELBO(x|y)"))
    assert torch.allclose(dear - cheap, torch.full_like(dear, 10).log())
    _, dear_dots, cheap_dots = (torch.tensor(line.get_ydata()) for line in axes.lines[1:6:2])
    assert torch.allclose(dear_dots - cheap_dots, torch.full_like(dear_dots, 10).log())
    assert any("plus log 10" in text.get_text() for text in axes.get_legend().get_texts()), (
        "the legend says that dots are shifted"
    )
    plt.close("all")
