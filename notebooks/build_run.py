"""Runs a notebook, and keeps of its outputs what can be shown anywhere and is the same on every machine."""

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
STORED_KINDS = {"text/plain", "text/latex", "text/markdown", "image/png"}  # all else (HTML, JavaScript) is never stored
WIDGET = "application/vnd.jupyter.widget-view+json"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@contextmanager
def environment(**variables: str | None) -> Iterator[None]:
    """Environment variables for the kernels started inside; None takes one away."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def run(
    notebook: NotebookNode, *, profile: str, folder: Path = HERE, timeout: int = 600, **variables: str | None
) -> list[float]:
    """Run all cells in place, in `folder`, and return the seconds each code cell took. A cell that raises (and is not tagged
    raises-exception) ends it with CellExecutionError; one that takes more than `timeout` seconds with CellTimeoutError."""
    seconds = []
    client = NotebookClient(
        notebook,
        timeout=timeout,
        startup_timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    # MPLBACKEND=agg would make the figure cells fail, and progress bars would be stored as noise.
    with (
        environment(**{"VAE_PROFILE": profile, "TQDM_DISABLE": "1", "MPLBACKEND": None} | variables),
        client.setup_kernel(),
    ):
        for index, cell in enumerate(notebook.cells):
            start = time.perf_counter()
            client.execute_cell(cell, index)
            if cell.cell_type == "code":
                seconds.append(time.perf_counter() - start)
    return seconds


def clean_outputs(notebook: NotebookNode) -> list[str]:
    """Keep of the outputs what can be shown anywhere and is the same on every machine; returns what was said on stderr."""
    said = []
    for cell in code_cells(notebook):
        cell.metadata.pop("execution", None)
        kept: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                text = without_paths(output.text)
                if output.name == "stderr":
                    said.append(f"cell {cell.execution_count}: {text.strip()}")
                elif kept and kept[-1].output_type == "stream":  # how a stream is cut into pieces depends on timing
                    kept[-1].text += text
                else:
                    kept.append(nbformat.v4.new_output("stream", name=output.name, text=text))
            elif output.output_type == "error":
                output.evalue, output.traceback = (
                    without_paths(output.evalue),
                    [without_paths(line) for line in output.traceback],
                )
                kept.append(output)
            elif WIDGET not in output.data:
                output.data = {
                    k: without_paths(v) if k.startswith("text/") else v
                    for k, v in output.data.items()
                    if k in STORED_KINDS
                }
                output.metadata = {kind: value for kind, value in output.metadata.items() if kind in output.data}
                if output.data:
                    kept.append(output)
        cell.outputs = kept
    notebook.metadata.pop("widgets", None)
    return said


def without_paths(text: str) -> str:
    """`text` without the folders of this machine."""
    text = re.sub(r"[^\s'\"\x1b(]*/(site-packages|lib/python3\.\d+)/", r"\1/", text)
    for folder in sorted(
        {str(ROOT), str(Path(sys.prefix)), str(Path.home()), tempfile.gettempdir()}, key=len, reverse=True
    ):
        if folder != "/":
            text = text.replace(folder + os.sep, "")
    return text
