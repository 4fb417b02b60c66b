"""Runs a lesson in the ways a student might: solved, blank, wrongly solved, every cell twice, and with no MNIST and no network."""

import re
import tempfile
from pathlib import Path

import nbformat
from build_run import code_cells, run
from build_source import CHECK_CALL
from nbformat import NotebookNode

NO_NETWORK = """
import socket
_tried = []
def _refuse(*address, **_):
    _tried.append(str(address))
    raise OSError(f"this test allows no network: {address}")
_connect, _look_up = socket.socket.connect, socket.getaddrinfo
_local = lambda host: host in (None, "", "localhost", "127.0.0.1", "::1")
socket.socket.connect = lambda self, to: _connect(self, to) if isinstance(to, str | bytes) or _local(to[0]) else _refuse(to)
socket.getaddrinfo = lambda host, *rest, **more: _look_up(host, *rest, **more) if _local(host) else _refuse(host)
"""
NOTHING_TRIED = "assert not _tried, f'the lesson wanted the network: {_tried}'"
NO_MNIST = "from pathlib import Path\nfrom vae_helpers import paths\npaths.DATA = Path({folder!r})"


def run_quick(notebook: NotebookNode, folder: Path, *, digits: bool = False) -> NotebookNode:
    """A copy of the notebook, run in the quick profile without a network; with `digits` without MNIST, too."""
    copy = nbformat.from_dict(notebook)
    for cell in code_cells(copy):
        cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory() as empty:
        start = NO_NETWORK + (NO_MNIST.format(folder=empty) if digits else "")
        copy.cells = [nbformat.v4.new_code_cell(start), *copy.cells, nbformat.v4.new_code_cell(NOTHING_TRIED)]
        more = {"VAE_DATA_DIR": None} if digits else {}
        run(copy, profile="quick", folder=folder, timeout=180, VAE_OFFLINE="1", **more)
    return copy


def verdicts(notebook: NotebookNode) -> dict[str, str]:
    """For each exercise the marks its check printed, in order: ✓ right, ✗ wrong, ○ nothing written yet."""
    marks: dict[str, str] = {}
    for cell in code_cells(notebook):
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for mark, name in re.findall(r"^([✓✗○]) (\w+):", printed, re.MULTILINE):
            marks[name] = marks.get(name, "") + mark
    return marks


def exercise_names(notebook: NotebookNode) -> list[str]:
    return [name for cell in code_cells(notebook) for _, name, _ in CHECK_CALL.findall(cell.source)]


def every_cell_twice(notebook: NotebookNode) -> NotebookNode:
    """The notebook with each code cell doubled, as when somebody runs it again before going on."""
    copy = nbformat.from_dict(notebook)
    copy.cells = [
        nbformat.from_dict(cell | {"id": f"{cell.id}{suffix}"})
        for cell in copy.cells
        for suffix in (("", "-again") if cell.cell_type == "code" else ("",))
    ]
    return copy


def wrongly_solved(notebook: NotebookNode, answers: dict[str, int]) -> NotebookNode:
    """The notebook with some answers replaced, just before their checks, by a bug from the zoo: exercise name -> position there."""
    copy = nbformat.from_dict(notebook)
    for cell in code_cells(copy):
        for variable, name, _ in CHECK_CALL.findall(cell.source):
            if name in answers:
                wrong = f"_checks.EXERCISES[{name!r}].bugs[{answers[name]}].wrong"
                cell.source = f"from vae_helpers import checks as _checks\n{variable} = {wrong}\n{cell.source}"
    return copy
