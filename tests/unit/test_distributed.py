"""Two processes started by torchrun take the steps of one, and speak, write, stop and fail as one."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from vae_helpers import checkpoints, distributed, launch, paths, runs, training
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES

HERE = Path(__file__).parent
SCRIPT = HERE / "on_two_processes.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
RANKS = ("0", "1")

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the tests of several processes fork"),
    pytest.mark.xdist_group("distributed"),
]

specification = importlib.util.spec_from_file_location("on_two_processes", SCRIPT)
alone = importlib.util.module_from_spec(specification)
specification.loader.exec_module(alone)


def environment() -> dict[str, str]:
    """One thread each, the digits, and no other network than the loopback."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    mine = {name: value for name, value in os.environ.items() if name not in {"VAE_DATA_DIR", *launch.SET_BY_TORCHRUN}}
    return mine | {"OMP_NUM_THREADS": "1", "VAE_OFFLINE": "1", "TQDM_DISABLE": "1", "GLOO_SOCKET_IFNAME": loopback}


class Outcome:
    """What a scenario left behind, by process."""

    def __init__(self, folder: Path, name: str) -> None:
        def read(kind: str) -> list[str]:
            return [(folder / f"{name}-{rank}.{kind}").read_text(encoding="utf-8") for rank in RANKS]

        self.out, self.err, self.codes = read("out"), read("err"), [int(code) for code in read("code")]

    @property
    def lines(self) -> list[str]:
        """All lines that any process wrote as a message."""
        return "".join(self.err).splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every scenario, run once."""
    folder = tmp_path_factory.mktemp("two")
    done = subprocess.run(
        [*TORCHRUN, SCRIPT, folder], capture_output=True, text=True, timeout=200, env=environment(), cwd=paths.ROOT
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def fits(folder: Path) -> list[dict]:
    assert Outcome(folder, "fits").codes == [0, 0], Outcome(folder, "fits").err
    return [json.loads((folder / f"fits-{rank}.json").read_text()) for rank in RANKS]


# ---------------------------------------------------------------- the same steps


@pytest.mark.parametrize("name", alone.FITS)
def test_two_processes_have_the_losses_of_one_for_fifty_steps(fits: list[dict], name: str):
    """Rows: rec, kl and images of each epoch, most epochs being one step."""
    here = alone.fit(name)
    for there in fits:
        assert len(there["fits"][name]) == len(here)
        for row, expected in zip(there["fits"][name], here, strict=True):
            assert row[:2] == pytest.approx(expected[:2], abs=1e-4, rel=0)
            assert row[2] == expected[2], "each image is counted once"
    assert here[0][0] - here[-1][0] > 1, "fifty steps that learn nothing would prove nothing"


def test_each_process_knows_its_place(fits: list[dict]):
    assert [there["ranks"] for there in fits] == [[0, 2], [1, 2]]
    assert distributed.ranks() == (0, 1)


def test_nan_on_one_process_stops_both_before_the_step_and_names_the_term(fits: list[dict]):
    for there in fits:
        assert there["nan"].startswith("TrainingError: epoch 2, batch 0: rec is not finite. The step was not taken")


def test_free_bits_are_refused(fits: list[dict]):
    for there in fits:
        assert there["free_bits"].startswith("ValueError: free_bits needs the mean over the whole batch")


def test_free_bits_work_on_one_process(few: ImageSet):
    assert len(training.fit(VAE(latent_dim=2), few, epochs=1, free_bits=0.1, progress=False)) == 1


# ---------------------------------------------------------------- the command


def test_the_checkpoint_is_that_of_one_process_and_is_written_once_an_epoch(folder: Path, monkeypatch, tmp_path):
    """Two epochs, and a third by --resume, against three epochs on one process."""
    monkeypatch.setattr(runs.data, "load", lambda name, split: alone.DIGITS)
    recipe = RECIPES["first-vae"]
    runs.train(recipe, tmp_path / "one", epochs=2)
    model, history = runs.train(recipe, tmp_path / "one", epochs=3, resume=True)
    there = checkpoints.load(folder / "run.safetensors")
    assert (folder / "saves").read_text().split() == ["0"] * 3, "the first process saves, once an epoch"
    assert there.history.column("loss") == pytest.approx(history.column("loss"), abs=1e-4, rel=0)
    assert there.history.column("val_loss") == pytest.approx(history.column("val_loss"), abs=1e-3, rel=0)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(there.model.state_dict()[name], weight, atol=1e-4, rtol=0)
    assert there.history.state.keys() == history.state.keys()
    assert torch.equal(there.history.state["noise"], history.state["noise"])
    for name, expected in history.state.items():
        if "/exp_avg" in name:  # Adam's steps do not show a gradient of the wrong size, its moments do
            apart = (there.history.state[name] - expected).abs().max()
            assert apart <= 1e-3 * expected.abs().max(), f"{name}: {apart} apart"


@pytest.mark.parametrize(("name", "epochs"), [("train", 2), ("resume", 3)])
def test_only_the_first_process_prints(folder: Path, name: str, epochs: int):
    run = Outcome(folder, name)
    assert run.codes == [0, 0]
    assert json.loads(run.out[0])["epochs"] == epochs
    assert run.err[0].count("kept in") == 1
    assert run.out[1] == run.err[1] == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recipe", "no recipe 'S9': choose one of S0"),
        ("typing", "'none' is not a whole number"),
        ("doctor", "train alone runs on several processes: leave out torchrun"),
        ("disk", "No space left on device"),
    ],
)
def test_an_error_is_told_once_and_ends_both(folder: Path, name: str, message: str):
    run = Outcome(folder, name)
    assert len(run.lines) == 1 and message in run.lines[0], run.lines
    assert all(run.codes) and run.out == ["", ""]


def test_ctrl_c_on_one_process_stops_both_at_the_same_step(folder: Path):
    run = Outcome(folder, "interrupt")
    assert run.codes == [130, 130]
    assert "Interrupted in epoch 1." in run.err[0] and "To go on:" in run.err[0]
    assert run.err[1] == run.out[1] == ""
    assert len(checkpoints.load(folder / "int").history) == 1


def test_an_error_that_one_process_meets_alone_ends_both(tmp_path: Path):
    done = subprocess.run(
        [*TORCHRUN, SCRIPT, tmp_path, "no-data"],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
        cwd=paths.ROOT,
    )
    assert done.returncode != 0
    assert (tmp_path / "no-data-1.err").read_text() == "python -m vae_helpers: a file is damaged\n"
    assert (tmp_path / "no-data-0.err").read_text() == ""


def test_torchrun_trains_until_ctrl_c_and_the_checkpoint_is_whole(tmp_path: Path):
    """As a user types it: the signal reaches torchrun and both processes."""
    path = tmp_path / "run.safetensors"
    command = [*TORCHRUN, "-m", "vae_helpers", "train", "S0", "--epochs", "100000", "--out", str(path)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=paths.ROOT,
        start_new_session=True,
    ) as process:
        try:
            deadline = time.monotonic() + 150
            while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=100)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert path.exists(), err
    assert err.count("python -m vae_helpers: interrupted. To go on:") == 1, err
    assert out.count("kept in") == 1, out
    assert "RuntimeError" not in err
    assert len(checkpoints.load(path).history) >= 1


# ---------------------------------------------------------------- without torchrun, and on GPUs


def test_a_lone_world_size_is_no_launch(monkeypatch):
    """Clusters set it for other reasons."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launch.rank_and_world() == (0, 1)
    with distributed.started() as ranks:
        assert ranks == (0, 1) and not torch.distributed.is_initialized()


def test_each_process_takes_the_gpu_of_its_number(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    distributed._take_gpu(1)
    assert taken == [1]
    with pytest.raises(distributed.RanksError, match="--nproc-per-node=2"):
        distributed._take_gpu(2)
