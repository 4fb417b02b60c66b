"""Lets these tests import the pipeline (notebooks/build*.py) and their own two modules, and makes one tiny course to try them on."""

import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
for folder in (HERE, NOTEBOOKS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder like notebooks/, with the tiny sources only."""
    shutil.copytree(HERE / "fixtures" / "source", tmp_path / "source")
    return tmp_path


@pytest.fixture(scope="session")
def tiny_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like notebooks/, with the tiny sources generated and executed (in the full profile, which costs them nothing)."""
    import build

    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(HERE / "fixtures" / "source", folder / "source")
    assert build.execute(folder)
    return folder
