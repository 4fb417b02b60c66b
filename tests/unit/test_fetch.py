"""vae_helpers.data.fetch, against servers on this machine that misbehave in every way that was met."""

import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vae_helpers import data

SHORT = 0.6  # seconds of silence after which these tests give a mirror up


@dataclass
class Mirrors:
    """A server whose first path element says how it answers: address("ok") delivers, address("hang") never says a word."""

    port: int
    asked: list[str]

    def address(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.port}/{manner}/"


@pytest.fixture
def mirrors(tiny, places, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            _, manner, name = self.path.split("/")
            content = tiny.content[name]
            if manner in ("403", "404", "503"):
                self.send_error(int(manner))
            elif manner == "hang":
                over.wait(10)
            elif manner == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            elif manner == "html":
                self.answer(b"<html>Please log in to this network</html>")
            elif manner == "altered":
                self.answer(bytes([content[0] ^ 1]) + content[1:])
            elif manner in ("short", "stall"):  # half of what was promised, then the end or silence
                self.answer(content, content[: len(content) // 2])
                if manner == "stall":
                    over.wait(10)
            else:
                self.answer(content)

        def answer(self, promised: bytes, sent: bytes | None = None) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(promised)))
            self.end_headers()
            self.wfile.write(promised if sent is None else sent)
            self.wfile.flush()

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # the client went away, or we closed the connection ourselves
                self.close_connection = True

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield Mirrors(server.server_port, asked)
    over.set()
    server.shutdown()
    server.server_close()


def left_over(folder: Path) -> list[str]:
    """What lies in the folder beside MNIST's files."""
    names = {file.name for file in data.FILES.values()}
    return [path.name for path in folder.iterdir() if path.name not in names] if folder.is_dir() else []


def test_the_four_files_arrive(tiny, mirrors, places, tmp_path):
    folder = data.fetch(tmp_path / "new", mirrors=(mirrors.address("ok"),), progress=False)
    assert folder == tmp_path / "new" / "MNIST" / "raw"
    assert data.damaged(folder) == []
    assert left_over(folder) == []
    assert len(data.load("mnist", root=tmp_path / "new")) == 30


@pytest.mark.skipif(os.name == "nt", reason="file modes of POSIX")
def test_others_may_read_what_was_fetched(mirrors, tmp_path):
    folder = data.fetch(tmp_path, mirrors=(mirrors.address("ok"),), progress=False)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_the_default_is_the_own_folder_and_the_known_mirrors(mirrors, places, monkeypatch):
    monkeypatch.setattr(data, "MIRRORS", (mirrors.address("ok"),))
    assert data.fetch(progress=False) == places / "MNIST" / "raw"
    assert len(data.load("auto", "test")) == 10
    assert len(mirrors.asked) == 4


def test_nothing_is_asked_for_twice(tiny, mirrors, tmp_path):
    for _ in range(2):
        data.fetch(tmp_path, mirrors=(mirrors.address("ok"),), progress=False)
    assert len(mirrors.asked) == 4


@pytest.mark.parametrize("sub", ["", "MNIST/raw"])
def test_only_what_is_missing_or_damaged_is_fetched_where_it_belongs(tiny, mirrors, tmp_path, sub):
    folder = tiny.write(tmp_path / sub, without=(tiny.name("test", "labels"),))
    (folder / tiny.name()).write_bytes(b"<html>")
    assert data.fetch(tmp_path, mirrors=(mirrors.address("ok"),), progress=False) == folder
    assert data.damaged(folder) == []
    assert sorted(mirrors.asked) == sorted(f"/ok/{name}" for name in (tiny.name(), tiny.name("test", "labels")))


def test_a_damaged_own_file_heals_by_itself(tiny, mirrors, places, monkeypatch, capsys):
    monkeypatch.setattr(data, "MIRRORS", (mirrors.address("404"), mirrors.address("ok")))
    folder = tiny.write(places / "MNIST" / "raw")
    (folder / tiny.name()).write_bytes(tiny.content[tiny.name()][:-1])
    assert data.load("auto").name == "MNIST"
    assert data.damaged(folder) == []
    assert "digits" not in capsys.readouterr().out


@pytest.mark.parametrize("manner", ["404", "html", "hang"])
def test_a_damaged_own_file_that_no_mirror_mends_is_raised(tiny, mirrors, places, monkeypatch, manner):
    monkeypatch.setattr(data, "MIRRORS", (mirrors.address(manner),))
    monkeypatch.setattr(data.fetch, "__kwdefaults__", data.fetch.__kwdefaults__ | {"timeout": SHORT})
    folder = tiny.write(places / "MNIST" / "raw")
    (folder / tiny.name()).write_bytes(b"broken")
    with pytest.raises(data.DataError, match=f"{tiny.name()} is truncated"):
        data.load("auto")
    assert (folder / tiny.name()).read_bytes() == b"broken"


MANNERS = {
    "403": "answered 403",
    "404": "answered 404",
    "503": "answered 503",
    "short": "could not be reached, or broke off",
    "reset": "could not be reached, or broke off",
    "hang": f"was silent for {SHORT:g} s",
    "stall": f"was silent for {SHORT:g} s",
    "html": r"sent something else \(its SHA-256 differs\)",
    "altered": r"sent something else \(its SHA-256 differs\)",
}


@pytest.mark.parametrize("manner", MANNERS)
def test_each_failure_is_named_and_leaves_nothing(tiny, mirrors, tmp_path, manner):
    begin = time.monotonic()
    with pytest.raises(data.MissingData) as caught:
        data.fetch(tmp_path, mirrors=(mirrors.address(manner),), timeout=SHORT, progress=False)
    assert time.monotonic() - begin < SHORT + 5
    caught.match(f"{tiny.name()} could not be fetched.*/{manner}/ {MANNERS[manner]}")
    caught.match(f"Type: python -m vae_helpers fetch --to {tmp_path} on a machine with a network")
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []
    assert mirrors.asked == [f"/{manner}/{tiny.name()}"]  # one try, then the next mirror


@pytest.mark.parametrize("manner", MANNERS)
def test_the_second_mirror_stands_in(tiny, mirrors, tmp_path, manner):
    folder = tiny.write(tmp_path / "own", without=(tiny.name(),))
    data.fetch(folder, mirrors=(mirrors.address(manner), mirrors.address("ok")), timeout=SHORT, progress=False)
    assert data.damaged(folder) == []
    assert left_over(folder) == []
    assert mirrors.asked == [f"/{manner}/{tiny.name()}", f"/ok/{tiny.name()}"]


def test_a_mirror_that_is_not_there(mirrors, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(data.MissingData, match=f"{nobody} could not be reached"):
            data.fetch(tmp_path, mirrors=(nobody,), timeout=SHORT, progress=False)


def test_a_mirror_that_never_accepts(mirrors, tmp_path):
    """Connecting has a time-out of its own. A full queue makes the kernel ignore new connections, as a firewall would."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        begin = time.monotonic()
        with pytest.raises(data.MissingData, match=f"was silent for {SHORT:g} s"):
            data.fetch(tmp_path, mirrors=(f"http://127.0.0.1:{deaf.getsockname()[1]}/",), timeout=SHORT, progress=False)
        assert time.monotonic() - begin < SHORT + 5
        for client in waiting:
            client.close()


def test_every_mirror_is_named_when_all_fail(mirrors, tmp_path):
    three = tuple(mirrors.address(manner) for manner in ("404", "html", "reset"))
    with pytest.raises(
        data.MissingData, match=r"/404/ answered 404; .*/html/ sent something else.*; .*/reset/ could not"
    ):
        data.fetch(tmp_path, mirrors=three, progress=False)


def test_what_arrived_before_a_failure_is_kept(tiny, mirrors, tmp_path, monkeypatch):
    folder = tmp_path / "MNIST" / "raw"
    real = data._fetch_file

    def one_then_none(file, folder, mirrors_, *rest):
        real(file, folder, mirrors_ if file.name == tiny.name() else (mirrors.address("404"),), *rest)

    monkeypatch.setattr(data, "_fetch_file", one_then_none)
    with pytest.raises(data.MissingData):
        data.fetch(tmp_path, mirrors=(mirrors.address("ok"),), progress=False)
    assert [path.name for path in folder.iterdir()] == [tiny.name()]


def test_auto_says_why_it_took_the_digits(mirrors, places, monkeypatch, capsys):
    monkeypatch.setattr(data, "MIRRORS", (mirrors.address("403"),))
    assert data.load("auto").name == "digits"
    assert "answered 403" in capsys.readouterr().out
    data.load("auto", "test")
    assert len(mirrors.asked) == 1  # no second wait in this process


def test_progress_goes_to_stderr(mirrors, tmp_path, capfd):
    data.fetch(tmp_path / "shown", mirrors=(mirrors.address("ok"),))
    shown = capfd.readouterr()
    assert "100%" in shown.err
    assert shown.out == ""
    data.fetch(tmp_path / "quiet", mirrors=(mirrors.address("ok"),), progress=False)
    assert capfd.readouterr() == ("", "")


def test_the_mirrors_of_the_course():
    assert len(data.MIRRORS) >= 2
    assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in data.MIRRORS)
    assert len({mirror.split("/")[2] for mirror in data.MIRRORS}) == len(data.MIRRORS)
    assert data.CONNECT_TIMEOUT <= data.TIMEOUT <= 30


# ---------------------------------------------------------------- folders that cannot be written


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_folder_that_cannot_be_made(tiny, mirrors, tmp_path, monkeypatch, capsys, name):
    """A course that lies on a read-only disk: said by name, and the digits for those who take what there is."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(data.paths, "DATA", tmp_path / "file")
    monkeypatch.setattr(data, "MIRRORS", (mirrors.address("ok"),))
    reason = r"file/MNIST/raw cannot be written \(Not a directory\)"
    if name == "auto":
        assert data.load(name).name == "digits"
        assert "cannot be written" in capsys.readouterr().out
    else:
        with pytest.raises(data.MissingData, match=f"{reason}.*--to DIR"):
            data.load(name)
    assert mirrors.asked == []


# ---------------------------------------------------------------- other processes

SET_UP = """
import json, os, sys
from pathlib import Path
from vae_helpers import data

registry, mirror, folder = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
data.FILES.clear()
for split, part, name, size, sha256, shape in registry:
    data.FILES[split, part] = data.DataFile(name, size, sha256, tuple(shape))
data.MIRRORS = (mirror,)
"""

EIGHT = """
import multiprocessing, pooch, requests, time

def work(folder, gate):
    data.paths.DATA = folder
    gate.wait()
    raise SystemExit(0 if len(data.load("auto")) == 30 and data.load("auto", "test").name == "MNIST" else 1)

context = multiprocessing.get_context("fork")
for i in range(5):
    gate = context.Barrier(8)
    eight = [context.Process(target=work, args=(folder / str(i), gate)) for _ in range(8)]
    for process in eight:
        process.start()
    for process in eight:
        process.join(30)
    print([process.exitcode for process in eight], flush=True)
"""

FULL = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))  # bytes a file may hold: the labels fit, the images do not
try:
    data.fetch(folder, progress=False)
