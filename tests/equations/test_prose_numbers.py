"""Every figure in the prose of every lesson is produced by a cell, stored as a result, or cited."""

import sys
from pathlib import Path

import nbformat
import pytest

from vae_helpers import paths

sys.path.insert(0, str(Path(__file__).parent))
import prose_numbers

LESSONS = sorted((paths.NOTEBOOKS / "solutions").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_every_figure_in_the_prose_is_accounted_for(path):
    lost = list(prose_numbers.unaccounted(prose_numbers.read(path), prose_numbers.stored_numbers()))
    assert not lost, "no cell, stored result or citation produces:\n" + "\n".join(lost)


def lesson(prose: str, code: str = "", output: str = ""):
    cell = nbformat.v4.new_code_cell(code, outputs=[nbformat.v4.new_output("stream", text=output)] if output else [])
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(prose), cell])


@pytest.mark.parametrize(
    ("prose", "output", "lost"),
    [
        ("The floor is 45.53 nats.", "floor: 45.53", []),
        ("The floor is about 45.5 nats.", "floor: 45.5321", []),
        ("The floor is 45.6 nats.", "floor: 45.5321", ["'45.6'"]),
        ("It scores 84.5 %.", "accuracy 0.8451", []),
        ("It scores 85 %.", "accuracy 0.8351", ["'85'"]),
        ("All 60 000 images.", "60,000 images", []),
        ("All 60 001 images.", "60,000 images", ["'60 001'"]),
        ("The bound is −499.4.", "test: -499.43", []),
        ("With 3 epochs and 20 dimensions.", "", []),
        ("It has 1234 units.", "", ["'1234'"]),
        ("Burda et al. (2016) report 86.76 nats.", "", []),
        ("One: 1.5.\n\n- Two, source S1: 104.48", "", ["'1.5'"]),
        ("A formula $0.123$ and code `x = 0.456`.", "", []),
        ("See [the table](04_x.ipynb#a-1.5).", "", []),
        ("It is 77.3 <!-- source: the README of that repository -->", "", []),
    ],
)
def test_the_registry_finds_figures_from_nowhere(prose, output, lost):
    found = list(prose_numbers.unaccounted(lesson(prose, output=output), set()))
    assert [line.split(" in: ")[0] for line in found] == lost


def test_stored_results_and_metrics_count():
    known = prose_numbers.stored_numbers()
    assert 104.48 in known, "the sources' printed figures"
    assert any(abs(value - 139.54) < 1e-9 for value in known), "the metrics of the shipped models"
    assert not list(prose_numbers.unaccounted(lesson("S1 prints 104.48 in the end."), known))
