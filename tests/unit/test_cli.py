"""The command line as a user meets it: help, exit codes, one-line errors, JSON, Ctrl-C and resume."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from vae_helpers import __main__ as command_line
from vae_helpers import checkpoints, data, doctor, paths, training
from vae_helpers.recipes import RECIPES

COMMANDS = ("doctor", "fetch", "train", "evaluate", "classify", "reproduce")


@pytest.fixture
def few_digits(monkeypatch, digits):
    """160 digits, so that an epoch takes a moment."""
    monkeypatch.setattr(data, "load", lambda name, split: digits[:160])


def weights(path) -> dict:
    return checkpoints.load(path).model.state_dict()


# ---------------------------------------------------------------- help and mistakes in typing


def test_help_names_the_commands_without_importing_torch():
    code = """
import sys
from vae_helpers import __main__ as cli
try:
    cli.main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
assert not {"torch", "numpy", "sklearn", "matplotlib"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=paths.ROOT)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required"),
        (["dance"], "dance"),
        (["train", "S9"], "no recipe 'S9': choose one of S0, S1"),
        (["train", "--epochs", "0"], "'0' is not a whole number of at least 1"),
        (["train", "--epochs", "ten"], "'ten' is not a whole number"),
        (["reproduce", "--epochs", "-3"], "'-3' is not a whole number"),
        (["train", "--seed", "-1"], "'-1' is not a whole number from 0"),
        (["train", "--data", "cifar"], "cifar"),
        (["train", "--out", "."], "is a folder"),
    ],
)
def test_mistake_in_typing_is_one_line_and_exit_code_2(arguments, message, capsys):
    try:
        code = command_line.main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == "" and err.count("\n") == 1
    assert message in err and "--help" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_and_json(command, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main([command, "--help"])
    assert stop.value.code == 0 and "--json" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["doctor"]])
def test_closed_pipe_is_one_line_and_exit_code_2(arguments):
    code = f"""
import sys
from vae_helpers import __main__ as cli, doctor
doctor.examine = lambda: [doctor.Result("kernel", True, "there", "")]
sys.exit(cli.main({arguments}))
"""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writing,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONUNBUFFERED": ""},  # argparse swallows what fails at once, not what fails at the end
        cwd=paths.ROOT,
    )
    os.close(writing)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cut short" in done.stderr


def test_console_without_unicode_gets_question_marks_instead_of_an_error(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Result("kernel", True, "there", "")])
    assert command_line.main(["doctor"]) == 0
    assert console.buffer.getvalue().startswith(b"? kernel  there")


# ---------------------------------------------------------------- errors that the course knows


