"""Which figures in a lesson's prose nobody produces: no cell, no stored result, no recipe, and no cited source.

A figure is a number with a decimal point, a percentage, or a whole number of three digits and more. It is accounted for when it stands, rounded
to as many digits as the prose shows, in an output or in the code of the lesson, in benchmarks/results, in the metrics of a shipped
model or among the sources' printed losses; or when its paragraph cites where it comes from: a work with its year, "source S4",
"lesson 03", or `<!-- source: … -->`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from vae_helpers import checkpoints, paths
from vae_helpers.recipes import RECIPES

FIGURE = re.compile(
    r"(?<![\w./])[-−]?\d{1,3}(?:[,  ]\d{3})+(?![\d.])|(?<![\w./])[-−]?\d+\.\d+|(?<![\w./])[-−]?\d+(?=\s?%)|(?<![\w./])[-−]?\d{3,}(?![\w.]\d)"
)
CITED = re.compile(r"\b(19|20)\d\d\b|\bsource S\d|\blesson 0\d|<!-- source:", re.IGNORECASE)
NOT_PROSE = [
    re.compile(r"```.*?```", re.DOTALL),
    re.compile(r"`[^`]*`"),
    re.compile(r"\$\$.*?\$\$", re.DOTALL),
    re.compile(r"\$[^$]*\$"),
    re.compile(r"\]\([^)]*\)"),
]
FURNITURE = {784.0, 400.0, 255.0, 256.0, 128.0, 1000.0}  # sizes that every lesson speaks of


def unaccounted(notebook: NotebookNode, known: set[float]) -> Iterator[str]:
    """The figures in the prose of `notebook` (executed) that neither it, nor `known`, nor a citation accounts for."""
    produced = {*known, *FURNITURE}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            produced |= set(numbers_in(cell.source))
            for output in cell.outputs:
                text = output.get("text", "") or str(output.get("data", {}).get("text/plain", ""))
                produced |= set(numbers_in(text))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for paragraph in re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", cell.source):
                if not CITED.search(paragraph):
                    yield from (
                        f"{figure!r} in: {' '.join(paragraph.split())[:90]} …"
                        for figure in figures_in(paragraph)
                        if not accounted_for(figure, produced)
                    )


def figures_in(paragraph: str) -> list[str]:
    """The numbers of a paragraph that claim something, as written; not those in code or formulas."""
    for pattern in NOT_PROSE:
        paragraph = pattern.sub(" ", paragraph)
    return [match.group() for match in FIGURE.finditer(paragraph)]


def numbers_in(text: str) -> list[float]:
    """Every number in `text`; a percentage also as a share."""
    values = []
    for match in re.finditer(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", text):
        value = _value(match.group())
        values.append(value)
        if text[match.end() : match.end() + 1] == "%":
            values.append(value / 100)
    return values


def accounted_for(figure: str, produced: set[float]) -> bool:
    """True when one of `produced` rounds to `figure` as written, in its sign or the other one, as a share or as a percentage."""
    wanted = abs(_value(figure))
    digits = len(figure.split(".")[1]) if "." in figure else 0
    half = 0.5 * 10.0**-digits * 1.0001
    return any(abs(abs(value) * scale - wanted) <= half for value in produced for scale in (1, 100))


def _value(text: str) -> float:
    return float(re.sub(r"[,  ]", "", text).replace("−", "-"))


def stored_numbers() -> set[float]:
    """The numbers in benchmarks/results, in the metrics of the shipped models, and those that the sources print."""
    found: set[float] = {figure for recipe in RECIPES.values() for figure in recipe.printed.values()}
    found |= {
        float(v)
        for recipe in RECIPES.values()
        for part in (recipe.model, recipe.training)
        for v in part.values()
        if isinstance(v, int | float)
    }
    for path in paths.RESULTS.glob("*.json"):
        found |= set(numbers_in(json.dumps(json.loads(path.read_text(encoding="utf-8")))))
    for path in paths.CHECKPOINTS.glob("*.safetensors"):
        found |= {float(v) for v in checkpoints.load(path).metrics.values() if isinstance(v, int | float)}
    return found


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)
