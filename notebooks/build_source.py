"""Reads a lesson's source and makes its two versions: blank for the student, solved for reading and testing.

A source is a py:percent file, source/NN_topic.py, with `# %%` and `# %% [markdown]` cells. What is special in it:

- An exercise keeps its solution between the lines `### BEGIN SOLUTION` and `### END SOLUTION`. In the blank version a solution inside a
  function becomes one `raise NotImplementedError`, and one outside becomes `name = ...  # your answer` for each name it assigns. To
  give the student something else (a bug to find), put it, commented out, after a line `### BLANK VERSION` before the end marker.
- The next code cell checks it: the line `# NBVAL_CHECK_OUTPUT`, then `name = check.name(name)`.
- Other cells whose output nbval shall compare start with `# NBVAL_CHECK_OUTPUT`, too.
- Tags: `solution` (only in the solved version), `raises-exception` (this cell is meant to fail), `hide-input`, `hide-output`.
- Relative links are written as seen from notebooks/.

A malformed source is refused with a message that names the cell and says what to change.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import jupytext
import nbformat
from build_exercise import BEGIN, BLANK, END, SourceError, blank_code, solved_code
from nbformat import NotebookNode

COMMAND = "python notebooks/build.py"
CHECKED = "# NBVAL_CHECK_OUTPUT"
TAGS = {"solution", "raises-exception", "hide-input", "hide-output"}
CHECK_CALL = re.compile(r"^(\w+) = check\.(\w+)\((\w+)\)$", re.MULTILINE)


def read_source(path: Path) -> list[NotebookNode]:
    """The cells of a py:percent source, each with the position it has there. Raises SourceError for a malformed one."""
    cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent").cells
    for number, cell in enumerate(cells, start=1):
        first = cell.source.strip().splitlines()[:1]
        problem = "the cell is empty: delete it" if not first else _cell_problem(cell)
        if problem:
            raise SourceError(f"{path.name}, cell {number} ({first[0] if first else 'empty'}): {problem}")
    headings = sum(len(h1_headings(cell)) for cell in cells)
    if headings != 1:
        raise SourceError(
            f"{path.name}: a notebook has exactly one first-level heading (# Title), this one has {headings}"
        )
    for problem in _exercise_problems(cells):
        raise SourceError(f"{path.name}, {problem}")
    return cells


def h1_headings(cell: NotebookNode) -> list[str]:
    """The first-level headings of a Markdown cell; lines inside fenced code are none."""
    if cell.cell_type != "markdown":
        return []
    return re.findall(r"^# .+", re.sub(r"^```.*?^```", "", cell.source, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)


def marker_problem(source: str) -> str:
    """What is wrong with the nbval marker of a code cell; nbval itself passes over a misspelt one in silence."""
    for number, line in enumerate(source.splitlines()):
        if re.match(r"\s*#.*(n[bv]{2}al|nbvla|ch?e?ck[_ -]*out_?put)", line, re.IGNORECASE):
            if line != CHECKED:
                return f"{line.strip()!r} looks like an nbval marker and is none that this course uses: write exactly {CHECKED!r}"
            if number:
                return f"{CHECKED!r} belongs on the first line of its cell"
    return ""


def _cell_problem(cell: NotebookNode) -> str:
    if unknown := set(cell.metadata.get("tags", [])) - TAGS:
        return f"unknown tag {', '.join(sorted(unknown))}: choose from {', '.join(sorted(TAGS))}"
    if cell.cell_type != "code":
        return "" if cell.cell_type == "markdown" else "use `# %%` or `# %% [markdown]`"
    return _solution_problem(cell.source) or marker_problem(cell.source)


def _solution_problem(source: str) -> str:
    expected = {BEGIN}  # which markers may come next
    for line in source.splitlines():
        if not re.match(r"\s*#+\s*((begin|end)\W*sol|blank\W*ver)", line, re.IGNORECASE):
            continue
        marker = line.strip()
        if marker not in (BEGIN, BLANK, END):
            return f"{marker!r} is not a solution marker: write {BEGIN!r}, {BLANK!r} or {END!r}"
        if marker not in expected:
            return f"{marker!r} has no partner: the markers come as {BEGIN!r}, perhaps {BLANK!r}, {END!r}"
        expected = {BEGIN: {BLANK, END}, BLANK: {END}, END: {BEGIN}}[marker]
    if expected != {BEGIN}:
        return f"{BEGIN!r} has no partner: close it with {END!r}"
    try:
        ast.parse(solved_code(source))
        ast.parse(blank_code(source))
    except SyntaxError as error:
        return f"the code, solved or blank, is not Python: {error.msg}: {(error.text or '').strip()}"
    except SourceError as error:
        return str(error)
    return ""


def _exercise_problems(cells: Sequence[NotebookNode]) -> Iterator[str]:
    """Every exercise is followed by its check, and every check follows its exercise."""
    exercise, where = "", 0  # the code of the exercise that waits for its check, and its cell
    no_check = "the exercise has no check: put `name = check.name(name)` in the code cell directly after it"
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type != "code" or "solution" in cell.metadata.get("tags", []):
            continue
        source = cell.source
        if wrong := [line for line in source.splitlines() if _calls_check(line) and not _is_check(line)]:
            yield f"cell {number}: write `name = check.name(name)`, so that the lesson goes on with what comes back, not `{wrong[0]}`"
        calls = CHECK_CALL.findall(source)
        if BEGIN in source:
            exercise, where = f"{exercise}\n{source}", number
        elif calls:
            if not exercise:
                yield f"cell {number}: check.{calls[0][1]} has no exercise: put a cell with {BEGIN!r} and {END!r} before it"
            elif absent := [name for name, _, _ in calls if not re.search(rf"\b{name}\b", exercise)]:
                yield f"cell {number}: {absent[0]} is checked, but the exercise before it (cell {where}) does not define it"
            if not source.startswith(CHECKED):
                yield f"cell {number}: start the check cell with {CHECKED!r}"
            exercise = ""
        elif exercise:
            yield f"cell {where}: {no_check}"
            exercise = ""
    if exercise:
        yield f"cell {where}: {no_check}"


def _calls_check(line: str) -> bool:
    return re.match(r"[^#]*\bcheck\.\w+\(", line) is not None


def _is_check(line: str) -> bool:
    found = CHECK_CALL.match(line)
    return found is not None and found[1] == found[3]


def make(path: Path, *, solved: bool) -> NotebookNode:
    """The notebook of one source, without outputs."""
    cells, seen = [], Counter()
    note = nbformat.v4.new_markdown_cell(_closing_note(path.stem, solved))
    for cell in [*read_source(path), note]:
        if "solution" in cell.metadata.get("tags", []) and not solved:
            continue
        kind, source = cell.cell_type, cell.source
        key = kind, blank_code(source) if kind == "code" else source
        seen[key] += 1  # the id follows from the text, so unchanged cells keep theirs when others are moved
        digest = hashlib.sha256("\0".join([*key, str(seen[key])]).encode()).hexdigest()[:12]
        metadata = {"tags": sorted(cell.metadata["tags"])} if cell.metadata.get("tags") else {}
        if kind == "code":
            code = solved_code(source) if solved else key[1]
            cells.append(nbformat.v4.new_code_cell(code, id=digest, metadata=metadata))
        else:
            text = _links_from_solutions(source) if solved and cell is not note else source
            cells.append(nbformat.v4.new_markdown_cell(text, id=digest, metadata=metadata))
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "pygments_lexer": "ipython3",
        },
        "course": {
            "generated_by": f"{COMMAND} generate",
            "source": f"notebooks/source/{path.name}",
            "version": "solved" if solved else "blank",
        },
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=5)


def _closing_note(stem: str, solved: bool) -> str:
    note = f"*This file is generated: change `notebooks/source/{stem}.py`, then run `{COMMAND} generate` (or `make notebooks`).*"
    return f"{note}\n\n*It is the solved version; [the one to work in](../{stem}.ipynb) is blank.*" if solved else note


def _links_from_solutions(text: str) -> str:
    """Relative links as seen from solutions/, one folder deeper; links to other lessons lead to their solved versions."""

    def deeper(link: re.Match) -> str:
        start, target = link.groups()
        if re.match(r"[a-z]+:|[/#]|\d\d_\w+\.ipynb", target):
            return link[0]
        return start + (target.removeprefix("solutions/") if target.startswith("solutions/") else f"../{target}")

    pieces = re.split(
        r"(\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`)", text, flags=re.DOTALL
    )  # [a](b) in formulas and code is no link
    pieces[::2] = [re.sub(r"(\]\(|(?:src|href)=\")([^)\s\"]+)", deeper, piece) for piece in pieces[::2]]
    return "".join(pieces)
