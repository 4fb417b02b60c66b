"""The two versions of an exercise's code: solved, as it runs, and blank, as the student gets it."""

import ast
import re
from collections.abc import Iterator, Sequence

BEGIN, BLANK, END = "### BEGIN SOLUTION", "### BLANK VERSION", "### END SOLUTION"


class SourceError(ValueError):
    """A source that cannot become a notebook. The message names file and cell, and says what to change."""


def solved_code(source: str) -> str:
    """The code as it runs: the solution stays; the markers go, and with them what only the blank version shows."""
    return "\n".join(line for part, line in _parts(source) if part in ("", BEGIN))


def blank_code(source: str) -> str:
    """The code that the student completes: in place of each solution what BLANK VERSION gives (commented out in the source), else one
    NotImplementedError inside a function, and `name = ...  # your answer` outside."""
    lines: list[str] = []
    solution: list[str] = []
    given: list[str] = []
    for part, line in _parts(source):
        if part == BEGIN:
            solution.append(line)
        elif part == BLANK:
            given.append(re.sub(r"^(\s*)# ?", r"\1", line))
        elif part == END:
            indent = line[: len(line) - len(line.lstrip())]
            lines += given or _stub(lines, solution, indent)
            solution, given = [], []
        else:
            lines.append(line)
    return "\n".join(lines)


def _parts(source: str) -> Iterator[tuple[str, str]]:
    """Each line with the marker it stands under ("" outside); of the marker lines only END is handed out."""
    part = ""
    for line in source.splitlines():
        if line.strip() == END:
            yield END, line
            part = ""
        elif line.strip() in (BEGIN, BLANK):
            part = line.strip()
        else:
            yield part, line


def _stub(lines: Sequence[str], solution: Sequence[str], indent: str) -> list[str]:
    if indent:
        return [f'{indent}raise NotImplementedError("Your turn: write {_enclosing_name(lines, indent)}")']
    return [f"{name} = ...  # your answer" for name in _assigned_names("\n".join(solution))]


def _enclosing_name(lines: Sequence[str], indent: str) -> str:
    for line in reversed(lines):
        found = re.match(r"(\s*)(?:async )?def (\w+)", line)
        if found and len(found[1]) < len(indent):
            return found[2]
    raise SourceError("an indented solution stands inside a function: there is no `def` above it")


def _assigned_names(code: str) -> list[str]:
    """The names that code outside functions binds, in order, without the ones that start with an underscore."""
    public = [name for name in dict.fromkeys(_bound(ast.parse(code).body)) if not name.startswith("_")]
    if not public:
        raise SourceError("a solution outside a function assigns a name: the student's version becomes `name = ...`")
    return public


def _bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        else:  # the blocks of for, if, with and try
            for block in ("body", "orelse", "finalbody"):
                yield from _bound(getattr(statement, block, []))
