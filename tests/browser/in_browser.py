"""JupyterLab as a student meets it: a server of its own, and Chromium that can reach this machine only. For tests and `benchmarks`."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from playwright.sync_api import Locator, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "Chromium is not installed (Debian, Ubuntu: sudo apt install chromium)"
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of view are not in the page
}
ONLY_THIS_MACHINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
ERRORS = "[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type='application/vnd.jupyter.error']"
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class Lab:
    """A running server: its port, its token, and the folder of its notebooks."""

    port: int
    token: str
    folder: Path

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}?token={self.token}"

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Put a notebook of code cells into the folder; returns its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.folder / name)
        return name


@contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """JupyterLab on 127.0.0.1 with a token, and all its folders in `home`: neither the checkout nor the user's settings change.

    Raises RuntimeError with the end of its log where it does not start.
    """
    folder = home / "notebooks"
    folder.mkdir()
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(port, secrets.token_hex(16), folder)
    env = os.environ | {
        "JUPYTER_TOKEN": lab.token,  # in the environment, where other users of the machine cannot read it
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "VAE_PROFILE": "quick",
        "VAE_OFFLINE": "1",
    }
    env.pop("MPLBACKEND", None)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.expose_app_in_browser=True", *(["--allow-root"] if _is_root() else [])]
    with open(home / "server.log", "w") as log:
        server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_up(lab, server, home / "server.log")
            yield lab
        finally:
            server.terminate()  # it ends its kernels before it goes
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _wait_until_up(lab: Lab, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(lab.address("api/status"), timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


@contextmanager
def new_page() -> Iterator[Page]:
    """A page of headless Chromium that can look up no name and reach 127.0.0.1 only. Raises RuntimeError without Chromium."""
    if CHROMIUM is None:
        raise RuntimeError(NO_CHROMIUM)
    options = [ONLY_THIS_MACHINE, *(["--no-sandbox"] if _is_root() else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def open_and_run(page: Page, lab: Lab, name: str) -> Locator:
    """Open a notebook, wait for its kernel (before that, Run All silently does nothing), run all cells. Returns the cells.

    Each notebook has a workspace of its own: in a shared one JupyterLab brings back the notebooks opened before, and may put one in front.
    """
    page.goto(lab.address(f"lab/workspaces/{Path(name).stem}/tree/{name}"))
    expect(page.get_by_text("| Idle").first).to_be_visible(timeout=150_000)  # on a busy machine a kernel takes its time
    page.evaluate(RUN_ALL)
    expect(page.get_by_text("| Idle").first).to_be_visible()
    return page.locator(".jp-Cell")


def expect_widgets(page: Page) -> None:
    """No widget failed to show, and none is still on its way."""
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(page.get_by_text("Loading widget")).to_have_count(0)
