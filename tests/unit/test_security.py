"""No file of the course unpickles, evaluates text, opens a shell, or trusts an unverified server: read from the syntax trees."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "vae_helpers").rglob("*.py"))
SOURCES = sorted((ROOT / "notebooks").rglob("*.py"))
OTHERS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
NOTEBOOKS = sorted(p for p in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)

UNPICKLING_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_NAMES = {"eval", "exec", "__import__"}
FORBIDDEN_ATTRIBUTES = {
    "torch.load": "unpickles",
    "torch.hub.load": "runs code from elsewhere",
    "os.system": "opens a shell",
    "os.popen": "opens a shell",
    "subprocess.getoutput": "opens a shell",
    "subprocess.getstatusoutput": "opens a shell",
    "ssl._create_unverified_context": "trusts any server",
    "ssl.CERT_NONE": "trusts any server",
}
FORBIDDEN_KEYWORDS = {("verify", False), ("shell", True), ("allow_pickle", True), ("weights_only", False)}
IPYTHON = {"system", "getoutput", "run_line_magic", "run_cell_magic", "run_cell"}


def dotted(node: ast.AST) -> str:
    """ "a.b.c" for the expression a.b.c, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def faults(tree: ast.AST) -> Iterator[str]:
    """What a syntax tree must not hold, with its line."""
    for node in ast.walk(tree):
        found = ""
        if isinstance(node, ast.Import):
            found = ", ".join({a.name for a in node.names if a.name.split(".")[0] in UNPICKLING_MODULES})
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{a.name}" for a in node.names}
            if (node.module or "").split(".")[0] in UNPICKLING_MODULES or names & FORBIDDEN_ATTRIBUTES.keys():
                found = f"from {node.module}"
        elif isinstance(node, ast.Attribute) and dotted(node) in FORBIDDEN_ATTRIBUTES:
            found = f"{dotted(node)} ({FORBIDDEN_ATTRIBUTES[dotted(node)]})"
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
            found = node.id
        elif isinstance(node, ast.Call):
            for k in node.keywords:
                if isinstance(k.value, ast.Constant) and (k.arg, k.value.value) in FORBIDDEN_KEYWORDS:
                    found = f"{k.arg}={k.value.value}"
            if isinstance(node.func, ast.Attribute) and node.func.attr in IPYTHON:
                base = node.func.value
                if isinstance(base, ast.Call) and dotted(base.func).endswith("get_ipython"):
                    found = f"get_ipython().{node.func.attr}"
        if found:
            yield f"line {node.lineno}: {found}"


def code_cells(source: str) -> Iterator[tuple[int, str]]:
    """(number of its line, line) for each line in the code cells of a py:percent source."""
    in_code = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.startswith("# %%"):
            in_code = "[markdown]" not in line
        elif in_code:
            yield number, line


def escapes(lines: list[tuple[int, str]]) -> list[str]:
    """Lines that leave Python for a shell or a magic: `!ls`, `%run`, `%%bash`, also as comments (jupytext keeps them so)."""
    return [f"line {n}: {line.strip()}" for n, line in lines if re.match(r"\s*(#\s*)?(!\s*[\w./]|%{1,2}[a-z])", line)]


@pytest.mark.parametrize("path", PACKAGE + SOURCES + OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_python_file_holds_what_is_forbidden(path: Path):
    assert not list(faults(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_notebook_source_leaves_python(path: Path):
    assert not escapes(list(code_cells(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_generated_notebook_holds_what_is_forbidden(path: Path):
    for i, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            text = "".join(cell["source"])
            assert not escapes(list(enumerate(text.splitlines(), 1))), f"cell {i}"
            assert not list(faults(ast.parse(text))), f"cell {i}"


def test_the_package_saves_no_pickle_either():
    for path in PACKAGE + SOURCES:
        assert "torch.save" not in {dotted(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}, (
            path
        )


def test_there_is_something_to_read():
    assert len(PACKAGE) > 10 and len(OTHERS) > 5
    assert ROOT / "vae_helpers" / "checkpoints.py" in PACKAGE


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import os, joblib.numpy_pickle",
        "from pickle import loads",
        "from torch import load",
        "import torch\nmodel = torch.load(path, weights_only=True)",
        "loader = torch.load",
        "np.load(path, allow_pickle=True)",
        "anything.load(path, weights_only=False)",
        "x = eval('1')",
        "run = exec",
        "__import__('os')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "requests.get(url, verify=False)",
        "ssl._create_unverified_context()",
        "context.verify_mode = ssl.CERT_NONE",
        "get_ipython().system('ls')",
        "IPython.get_ipython().run_cell_magic('bash', '', 'ls')",
    ],
)
def test_the_scan_finds(code: str):
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "requests.get(url, verify=True)",
        "checkpoints.load(path)",
        "import picklejar",
        "subprocess.run(['ls'])",
    ],
)
def test_the_scan_lets_pass(code: str):
    assert not list(faults(ast.parse(code)))


def test_the_scan_of_cells_finds_escapes_in_code_only():
    source = "# %% [markdown]\n# ![a figure](a.png)\n# !important\n# %%\nx = 5 % 3\n# !pip install torch\n!ls\n# %matplotlib inline\n"
    assert [fault.split(":")[0] for fault in escapes(list(code_cells(source)))] == ["line 6", "line 7", "line 8"]
    assert escapes([(1, "%%bash")]) and escapes([(1, "  !cat x")])
    assert not escapes([(1, "# 100 % sure"), (2, "assert a != b"), (3, "# != is 'not equal'")])
