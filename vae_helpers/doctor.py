"""Is this machine ready for the course? One check a thing that has gone wrong for somebody, and one command for each fault.

Nothing heavy is imported here: the doctor must be able to say that torch is missing. It never uses the network.
"""

from __future__ import annotations  # an old Python must get far enough to be told that it is old

import contextlib
import importlib.metadata
import math
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vae_helpers import paths

PROJECT = "vae-helpers"
INSTALL = f'python -m pip install -e "{paths.ROOT}"'
FREE_DISK_GB, FREE_MEMORY_GB = 0.5, 1.0  # room for MNIST and a few runs; a kernel with torch takes 0.75 GB


class Result(NamedTuple):
    """What one check found; `fix` is the command to type, and empty once `examine` saw that all is well."""

    name: str
    ok: bool
    found: str
    expected: str
    fix: str = ""


def examine() -> list[Result]:
    """Run every check. A check that dies of what it looks for counts as failed."""
    results: list[Result] = []
    for name, check in CHECKS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results += [result._replace(fix="" if result.ok else _typed(result.fix)) for result in check()]
        except Exception as error:
            found = " ".join(f"{type(error).__name__}: {error}".split())
            results.append(Result(name, False, found, "a check that runs", _typed(INSTALL)))
    return results


def _typed(command: str) -> str:
    """`command` with the Python that runs now: a plain `python` may be another one where the environment is not activated."""
    program, _, rest = command.partition(" ")
    if program != "python":
        return command
    here = Path(sys.executable)
    shown = str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)
    return (f'"{shown}"' if " " in shown else shown) + f" {rest}"


def report(results: list[Result]) -> str:
    """The results as aligned lines; under each fault the one command to type."""
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        lines.append(f"{'✓' if result.ok else '✗'} {result.name:{width}}  {result.found}")
        if not result.ok:
            lines[-1] += f" (expected: {result.expected})"
            lines.append(f"  {'':{width}}  type: {result.fix}")
    faults = sum(not result.ok for result in results)
    lines.append(f"{faults} of {len(results)} checks failed" if faults else f"All {len(results)} checks passed")
    return "\n".join(lines)


# ---------------------------------------------------------------- Python and packages


def _python() -> Iterator[Result]:
    from packaging.specifiers import SpecifierSet

    floor = importlib.metadata.metadata(PROJECT)["Requires-Python"]
    found = platform.python_version()
    ok = SpecifierSet(floor).contains(found, prereleases=True)
    yield Result("Python", ok, f"{found} on {platform.system()}", floor, "conda env create -f environment.yml")


