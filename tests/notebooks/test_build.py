"""The pipeline: what it makes of a source, what it refuses, when it calls a notebook stale, and what it stores of a run."""

import shutil
import subprocess
import sys
from pathlib import Path

import build
import build_exercise
import build_run
import build_source
import nbformat
import pytest

CHECK_CELL = "# %%\n# NBVAL_CHECK_OUTPUT\na = check.a(a)\n"
GOOD = "# %% [markdown]\n# # Title\n\n# %%\n### BEGIN SOLUTION\na = 1\n### END SOLUTION\n\n" + CHECK_CELL


def written(folder: Path, text: str, name: str = "90_broken.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("code", "blank", "solved"),
    [
        ("### BEGIN SOLUTION\na = 1\n### END SOLUTION", "a = ...  # your answer", "a = 1"),
        (
            "### BEGIN SOLUTION\n(a, b), _t = f()\nc: int = [i for i in b]\n### END SOLUTION\nd",
            "a = ...  # your answer\nb = ...  # your answer\nc = ...  # your answer\nd",
            "(a, b), _t = f()\nc: int = [i for i in b]\nd",
        ),
        (
            "### BEGIN SOLUTION\ndef f():\n    x = 1\n    return x\n### END SOLUTION",
            "f = ...  # your answer",
            "def f():\n    x = 1\n    return x",
        ),
        (
            "def f(x):\n    y = 2\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION",
            'def f(x):\n    y = 2\n    raise NotImplementedError("Your turn: write f")',
            "def f(x):\n    y = 2\n    return x",
        ),
        (
            "class A:\n    def g(self):\n        ### BEGIN SOLUTION\n        pass\n        ### END SOLUTION\n    def h(self): ...",
            'class A:\n    def g(self):\n        raise NotImplementedError("Your turn: write g")\n    def h(self): ...',
            "class A:\n    def g(self):\n        pass\n    def h(self): ...",
        ),
        (
            "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### BLANK VERSION\n    # if x:\n    #     return -x  # why?\n    ### END SOLUTION",
            "def f(x):\n    if x:\n        return -x  # why?",
            "def f(x):\n    return x",
        ),
    ],
    ids=["value", "several values", "function", "function body", "method body", "bug to find"],
)
def test_the_blank_and_the_solved_version_of_an_exercise(code, blank, solved):
    assert build_exercise.blank_code(code) == blank
    assert build_exercise.solved_code(code) == solved


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("### END SOLUTION\n", "", "BEGIN SOLUTION' has no partner"),
        ("### BEGIN SOLUTION\n", "", "END SOLUTION' has no partner"),
        ("a = 1\n", "### BEGIN SOLUTION\na = 1\n", "BEGIN SOLUTION' has no partner"),
        ("### BEGIN SOLUTION", "### Begin solution", "is not a solution marker"),
        ("### END SOLUTION", "# END SOLUTIONS", "is not a solution marker"),
        ("a = 1", "print(1)", "assigns a name"),
        ("a = 1", "a = (1", "is not Python"),
        (
            "### BEGIN SOLUTION\na = 1\n### END SOLUTION",
            "a = 1",
            "cell 3: check.a has no exercise: put a cell with '### BEGIN SOLUTION'",
        ),
        ("a = 1", "b = 1", "a is checked, but the exercise before it (cell 2) does not define it"),
        (CHECK_CELL, "", "cell 2: the exercise has no check"),
        (CHECK_CELL, "# %%\nprint(a)\n", "cell 2: the exercise has no check"),
        ("a = check.a(a)", "check.a(a)", "so that the lesson goes on"),
        ("a = check.a(a)", "b = check.a(a)", "so that the lesson goes on"),
        ("# NBVAL_CHECK_OUTPUT\n", "", "start the check cell with"),
        ("NBVAL_CHECK_OUTPUT", "NBVAL_CHECK_OUTPUTS", "looks like an nbval marker"),
        ("NBVAL_CHECK_OUTPUT", "NVBAL_CHECK_OUTPUT", "looks like an nbval marker"),
        ("NBVAL_CHECK_OUTPUT", "NBVAL_CHECK_OUTPUT the answer", "looks like an nbval marker"),
        ("NBVAL_CHECK_OUTPUT", "NBVAL_SKIP", "looks like an nbval marker"),
        ("# NBVAL_CHECK_OUTPUT\na =", "z = 2\n# NBVAL_CHECK_OUTPUT\na =", "first line of its cell"),
        ("# # Title", "# Title", "exactly one first-level heading"),
        ("# # Title", "# # Title\n#\n# # Another", "exactly one first-level heading"),
        ("# %%\n### BEGIN", '# %% tags=["solutoin"]\n### BEGIN', "unknown tag solutoin"),
        ("# %%\n### BEGIN", "# %%\n\n# %%\n### BEGIN", "the cell is empty"),
    ],
)
def test_a_malformed_source_is_refused_with_its_file_its_cell_and_what_to_change(tmp_path, old, new, message):
    assert old in GOOD
    build_source.read_source(written(tmp_path, GOOD))  # as it stands it is accepted
    with pytest.raises(build_exercise.SourceError) as refused:
        build_source.read_source(written(tmp_path, GOOD.replace(old, new)))
    assert message in str(refused.value)
    assert str(refused.value).startswith("90_broken.py")


