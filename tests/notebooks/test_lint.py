"""The lint finds each fault in a notebook that was good before."""

import copy
import dataclasses
import re
import shutil
from pathlib import Path

import lint
import nbformat
import pytest
from build_run import code_cells

from vae_helpers import checks

new = nbformat.v4.new_output
FIGURE, CHECK = 1, 3  # positions of two code cells in the tiny lesson


@pytest.fixture
def blank(tiny_course: Path):
    return nbformat.read(tiny_course / "90_tiny.ipynb", as_version=4)


@pytest.fixture
def solved(tiny_course: Path):
    return nbformat.read(tiny_course / "solutions" / "90_tiny.ipynb", as_version=4)


def test_the_good_lesson_has_no_problem_and_the_other_one_its_known_ones(tiny_course):
    assert lint.problems(tiny_course, "90_tiny") == []
    assert lint.problems(tiny_course, "91_small") == [
        "the lesson lacks a find-the-bug",
        "the lesson lacks folded answers (<details>)",
        "the lesson lacks further reading",
        "a lesson has at least two checked exercises, this one has 1",
    ]


def output(*outputs):
    return lambda notebook: code_cells(notebook)[CHECK].outputs.extend(outputs)


def source(new_text):
    return lambda notebook: code_cells(notebook)[CHECK].update(source=new_text)


def text(old, new_text):
    def change(notebook):
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new_text)

    return change


def stored(kind, data="x"):
    return output(new("display_data", data={kind: data}))


