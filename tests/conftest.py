"""What every test shares: no network, one thread, no download, a tiny MNIST, and the digits."""

import gzip
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_helpers import data

os.environ.setdefault("VAE_OFFLINE", "1")  # inherited by kernels and other processes that a test starts


class NetworkUsed(AssertionError):
    """A test tried to leave this machine. No OSError, so that no code under test takes it for a network that is down."""


def is_loopback(host: object) -> bool:
    """Whether an address or host name stays on this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(name.split("%")[0]).is_loopback
    except ValueError:
        return name == "localhost"


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Let sockets reach this machine only, and look up no name but localhost."""
    patch = pytest.MonkeyPatch()

    def guard(owner: object, name: str, host_of: Callable) -> None:
        real = getattr(owner, name)

        def guarded(*args, **kwargs):
            host = host_of(*args)
            if host is not None and not is_loopback(host):
                raise NetworkUsed(f"a test tried to reach {host!r}")
            return real(*args, **kwargs)

        patch.setattr(owner, name, guarded)

    def of_address(sock: socket.socket, *args) -> object:
        return args[-1][0] if sock.family in (socket.AF_INET, socket.AF_INET6) else None

    guard(socket.socket, "connect", of_address)
    guard(socket.socket, "connect_ex", of_address)
    guard(socket.socket, "sendto", of_address)
    guard(socket, "getaddrinfo", lambda host, *args: host or "localhost")
    guard(socket, "gethostbyname", lambda host: host)
    yield
    patch.undo()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The same sums on every machine, and no more cores than the runner gave."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test looks for the data anew."""
    monkeypatch.setattr(data, "_using_digits", False)


@pytest.fixture(scope="session")
def digits() -> data.ImageSet:
    """scikit-learn's digits, the training split: 1 500 real images that need no file."""
    return data.load("digits")


@pytest.fixture
def few() -> data.ImageSet:
    """Twelve images of noise with labels 0..9, 0, 1."""
    pixels = torch.randint(0, 256, (12, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return data.ImageSet(pixels, torch.arange(12) % 10)


def idx_bytes(array: np.ndarray) -> bytes:
    """`array` as a gzipped IDX file of bytes; the same bytes for the same array."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@dataclass
class TinyMnist:
    """A stand-in for MNIST with 30 training and 10 test images: what the four files hold, and ways to lay them out and spoil them."""

    arrays: dict[tuple[str, str], np.ndarray]
    content: dict[str, bytes] = field(default_factory=dict)  # file name -> compressed bytes

    def name(self, split: str = "train", part: str = "images") -> str:
        return data.FILES[split, part].name

    def write(self, folder: Path, *, without: tuple[str, ...] = ()) -> Path:
        """Put the four files into `folder`, except those named."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            if name not in without:
                (folder / name).write_bytes(content)
        return folder

    def redefine(self, split: str, part: str, content: bytes, shape: tuple[int, ...] | None = None) -> None:
        """Make `content` the file that is expected, so that what lies behind the hash is tested."""
        file = data.FILES[split, part]
        self.content[file.name] = content
        found = hashlib.sha256(content).hexdigest()
        data.FILES[split, part] = data.DataFile(file.name, len(content), found, shape or file.shape)

    @property
    def registry(self) -> list:
        """data.FILES as JSON can hold it, for another process."""
        return [[*key, *file] for key, file in data.FILES.items()]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinyMnist:
    """Replace the registry of MNIST's files by that of a tiny one."""
    rng = np.random.default_rng(7)
    sizes = {"train": 30, "test": 10}
    arrays = {}
    for split, n in sizes.items():
        arrays[split, "images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[split, "labels"] = (np.arange(n) % 10).astype(np.uint8)
    monkeypatch.setattr(data, "FILES", dict(data.FILES))
    made = TinyMnist(arrays)
    for (split, part), array in arrays.items():
        made.redefine(split, part, idx_bytes(array), array.shape)
    return made


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty course: its own `data/` under a temporary folder (returned), no VAE_DATA_DIR, mirrors allowed but none known."""
    own = tmp_path / "course" / "data"
    own.mkdir(parents=True)
    monkeypatch.setattr(data.paths, "DATA", own)
    monkeypatch.setattr(data, "MIRRORS", ())
    monkeypatch.delenv("VAE_DATA_DIR", raising=False)
    monkeypatch.delenv("VAE_OFFLINE", raising=False)
    return own
