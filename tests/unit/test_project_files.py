"""What stands around the course and must agree with itself: environment, lock, README, licences, workflows, issue forms."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from vae_helpers import paths

ROOT = paths.ROOT
FLOORS = {"torch": "2.10", "jupyterlab": "4.6.2", "jupyter-server": "2.20", "nbconvert": "7.17.1", "ipywidgets": "8.1"}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(p for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.name != "config.yml")
LESSON = re.compile(
    r"^\| (?:\[(?P<linked>\w+)\]\((?P<target>[^)]+)\)|(?P<planned>\d\d_\w+)) \| (?P<question>.+) \| (?P<minutes>.+) \|$"
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))


def floors(lines: list[str]) -> dict[str, Version]:
    """{name: lowest version} of requirement lines, each of which must be a plain `name>=version`."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == ">=", f"{line}: a floor is wanted, not {specifier.operator}"
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def dependencies() -> dict[str, Version]:
    return floors(project()["project"]["dependencies"])


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*)\s*:(?!=)", makefile, re.MULTILINE))


def code_in(markdown: str) -> str:
    """All that stands between backticks, one span or block after the other."""
    return "\n".join(re.findall(r"`+([^`]+)`+", markdown))


def make_calls(code: str) -> set[str]:
    """The targets behind every `make X` in lines of code."""
    return set(re.findall(r"^\s*make ([a-z][\w-]*)", code, re.MULTILINE))


# ---------------------------------------------------------------- what gets installed


def environment() -> tuple[list[str], list[str]]:
    """(conda's lines, pip's lines) of environment.yml."""
    entries = yaml.safe_load(read("environment.yml"))["dependencies"]
    return [e for e in entries if isinstance(e, str)], [
        line for e in entries if isinstance(e, dict) for line in e["pip"]
    ]


def test_floors_close_the_known_holes():
    for name, lowest in FLOORS.items():
        assert dependencies()[name] >= Version(lowest), f"pyproject.toml lets {name} be older than {lowest}"


def test_conda_brings_python_and_pip_and_nothing_else():
    conda, pip = environment()
    assert yaml.safe_load(read("environment.yml"))["channels"] == ["conda-forge", "nodefaults"]
    assert [re.split(r"[=<> ]", line)[0] for line in conda] == ["python", "pip"], "binaries come from one source: pip"
    assert pip.count("-e .") == 1, "without `-e .` Binder would not install the course's package"


def test_repo2docker_can_read_the_python_version_and_the_project_allows_it():
    match = re.fullmatch(r"python=(3\.\d+)", environment()[0][0])
    assert match, "repo2docker understands python=3.x, with one ="
    assert Version(match[1]) in Requirement("python" + project()["project"]["requires-python"]).specifier


def test_environment_and_pyproject_name_the_same_packages_and_floors():
    assert floors([line for line in environment()[1] if line != "-e ."]) == dependencies()


def locked() -> list[tuple[str, Version, str]]:
    """(name, version, the entry's whole text) of each pin in requirements.lock; a name may be pinned once per platform."""
    entries = re.split(r"\n(?=\S)", read("requirements.lock").strip())
    pins = [(*re.match(r"([\w.-]+)==([^\s;\\]+)", entry).groups(), entry) for entry in entries]
    return [(canonicalize_name(name), Version(version), entry) for name, version, entry in pins]


def test_every_dependency_is_locked_above_its_floor():
    needed = dependencies() | floors(project()["dependency-groups"]["dev"])
    assert len(needed) > 20
    for name, lowest in needed.items():
        versions = [version for pinned, version, _ in locked() if pinned == name]
        assert versions, f"{name} is not in requirements.lock: type make lock"
        assert min(versions) >= lowest, f"{name} is locked below {lowest}: type make lock"


def test_every_pin_has_a_hash_and_the_lock_names_no_host():
    for name, _, entry in locked():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{name} is locked without a hash"
    assert not re.findall(r"://|--(?:extra-)?index-url|--find-links| @ ", read("requirements.lock"))


# ---------------------------------------------------------------- README and its commands


