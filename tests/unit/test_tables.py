"""README's tables are what the stored results say."""

import json

import pytest

from benchmarks import tables
from vae_helpers import paths

CONDITIONS = {"date": "2026-01-02", "cpu": "a CPU", "cores": 2, "threads": 1, "torch": "2.15.0+cu1"}
SEEDS = ({"seed": 0, "test_accuracy": 0.99, "test_ece": 0.002}, {"seed": 1, "test_accuracy": 0.98, "test_ece": 0.004})
RESULTS = {  # the fields that the measurements store, and a row that must come of them
    "reproduction": (
        [
            {"recipe": "S0", "epoch": 1, "source": 60.0, "train": 61.5, "difference": 1.5},
            {"recipe": "S0", "epoch": 2, "source": None, "train": 50.0, "difference": None},
            {"recipe": "S0", "epoch": 3, "source": 40.0, "train": 39.994, "difference": -0.006},
        ],
        "| S0 | 3 | 40.00 | 39.99 | −0.01 | 2 | +1.50 in epoch 1 |",
    ),
    "speed": (
        [
            {"recipe": "S0", "pipeline": "source", "median": 2.0, "ratio": 1.0},
            {"recipe": "S0", "pipeline": "ours", "median": 0.5, "ratio": 4.0},
        ],
        "| S0 | 2.00 | 0.50 | 4.0 |",
    ),
    "figure": (
        [
            {"recipe": "S1-fast", "seed": 0},
            {"recipe": "S1-fast", "seed": 1},
            {"recipe": "S1", "seed": "median", "target": 104.48, "source_seconds": 457.4, "seconds": None, "ratio": 0.0,
             "seeds_met": 1, "test": 105.0, "faithful_test": 105.5},
        ],
        "| S1 | 104.48 | 457 |  | 0.0 | 1 of 2 | 105.00 | 105.50 |",
    ),
    "classifier": (
        [{"recipe": "classifier", "rule": "importance-weighted", "samples": 10, "wall_seconds": 600 - seed["seed"], "processor_seconds": 1000, "threads": 2, **seed} for seed in SEEDS],
        "| classifier | importance-weighted, 10 codes | 2 | 98.50 (98.00 to 99.00) | 0.0030 (0.0020 to 0.0040) | 600 (599 to 600) | 1000 (1000 to 1000) |",
    ),
    "likelihood": (
        [{"recipe": "likelihood", "seed": 0, "epochs": 200, "wall_seconds": 900, "processor_seconds": 1700, "threads": 2, "samples": 5000, "images": 10000,
          "log_likelihood": -84.123, "standard_error": 0.221}],
        "| ours: likelihood, seed 0, 200 epochs, threads: 2 | −84.12 ± 0.22 | 5,000 codes, 10,000 images | 900 | 1700 |",
    ),
    "scoring": (
        [{"way": "ours", "seconds": 0.9, "ratio": 31.04, "accuracy": 0.9377, "images": 10000}],
        "| ours | 0.90 | 31.0 | 93.8% of 10,000 |",
    ),
    "footprint": ([{"what": "import torch", "value": 1.5, "unit": "s"}], "| import torch | 1.5 s |"),
    "slider": (
        [{"path": "javascript decoder", "median_ms": 1.24, "p90_ms": 2.0, "moves": 100}],
        "| javascript decoder | 1.2 | 2.0 | 100 |",
    ),
}  # fmt: skip


@pytest.fixture
def results(tmp_path):
    for name, (rows, _) in RESULTS.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"conditions": CONDITIONS, "rows": rows}))
    return tmp_path


def test_the_readme_shows_what_was_stored():
    text = tables.README.read_text(encoding="utf-8")
    assert tables.filled(text) == text, f"README.md differs from benchmarks/results. Type: {tables.COMMAND}"


def test_the_readme_has_a_place_for_each_table():
    text = tables.README.read_text(encoding="utf-8")
    found = [match[2] for match in tables.BLOCK.finditer(text)]
    assert sorted(found) == sorted(tables.TABLES)
    assert text.count("<!-- table: ") == text.count("<!-- end -->") == len(found), "a mark lacks its other half"
    assert text.index("## The lessons") < text.index("## What was measured") < text.index("<!-- table: ")


@pytest.mark.parametrize("name", tables.TABLES)
def test_each_table_says_what_was_measured_and_where(results, name):
    lines = tables.block(name, results).splitlines()
    assert RESULTS[name][1] in lines, "\n".join(lines)
    assert lines[-1].startswith("Measured: 2026-01-02, a CPU, 2 cores, 1 thread, torch 2.15.0")
    cells = {line.count("|") for line in lines if line.startswith("|")}
    assert len(cells) == 1, "every row has as many cells as the head"


def test_the_likelihood_table_has_published_figures_beside_ours(results):
    block = tables.block("likelihood", results)
    assert "| Burda et al. (2016), table 1: VAE | −86.76 |" in block and "784-500-500-50 and back" in block


def test_a_table_without_a_complete_result_is_absent(results):
    (results / "speed.json").unlink()
    whole = json.loads((results / "slider.json").read_text())
    whole["conditions"]["complete"] = False
    (results / "slider.json").write_text(json.dumps(whole))
    marks = "<!-- table: {0} -->\nold\n<!-- end -->"
    for name in ("speed", "slider"):
        assert tables.filled(marks.format(name), results) == f"<!-- table: {name} -->\n<!-- end -->"


def test_filling_twice_changes_nothing_more(results):
    once = tables.filled("before\n<!-- table: slider -->\n<!-- end -->\nafter\n", results)
    assert once.startswith("before\n") and once.endswith("after\n") and "javascript" in once
    assert tables.filled(once, results) == once


def test_every_stored_result_is_in_a_table_or_known_to_be_in_none():
    elsewhere = {"gpu"}  # one file for each GPU that was lent
    stored = {path.stem for path in paths.RESULTS.glob("*.json")}
    assert stored <= elsewhere | set(tables.TABLES), "a new result: give it a table in benchmarks/tables.py"
