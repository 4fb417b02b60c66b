"""Makes the notebooks from their sources, runs the solved ones, and says when one is out of date.

    python notebooks/build.py generate                             source/NN_*.py -> NN_*.ipynb (blank), solutions/NN_*.ipynb (solved)
    python notebooks/build.py execute [00 03 …] [--profile quick]  run solved notebooks and store their outputs
    python notebooks/build.py check                                exit code 1 and the names of the stale files, if there are any

build_source.py describes the format of the sources. The same sources always give the same bytes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from build_exercise import BLANK, SourceError
from build_run import clean_outputs, code_cells, run
from build_source import CHECK_CALL, COMMAND, make, read_source
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
LARGEST = 1_000_000  # bytes of a stored notebook


def sources(folder: Path, lessons: Sequence[str] = ()) -> list[Path]:
    """The sources in order, or those whose names start with one of `lessons`. Raises SourceError when one of them is not there."""
    found = sorted((folder / "source").glob("[0-9][0-9]_*.py"))
    for lesson in lessons:
        if not any(path.stem.startswith(lesson) for path in found):
            raise SourceError(
                f"there is no lesson {lesson!r} in notebooks/source; there are: {', '.join(p.stem for p in found) or 'none'}"
            )
    return [path for path in found if not lessons or path.stem.startswith(tuple(lessons))]


def bugs_to_find(source: Path) -> set[str]:
    """The checked exercises whose blank version holds a bug, so that their check starts with a ✗."""
    given, names = False, set()
    for cell in code_cells(nbformat.v4.new_notebook(cells=read_source(source))):
        given = given or BLANK in cell.source
        if found := CHECK_CALL.findall(cell.source):
            names |= {name for _, name, _ in found if given}
            given = False
    return names


def wanted(folder: Path) -> dict[Path, str]:
    """What every generated file should hold, by its path."""
    files = {}
    for path in sources(folder):
        files[folder / f"{path.stem}.ipynb"] = as_text(make(path, solved=False))
        target = folder / "solutions" / f"{path.stem}.ipynb"
        files[target] = as_text(_with_stored_outputs(make(path, solved=True), target))
    return files


def as_text(notebook: NotebookNode) -> str:
    """The bytes of a notebook file: sorted keys, one space of indent, a newline at the end."""
    nbformat.validate(notebook)
    return (
        nbformat.writes(notebook, version=nbformat.NO_CONVERT, sort_keys=True, ensure_ascii=False).rstrip("\n") + "\n"
    )


def _with_stored_outputs(notebook: NotebookNode, stored: Path) -> NotebookNode:
    """Stored outputs stay as long as no code changed; after any change of code all of them go."""
    try:
        old = nbformat.read(stored, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return notebook
    new_code, old_code = code_cells(notebook), code_cells(old)
    if [c.source for c in new_code] == [c.source for c in old_code]:
        for new, was in zip(new_code, old_code, strict=True):
            new.outputs, new.execution_count = was.outputs, was.execution_count
        if "profile" in old.metadata.get("course", {}):
            notebook.metadata.course["profile"] = old.metadata.course.profile
    return notebook


def stale(folder: Path = HERE) -> list[Path]:
    """Generated files that are missing, that differ from what their source gives, or that have no source."""
    files = wanted(folder)
    there = {*folder.glob("*.ipynb"), *(folder / "solutions").glob("*.ipynb")}
    differ = {path for path, text in files.items() if path not in there or path.read_bytes() != text.encode()}
    return sorted(differ | (there - set(files)))


def generate(folder: Path = HERE) -> list[Path]:
    """Write what is stale, remove what has no source, and return those paths."""
    files, changed = wanted(folder), stale(folder)
    for path in changed:
        if path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(files[path].encode())
        else:
            path.unlink()
    return changed


def execute(folder: Path = HERE, lessons: Sequence[str] = (), profile: str = "full") -> bool:
    """Run solved notebooks and store their outputs. Says what each took; False when one of them failed (that one is not stored)."""
    changed, good = generate(folder), True
    for path in changed:
        print(f"generated {path.relative_to(folder)}")
    for source in sources(folder, lessons):
        notebook, target = make(source, solved=True), folder / "solutions" / f"{source.stem}.ipynb"
        try:
            seconds = run(notebook, profile=profile, folder=folder)
        except (CellExecutionError, CellTimeoutError) as error:
            print(f"{source.stem}: FAILED\n{error}", file=sys.stderr)
            good = False
            continue
        for line in clean_outputs(notebook):
            print(f"{source.stem}: not stored, said on stderr by {line}", file=sys.stderr)
        metadata = notebook.metadata
        notebook.metadata = make(source, solved=True).metadata | {"course": metadata.course | {"profile": profile}}
        text = as_text(notebook)
        slowest = max(range(len(seconds)), key=seconds.__getitem__, default=0)
        took = f"{sum(seconds):.0f} s of computing, {max(seconds, default=0):.0f} s of it in code cell {slowest + 1}"
        print(f"{source.stem}: {took}; {len(text.encode()) / 1000:.0f} kB; profile {profile}")
        if len(text.encode()) >= LARGEST:
            print(
                f"{source.stem}: not stored, larger than {LARGEST / 1e6:.0f} MB: show fewer or smaller figures",
                file=sys.stderr,
            )
            good = False
            continue
        target.write_bytes(text.encode())
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=HERE, help="the folder with source/ (default: notebooks/)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("generate", help="write the notebooks from their sources")
    executing = commands.add_parser("execute", help="run solved notebooks and store their outputs")
    executing.add_argument("lessons", nargs="*", help="numbers, such as 00 03 (default: all)")
    executing.add_argument("--profile", choices=("full", "quick"), default="full")
    commands.add_parser("check", help="exit code 1 when a notebook is out of date")
    options = parser.parse_args(arguments)
    try:
        if options.command == "execute":
            return 0 if execute(options.folder, options.lessons, options.profile) else 1
        if options.command == "generate":
            for path in generate(options.folder):
                print(
                    f"{path.relative_to(options.folder)}: {'written' if path.exists() else 'removed, it has no source'}"
                )
            return 0
        old = stale(options.folder)
        for path in old:
            print(f"stale: {path.relative_to(options.folder)}", file=sys.stderr)
        if old:
            print(f"Type: {COMMAND} generate", file=sys.stderr)
        return 1 if old else 0
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
