"""The JupyterHub recipe in INSTRUCTORS.md: it parses, agrees with itself, and names what the code really reads."""

import re
from pathlib import PurePosixPath

import pytest
import yaml

from vae_helpers import paths

TEXT = (paths.ROOT / "INSTRUCTORS.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## On a JupyterHub")[1].split("\n## ")[0]
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((paths.ROOT / "vae_helpers").rglob("*.py")))


@pytest.fixture(scope="module")
def values() -> dict:
    (found,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    return yaml.safe_load(found)


@pytest.fixture(scope="module")
def build() -> dict[str, str]:
    """The options of the repo2docker command."""
    (line,) = re.findall(r"^repo2docker .*$", SECTION, re.MULTILINE)
    return dict(re.findall(r"--([\w-]+) (?!-)(\S+)", line))


def read_by_the_code(name: str) -> bool:
    return re.search(rf"environ(?:\.get\(|\[)\"{name}\"", CODE) is not None


def test_every_variable_it_names_is_read_by_the_code(values):
    named = set(re.findall(r"\b(?:VAE|OMP)_[A-Z_]+\b", TEXT)) | values["singleuser"]["extraEnv"].keys()
    assert {"VAE_DATA_DIR", "OMP_NUM_THREADS"} <= named
    assert not {name for name in named if not read_by_the_code(name)}


def test_a_variable_that_nobody_reads_is_noticed():
    assert not read_by_the_code("VAE_DATA_FOLDER")


def test_the_shared_images_are_mounted_where_the_variable_points_and_read_only(values):
    singleuser = values["singleuser"]
    storage = singleuser["storage"]
    (volume,), (mount,) = storage["extraVolumes"].values(), storage["extraVolumeMounts"].values()
    assert mount["mountPath"] == singleuser["extraEnv"]["VAE_DATA_DIR"]
    assert mount["name"] == volume["name"]
    assert mount["readOnly"] is True and volume["persistentVolumeClaim"]["readOnly"] is True


def test_the_image_is_the_one_that_was_built(values, build):
    image = values["singleuser"]["image"]
    assert f"{image['name']}:{image['tag']}" == build["image-name"]
    assert build["user-name"] == "jovyan" and build["user-id"] == "1000", "the chart's defaults"


def test_the_course_lies_outside_the_disk_that_covers_the_home(values, build):
    """Else the package, installed in place, would vanish under each student's own disk."""
    home = PurePosixPath(values["hub"]["config"]["KubeSpawner"]["notebook_dir"])
    course = PurePosixPath(build["target-repo-dir"])
    assert home not in (course, *course.parents)
    command = values["singleuser"]["lifecycleHooks"]["postStart"]["exec"]["command"]
    assert f"cp -rn {course}/notebooks {home}/" in command[-1]
    first = values["singleuser"]["defaultUrl"].removeprefix("/lab/tree/")
    assert (paths.ROOT / first).is_file()
    for named in re.findall(rf"`{course}/([\w/]+)`", SECTION):
        assert (paths.ROOT / named).resolve() in (paths.CHECKPOINTS, paths.RUNS)


def test_there_is_a_quota_for_threads_and_memory_for_training(values):
    singleuser = values["singleuser"]
    assert singleuser["cpu"]["limit"] >= singleuser["cpu"]["guarantee"], "threads follow the limit"
    held = re.search(r"^PEAK_GB = ([\d.]+)$", (paths.ROOT / "tests/unit/test_footprint.py").read_text(), re.MULTILINE)
    guarantee, limit = (float(singleuser["memory"][key].removesuffix("G")) for key in ("guarantee", "limit"))
    assert float(held[1]) <= guarantee < limit
    assert f"{200 * guarantee:.0f} GB over all nodes" in " ".join(SECTION.split())


def test_the_settings_that_end_idle_kernels_exist(values):
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager

    (file,) = values["singleuser"]["extraFiles"].values()
    assert file["mountPath"].endswith("jupyter_server_config.json")
    assert set(file["data"]["MappingKernelManager"]) <= set(MappingKernelManager.class_trait_names())