def test_a_heading_in_fenced_code_is_no_heading(tmp_path):
    fenced = GOOD.replace("# # Title", "# # Title\n#\n# ```\n# # a comment\n# ```")
    assert build_source.read_source(written(tmp_path, fenced))


def test_notes_for_instructors_are_only_in_the_solved_version(sources):
    source = sources / "source" / "90_tiny.py"
    texts = {solved: build.as_text(build_source.make(source, solved=solved)) for solved in (True, False)}
    assert "note for instructors" in texts[True] and "note for instructors" not in texts[False]
    assert "nats / dimensions / torch.log" in texts[True] and "nats / dimensions / torch.log" not in texts[False]
    assert "SOLUTION" not in texts[True] + texts[False]
    for text in texts.values():
        assert "This file is generated" in text and "python notebooks/build.py generate" in text


def test_ids_follow_from_the_text(sources, tmp_path):
    source = sources / "source" / "91_small.py"
    before = [cell.id for cell in build_source.make(source, solved=True).cells]
    text = source.read_text().replace("# %%\ndef", "# %%\ntorch.zeros(1)\n\n\n# %%\ntorch.zeros(1)\n\n\n# %%\ndef")
    source.write_text(text)
    after = [cell.id for cell in build_source.make(source, solved=True).cells]
    assert [name for name in after if name in before] == before  # the cells that were there keep their ids
    assert len(set(after)) == len(after) == len(before) + 2
    assert after == [cell.id for cell in build_source.make(source, solved=True).cells]  # two cells with one text, too


def test_links_of_the_solved_version_start_one_folder_deeper():
    text = "[a](../data/x.md) [b](01_b.ipynb#x) [c](solutions/01_b.ipynb) [d](source/d.py) [e](https://e.org) [f](#f) $[g](h)$ `[i](j)`"
    want = "[a](../../data/x.md) [b](01_b.ipynb#x) [c](01_b.ipynb) [d](../source/d.py) [e](https://e.org) [f](#f) $[g](h)$ `[i](j)`"
    assert build_source._links_from_solutions(text) == want


# ---------------------------------------------------------------- stale or not


def test_generating_twice_gives_the_same_bytes_and_then_nothing_is_stale(sources):
    assert len(build.stale(sources)) == 4
    assert len(build.generate(sources)) == 4
    first = {path: path.read_bytes() for path in sources.rglob("*.ipynb")}
    assert build.stale(sources) == build.generate(sources) == []
    for path in first:
        path.unlink()
    build.generate(sources)
    assert {path: path.read_bytes() for path in sources.rglob("*.ipynb")} == first


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "90_tiny.ipynb").unlink(),
        lambda folder: (folder / "90_tiny.ipynb").open("a").write("\n"),
        lambda folder: (folder / "90_tiny.ipynb").write_text(
            (folder / "90_tiny.ipynb").read_text().replace("coin", "dice")
        ),
        lambda folder: (folder / "solutions" / "99_old.ipynb").write_text("{}"),
    ],
    ids=["missing", "another byte", "edited by hand", "without a source"],
)
def test_check_names_the_stale_file_and_the_command(sources, change, capsys):
    build.generate(sources)
    assert build.main(["--folder", str(sources), "check"]) == 0
    change(sources)
    assert build.main(["--folder", str(sources), "check"]) == 1
    said = capsys.readouterr().err
    assert ("90_tiny.ipynb" in said or "99_old.ipynb" in said) and "python notebooks/build.py generate" in said
    assert build.main(["--folder", str(sources), "generate"]) == 0
    assert build.main(["--folder", str(sources), "check"]) == 0