def test_the_two_commands_exist_and_so_does_every_other_target_in_the_documents():
    there = targets(read("Makefile"))
    assert {"lab", "test"} <= make_calls(code_in(read("README.md"))), "the README opens with make lab and make test"
    for name in ("README.md", "INSTRUCTORS.md", "CONTRIBUTING.md"):
        missing = make_calls(code_in(read(name))) - there
        assert not missing, f"{name} tells people to make {missing}, which the Makefile does not know"


def test_the_route_for_small_machines_marks_the_environment_as_make_does():
    """Else `make lab` would install the lock over it, CUDA and all."""
    stamp = re.search(r"^STAMP := \$\(VENV\)/(\S+)$", read("Makefile"), re.MULTILINE)[1]
    assert re.search(rf"^touch \.venv/{re.escape(stamp)}$", read("README.md"), re.MULTILINE)


def test_every_command_in_the_readme_is_one_that_the_command_line_knows():
    from vae_helpers import __main__ as command_line

    section = read("README.md").split("## The command line")[1].split("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) | set(
        re.findall(r"-m vae_helpers ([a-z]+)", read("README.md"))
    )
    assert {"doctor", "fetch", "train", "reproduce"} <= named
    for command in sorted(named):
        with pytest.raises(SystemExit) as stop:
            command_line.main([command, "--help"])
        assert stop.value.code == 0, f"python -m vae_helpers {command} does not exist"


def test_every_file_that_the_documents_link_to_is_there():
    for name in ("README.md", "INSTRUCTORS.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", read(name)):
            assert (ROOT / target).exists(), f"{name} links to {target}, which is not there"


def lessons() -> list[dict[str, str]]:
    table = read("README.md").split("## The lessons")[1].split("\n## ")[0]
    return [match.groupdict() for line in table.splitlines() if (match := LESSON.match(line))]


def test_the_readme_lists_ten_lessons_in_order():
    names = [row["linked"] or row["planned"] for row in lessons()]
    assert [name[:2] for name in names] == [f"{n:02d}" for n in range(10)]


@pytest.mark.parametrize("row", lessons(), ids=lambda row: row["linked"] or row["planned"])
def test_a_lesson_is_linked_exactly_when_its_notebook_exists(row):
    """To mend a failure, write the row as `| [NN_topic](notebooks/NN_topic.ipynb) | question | minutes |`, or take the link away."""
    name = row["linked"] or row["planned"]
    notebook = ROOT / "notebooks" / f"{name}.ipynb"
    assert bool(row["linked"]) == notebook.exists(), (
        f"README says {row['minutes']!r} of {name}: link it once its notebook exists"
    )
    if not row["linked"]:
        assert row["minutes"] == "in preparation"
        return
    assert (ROOT / row["target"]) == notebook
    top = read(f"notebooks/source/{name}.py").split("\n# %%\n")[0]
    stated = re.search(r"(\d+)\s*min", top)
    assert stated, f"{name} does not state its minutes at the top"
    assert row["minutes"] == stated[1], f"README gives {name} {row['minutes']} minutes, the lesson itself {stated[1]}"


# ---------------------------------------------------------------- safety

FORBIDDEN = {
    "Jupyter's token is switched off": r"(?:token|password)\s*=\s*(?:''|\"\"|False\b)",
    "it listens on every address": r"0\.0\.0\.0|--(?:\w+\.)?ip[= ]",
    "it runs as root": r"--(?:\w+\.)?allow[-_]root|\bsudo (?!apt )",
    "certificates are not verified": r"verify\s*=\s*False|--trusted-host",
}


def shown_to_users() -> list[Path]:
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.yml"), ROOT / "Makefile"]
    for folder in (".github", "notebooks", "vae_helpers", "book", "data", "benchmarks"):
        files += [p for p in (ROOT / folder).rglob("*") if p.suffix in {".md", ".py", ".ipynb", ".yml", ".toml", ".sh"}]
    return [p for p in files if p.is_file() and "_build" not in p.parts and ".ipynb_checkpoints" not in p.parts]


def unsafe(text: str) -> list[str]:
    return [why for why, pattern in FORBIDDEN.items() if re.search(pattern, text)]


def test_nothing_that_users_read_loosens_jupyter():
    files = shown_to_users()
    assert len(files) > 20
    assert not {str(p): found for p in files if (found := unsafe(p.read_text(encoding="utf-8")))}


