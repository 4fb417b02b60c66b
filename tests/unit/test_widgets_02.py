"""The slider of lesson 02: it redraws, says its numbers, leaves nothing behind, and hides no exception."""

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest

from vae_helpers import widgets
from vae_helpers.gradients import square_norm_variances


@pytest.fixture
def explorer():
    box = widgets.gradient_explorer(name="test of lesson 02")
    yield box
    widgets.close(box)


def parts(box):
    controls, picture = box.children
    mean, dimensions, draws, caption, problem = controls.children
    return mean, dimensions, draws, caption, problem, picture


def test_every_slider_changes_the_picture_and_the_numbers(explorer):
    mean, dimensions, draws, caption, problem, picture = parts(explorer)
    for control, value in ((mean, -2.0), (dimensions, 20), (draws, 1000)):
        before = bytes(picture.value), caption.value
        control.value = value
        assert bytes(picture.value).startswith(b"\x89PNG")
        assert bytes(picture.value) != before[0] and caption.value != before[1]
        assert problem.value == ""
    assert caption.value.startswith("exact -4 ")


def test_the_numbers_are_those_of_the_two_estimators(explorer):
    mean, dimensions, draws, caption, _, _ = parts(explorer)
    mean.value, dimensions.value, draws.value = 0.0, 20, 2000
    errors = [float(part.split("±")[1].split()[0]) for part in caption.value.split("·")[1:]]
    exact = square_norm_variances(0.0, 20)
    for found, variance in zip(errors, (exact.score, exact.pathwise), strict=True):
        assert found == pytest.approx((variance / 2000) ** 0.5, rel=0.15)


def test_every_control_has_a_name_and_shows_its_value(explorer):
    for control in explorer.children[0].children[:3]:
        assert control.description and control.tooltip and control.readout


def test_running_the_cell_again_leaves_nothing_behind():
    counts = []
    for _ in range(5):
        widgets.gradient_explorer(name="test of lesson 02, again")
        counts.append(len(w.widgets.widget._instances))
    assert len(set(counts)) == 1, counts


def test_no_figure_stays_open(explorer):
    before = plt.get_fignums()
    for d in range(2, 12):
        parts(explorer)[1].value = d
    assert plt.get_fignums() == before


def test_an_exception_is_shown_and_the_next_value_clears_it(explorer, monkeypatch):
    _, dimensions, _, _, problem, _ = parts(explorer)

    def breaks(*_arguments, **_more):
        raise RuntimeError("no clouds today")

    with monkeypatch.context() as patch:
        patch.setattr("vae_helpers.widgets.gradients.draw_clouds", breaks)
        dimensions.value = 3
        assert "no clouds today" in problem.value
    dimensions.value = 4
    assert problem.value == ""