except data.DataError as error:
    print(error)
"""


def in_another_process(tiny, mirrors, folder: Path, script: str) -> str:
    """Run a script that knows the tiny MNIST and the well-behaved mirror; returns what it printed."""
    arguments = [json.dumps(tiny.registry), mirrors.address("ok"), str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VAE_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SET_UP + script, *arguments],
        capture_output=True, text=True, timeout=100, env=environment, cwd=data.paths.ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork to start eight at once quickly")
def test_eight_processes_that_start_at_once_all_succeed(tiny, mirrors, tmp_path):
    """Five times in a row, each time into an empty folder; the processes meet at a gate before they look."""
    printed = in_another_process(tiny, mirrors, tmp_path / "eight", EIGHT)
    assert printed.splitlines() == [str([0] * 8)] * 5
    assert len(mirrors.asked) > 5 * 4  # they did run into each other
    for i in range(5):
        folder = tmp_path / "eight" / str(i) / "MNIST" / "raw"
        assert data.damaged(folder) == []
        assert left_over(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_named_and_no_temporary_file_stays(tiny, mirrors, tmp_path):
    folder = tiny.write(tmp_path / "MNIST" / "raw", without=(tiny.name("test", "images"),))
    (folder / tiny.name()).write_bytes(b"an old file")
    printed = in_another_process(tiny, mirrors, tmp_path, FULL)
    assert (
        f"{folder} cannot be written (File too large): free some space there, or choose another folder with --to DIR"
        in printed
    )
    assert (folder / tiny.name()).read_bytes() == b"an old file"
    assert left_over(folder) == []


# ---------------------------------------------------------------- the guard in conftest.py


def test_no_test_can_leave_this_machine(tmp_path):
    """Neither by number nor by name, and no code under test takes the guard for a network that is down."""
    attempts = [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.create_connection(("2001:db8::1", 80), timeout=1),
        lambda: socket.getaddrinfo("example.org", 443),
        lambda: data.fetch(tmp_path, mirrors=("https://example.org/",), timeout=1, progress=False),
    ]
    for attempt in attempts:
        with pytest.raises(AssertionError, match="a test tried to reach"):
            attempt()
