"""The diagnosing table of lesson 09: it redraws, says its numbers, leaves nothing behind, and hides no exception."""

import ipywidgets as w
import matplotlib.pyplot as plt
import pytest
import torch

from vae_helpers import plotting, widgets
from vae_helpers.workbench import Chart, Line, Reading

KL = torch.linspace(2, 0, 8)
DIGITS = torch.rand(4, 784, generator=torch.Generator().manual_seed(0))
CHARTS = {
    "chart 1": Chart({"rec": {"rec": Line([1, 2], [5.0, 3.0])}}, "epoch", KL, {"image": DIGITS, "sample": 1 - DIGITS}, (Reading("rec", 3.0, "floor", 1.0),)),
    "chart 2": Chart({"bound": {"a": Line([1, 10], [1.0, 2.0]), "b": Line([1, 10], [1.5, 1.5])}}, "K", None, {}, (Reading("bound", -2.0, "truth", -1.5),)),
    "chart 3": Chart({}, "", None, {"seed 0": DIGITS}, (Reading("distance", 0.3, "unit", 1.0),)),
}  # fmt: skip
HEALTHY = CHARTS["chart 1"]._replace(kl=KL / 2)


def make(name="test of lesson 09", healthy=HEALTHY):
    return widgets.chart_explorer(CHARTS, healthy=healthy, name=name)


@pytest.fixture
def explorer():
    box = make()
    yield box
    widgets.close(box)


def parts(box):
    controls, picture = box.children
    chosen, beside, caption, problem = controls.children
    return chosen, beside, caption, problem, picture


def test_every_chart_has_its_picture_and_its_numbers(explorer):
    chosen, _, caption, problem, picture = parts(explorer)
    assert chosen.options == tuple(CHARTS)
    seen = {}
    for title in chosen.options:
        chosen.value = title
        assert bytes(picture.value).startswith(b"\x89PNG") and problem.value == ""
        assert caption.value == " · ".join(map(str, CHARTS[title].readings))
        seen[title] = bytes(picture.value)
    assert len(set(seen.values())) == len(CHARTS)


def test_ticking_the_box_adds_the_healthy_run_below(explorer):
    chosen, beside, _, problem, picture = parts(explorer)
    alone = bytes(picture.value)
    beside.value = True
    both = bytes(picture.value)
    assert both != alone and problem.value == ""
    assert int.from_bytes(both[20:24], "big") > int.from_bytes(alone[20:24], "big"), "the picture grows taller"
    chosen.value = "chart 3"
    assert bytes(picture.value) != both


def test_without_a_healthy_run_there_is_no_box():
    box = make(healthy=None)
    assert len(box.children[0].children) == 3
    widgets.close(box)


def test_every_control_has_a_name(explorer):
    for control in parts(explorer)[:2]:
        assert control.description and control.tooltip


def test_running_the_cell_again_leaves_nothing_behind():
    counts = []
    for _ in range(5):
        box = make("test of lesson 09, again")
        counts.append(len(w.widgets.widget._instances))
    assert len(set(counts)) == 1, counts
    widgets.close(box)


def test_no_figure_stays_open(explorer):
    before = plt.get_fignums()
    chosen, beside, *_ = parts(explorer)
    for title in chosen.options:
        chosen.value = title
        beside.value = not beside.value
    assert plt.get_fignums() == before


def test_an_exception_is_shown_and_the_next_value_clears_it(explorer, monkeypatch):
    chosen, _, _, problem, _ = parts(explorer)

    def breaks(*_arguments, **_more):
        raise RuntimeError("no picture today")

    with monkeypatch.context() as patch:
        patch.setattr("vae_helpers.widgets.museum.draw_chart", breaks)
        chosen.value = "chart 2"
        assert "no picture today" in problem.value
    chosen.value = "chart 3"
    assert problem.value == ""


def panels(chart):
    figure = plt.figure(figsize=(8, 3))
    plotting.draw_chart(figure, chart, "title")
    found = [axes.get_title() for axes in figure.axes]
    plt.close(figure)
    return found, figure


def test_a_chart_has_a_panel_for_each_thing_there_is():
    assert panels(CHARTS["chart 1"])[0] == ["rec", "KL per dimension, sorted", ""]
    assert panels(CHARTS["chart 2"])[0] == ["bound"] and panels(CHARTS["chart 3"])[0] == [""]


def test_bars_lines_and_pictures_are_the_chart_s_own():
    figure = panels(CHARTS["chart 1"])[1]
    curves, bars, sheet = figure.axes
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(KL.tolist())
    assert curves.lines[0].get_ydata().tolist() == [5.0, 3.0]
    assert sheet.images[0].get_clim() == (0, 1), "grey images are drawn on one fixed scale"
    assert [text.get_text() for text in sheet.texts] == ["image", "sample"]
    lines = panels(CHARTS["chart 2"])[1]
    assert lines.axes[0].get_xscale() == "log" and lines.get_suptitle() == "title"
    assert "bound: −2 (truth: −1.5)" in lines.subfigs[0].get_suptitle()


def test_bars_of_all_charts_share_an_axis_and_an_empty_panel_says_so():
    low, tall, empty = (panels(HEALTHY._replace(kl=KL * scale))[1].axes[1] for scale in (0.2, 1.2, 0.001))
    assert low.get_ylim() == tall.get_ylim() == empty.get_ylim()
    assert not low.texts and [text.get_text() for text in empty.texts] == ["all below 0.01"]
    assert panels(HEALTHY._replace(kl=KL * 5))[1].axes[1].get_ylim()[1] > 10, "no bar is cut off"


def test_rec_and_kl_have_their_unit():
    curves, bars, _ = panels(CHARTS["chart 1"])[1].axes
    assert curves.get_ylabel() == bars.get_ylabel() == "nats"


def test_the_static_twin_shows_all_charts_with_their_alt_text(capsys):
    plotting.chart_sheet(CHARTS, "three made-up charts one below the other")
    printed = capsys.readouterr().out
    assert "Figure: three made-up charts one below the other" in printed
    assert all(f"{name} · {chart.readings[0]}" in printed for name, chart in CHARTS.items())
    assert plt.get_fignums() == []