def _floors() -> dict:
    """{package: its version specifier}, as pyproject.toml states them and the installation recorded them."""
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in importlib.metadata.requires(PROJECT) or []]
    return {r.name: r.specifier for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Result]:
    for package, floor in _floors().items():
        found = _version(package)
        ok = found is not None and floor.contains(found, prereleases=True)
        fix = f'python -m pip install "{package}{floor}"'
        expected = str(floor)
        if not ok and package.startswith("torch") and (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
            expected += "; Intel Macs stop at torch 2.2, so use Binder or Colab: README.md has the links"
        yield Result(package, ok, found or "not installed", expected, fix)


def _torch() -> Iterator[Result]:
    """A torch and a torchvision that do not belong together fail only when they are imported."""
    expected = "torch and torchvision that can be imported together"
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        both = " ".join(f'"{package}{floor}"' for package, floor in _floors().items() if package.startswith("torch"))
        found = " ".join(f"{type(error).__name__}: {error}".split())
        yield Result("torch works", False, found, expected, f"python -m pip install --force-reinstall {both}")
    else:
        yield Result(
            "torch works", True, f"torch {torch.__version__} with torchvision {torchvision.__version__}", expected
        )


# ---------------------------------------------------------------- Jupyter


def _widgets() -> Iterator[Result]:
    """Sliders stay text when JupyterLab's half of ipywidgets is missing or of another generation."""
    from jupyter_core.paths import jupyter_path
    from packaging.requirements import Requirement

    needs = [Requirement(text) for text in importlib.metadata.requires("ipywidgets") or []]
    pair = next(need for need in needs if need.name.replace("-", "_") == "jupyterlab_widgets")
    found = _version(pair.name)
    folders = [Path(folder) / "@jupyter-widgets" / "jupyterlab-manager" for folder in jupyter_path("labextensions")]
    there = any((folder / "package.json").is_file() for folder in folders)
    ok = found is not None and pair.specifier.contains(found, prereleases=True) and there
    text = f"ipywidgets {_version('ipywidgets')} with jupyterlab_widgets {found or 'missing'}"
    text += "" if there else ", whose files JupyterLab does not find"
    fix = "python -m pip install --upgrade --force-reinstall --no-deps ipywidgets jupyterlab_widgets"
    yield Result("widget pair", ok, text, f"jupyterlab_widgets{pair.specifier}", fix)


def _kernel() -> Iterator[Result]:
    """A `python3` kernel that somebody once installed for another Python hides the right one."""
    from jupyter_client.kernelspec import KernelSpecManager

    spec = KernelSpecManager().get_kernel_spec("python3")
    started, here = Path(spec.argv[0]), Path(sys.executable)
    ok = (
        not started.is_absolute() or started.parent == here.parent
    )  # a bare `python` means the one that Jupyter runs in
    inside = Path(spec.resource_dir).is_relative_to(sys.prefix)
    fix = f"python -m ipykernel install {'--sys-prefix' if inside else '--user'}"
    yield Result("kernel", ok, f"python3 starts {here if ok else started}", f"{here}", fix)


# ---------------------------------------------------------------- data and files


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    before = os.environ.get("VAE_OFFLINE")
    os.environ["VAE_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["VAE_OFFLINE"]
        else:
            os.environ["VAE_OFFLINE"] = before


def _data() -> Iterator[Result]:
    """Where the lessons will find MNIST, without fetching it; the digits in its place are a note, a damaged file is a fault."""
    from vae_helpers import data

    expected = "MNIST's four files, each with the right SHA-256"
    shared = data.shared_folder()
    try:
        with _offline():
            folder = data.find_mnist()
    except data.MissingData:
        found = (
            f"no MNIST: the lessons use scikit-learn's 1 797 digits; to change that: {data.fetch_command(paths.DATA)}"
        )
        yield Result("data", True, found, expected)
        return
    except data.DataError as error:
        yield Result(
            "data",
            False,
            str(error).partition(" Type: ")[0],
            expected,
            data.fetch_command(Path(shared) if shared else paths.DATA),
        )
        return
    note = "" if not shared or folder.is_relative_to(shared) else f" (VAE_DATA_DIR={shared} holds none)"
    if damaged := data.damaged(folder):
        root = paths.DATA if folder.is_relative_to(paths.DATA) else folder
        yield Result("data", False, f"damaged in {folder}: {', '.join(damaged)}", expected, data.fetch_command(root))
    else:
        yield Result("data", True, f"MNIST in {folder}, intact{note}", expected)


def _writing() -> Iterator[Result]:
    for folder in (paths.ROOT, paths.DATA):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            grant = f'icacls "{folder}" /grant "%USERNAME%":M' if os.name == "nt" else f'chmod u+rwx "{folder}"'
            fix = grant if folder.exists() else f'mkdir "{folder}"'
            yield Result("write access", False, f"{folder}: {error.strerror}", "a folder you may write to", fix)
            return
    yield Result("write access", True, f"yes, in {paths.ROOT}", "a folder you may write to")


def _disk() -> Iterator[Result]:
    free = shutil.disk_usage(paths.ROOT).free / 1e9
    ok = free >= FREE_DISK_GB
    yield Result("disk", ok, f"{free:.1f} GB free", f"{FREE_DISK_GB} GB free", "python -m pip cache purge")


def _checkpoints() -> Iterator[Result]:
    """The trained models that the lessons and widgets start from."""
    from vae_helpers.checkpoints import CheckpointError, load
    from vae_helpers.recipes import RECIPES, SHIPPED

    for name in SHIPPED:
        path = paths.CHECKPOINTS / f"{name}.safetensors"
        try:
            load(path, RECIPES[name].build())
        except CheckpointError as error:
            is_clone = (paths.ROOT / ".git").exists()  # else it was unpacked from an archive
            fix = (
                f'git -C "{paths.ROOT}" checkout -- "{path}"'
                if is_clone
                else f'python -m vae_helpers train {name} --out "{path}"'
            )
            yield Result("checkpoints", False, str(error), f"{len(SHIPPED)} trained models that load", fix)
            return
    yield Result("checkpoints", True, f"{len(SHIPPED)} trained models load", f"{len(SHIPPED)} trained models that load")


# ---------------------------------------------------------------- the machine


def available_memory(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that a new process may take: of the machine, or of its container if that is less; None if nothing tells."""
    amounts = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        amounts.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    if not amounts:
        with contextlib.suppress(ImportError):
            import psutil  # in the development environment; elsewhere macOS and Windows go unmeasured

            amounts.append(psutil.virtual_memory().available)
    for limit, used, cache in (
        (groups / "memory.max", groups / "memory.current", "inactive_file"),
        (groups / "memory/memory.limit_in_bytes", groups / "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" means no limit, and is no number
            statistics = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
            amounts.append(int(limit.read_text()) - int(used.read_text()) + int(statistics.get(cache, 0)))
    return min(amounts, default=None)


def _memory() -> Iterator[Result]:
    available = available_memory()
    expected = f"{FREE_MEMORY_GB} GB for one notebook"
    if available is None:
        yield Result("memory", True, "not measured on this system", expected)
        return
    ok = available >= FREE_MEMORY_GB * 1e9
    # running kernels are what usually fills it: this shows the servers that hold them
    yield Result("memory", ok, f"{available / 1e9:.1f} GB available", expected, "jupyter server list")


def _threads() -> Iterator[Result]:
    """More threads than cores granted make a two-second cell take forty."""
    from vae_helpers.devices import cpu_quota, use_quota_threads

    quota, threads = cpu_quota(), use_quota_threads()
    chosen = os.environ.get("OMP_NUM_THREADS")
    found = f"{threads} for a quota of {quota}" + (f" (OMP_NUM_THREADS={chosen})" if chosen else "")
    assign = "set" if os.name == "nt" else "export"
    yield Result("threads", threads <= quota, found, f"at most {quota}", f"{assign} OMP_NUM_THREADS={quota}")


def _device() -> Iterator[Result]:
    """A GPU whose driver does not fit is found, and fails at the first product."""
    import torch

    from vae_helpers.devices import pick_device

    device = pick_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "enough for every lesson"
    try:
        total = float(torch.ones(2, 2, device=device).mm(torch.ones(2, 2, device=device)).sum())
        ok, found = math.isclose(total, 8), f"{device.type}: {name}"
    except RuntimeError as error:
        ok, found = False, f"{device.type}: {name} fails with {str(error).splitlines()[0]}"
    hide = "set CUDA_VISIBLE_DEVICES=-1" if os.name == "nt" else "export CUDA_VISIBLE_DEVICES=-1"
    yield Result("device", ok, found, "a device that multiplies", hide)


CHECKS: dict[str, Callable[[], Iterator[Result]]] = {
    "Python": _python,
    "packages": _packages,
    "torch works": _torch,
    "widget pair": _widgets,
    "kernel": _kernel,
    "data": _data,
    "checkpoints": _checkpoints,
    "write access": _writing,
    "disk": _disk,
    "memory": _memory,
    "threads": _threads,
    "device": _device,
}
