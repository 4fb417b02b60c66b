"""The doctor: each fault that it looks for is provoked, and must give a message, one command, and exit code 1."""

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from vae_helpers import __main__ as command_line
from vae_helpers import checkpoints, data, devices, doctor, paths
from vae_helpers.recipes import RECIPES, SHIPPED

Usage = namedtuple("Usage", "total used free")


def only(monkeypatch, name: str) -> None:
    """Leave the doctor this one check."""
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name]})


def examined(monkeypatch, name: str) -> list[doctor.Result]:
    only(monkeypatch, name)
    return doctor.examine()


def fault(monkeypatch, name: str) -> doctor.Result:
    """The one fault of a check, after the command line was seen to report it with exit code 1 and one command to type."""
    only(monkeypatch, name)
    faults = [result for result in doctor.examine() if not result.ok]
    assert len(faults) == 1, faults
    assert faults[0].fix and "\n" not in faults[0].fix
    text = doctor.report(doctor.examine())
    assert text.count("✗") == 1 and text.count("type: ") == 1 and f"type: {faults[0].fix}" in text
    assert command_line.main(["doctor", "--json"]) == 1
    return faults[0]


def metadata(monkeypatch, *, requires: list[str], python: str = ">=3.11") -> None:
    """Pretend that the course was installed with these requirements."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: {"Requires-Python": python})


# ---------------------------------------------------------------- the report


def test_all_is_well_gives_exit_code_0_and_aligned_lines(monkeypatch, capsys):
    results = [doctor.Result("a", True, "1", ">=1"), doctor.Result("longer", True, "2", ">=1")]
    monkeypatch.setattr(doctor, "examine", lambda: results)
    assert command_line.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == ["✓ a       1", "✓ longer  2", "All 2 checks passed"]


def test_one_fault_gives_exit_code_1_and_its_command(monkeypatch, capsys):
    results = [doctor.Result("a", True, "1", ">=1"), doctor.Result("bb", False, "0", ">=1", "mend it")]
    monkeypatch.setattr(doctor, "examine", lambda: results)
    assert command_line.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "✓ a   1",
        "✗ bb  0 (expected: >=1)",
        "      type: mend it",
        "1 of 2 checks failed",
    ]


def test_json_is_a_list_of_the_five_fields(monkeypatch, capsys):
    only(monkeypatch, "packages")
    assert command_line.main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == ["name", "ok", "found", "expected", "fix"] for row in rows)
    assert all(row["ok"] is True and row["fix"] == "" for row in rows)


def test_a_check_that_dies_is_a_fault_and_the_others_still_run(monkeypatch):
    def dies():
        raise ZeroDivisionError("oh")
        yield

    checks = {"first": dies, "second": lambda: iter([doctor.Result("second", True, "fine", "")])}
    monkeypatch.setattr(doctor, "CHECKS", checks)
    first, second = doctor.examine()
    assert not first.ok and first.found == "ZeroDivisionError: oh" and "pip install -e" in first.fix
    assert second.ok


def test_commands_use_the_python_that_runs_now(monkeypatch):
    monkeypatch.setattr(sys, "executable", str(Path("/some where/python")))
    assert doctor._typed("python -m pip") == '"/some where/python" -m pip'.replace("/", os.sep)
    monkeypatch.setattr(sys, "executable", str(Path.cwd() / "env" / "python"))
    assert doctor._typed("python -m pip") == f"{Path('env/python')} -m pip"
    assert doctor._typed("git checkout") == "git checkout"


# ---------------------------------------------------------------- Python and packages


def test_floors_are_those_of_pyproject():
    import tomllib

    written = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert sorted(f"{name}{floor}" for name, floor in doctor._floors().items()) == sorted(written)


def test_old_python(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.10.14")
    result = fault(monkeypatch, "Python")
    assert result.found.startswith("3.10.14") and result.expected == ">=3.11"
    assert result.fix == "conda env create -f environment.yml" and (paths.ROOT / "environment.yml").exists()


def test_old_package(monkeypatch):
    metadata(monkeypatch, requires=["numpy>=2.0", "torch>=99.1"])
    result = fault(monkeypatch, "packages")
    assert (result.name, result.found, result.expected) == ("torch", importlib.metadata.version("torch"), ">=99.1")
    assert result.fix.endswith('-m pip install "torch>=99.1"')


def test_missing_package(monkeypatch):
    metadata(monkeypatch, requires=["numpy>=2.0", "no-such-thing>=1"])
    result = fault(monkeypatch, "packages")
    assert (result.name, result.found) == ("no-such-thing", "not installed")


def test_requirements_of_other_systems_and_extras_are_left_out(monkeypatch):
    metadata(monkeypatch, requires=["numpy>=2", "absent-1; sys_platform == 'amiga'", "absent-2; extra == 'dev'"])
    assert [result.name for result in examined(monkeypatch, "packages")] == ["numpy"]


def test_intel_mac_is_sent_elsewhere(monkeypatch):
    metadata(monkeypatch, requires=["torch>=99"])
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert "Intel Macs stop at torch 2.2" in fault(monkeypatch, "packages").expected


def test_course_that_is_not_installed(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert fault(monkeypatch, "packages").fix.endswith(f'-m pip install -e "{paths.ROOT}"')


def test_torchvision_that_does_not_fit_torch(monkeypatch):
    class Breaks:
        def find_spec(self, name, *_):
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Breaks(), *sys.meta_path])
    result = fault(monkeypatch, "torch works")
    assert "nms does not exist" in result.found
    assert '"torch>=' in result.fix and '"torchvision>=' in result.fix


# ---------------------------------------------------------------- Jupyter


def test_widget_pair_and_kernel_of_this_environment_are_fine(monkeypatch):
    results = [result for name in ("widget pair", "kernel") for result in (doctor.CHECKS[name]())]
    assert [result.ok for result in results] == [True, True], results


def test_widgets_of_another_generation(monkeypatch):
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "1.1.0" if name.startswith("jupyterlab") else real(name))
    result = fault(monkeypatch, "widget pair")
    assert "jupyterlab_widgets 1.1.0" in result.found and "ipywidgets jupyterlab_widgets" in result.fix


def test_widgets_that_jupyterlab_does_not_find(monkeypatch, tmp_path):
    import jupyter_core.paths

    monkeypatch.setattr(jupyter_core.paths, "jupyter_path", lambda *_: [str(tmp_path)])
    assert "does not find" in fault(monkeypatch, "widget pair").found


@pytest.mark.parametrize(("inside", "option"), [(True, "--sys-prefix"), (False, "--user")])
def test_kernel_of_another_python(monkeypatch, tmp_path, inside, option):
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    folder = str(Path(sys.prefix) / "share" if inside else tmp_path)
    other = str(tmp_path / "bin" / "python")
    spec = KernelSpec(argv=[other, "-m", "ipykernel_launcher"], resource_dir=folder)
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    result = fault(monkeypatch, "kernel")
    assert other in result.found and result.fix.endswith(f"-m ipykernel install {option}")


# ---------------------------------------------------------------- data and files


def test_no_mnist_is_a_note_and_nothing_is_fetched(places, monkeypatch):
    monkeypatch.setattr(data, "fetch", lambda *_: pytest.fail("the doctor went to the network"))
    (result,) = examined(monkeypatch, "data")
    assert result.ok and "digits" in result.found and "python -m vae_helpers fetch" in result.found
    assert "VAE_OFFLINE" not in os.environ  # left as it was


def test_mnist_is_found_and_verified(places, tiny, monkeypatch):
    folder = tiny.write(places / "MNIST" / "raw")
    (result,) = examined(monkeypatch, "data")
    assert result.ok and str(folder) in result.found


def test_shared_folder_without_mnist_is_named(places, tiny, tmp_path, monkeypatch):
    tiny.write(places / "MNIST" / "raw")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "typo"))
    (result,) = examined(monkeypatch, "data")
    assert result.ok and f"VAE_DATA_DIR={tmp_path / 'typo'} holds none" in result.found


@pytest.mark.parametrize("shared", [False, True])
def test_damaged_mnist(places, tiny, tmp_path, monkeypatch, shared):
    root = tmp_path / "shared" if shared else places
    folder = tiny.write(root / "MNIST" / "raw")
    if shared:
        monkeypatch.setenv("VAE_DATA_DIR", str(root))
    (folder / tiny.name()).write_bytes(b"short")
    result = fault(monkeypatch, "data")
    assert tiny.name() in result.found and "-m vae_helpers fetch" in result.fix
    assert ("--to" in result.fix) is shared


def test_shared_folder_with_a_part_of_mnist(places, tiny, tmp_path, monkeypatch):
    tiny.write(tmp_path / "shared", without=(tiny.name("test", "labels"),))
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "shared"))
    result = fault(monkeypatch, "data")
    assert tiny.name("test", "labels") in result.found and "Type:" not in result.found
    assert str(tmp_path / "shared") in result.fix


def test_folder_that_cannot_be_written(monkeypatch, tmp_path):
    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refused)
    result = fault(monkeypatch, "write access")
    assert "Permission denied" in result.found and str(tmp_path) in result.fix


def test_missing_data_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "DATA", tmp_path / "gone")
    assert fault(monkeypatch, "write access").fix == f'mkdir "{tmp_path / "gone"}"'


def test_full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 10**8))
    result = fault(monkeypatch, "disk")
    assert result.found == "0.1 GB free" and result.fix.endswith("pip cache purge")


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """A folder with an untrained model for every shipped recipe."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    for name in SHIPPED:
        checkpoints.save(tmp_path / f"{name}.safetensors", RECIPES[name].build(), recipe=name)
    return tmp_path