SAFE, RUN, CODE, FIGURES = lint.storable, lint.executed, lint.code, lint.figures
FAULTS = [
    (SAFE, stored("text/html"), "code cell 4: output of the forbidden kind text/html"),
    (SAFE, stored("application/javascript"), "forbidden kind application/javascript"),
    (SAFE, stored("application/vnd.jupyter.widget-view+json", {}), "forbidden kind application/vnd.jupyter.widget-view"),
    (SAFE, lambda notebook: notebook.metadata.update(widgets={}), "metadata.widgets is stored"),
    (SAFE, lambda notebook: code_cells(notebook)[0].metadata.update(execution={}), "metadata that says nothing: execution"),
    (SAFE, lambda notebook: notebook.cells[1].update(id=notebook.cells[0].id), "two cells have the id"),
    (SAFE, output(new("stream", text="read /" + "home/anna/x")), "the output names a folder of one machine"),
    (SAFE, output(new("stream", text="read C:\\Users\\Anna\\x")), "the output names a folder of one machine"),
    (SAFE, output(new("error", ename="E", evalue="e", traceback=["/tmp/x"])), "the output names a folder of one machine"),
    (SAFE, output(new("stream", name="stderr", text="careful")), "stderr is stored: careful"),
    (SAFE, stored("text/plain", "<object at 0x7f00aa11>"), "the output shows a memory address"),
    (SAFE, output(new("error", ename="KeyError", evalue="e", traceback=[])), "stored with an error (KeyError)"),
    (RUN, output(new("stream", text="working with scikit-learn's 1 797 small digits")), "it was run without MNIST"),
    (RUN, lambda notebook: code_cells(notebook)[CHECK].outputs.clear(), "code cell 4: checked by nbval, but without a stored"),
    (RUN, lambda notebook: code_cells(notebook)[2].update(execution_count=9), "code cell 3: it was not run in order"),
    (RUN, lambda notebook: code_cells(notebook)[2].update(execution_count=None), "code cell 3: it was not run in order"),
    (RUN, lambda notebook: notebook.metadata.course.update(profile="quick"), "not run in the full profile"),
    (CODE, source("# NBVAL_CHECK_OUTPUT: the answer\n1"), "looks like an nbval marker"),
    (CODE, source("# NBVAL_CHECKOUTPUT\n1"), "looks like an nbval marker"),
    (CODE, source("#  nbval_check_output\n1"), "looks like an nbval marker"),
    (CODE, source("x = 1\n" * 36), "code cell 4: 36 lines, 35 are allowed"),
    (CODE, source("!ls"), "shell escape or magic: !ls"),
    (CODE, source("%matplotlib inline"), "shell escape or magic"),
    (CODE, source("files = !ls"), "shell escape or magic"),
    (CODE, source("if True:\n    get_ipython().system('ls')"), "shell escape or magic"),
    (CODE, lambda notebook: [c.update(source="x = 1\n" * 8) for c in code_cells(notebook)], "more than 7 lines (median 8)"),
    (CODE, lambda notebook: [c.update(source="x = 1\n" * 21) for c in code_cells(notebook)[:2]], "more than 20 lines"),
    (CODE, text("# Is a tiny", "Is a tiny"), "exactly one first-level heading"),
    (FIGURES, lambda notebook: code_cells(notebook)[FIGURE].outputs[0].update(metadata={}), "code cell 2: a figure without alt text"),
    (FIGURES, lambda notebook: code_cells(notebook)[FIGURE].outputs.pop(), "the alt text of the figure is not printed below it"),
    (lint.lesson_parts, text("able to", "x"), "lacks objectives"),
    (lint.lesson_parts, text("You need", "x"), "lacks prerequisites"),
    (lint.lesson_parts, text("Time", "x"), "lacks the time it takes"),
    (lint.lesson_parts, text("Find the bug", "x"), "lacks a find-the-bug"),
    (lint.lesson_parts, text("<details>", ""), "lacks folded answers"),
    (lint.lesson_parts, text("Recap", "x"), "lacks a recap"),
    (lint.lesson_parts, text("Further reading", "x"), "lacks further reading"),
    (lambda n: lint.neighbours(n, "90_tiny", ["90_tiny", "91_small"]), text("91_small", "x"), "lacks a link to the next one"),
    (lambda n: lint.neighbours(n, "90_tiny", ["89_x", "90_tiny"]), lambda notebook: None, "link to the previous one, 89_x.ipynb"),
    (lambda n: lint.exercises(n, "90"), text("bits_per_dim = check.bits_per_dim(bits_per_dim)", "x"), "this one has 1"),
    (lambda n: lint.exercises(n, "90"), text("check.best_p", "check.bestp"), "check.bestp does not exist"),
    (lambda n: lint.exercises(n, "00"), lambda notebook: None, "the check pixel_entropy of lesson 00 is used in no cell"),
    (lambda n: lint.exercises(n, "90"), source("### BEGIN SOLUTION"), "a solution marker is left"),
    (lambda n: lint.equations(n, 90, set()), text("# (90.1)", "# 90.1"), "equation (90.1) has no executable twin"),
    (lambda n: lint.equations(n, 90, set()), text(r"\tag{90.1}", ""), "an equation without a number: h(x)"),
    (lambda n: lint.equations(n, 90, set()), text("$$ h(x)", r"$$ a = b \tag{90.1} $$ $$ h(x)"), "(90.1) is numbered twice"),
    (lambda n: lint.equations(n, 90, set()), text(r"\tag{90.1}", r"\tag{9.1}"), "numbers look like (90.1)"),
    (lambda n: lint.links(n, lint.paths.NOTEBOOKS), lambda notebook: None, "the link to 91_small.ipynb leads nowhere"),
    (lambda n: lint.links(n, lint.paths.NOTEBOOKS), text("(91_small", "(build.py) ![x](no.png) [y](91_small"), "the link to no.png"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "change", "message"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_is_found(solved, rule, change, message):
    before = list(rule(copy.deepcopy(solved)))
    change(solved)
    found = list(rule(solved))
    assert any(message in problem for problem in found), found
    assert len(found) > len(before) or before == found  # the second only for faults that lie in the arguments


def test_outputs_in_a_blank_notebook_and_size_are_found(tiny_course, blank, tmp_path):
    shutil.copytree(tiny_course, tmp_path, dirs_exist_ok=True)
    code_cells(blank)[0].outputs = [new("stream", text="x" * lint.LARGEST)]
    nbformat.write(blank, tmp_path / "90_tiny.ipynb")
    found = lint.problems(tmp_path, "90_tiny")
    assert any("the blank notebook has outputs (code cell 1)" in problem for problem in found)
    assert any(re.search(r"90_tiny.ipynb has 1,00\d,\d+ bytes, 1,000,000 are allowed", problem) for problem in found)


def test_an_exercise_without_bugs_is_found(solved, monkeypatch):
    without = dataclasses.replace(checks.EXERCISES["best_p"], bugs=[])
    monkeypatch.setitem(checks.EXERCISES, "best_p", without)
    assert "the exercise best_p has no bug zoo" in list(lint.exercises(solved, "90"))


def test_a_docstring_of_the_package_may_be_the_twin(solved):
    tags = lint.twins_in_package()
    assert tags == {tag for tag in tags if re.fullmatch(r"\d\.\d+", tag)}
    text("# (90.1)", "")(solved)
    assert list(lint.equations(solved, 90, {"90.1"})) == []
