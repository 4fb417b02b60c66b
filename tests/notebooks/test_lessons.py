"""Every lesson: up to date, well formed, and never stuck, however it is run. Kernels run in the quick profile without a network."""

from pathlib import Path

import build
import lint
import nbformat
import pytest
from running import every_cell_twice, exercise_names, run_quick, verdicts, wrongly_solved

from vae_helpers import checks

FOLDER = build.HERE
LESSONS = [path.stem for path in build.sources(FOLDER)]


def solved(stem: str, folder: Path = FOLDER) -> nbformat.NotebookNode:
    return nbformat.read(folder / "solutions" / f"{stem}.ipynb", as_version=4)


def blank(stem: str, folder: Path = FOLDER) -> nbformat.NotebookNode:
    return nbformat.read(folder / f"{stem}.ipynb", as_version=4)


def test_there_are_lessons():
    assert LESSONS


def test_no_notebook_is_stale():
    old = [str(path.relative_to(FOLDER)) for path in build.stale()]
    assert not old, f"out of date: {', '.join(old)}. Type: {build.COMMAND} generate"


@pytest.mark.parametrize("stem", LESSONS)
def test_a_lesson_is_well_formed(stem):
    problems = lint.problems(FOLDER, stem)
    assert not problems, f"{stem}:\n" + "\n".join(problems)


@pytest.mark.parametrize("stem", LESSONS)
def test_the_solved_version_runs_with_every_cell_run_twice(stem):
    done = run_quick(every_cell_twice(solved(stem)), FOLDER)
    assert verdicts(done) == dict.fromkeys(exercise_names(solved(stem)), "✓✓")


@pytest.mark.parametrize("stem", LESSONS)
def test_the_blank_version_runs_to_its_end(stem):
    done = run_quick(blank(stem), FOLDER)
    with_a_bug = build.bugs_to_find(FOLDER / "source" / f"{stem}.py")
    assert verdicts(done) == {name: "✗" if name in with_a_bug else "○" for name in exercise_names(blank(stem))}


@pytest.mark.parametrize("half", [0, 1], ids=["first, third, …", "second, fourth, …"])
@pytest.mark.parametrize("stem", LESSONS)
def test_wrong_answers_are_told_apart_and_stop_nothing(stem, half):
    """Every other exercise is answered by a bug from its zoo: those fail, the ones between them pass, and the lesson goes on."""
    names = exercise_names(solved(stem))
    wrong = {name: place % len(checks.EXERCISES[name].bugs) for place, name in enumerate(names) if place % 2 == half}
    done = run_quick(wrongly_solved(solved(stem), wrong), FOLDER)
    assert verdicts(done) == {name: "✗" if name in wrong else "✓" for name in names}


@pytest.mark.parametrize("stem", [stem for stem in LESSONS if stem[:2] in ("00", "03")])
def test_a_lesson_runs_with_no_mnist_and_no_network(stem):
    done = run_quick(solved(stem), FOLDER, digits=True)
    assert verdicts(done) == dict.fromkeys(exercise_names(solved(stem)), "✓")
    assert "1 797 small digits" in str(done.cells), "the lesson does not say that it uses the small digits"


# ---------------------------------------------------------------- the runners themselves


def test_the_tiny_course_passes_every_way_of_running(tiny_course):
    good, empty = solved("90_tiny", tiny_course), blank("90_tiny", tiny_course)
    assert verdicts(run_quick(every_cell_twice(good), tiny_course)) == {"best_p": "✓✓", "bits_per_dim": "✓✓"}
    assert verdicts(run_quick(empty, tiny_course)) == {"best_p": "○", "bits_per_dim": "✗"}
    one_wrong = run_quick(wrongly_solved(good, {"best_p": 1}), tiny_course)
    assert verdicts(one_wrong) == {"best_p": "✗", "bits_per_dim": "✓"}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("assert 1 == 2", "AssertionError"),
        ("import socket\ntry:\n    socket.socket().connect(('192.0.2.1', 9))\nexcept OSError: pass", "192.0.2.1"),
        ("import socket\ntry:\n    socket.getaddrinfo('example.org', 80)\nexcept OSError: pass", "example.org"),
        ("n = globals().get('n', 0) + 1\nassert n < 2, 'not twice'", "not twice"),
    ],
    ids=["a failing cell", "an address", "a name", "a cell that bears one run only"],
)
def test_what_must_not_happen_stops_the_run(tiny_course, code, message):
    notebook = solved("90_tiny", tiny_course)
    notebook.cells = [nbformat.v4.new_code_cell(code)]
    with pytest.raises(build.CellExecutionError, match=message):
        run_quick(every_cell_twice(notebook), tiny_course)
