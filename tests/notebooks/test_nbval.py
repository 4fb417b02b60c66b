"""The solved notebooks under nbval, and the proof that nbval compares: a wrong stored output must make it fail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import build
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LESSONS = [path.stem for path in build.sources(build.HERE)]


def nbval(notebook: Path) -> tuple[int, str]:
    """Exit code and report of `pytest --nbval-lax` in the quick profile."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "180"]
    command += ["--nbval-kernel-startup-timeout", "120", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    command += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--color=no", str(notebook)]
    env = os.environ | {"VAE_PROFILE": "quick", "VAE_OFFLINE": "1", "TQDM_DISABLE": "1"}
    for name in ("MPLBACKEND", "PYTEST_ADDOPTS"):  # the first breaks figures, the second is meant for the outer run
        env.pop(name, None)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_canary_fails():
    code, report = nbval(HERE / "canary.ipynb")
    assert code == 1 and "1 failed" in report
    assert "one and one is 3" in report and "one and one is 2" in report  # for this reason and no other


def test_the_canary_s_twin_passes():
    code, report = nbval(HERE / "good.ipynb")
    assert code == 0 and "1 passed" in report


@pytest.mark.parametrize("stem", LESSONS)
def test_a_solved_notebook_gives_its_stored_outputs_again(stem):
    code, report = nbval(build.HERE / "solutions" / f"{stem}.ipynb")
    assert code == 0, report[-6000:]
    assert re.search(r"[1-9]\d* passed", report), report[-2000:]