@pytest.mark.parametrize(
    "error",
    [
        data.DataError("a file\nis damaged. Type: this"),
        data.MissingData("a file\nis damaged. Type: this"),
        training.TrainingError("a file\nis damaged. Type: this"),
        checkpoints.CheckpointError("a file\nis damaged. Type: this"),
    ],
)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_known_error_is_one_line_and_exit_code_1(error, json_too, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(data, "load", fail)
    assert command_line.main(["reproduce", *json_too]) == 1
    assert capsys.readouterr() == ("", "python -m vae_helpers: a file is damaged. Type: this\n")


def test_unknown_error_keeps_its_traceback(monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(data, "load", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        command_line.main(["reproduce"])


def test_missing_package_points_to_the_doctor(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "vae_helpers.runs", None)
    monkeypatch.delattr("vae_helpers.runs", raising=False)
    assert command_line.main(["train"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.endswith("Type: python -m vae_helpers doctor\n")


def test_folder_that_cannot_be_made_is_told_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command_line.main(["train", "--out", str(tmp_path / "file" / "model.safetensors")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and str(tmp_path / "file") in err


# ---------------------------------------------------------------- fetch


def test_fetch_puts_the_files_where_it_is_told(monkeypatch, capsys, tmp_path):
    asked = []
    monkeypatch.setattr(data, "offline", lambda: False)
    monkeypatch.setattr(data, "fetch", lambda to: asked.append(to) or tmp_path / "MNIST" / "raw")
    assert command_line.main(["fetch", "--to", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert asked == [tmp_path] and result["folder"] == str(tmp_path / "MNIST" / "raw")
    assert result["files"] == sorted(file.name for file in data.FILES.values())
    assert command_line.main(["fetch"]) == 0
    assert asked[1] is None and "4 files" in capsys.readouterr().out


def test_fetch_with_files_in_place_needs_no_network(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("VAE_OFFLINE")
    folder = tiny.write(tmp_path / "MNIST" / "raw")
    assert command_line.main(["fetch", "--to", str(tmp_path)]) == 0
    assert str(folder) in capsys.readouterr().out


def test_fetch_respects_the_offline_switch(monkeypatch, capsys):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    assert command_line.main(["fetch"]) == 1
    assert "unset it" in capsys.readouterr().err


# ---------------------------------------------------------------- train


def test_train_prints_both_terms_and_keeps_a_checkpoint(few_digits, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    assert command_line.main(["train", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    stored = checkpoints.load(tmp_path / "runs" / "first-vae.safetensors")
    assert stored.recipe == "first-vae" and len(stored.history) == 2
    last = stored.history[-1]
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert lines["train"] == [f"{v:.2f}" for v in (last.rec, last.kl, last.loss)]
    assert lines["validation"] == [f"{v:.2f}" for v in (last.val_rec, last.val_kl, last.val_loss)]


def test_validation_images_are_held_out_of_training(few_digits, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    assert command_line.main(["train", "--epochs", "1", "--out", str(path)]) == 0
    assert checkpoints.load(path).history[0].images_seen == 160 - 32


def test_train_json_is_all_there_is_on_stdout(few_digits, tmp_path, capfd):
    path = tmp_path / "a.safetensors"
    assert command_line.main(["train", "S0", "--epochs", "1", "--seed", "3", "--out", str(path), "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert list(result) == ["recipe", "data", "seed", "epochs", "train", "validation", "interrupted", "checkpoint"]
    assert (result["recipe"], result["data"], result["seed"], result["epochs"]) == ("S0", "digits", 3, 1)
    for part in ("train", "validation"):
        terms = result[part]
        assert terms["bound"] == pytest.approx(terms["rec"] + terms["kl"], abs=1e-3)
    assert checkpoints.load(path).metrics == {"train": result["train"], "validation": result["validation"]}


def test_resumed_run_ends_bitwise_where_an_uninterrupted_one_does(few_digits, tmp_path, capsys):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    seed = ["--seed", "5"]
    assert command_line.main(["train", "--epochs", "3", "--out", str(whole), *seed]) == 0
    assert command_line.main(["train", "--epochs", "1", "--out", str(parts), *seed]) == 0
    assert command_line.main(["train", "--epochs", "3", "--out", str(parts), "--resume"]) == 0  # the seed is remembered
    a, b = weights(whole), weights(parts)
    assert all(torch.equal(a[name], b[name]) for name in a)
    losses = [checkpoints.load(path).history.column("val_loss") for path in (whole, parts)]
    assert losses[0] == losses[1] and len(losses[0]) == 3


def test_interrupt_keeps_the_last_epoch_and_resume_goes_on_to_the_end(few_digits, monkeypatch, tmp_path, capsys):
    path = tmp_path / "run.safetensors"
    evaluate, calls = training.evaluate, []

    def interrupted_in_the_third_epoch(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*arguments, **settings)

    monkeypatch.setattr(training, "evaluate", interrupted_in_the_third_epoch)
    assert command_line.main(["train", "--epochs", "4", "--out", str(path), "--json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["interrupted"] is True and json.loads(out)["epochs"] == 2
    assert f'train first-vae --resume --out "{path}"' in err
    assert len(checkpoints.load(path).history) == 2
    assert command_line.main(["train", "--out", str(path), "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 4  # as many as the run was started with


def test_interrupt_in_the_first_epoch_says_that_nothing_was_kept(few_digits, monkeypatch, tmp_path, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "evaluate", interrupted)
    assert command_line.main(["train", "--out", str(tmp_path / "a.safetensors")]) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_in_a_real_process_loses_nothing(tmp_path):
    path = tmp_path / "run.safetensors"
    command = [sys.executable, "-m", "vae_helpers", "train", "--data", "digits", "--epochs", "500", "--out", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=paths.ROOT)
    end = time.monotonic() + 45
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and b"--resume" in err and b"Traceback" not in err
    assert len(checkpoints.load(path).history) >= 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "S1"], "holds a run of first-vae, not of S1"),
        (["train", "--seed", "4"], "started with --seed 0: leave out --seed 4"),
        (["train", "--data", "mnist"], "started with --data digits"),
    ],
)
def test_resume_refuses_another_run(arguments, message, few_digits, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    assert command_line.main(["train", "--epochs", "1", "--out", str(path)]) == 0
    before = path.read_bytes()
    capsys.readouterr()
    assert command_line.main([*arguments, "--resume", "--epochs", "2", "--out", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err
    assert path.read_bytes() == before


def test_resume_needs_a_run(tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    assert command_line.main(["train", "--resume", "--out", str(path)]) == 1
    assert "leave out --resume" in capsys.readouterr().err
    checkpoints.save(path, RECIPES["first-vae"].build(), recipe="first-vae")
    assert command_line.main(["train", "--resume", "--out", str(path)]) == 1
    assert "without the state of its training" in capsys.readouterr().err


def test_starting_afresh_over_an_earlier_run_says_so(few_digits, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    for expected in (False, True):
        assert command_line.main(["train", "--epochs", "1", "--out", str(path)]) == 0
        assert ("holds an earlier run" in capsys.readouterr().out) is expected
    assert len(checkpoints.load(path).history) == 1


def test_train_works_with_no_network_and_no_mnist(places, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    assert command_line.main(["train", "--epochs", "1", "--out", str(tmp_path / "a.safetensors"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["data"] == "digits" and "No MNIST here" in err
