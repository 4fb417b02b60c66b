"""vae_helpers.devices: the device by name, and threads that follow the container's quota."""

import os

import pytest
import torch

from vae_helpers import devices


@pytest.fixture
def sixteen_cores(monkeypatch):
    """A machine whose process may run on 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_cuda_where_there_is_one(monkeypatch, there, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.pick_device() == devices.pick_device("auto") == torch.device(expected)


def test_auto_never_takes_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.pick_device("auto") == torch.device("cpu")
    assert devices.pick_device("mps") == torch.device("mps")


def test_a_device_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.pick_device("cpu") == torch.device("cpu")
    assert devices.pick_device("cuda") == torch.device("cuda")
    assert devices.pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "'cuda' is not available here: use device='cpu', or 'auto'"),
        ("cuda:3", "'cuda:3' is not available here"),
        ("mps", "'mps' is not available here"),
        ("meta", "'meta' is not available here"),
        ("gpu", "'gpu' does not exist: use device='cpu', or 'auto'"),
        ("", "'' does not exist"),
    ],
)
def test_a_device_that_is_not_here(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(name == "cuda:3"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        devices.pick_device(name)


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("max 100000", 16),
        ("6400000 100000", 16),
        ("", 16),
    ],
)
def test_the_quota_of_cgroup_v2(sixteen_cores, tmp_path, cpu_max, expected):
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert devices.cpu_quota(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 16), ("10000", 1)])
def test_the_quota_of_cgroup_v1(sixteen_cores, tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert devices.cpu_quota(tmp_path) == expected


def test_no_container_no_quota(sixteen_cores, tmp_path):
    assert devices.cpu_quota(tmp_path) == 16


def test_where_affinity_is_unknown_all_cores_count(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for count, expected in [(6, 6), (None, 1)]:
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert devices.cpu_quota(tmp_path) == expected


def test_threads_follow_the_quota_unless_the_user_chose(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "cpu_quota", lambda: before + 1)
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", str(before))
        assert devices.use_quota_threads() == torch.get_num_threads() == before
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert devices.use_quota_threads() == torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
