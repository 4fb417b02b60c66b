"""The figures and the drawing pad of lesson 08: they show what was computed, leave nothing behind, and hide no exception."""

import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vae_helpers import data, plotting, widgets
from vae_helpers.models import VAE
from vae_helpers.plotting import classifier as figures
from vae_helpers.scoring import label_scores


@pytest.fixture
def shown(monkeypatch):
    """The figures that were shown, with their sentences, kept open to be looked at."""
    kept = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: kept.append((figure, alt)))
    yield kept
    plt.close("all")


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VAE(2, (8,), (8,), num_classes=10).eval()


@pytest.fixture(scope="module")
def examples() -> data.ImageSet:
    return data.load("digits").random_subset(12)


def test_costs_are_stacked_and_the_cheapest_labels_named(shown):
    costs = plotting.LabelCosts(torch.rand(3, 784), torch.tensor([10.0, 12.0, 13.0]), torch.tensor([9.0, 5.0, 1.0]))
    plotting.label_costs_figure({"a": costs, "b": costs._replace(kl=torch.zeros(3))}, "costs")
    figure, alt = shown[0]
    bars = figure.axes[2]
    heights = [patch.get_height() for patch in bars.patches]
    assert heights == [0.0, 2.0, 3.0, 9.0, 5.0, 1.0] and alt == "costs"
    assert {text.xy[0]: text.get_text() for text in bars.texts} == {0: "least\nrec", 2: "least\nsum"}
    assert [text.get_text() for text in figure.axes[3].texts] == ["least\nboth"]


def test_reliability_shows_each_bin_that_holds_enough_images(shown):
    p = np.array([[0.95, 0.05]] * 6 + [[0.65, 0.35]] * 5 + [[0.55, 0.45]] * 4)
    y = np.array([0] * 6 + [0, 0, 0, 1, 1] + [0] * 4)
    plotting.reliability_figure({"one": (p, y)}, "reliability")
    x, share = shown[0][0].axes[0].lines[1].get_data()
    assert x.tolist() == pytest.approx([0.65, 0.95]) and share.tolist() == pytest.approx([0.6, 1.0])


def test_abstention_starts_at_half_of_the_images(shown):
    confidence, right = np.linspace(1, 0.5, 10), np.array([True] * 8 + [False] * 2)
    plotting.abstention_figure({"one": (confidence, right)}, "abstention")
    x, wrong = shown[0][0].axes[0].lines[0].get_data()
    assert x.tolist() == [50, 60, 70, 80, 90, 100] and wrong.tolist() == pytest.approx([0, 0, 0, 0, 100 / 9, 20])


def test_the_confusion_table_shades_mistakes_only(shown):
    plotting.confusion_figure(np.array([[50, 2], [0, 40]]), "confusions")
    axes = shown[0][0].axes[0]
    assert np.asarray(axes.images[0].get_array()).tolist() == [[0, 2], [0, 0]]
    assert [(*text.get_position(), text.get_text()) for text in axes.texts] == [(0, 0, "50"), (1, 0, "2"), (1, 1, "40")]


def test_curves_of_accuracy_are_in_percent(shown):
    plotting.accuracy_curves([0.0, 0.1], {"one": [0.9, 0.5], "two": [0.8, 0.1]}, "curves", xlabel="size")
    lines = shown[0][0].axes[0].lines
    assert [line.get_ydata().tolist() for line in lines[:2]] == [[90, 50], [80, 10]]


def test_figures_close_and_say_what_they_show(capsys):
    plotting.confusion_figure(np.eye(3, dtype=int), "three right answers")
    assert "Figure: three right answers" in capsys.readouterr().out and not plt.get_fignums()


def pad(model, examples):
    return widgets.drawing_classified(lambda x: label_scores(model, x), examples, name="test of lesson 08")


def test_another_digit_changes_the_bars_and_running_again_leaves_nothing_behind(model, examples):
    box = pad(model, examples)
    which = next(c for c in box.children[0].children if isinstance(c, w.SelectionSlider))
    before = bytes(box.children[1].value)
    which.value = 3
    assert bytes(box.children[1].value) != before
    words = " ".join(c.value for c in box.children[0].children if isinstance(c, w.Label))
    p = label_scores(model, examples[3].x).softmax(1)[0]
    assert f"most probable: {int(p.argmax())}" in words and f"{float(p.max()):.3f}" in words
    live = len(w.widgets.widget._instances)
    for _ in range(5):
        box = pad(model, examples)
    assert len(w.widgets.widget._instances) == live and not plt.get_fignums()
    widgets.close(box)


def test_a_failing_score_is_shown_and_not_swallowed(model, examples):
    broken = []

    def scores(x):
        if broken:
            raise ValueError("no scores today")
        return label_scores(model, x)

    box = widgets.drawing_classified(scores, examples, name="test of lesson 08")
    broken.append(True)
    next(c for c in box.children[0].children if isinstance(c, w.SelectionSlider)).value = 2
    words = " ".join(c.value for c in box.children[0].children if isinstance(c, w.Label))
    assert "ValueError: no scores today" in words
    widgets.close(box)
