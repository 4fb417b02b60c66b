"""What is wrong with a lesson's notebooks, as a list of sentences. Each rule is a generator; `problems` runs all of them."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import nbformat
from build import LARGEST
from build_exercise import BEGIN
from build_run import STORED_KINDS, code_cells
from build_source import CHECK_CALL, CHECKED, h1_headings, marker_problem
from nbformat import NotebookNode

from vae_helpers import checks, paths

MACHINE_PATH = re.compile(r"(?<![\w./~])(/(home|root|Users|work|tmp|usr|opt|var|mnt|srv|private)/|[A-Z]:\\+Users)")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
MEDIAN, NINETIETH, LONGEST = 7, 20, 35  # lines of a code cell
PARTS = {
    "objectives ('You will be able to')": r"you will be able to",
    "prerequisites ('You need')": r"\*\*you need\*\*",
    "the time it takes ('Time: 35 minutes')": r"\*\*time:?\*\*.*\bminutes?\b",
    "a find-the-bug": r"^#+.*find the bug|^# .*bug hunt",
    "folded answers (<details>)": r"<details>",
    "a recap": r"^#+ recap",
    "further reading": r"further reading",
}


def problems(folder: Path, stem: str) -> list[str]:
    """Everything that is wrong with the two notebooks of one lesson in `folder` (laid out like notebooks/)."""
    blank_path, solved_path = folder / f"{stem}.ipynb", folder / "solutions" / f"{stem}.ipynb"
    blank, solved = nbformat.read(blank_path, as_version=4), nbformat.read(solved_path, as_version=4)
    stems = sorted(path.stem for path in (folder / "source").glob("[0-9][0-9]_*.py"))
    found = [
        *storable(blank),
        *size(blank_path),
        *size(solved_path),
        *storable(solved),
        *executed(solved),
        *(f"the blank notebook has outputs (code cell {i})" for i, c in enumerate(code_cells(blank), 1) if c.outputs),
        *code(solved),
        *code(blank),
        *figures(solved),
        *lesson_parts(blank),
        *neighbours(blank, stem, stems),
        *exercises(solved, stem[:2]),
        *equations(solved, int(stem[:2]), twins_in_package()),
        *links(blank, blank_path.parent),
        *links(solved, solved_path.parent),
    ]
    return list(dict.fromkeys(found))


def _texts(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _words_of(output: NotebookNode) -> str:
    """All text of an output, whatever its kind."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join([output.evalue, *output.traceback])
    return "\n".join(value for kind, value in output.data.items() if kind.startswith("text/"))


def storable(notebook: NotebookNode) -> Iterator[str]:
    """Rules for every notebook in the repository, executed or not."""
    if "widgets" in notebook.metadata:
        yield "metadata.widgets is stored: GitHub shows 'Invalid Notebook' for it"
    ids = Counter(cell.get("id") for cell in notebook.cells)
    yield from (f"two cells have the id {name}" for name, count in ids.items() if count > 1)
    for number, cell in enumerate(code_cells(notebook), start=1):
        where = f"code cell {number}"
        if noise := set(cell.metadata) - {"tags"}:
            yield f"{where}: metadata that says nothing: {', '.join(sorted(noise))}"
        for output in cell.outputs:
            for kind in set(output.get("data", {})) - STORED_KINDS:
                yield f"{where}: output of the forbidden kind {kind}"
            if output.output_type == "stream" and output.name == "stderr":
                yield f"{where}: stderr is stored: {output.text.strip()[:80]}"
            if MACHINE_PATH.search(_words_of(output)):
                yield f"{where}: the output names a folder of one machine"
            if ADDRESS.search(_words_of(output)):
                yield f"{where}: the output shows a memory address, which differs in every run"
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"{where}: stored with an error ({output.ename}), and not tagged raises-exception"


def size(path: Path) -> Iterator[str]:
    if path.stat().st_size >= LARGEST:
        yield f"{path.name} has {path.stat().st_size:,} bytes, {LARGEST:,} are allowed"


def executed(notebook: NotebookNode) -> Iterator[str]:
    """A solved notebook was run from top to bottom, in the full profile; nbval compares only what is stored."""
    if notebook.metadata.get("course", {}).get("profile") != "full":
        yield "it was not run in the full profile since its code changed: run `python notebooks/build.py execute`"
        return
    if any("scikit-learn's 1 797 small digits" in _words_of(o) for c in code_cells(notebook) for o in c.outputs):
        yield "it was run without MNIST: set VAE_DATA_DIR (or fetch the images), then run it again"
    for number, cell in enumerate(code_cells(notebook), start=1):
        if cell.execution_count != number:
            yield f"code cell {number}: it was not run in order (its count is {cell.execution_count})"
        if CHECKED in cell.source and not cell.outputs:
            yield f"code cell {number}: checked by nbval, but without a stored output, so nothing is compared"


