"""The sliders of lesson 05: they redraw, say their numbers, leave nothing behind, and hide no exception."""

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest
import torch

from vae_helpers import data, losses, plotting, widgets
from vae_helpers.models import VAE

LOG_W = 2 * torch.randn(200, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 2
LOG_P = -0.5


@pytest.fixture(scope="module")
def uses():
    images = data.load("digits", "test")[:40]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {beta: VAE(6, (20,), (20,)) for beta in (0.5, 1.0, 4.0)}
    for scale, model in enumerate(models.values(), 1):
        with torch.no_grad():
            model.encoder.mu.weight *= 3 * scale
    return {beta: plotting.code_use(model, images) for beta, model in models.items()}


@pytest.fixture(params=["importance", "beta"])
def explorer(request, uses):
    box = make(request.param, uses)
    yield box
    widgets.close(box)


def make(kind, uses, name="test of lesson 05"):
    if kind == "importance":
        return widgets.importance_explorer(LOG_W, LOG_P, name=name)
    return widgets.beta_explorer(uses, name=name)


def parts(box):
    controls, picture = box.children
    control, caption, problem = controls.children
    return control, caption, problem, picture


def test_every_value_changes_the_picture_and_the_numbers(explorer):
    control, caption, problem, picture = parts(explorer)
    values = [option[1] if isinstance(option, tuple) else option for option in control.options]
    seen = set()
    for value in values:
        control.value = value
        assert bytes(picture.value).startswith(b"\x89PNG") and problem.value == ""
        seen.add((bytes(picture.value), caption.value))
    assert len(seen) == len(values)
    assert len({text for _, text in seen}) == len(values)


def test_numbers_of_the_importance_explorer(uses):
    box = make("importance", uses)
    control, caption, _, _ = parts(box)
    assert control.options[-1] == 200, "no K beyond the samples that there are"
    control.value = 50
    above = float((losses.iw_bound(LOG_W[:50]) > LOG_P).double().mean())
    ess = float(losses.effective_sample_size(LOG_W[:50]).mean())
    assert f"{above:.0%}" in caption.value and f"{ess:.1f}" in caption.value
    widgets.close(box)


def test_numbers_of_the_beta_explorer(uses):
    box = make("beta", uses)
    control, caption, _, _ = parts(box)
    assert control.value == 1.0
    control.value = 4.0
    assert f"rate {float(uses[4.0].kl.sum()):.1f} nats" in caption.value and "of 6 dimensions" in caption.value
    widgets.close(box)


def test_bars_are_sorted_and_sum_to_kl(uses):
    for use in uses.values():
        assert torch.equal(use.kl, use.kl.sort(descending=True).values) and use.active.dtype == torch.bool
        assert use.images.shape == use.reconstructions.shape == (8, 784)


def test_every_control_has_a_name_and_shows_its_value(explorer):
    control, *_ = parts(explorer)
    assert control.description and control.tooltip and control.readout


@pytest.mark.parametrize("kind", ["importance", "beta"])
def test_running_the_cell_again_leaves_nothing_behind(kind, uses):
    counts = []
    for _ in range(5):
        make(kind, uses, name=f"test of lesson 05, {kind} again")
        counts.append(len(w.widgets.widget._instances))
    assert len(set(counts)) == 1, counts


def test_no_figure_stays_open(explorer):
    before = plt.get_fignums()
    control, *_ = parts(explorer)
    for index in range(len(control.options)):
        control.index = index
    assert plt.get_fignums() == before


def test_an_exception_is_shown_and_the_next_value_clears_it(explorer, monkeypatch):
    control, _, problem, _ = parts(explorer)

    def breaks(*_arguments, **_more):
        raise RuntimeError("no picture today")

    with monkeypatch.context() as patch:
        patch.setattr("vae_helpers.widgets.capacity.draw_bound_histogram", breaks)
        patch.setattr("vae_helpers.widgets.capacity.draw_code_use", breaks)
        control.index = len(control.options) - 1
        assert "no picture today" in problem.value
    control.index = 0
    assert problem.value == ""
