"""`reproduce`: rows in the sources' units, a stored file with its conditions, and what happens on the way there."""

import json
import platform

import pytest

from vae_helpers import __main__ as command_line
from vae_helpers import data, reproduce
from vae_helpers.history import Epoch
from vae_helpers.recipes import GAUSSIAN_HALF_CONSTANT, RECIPES, SOURCES

COLUMNS = ["recipe", "epoch", "train", "source", "difference", "test", "seconds"]


@pytest.fixture
def mnist(monkeypatch, digits):
    """The digits in MNIST's place."""
    test = data.load("digits", "test")
    monkeypatch.setattr(data, "load", lambda name, split: {"train": digits[:256], "test": test[:50]}[split])


def test_row_of_s0_gives_both_conventions():
    row = reproduce.row_of(
        RECIPES["S0"], Epoch(1, 40 + GAUSSIAN_HALF_CONSTANT, 6.0, 60_000, 1.23456, 39 + GAUSSIAN_HALF_CONSTANT, 5.0)
    )
    assert row == {
        "recipe": "S0",
        "epoch": 2,
        "train": 48.0,
        "train_corrected": 46.0,
        "source": 50.3971,
        "difference": -2.3971,
        "test": 44.0,
        "seconds": 1.235,
    }


def test_row_is_null_where_the_source_prints_nothing():
    row = reproduce.row_of(RECIPES["S1"], Epoch(3, 90.0, 25.0, 59_904, 1.0, 91.0, 25.0))
    assert list(row) == COLUMNS
    assert row["epoch"] == 4 and row["source"] is None and row["difference"] is None


def test_test_bound_of_s4_has_no_part_in_the_sources_mistake():
    rec = 20 + GAUSSIAN_HALF_CONSTANT
    row = reproduce.row_of(RECIPES["S4"], Epoch(0, rec, 12.0, 937 * 64, 1.0, rec, 12.0))
    assert row["test"] == 32.0 and row["train"] == pytest.approx(32 * 59_968 / 60_000, abs=1e-4)


def test_json_is_one_list_and_nothing_else_on_stdout(mnist, capfd):
    assert command_line.main(["reproduce", "S1", "S0", "--epochs", "2", "--json"]) == 0
    out, err = capfd.readouterr()
    rows = json.loads(out)
    assert [(row["recipe"], row["epoch"]) for row in rows] == [("S1", 1), ("S1", 2), ("S0", 1), ("S0", 2)]
    assert [set(row) - set(COLUMNS) for row in rows] == [set(), set(), {"train_corrected"}, {"train_corrected"}]
    assert all(set(COLUMNS) <= set(row) for row in rows)
    assert all(row["test"] > 0 and row["seconds"] > 0 for row in rows)
    assert rows[2]["train"] == pytest.approx(rows[2]["train_corrected"] + 2, abs=2e-4)
    assert "S1" in err and "difference" in err  # the table goes there


def test_every_source_is_the_default(mnist, capfd):
    assert command_line.main(["reproduce", "--epochs", "1", "--json"]) == 0
    assert [row["recipe"] for row in json.loads(capfd.readouterr().out)] == list(SOURCES)


def test_table_has_a_dash_where_there_is_no_figure(mnist, capfd):
    assert command_line.main(["reproduce", "S4", "--epochs", "6"]) == 0
    header, *lines = [line for line in capfd.readouterr().out.splitlines() if line.strip()]
    assert header.split() == ["recipe", "epoch", "source", "ours", "difference", "corrected", "test", "seconds"]
    assert lines[0].split()[:3] == ["S4", "1", "46.223"]
    assert lines[5].split()[:3] == ["S4", "6", "–"]
    assert {len(line) for line in lines} == {len(header)}


def test_same_seed_same_figures(mnist):
    one, two, other = (reproduce.reproduce(["S0"], epochs=1, seed=seed)[0]["train"] for seed in (1, 1, 2))
    assert one == two != other


def test_out_stores_rows_with_their_conditions(mnist, capfd, tmp_path):
    path = tmp_path / "results" / "table.json"
    arguments = ["reproduce", "S0", "--epochs", "2", "--seed", "7", "--json", "--out", str(path)]
    assert command_line.main(arguments) == 0
    stored, printed = json.loads(path.read_text(encoding="utf-8")), json.loads(capfd.readouterr().out)
    assert stored["rows"] == printed
    conditions = stored["conditions"]
    assert conditions["seed"] == {"S0": 7} and conditions["epochs"] == 2 and conditions["complete"] is True
    assert {"torch", "threads", "cpu", "device", "date", "python", "unit"} <= set(conditions)
    assert list(path.parent.iterdir()) == [path]  # nothing temporary stays


def test_interrupt_keeps_the_complete_epochs(mnist, monkeypatch, capfd, tmp_path):
    path = tmp_path / "table.json"
    write = reproduce.write

    def interrupted_after_one(path, rows, *rest, **named):
        write(path, rows, *rest, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "write", interrupted_after_one)
    assert command_line.main(["reproduce", "S0", "--epochs", "3", "--json", "--out", str(path)]) == 130
    out, err = capfd.readouterr()
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert len(json.loads(out)) == 1 and len(stored["rows"]) == 1
    assert stored["conditions"]["complete"] is False
    assert "interrupted" in err


def test_processor_is_named_without_the_machine():
    name = reproduce.cpu_model()
    assert name and (platform.node() or "?") not in name


def test_without_mnist_one_line_says_what_to_type(places, monkeypatch, capsys):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    assert command_line.main(["reproduce", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "python -m vae_helpers fetch" in err


def test_unknown_source_is_named_with_the_known_ones(capsys):
    assert command_line.main(["reproduce", "S9"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "'S9'" in err and all(name in err for name in SOURCES)


def test_a_course_model_is_no_source(capsys):
    assert command_line.main(["reproduce", "first-vae"]) == 2
    assert "'first-vae'" in capsys.readouterr().err