def code(notebook: NotebookNode) -> Iterator[str]:
    """Short cells of plain Python, with markers that nbval understands."""
    lengths = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        lines = cell.source.splitlines()
        lengths.append(len(lines))
        if problem := marker_problem(cell.source):
            yield f"code cell {number}: {problem}"
        if len(lines) > LONGEST:
            yield f"code cell {number}: {len(lines)} lines, {LONGEST} are allowed: move code to vae_helpers"
        for line in lines:
            if re.match(r"\s*[!%?]|\s*\w+ = [!%]|.*\bget_ipython\(", line):
                yield f"code cell {number}: shell escape or magic: {line.strip()}"
    if lengths and median(lengths) > MEDIAN:
        yield f"half of the code cells have more than {MEDIAN} lines (median {median(lengths):.0f})"
    if lengths and sorted(lengths)[int(0.9 * (len(lengths) - 1))] > NINETIETH:
        yield f"more than a tenth of the code cells have more than {NINETIETH} lines"
    if sum(len(h1_headings(cell)) for cell in notebook.cells) != 1:
        yield "a notebook has exactly one first-level heading"


def figures(notebook: NotebookNode) -> Iterator[str]:
    """Every picture has alt text in its metadata, and the sentence is printed for those who cannot see the metadata."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        printed = "\n".join(o.text for o in cell.outputs if o.output_type == "stream")
        for output in cell.outputs:
            if "image/png" not in output.get("data", {}):
                continue
            alt = output.metadata.get("image/png", {}).get("alt", "")
            if len(alt.split()) < 3:
                yield f"code cell {number}: a figure without alt text: show it with vae_helpers.plotting.show"
            elif alt not in printed:
                yield f"code cell {number}: the alt text of the figure is not printed below it"


def lesson_parts(notebook: NotebookNode) -> Iterator[str]:
    for part, pattern in PARTS.items():
        if not re.search(pattern, _texts(notebook), re.IGNORECASE | re.MULTILINE):
            yield f"the lesson lacks {part}"


def neighbours(notebook: NotebookNode, stem: str, stems: list[str]) -> Iterator[str]:
    """Links to the lesson before and the one after, as far as there are any."""
    place, text = stems.index(stem), _texts(notebook)
    for word, other in (("previous", place - 1), ("next", place + 1)):
        if 0 <= other < len(stems) and f"({stems[other]}.ipynb" not in text:
            yield f"the lesson lacks a link to the {word} one, {stems[other]}.ipynb"


def exercises(notebook: NotebookNode, lesson: str) -> Iterator[str]:
    """At least two checks, each with a bug zoo, and none that the notebook forgets."""
    used = [name for cell in code_cells(notebook) for _, name, _ in CHECK_CALL.findall(cell.source)]
    if len(used) < 2:
        yield f"a lesson has at least two checked exercises, this one has {len(used)}"
    for name in used:
        if name not in checks.EXERCISES:
            yield f"check.{name} does not exist in vae_helpers.checks"
        elif not checks.EXERCISES[name].bugs:
            yield f"the exercise {name} has no bug zoo"
    for exercise in checks.LESSONS.get(lesson, []):
        if exercise.name not in used:
            yield f"the check {exercise.name} of lesson {lesson} is used in no cell"
    if any(BEGIN in cell.source for cell in code_cells(notebook)):
        yield "a solution marker is left in the notebook"


def equations(notebook: NotebookNode, lesson: int, package: set[str]) -> Iterator[str]:
    """Each displayed equation has a tag, and each tag is named by the code that computes it."""
    text = _texts(notebook)
    named = package | {tag for cell in code_cells(notebook) for tag in _tags_in_comments(cell.source)}
    for body in re.findall(r"\$\$(.+?)\$\$", text, re.DOTALL):
        if r"\tag{" not in body:
            yield f"an equation without a number: {' '.join(body.split())[:60]}"
    tags = re.findall(r"\\tag\{([^}]*)\}", text)
    for tag, count in Counter(tags).items():
        if not re.fullmatch(rf"{lesson}\.\d+", tag):
            yield f"equation ({tag}): in this lesson numbers look like ({lesson}.1)"
        if count > 1:
            yield f"equation ({tag}) is numbered twice"
        if tag not in named:
            yield f"equation ({tag}) has no executable twin: no code comment and no docstring of the package names ({tag})"


def _tags_in_comments(source: str) -> set[str]:
    return {tag for comment in re.findall(r"#.*", source) for tag in re.findall(r"\((\d+\.\d+)\)", comment)}


def twins_in_package() -> set[str]:
    """The equation numbers that docstrings and comments of vae_helpers name."""
    tags: set[str] = set()
    for path in (paths.ROOT / "vae_helpers").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        tags |= _tags_in_comments(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                tags |= set(re.findall(r"\((\d+\.\d+)\)", ast.get_docstring(node) or ""))
    return tags


def links(notebook: NotebookNode, folder: Path) -> Iterator[str]:
    """Every relative link points at a file that is there."""
    formula_or_code = r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`"  # [a](b) in there is no link
    text = re.sub(formula_or_code, "", _texts(notebook), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = (target[0] or target[1]).split("#")[0]
        if link and not re.match(r"(https?|mailto):", link) and not (folder / link).exists():
            yield f"the link to {link} leads nowhere (as seen from {folder.name}/)"