def test_the_command_line_says_what_is_wrong_without_a_traceback(tmp_path):
    written(tmp_path / "source", GOOD.replace("### END SOLUTION\n", ""))
    command = [sys.executable, str(build.HERE / "build.py"), "--folder", str(tmp_path), "generate"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "90_broken.py, cell 2" in done.stderr and "Traceback" not in done.stderr


def test_an_unknown_lesson_is_named(sources, capsys):
    assert build.main(["--folder", str(sources), "execute", "77"]) == 2
    assert "no lesson '77'" in capsys.readouterr().err


# ---------------------------------------------------------------- outputs


def test_stored_outputs_stay_while_only_text_changes_and_go_when_code_does(tiny_course, sources):
    shutil.copytree(tiny_course, sources, dirs_exist_ok=True)
    assert build.stale(sources) == []
    source, solved = sources / "source" / "90_tiny.py", sources / "solutions" / "90_tiny.ipynb"
    source.write_text(source.read_text().replace("Small is fine", "Small is good"))
    assert len(build.generate(sources)) == 2
    cells = build_run.code_cells(nbformat.read(solved, as_version=4))
    assert sum(bool(cell.outputs) for cell in cells) == 4
    source.write_text(source.read_text().replace("_x = 0.3", "_x = 0.30"))
    assert build.generate(sources) == [solved]  # the blank one has no answer in it
    notebook = nbformat.read(solved, as_version=4)
    assert not any(cell.outputs or cell.execution_count for cell in build_run.code_cells(notebook))
    assert "profile" not in notebook.metadata.course


def test_executing_stores_outputs_and_nothing_else(tiny_course):
    notebook = nbformat.read(tiny_course / "solutions" / "90_tiny.ipynb", as_version=4)
    first, again = notebook, build_source.make(tiny_course / "source" / "90_tiny.py", solved=True)
    assert first.metadata == again.metadata | {"course": again.metadata.course | {"profile": "full"}}
    assert [(c.id, c.source, c.metadata) for c in first.cells] == [(c.id, c.source, c.metadata) for c in again.cells]
    assert [cell.execution_count for cell in build_run.code_cells(first)] == list(range(1, 8))
    assert "✓ best_p" in str(first.cells) and "image/png" in str(first.cells) and "meant to fail" in str(first.cells)


def test_a_failing_lesson_is_not_stored(sources, capsys):
    written(sources / "source", GOOD.replace(CHECK_CELL, CHECK_CELL + "\n# %%\n1 / 0\n"))
    with_error = sources / "solutions" / "90_broken.ipynb"
    assert not build.execute(sources, ["90_broken"])
    assert "90_broken: FAILED" in capsys.readouterr().err
    assert not any(cell.outputs for cell in build_run.code_cells(nbformat.read(with_error, as_version=4)))


def test_cleaning_keeps_what_can_be_shown_anywhere():
    new = nbformat.v4.new_output
    widget = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "FloatSlider()"}
    cell = nbformat.v4.new_code_cell("x", execution_count=1, metadata={"execution": {"t": "1"}})
    cell.outputs = [
        new("stream", name="stdout", text="a\n"),
        new("stream", name="stderr", text="careful\n"),
        new(
            "stream",
            name="stdout",
            text=f"{build_run.ROOT}/data/x in {sys.prefix}/lib/python3.11/site-packages/torch\n",
        ),
        new("display_data", data=widget),
        new("display_data", data={"text/html": "<b>", "text/plain": "b"}, metadata={"text/html": {}, "text/plain": {}}),
        new("display_data", data={"application/javascript": "1"}),
        new("error", ename="E", evalue=f"no {Path.home()}/x", traceback=[f"File {build_run.ROOT}/vae_helpers/data.py"]),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": 1}})
    assert build_run.clean_outputs(notebook) == ["cell 1: careful"]
    assert cell.outputs == [
        new("stream", name="stdout", text="a\ndata/x in site-packages/torch\n"),
        new("display_data", data={"text/plain": "b"}, metadata={"text/plain": {}}),
        new("error", ename="E", evalue="no x", traceback=["File vae_helpers/data.py"]),
    ]
    assert cell.metadata == {} and "widgets" not in notebook.metadata