@pytest.mark.parametrize(
    "line",
    [
        "jupyter lab --IdentityProvider.token=''",
        'c.ServerApp.token = ""',
        "jupyter lab --ServerApp.password=''",
        "jupyter lab --ip=0.0.0.0",
        "jupyter lab --ip '*'",
        "jupyter lab --ServerApp.ip=*",
        "jupyter lab --allow-root",
        "jupyter lab --ServerApp.allow_root=True",
        "sudo pip install torch",
        "requests.get(url, verify=False)",
    ],
)
def test_that_scan_sees_what_it_is_for(line):
    assert unsafe(line)


# ---------------------------------------------------------------- licences, citation


def test_the_licences_are_there_and_are_those_that_pyproject_names():
    assert "Permission is hereby granted, free of charge" in read("LICENSE")
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in read("LICENSE-TEXT")
    assert project()["project"]["license"] == "MIT AND CC-BY-4.0"
    assert project()["project"]["license-files"] == ["LICENSE", "LICENSE-TEXT"]


def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["authors"]
    assert all("name" in a or "family-names" in a for a in citation["authors"])
    assert str(citation["version"]) == project()["project"]["version"]
    assert set(citation["license"]) == {"MIT", "CC-BY-4.0"}


# ---------------------------------------------------------------- workflows, issue forms


def jobs(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


def test_there_is_a_workflow_for_pull_requests_and_one_for_every_week():
    starts = [
        yaml.safe_load(path.read_text(encoding="utf-8"))[True] for path in WORKFLOWS
    ]  # YAML reads the key `on` as true
    assert any("pull_request" in start for start in starts)
    assert any("schedule" in start for start in starts)
    assert not any("pull_request_target" in start for start in starts), "it would run a stranger's code with our rights"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_targets_that_exist(path):
    calls = set().union(*(make_calls(step.get("run", "")) for job in jobs(path).values() for step in job["steps"]))
    assert calls
    assert calls <= targets(read("Makefile"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_pins_its_actions_and_ends(path):
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= 240, f"{name} could run for six hours"
        assert set(job.get("permissions", {})) <= {"issues"}, f"{name} asks for more than it needs"
        for action in (step["uses"] for step in job["steps"] if "uses" in step):
            assert re.fullmatch(r"actions/[\w-]+@v\d+", action), f"{action}: one of GitHub's own, by its major version"
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "text from outside goes through env, never into a script"


def test_the_weekly_run_reports_its_failure():
    weekly = jobs(ROOT / ".github" / "workflows" / "weekly.yml")
    report = weekly["report"]
    assert (report["needs"], report["if"], report["permissions"]) == ("course", "failure()", {"issues": "write"})
    assert "gh issue create" in report["steps"][-1]["run"]
    assert not any(step.get("continue-on-error") for step in weekly["course"]["steps"])


def test_the_pull_request_runs_every_supported_python_on_linux():
    matrix = jobs(ROOT / ".github" / "workflows" / "pull_request.yml")["quick"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"]
    assert project()["project"]["requires-python"] == f">={matrix['python'][0]}"


def test_windows_types_what_the_readme_tells_people_to_type():
    block = re.search(r"```powershell\n(.+?)```", read("README.md"), re.DOTALL)[1].strip().splitlines()
    steps = [step.get("run") for step in jobs(ROOT / ".github" / "workflows" / "pull_request.yml")["windows"]["steps"]]
    for line in block[1:-1]:  # the first makes the environment with the Python at hand, the last opens JupyterLab
        assert line in steps, f"the Windows job does not run {line!r}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_accepts(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    fields = {entry["id"]: entry for entry in form["body"]}
    assert len(fields) == len(form["body"]), "two fields share an id"
    for entry in form["body"]:
        assert entry["type"] in {"input", "textarea", "dropdown", "markdown", "checkboxes"}
        assert entry["attributes"]["label"]


def test_the_lesson_form_asks_for_lesson_and_cell():
    fields = {e["id"]: e for e in yaml.safe_load(read(".github/ISSUE_TEMPLATE/lesson.yml"))["body"]}
    assert fields["lesson"]["attributes"]["options"] == [row["linked"] or row["planned"] for row in lessons()]
    assert fields["cell"]["validations"]["required"]
