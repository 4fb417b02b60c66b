"""The family slider of lesson 04: it redraws, says the metrics of the model shown, leaves nothing behind, and hides no exception."""

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest
import torch

from vae_helpers import plotting, widgets
from vae_helpers.checkpoints import Checkpoint
from vae_helpers.data import ImageSet
from vae_helpers.models import VAE
from vae_helpers.widgets.families import VIEWS, family_row


def checkpoint(seed: int, **settings) -> Checkpoint:
    """An untrained model with made-up metrics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VAE(2, (8,), (8,), **settings).eval()
    return Checkpoint(model, dict(test_rec=100.0 + seed, test_kl=10.0 + seed, active_units=seed))


@pytest.fixture
def family() -> dict[float, Checkpoint]:
    return {s: checkpoint(i, likelihood="gaussian", sigma_x=s) for i, s in enumerate((0.1, 0.5, 1.0))}


@pytest.fixture
def explorer(family, few: ImageSet):
    box = widgets.family_explorer(family, few, symbol="σ", name="test of lesson 04")
    yield box
    widgets.close(box)


def parts(box):
    controls, picture = box.children
    choice, view, caption, problem = controls.children
    return choice, view, caption, problem, picture


def test_each_model_and_each_view_has_its_own_picture(explorer):
    choice, view, caption, problem, picture = parts(explorer)
    pictures, captions = set(), set()
    for value in (0.1, 0.5, 1.0):
        for shown in VIEWS:
            choice.value, view.value = value, shown
            assert problem.value == ""
            assert bytes(picture.value).startswith(b"\x89PNG")
            pictures.add(bytes(picture.value))
            captions.add(caption.value)
    assert len(pictures) == 9 and len(captions) == 3


def test_the_caption_speaks_of_the_model_shown(explorer):
    choice, _, caption, _, _ = parts(explorer)
    assert choice.value == 0.5, "it starts in the middle"
    choice.value = 1.0
    assert caption.value == "σ = 1: rec 102.0, kl 12.0 nats; 2 units in use"


def test_one_draw_of_a_gaussian_has_the_noise_of_its_sigma(family, few):
    x = few.x[:8]
    for sigma_x, item in family.items():
        noise = family_row(item, x, "one draw of each") - family_row(item, x, "reconstructions")
        assert float(noise.std()) == pytest.approx(sigma_x, rel=0.05)


def test_one_draw_of_a_bernoulli_is_black_and_white(few):
    row = family_row(checkpoint(0), few.x[:4], "one draw of each")
    assert set(row.unique().tolist()) == {0.0, 1.0}


def test_a_likelihood_without_draws_is_an_error_that_is_shown(few):
    family = {1.0: checkpoint(0, likelihood="laplace")}
    box = widgets.family_explorer(family, few, symbol="b", name="test of lesson 04, Laplace")
    _, view, _, problem, _ = parts(box)
    view.value = "one draw of each"
    assert "not written for likelihood 'laplace'" in problem.value
    widgets.close(box)


def test_a_row_is_the_same_each_time_and_leaves_the_random_numbers_alone(family, few):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rows = [family_row(family[0.5], few.x[:8], shown) for shown in VIEWS for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(rows[::2], rows[1::2], strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_control_has_a_name(explorer):
    assert [control.description for control in explorer.children[0].children[:2]] == ["σ", "show"]
    assert explorer.children[0].children[0].readout


def test_running_the_cell_again_leaves_nothing_behind(family, few):
    counts = []
    for _ in range(5):
        box = widgets.family_explorer(family, few, symbol="σ", name="test of lesson 04, again")
        counts.append(len(w.widgets.widget._instances))
    assert len(set(counts)) == 1, counts
    widgets.close(box)


def test_no_figure_stays_open(explorer):
    before = plt.get_fignums()
    for value in (0.1, 0.5, 1.0) * 5:
        parts(explorer)[0].value = value
    assert plt.get_fignums() == before


def test_figures_of_the_lesson_are_shown_once_with_their_sentence(capsys):
    plotting.density_curves("four densities")
    plotting.continuous_bernoulli_figure("areas and means")
    plotting.sigma_curve(21.0, "one curve", marks={"best": 0.16})
    plotting.sigma_paths({"a": [1.0, 2.0]}, "one path", best=0.2)
    plotting.sigma_family_figure([0.1, 1.0], [0.1, 0.2], [50.0, 5.0], [20, 7], [-500.0, 700.0], "a family")
    plotting.rate_distortion_figure([0.5, 1.0], (30.0, 20.0), (70.0, 80.0), "a trade")
    plotting.mean_histogram({"a": torch.rand(4, 784)}, "a histogram")
    sentences = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Figure: ")]
    assert sentences == [f"Figure: {alt}" for alt in (
        "four densities", "areas and means", "one curve", "one path", "a family", "a trade", "a histogram")]  # fmt: skip
    assert plt.get_fignums() == []
