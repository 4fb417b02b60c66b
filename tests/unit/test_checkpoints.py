"""Checkpoints: exact, atomic, verified to the last byte, and never unpickled."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vae_helpers import checkpoints
from vae_helpers.checkpoints import CheckpointError, load, save
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.training import fit


def small(latent_dim: int = 2, **settings) -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim, (4,), (4,), **settings)


def header_length(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[:8], "little")


def python(code: str, *args: object) -> subprocess.Popen:
    """Another Python that runs `code` with `args` in sys.argv."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict(num_classes=10, label_in=("decoder", "prior")),
        dict(likelihood="gaussian", sigma_x=0.3, learn_sigma_x=True, sigmoid_mean=True, activation="silu"),
        dict(likelihood="laplace", sigma_x=0.7),
    ],
)
def test_a_model_comes_back_bitwise(settings: dict, tmp_path: Path):
    model = small(**settings)
    metrics = {"test": {"negative_elbo": 104.25}, "seed": 0}
    stored = load(save(tmp_path / "deep" / "model.safetensors", model, metrics=metrics, recipe="S1"))
    assert stored.model.config == model.config and not stored.model.training
    assert (stored.metrics, stored.recipe, stored.history) == (metrics, "S1", None)
    assert stored.model.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in stored.model.state_dict().items())
    assert torch.equal(stored.model.sigma_x, model.sigma_x)


def test_loading_into_a_model_fills_that_one(tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small())
    other = VAE(2, [4], [4])
    assert load(path, other).model is other
    assert torch.equal(other.decoder.out.weight, small().decoder.out.weight)


def test_loading_leaves_the_random_state_alone(tmp_path: Path):
    path = save(tmp_path / "model.safetensors", small())
    before = torch.get_rng_state()
    load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_history_comes_back_with_its_state(few: ImageSet, tmp_path: Path):
    model = small()
    history = fit(model, few, epochs=2, progress=False, validation=few, pixels="dynamic", device="cpu")
    again = load(save(tmp_path / "run.safetensors", model, history=history)).history
    assert replace(again, state=None) == replace(history, state=None)
    assert again.state.keys() == history.state.keys()
    for name, value in history.state.items():
        assert torch.equal(again.state[name], value) and again.state[name].dtype == value.dtype, name
    plain = load(save(tmp_path / "plain.safetensors", model, history=replace(history, state=None))).history
    assert plain.state is None and plain.epochs == history.epochs
    assert (tmp_path / "plain.safetensors").stat().st_size < (tmp_path / "run.safetensors").stat().st_size / 3


def test_half_precision_halves_the_file_and_rounds_the_weights(tmp_path: Path):
    model = VAE(2, (64,), (64,))
    full, half = save(tmp_path / "full", model), save(tmp_path / "half", model, dtype=torch.float16)
    assert half.stat().st_size < 0.51 * full.stat().st_size
    for name, value in load(half).model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, model.state_dict()[name].half().float())


def test_every_length_of_header_can_be_read(tmp_path: Path):
    """A safetensors file begins with the length of its header; 0x80 there is also how a pickle begins."""
    first_bytes = set()
    for n in range(0, 300, 4):
        path = save(tmp_path / "model", small(), recipe="x" * n)
        assert load(path).recipe == "x" * n
        first_bytes.add(path.read_bytes()[0])
    assert 0x80 in first_bytes


# ---------------------------------------------------------------- files that are not what they should be


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"absent\.safetensors does not exist\. Look at what is in"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path):
    content = save(tmp_path / "whole", small()).read_bytes()
    cut = tmp_path / "cut"
    for end in {0, 1, 7, 8, 9, 200, len(content) // 2, len(content) - 1}:
        cut.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="cut is truncated or is no safetensors file"):
            load(cut)
    cut.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        load(cut)


def test_a_flipped_byte_is_noticed_wherever_it_is(few: ImageSet, tmp_path: Path):
    model = small()
    path = save(tmp_path / "model", model, history=fit(model, few, epochs=1, progress=False, device="cpu"))
    content, start = path.read_bytes(), 8 + header_length(path)
    positions = [*range(8), *range(8, start, 41), *range(start, len(content), 997), len(content) - 1]
    positions += [
        content.index(word) for word in (b"course", b"sha256", b"__metadata__", b"latent_dim", b"F32", b"shape")
    ]
    altered = tmp_path / "altered"
    for position in positions:
        for mask in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[position] ^= mask
            altered.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                load(altered)
    damaged = bytearray(content)
    damaged[-1] ^= 1
    altered.write_bytes(damaged)
    with pytest.raises(CheckpointError, match="altered was altered after it was saved: its SHA-256"):
        load(altered)


def test_other_metrics_under_the_same_hash_are_noticed(tmp_path: Path):
    path = save(tmp_path / "model", small(), metrics={"test": 104.5})
    path.write_bytes(path.read_bytes().replace(b"104.5", b"004.5"))
    with pytest.raises(CheckpointError, match="altered after it was saved"):
        load(path)


def evil_pickle(protocol: int, marker: Path) -> bytes:
    """A pickle, written by hand, that makes the folder `marker` when it is read: os.mkdir applied to one text."""
    head = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    return head + b"cos\nmkdir\n(V" + str(marker).encode() + b"\ntR."


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_and_not_run(protocol: int, tmp_path: Path):
    marker, path = tmp_path / "marker", tmp_path / "model.safetensors"
    path.write_bytes(evil_pickle(protocol, marker))
    with pytest.raises(CheckpointError, match="is a pickle" if protocol >= 2 else "no safetensors file"):
        load(path)
    assert not marker.exists()


