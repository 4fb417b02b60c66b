"""What the browser tests share: one JupyterLab for all of them, and a fresh page for each. See `in_browser`."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE.parents[1], HERE):  # for `import benchmarks.slider`, `import in_browser`
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import in_browser  # noqa: E402  its folder has just been named

NOTEBOOKS = HERE.parents[1] / "notebooks"


@pytest.fixture(scope="session")
def chromium() -> str:
    """Chromium's path; skips where there is none, unless VAE_REQUIRE_BROWSER=1 says that there must be one."""
    if in_browser.CHROMIUM is None:
        if os.environ.get("VAE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"VAE_REQUIRE_BROWSER=1, but {in_browser.NO_CHROMIUM}")
        pytest.skip(in_browser.NO_CHROMIUM)
    return in_browser.CHROMIUM


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[in_browser.Lab]:
    """JupyterLab with a copy of the notebooks."""
    with in_browser.running_lab(tmp_path_factory.mktemp("lab")) as running:
        for notebook in NOTEBOOKS.glob("*.ipynb"):
            shutil.copy(notebook, running.folder)
        yield running


@pytest.fixture
def page(chromium: str) -> Iterator:
    with in_browser.new_page() as new:
        yield new