def test_shipped_models_load(shipped, monkeypatch):
    (result,) = examined(monkeypatch, "checkpoints")
    assert result.ok and result.found == f"{len(SHIPPED)} trained models load"


def test_damaged_model(shipped, monkeypatch):
    path = shipped / f"{SHIPPED[-1]}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = fault(monkeypatch, "checkpoints")
    assert "SHA-256" in result.found and str(path) in result.fix and result.fix.startswith("git -C")


def test_missing_model_outside_a_clone_is_trained_again(shipped, monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (shipped / f"{SHIPPED[0]}.safetensors").unlink()
    result = fault(monkeypatch, "checkpoints")
    assert "does not exist" in result.found and f"-m vae_helpers train {SHIPPED[0]} --out" in result.fix


def test_model_of_another_architecture(shipped, monkeypatch):
    other = RECIPES["S0"].build()
    checkpoints.save(shipped / f"{SHIPPED[0]}.safetensors", other, recipe=SHIPPED[0])
    assert "latent_dim=4" in fault(monkeypatch, "checkpoints").found


# ---------------------------------------------------------------- the machine


def test_little_memory(monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda: 300_000_000)
    result = fault(monkeypatch, "memory")
    assert result.found == "0.3 GB available" and result.fix == "jupyter server list"


def test_memory_that_nothing_tells_is_a_note(monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda: None)
    (result,) = examined(monkeypatch, "memory")
    assert result.ok and "not measured" in result.found


def test_memory_is_that_of_the_container_where_it_is_less(tmp_path):
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 700000\n")
    assert doctor.available_memory(tmp_path) == 1_200_000
    (tmp_path / "memory.max").write_text("max\n")
    machine = doctor.available_memory(tmp_path)
    assert machine is None or machine > 1_200_000


def test_more_threads_than_the_quota(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(devices, "cpu_quota", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    result = fault(monkeypatch, "threads")
    assert result.found == "8 for a quota of 2 (OMP_NUM_THREADS=8)" and result.fix.endswith("OMP_NUM_THREADS=2")


def test_fewer_threads_than_the_quota_are_the_users_choice(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(devices, "cpu_quota", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    (result,) = examined(monkeypatch, "threads")
    assert result.ok and result.found == "1 for a quota of 2 (OMP_NUM_THREADS=1)"


def test_device_that_is_found_but_does_not_compute(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    monkeypatch.setattr(torch, "ones", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no kernel image\nmore")))
    result = fault(monkeypatch, "device")
    assert result.found == "cuda: Old GPU fails with no kernel image"
    assert result.fix.endswith("CUDA_VISIBLE_DEVICES=-1")


def test_cpu_is_fine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (result,) = examined(monkeypatch, "device")
    assert result.ok and result.found.startswith("cpu")