def test_the_pickle_would_have_run(tmp_path: Path):
    path = tmp_path / "evil"
    path.write_bytes(evil_pickle(2, tmp_path / "marker"))
    subprocess.run([sys.executable, "-m", "pickle", path], check=True, capture_output=True)
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_is_refused_with_the_way_out(zipped: bool, tmp_path: Path):
    path = tmp_path / "model.pt"
    torch.save(small().state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"is a pickle .* save the model with vae_helpers"):
        load(path)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="not one of this course"):
        load(tmp_path / "foreign")


def forge(path: Path, model: VAE, **changes) -> Path:
    """A file with a right SHA-256 whose settings were changed."""
    stored = {"format": checkpoints.FORMAT, "config": model.config, "metrics": {}, "recipe": ""} | changes
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    text = json.dumps(stored)
    save_file(tensors, path, {"course": text, "sha256": checkpoints._digest(text, tensors)})
    return path


def test_tensors_that_do_not_fit_their_own_settings_are_refused(tmp_path: Path):
    path, model = tmp_path / "forged", small()
    assert load(forge(path, model)).model.latent_dim == 2  # the forgery itself is sound
    with pytest.raises(
        CheckpointError, match=r"does not fit its own settings: .* has shape \(4, 2\), expected \(4, 3\)"
    ):
        load(forge(path, model, config=model.config | {"latent_dim": 3}))
    with pytest.raises(CheckpointError, match="log_sigma_x has shape None, expected"):
        load(forge(path, model, config=model.config | {"likelihood": "gaussian", "learn_sigma_x": True}))
    with pytest.raises(CheckpointError, match=r"settings that this version cannot build: .*nonsense"):
        load(forge(path, model, config=model.config | {"nonsense": 1}))
    with pytest.raises(CheckpointError, match="settings that this version cannot build: likelihood='mse'"):
        load(forge(path, model, config=model.config | {"likelihood": "mse"}))
    with pytest.raises(CheckpointError, match="format 'vae-course-9', this version reads 'vae-course-1'"):
        load(forge(path, model, format="vae-course-9"))


def test_another_architecture_is_named_and_the_model_left_alone(tmp_path: Path):
    path = save(tmp_path / "model", small(latent_dim=20, likelihood="gaussian"))
    mine = small()
    before = mine.decoder.out.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load(path, mine)
    assert "saved with latent_dim=20, yours is 2" in str(caught.value)
    assert "saved with likelihood='gaussian', yours is 'bernoulli'" in str(caught.value)
    assert "activation" not in str(caught.value)
    assert torch.equal(mine.decoder.out.weight, before)


def test_no_error_touches_the_model(tmp_path: Path):
    mine, other = small(), small()
    torch.nn.init.ones_(other.encoder.mu.weight)
    path = save(tmp_path / "model", other)
    content = bytearray(path.read_bytes())
    content[-3] ^= 8
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load(path, mine)
    assert torch.equal(mine.encoder.mu.weight, small().encoder.mu.weight)


# ---------------------------------------------------------------- the old file stays until the new one is complete


def test_metrics_that_json_cannot_hold_leave_the_old_file(tmp_path: Path):
    path = save(tmp_path / "model", small(), recipe="old")
    with pytest.raises(TypeError):
        save(path, small(), metrics={"loss": torch.zeros(1)})
    assert load(path).recipe == "old" and os.listdir(tmp_path) == ["model"]


def test_a_failing_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "model", small(), recipe="old")
    for call in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="broken"):
            patch.setattr(checkpoints.os, call, lambda *args: (_ for _ in ()).throw(OSError("broken")))
            save(path, small(), recipe="new")
        assert load(path).recipe == "old" and os.listdir(tmp_path) == ["model"]


def test_the_bytes_are_on_the_disk_before_the_name_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(checkpoints.os, name, lambda *args, name=name, real=real: calls.append(name) or real(*args))
    path = save(tmp_path / "model", small())
    assert calls == ["fsync", "replace"] and path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_raises_and_the_old_file_still_loads(tmp_path: Path):
    path = save(tmp_path / "model", small(), recipe="old")
    other = python(
        """
        import resource, sys
        from vae_helpers.checkpoints import save
        from vae_helpers.models import VAE
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # a file may grow no further
        try:
            save(sys.argv[1], VAE(20, (400,), (400,)), recipe="new")
        except OSError as error:
            print("refused:", error)
        """,
        path,
    )
    out, err = other.communicate(timeout=60)
    assert "refused:" in out, err
    assert load(path).recipe == "old" and os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path: Path):
    path = save(tmp_path / "model", small(), recipe="start")
    other = python(
        """
        import sys
        from vae_helpers.checkpoints import save
        from vae_helpers.models import VAE
        models = [VAE(2, (4,), (4,)), VAE(2, (64,), (64,))]
        for i in range(10**9):
            save(sys.argv[1], models[i % 2], recipe=str(i))
            print(i, flush=True)
        """,
        path,
    )
    for _ in range(20):  # it is busy saving
        other.stdout.readline()
    for _ in range(30):
        load(path)  # a reader never sees half a file
        time.sleep(0.001)
    other.send_signal(signal.SIGKILL)
    other.communicate(timeout=60)
    assert int(load(path).recipe) >= 19
