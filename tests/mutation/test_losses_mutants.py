"""Break losses.py (and `reparameterize`) in every small way people do, and see the unit tests notice each one.

A mutant is one change to the syntax tree: another constant, the opposite operator, a term or a call left out, two arguments
swapped, a condition turned round. It is compiled in this process and given to the tests of the unit-test file, those that name
the changed function first, until one of them fails. Changes that cannot alter a result are not generated in the first place:
texts, annotations, and operands of symmetric operations stay as they are.
"""

import ast
import copy
import difflib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from vae_helpers import losses, models

UNIT = Path(__file__).parents[1] / "unit"
OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
OPPOSITE |= {ast.Lt: ast.GtE, ast.NotEq: ast.Eq, ast.Eq: ast.NotEq, ast.Is: ast.IsNot}
OTHER_NAME = {"sum": "mean", "mean": "sum", "logsumexp": "mean", "expm1": "exp", "exp": "expm1", "log": "log1p"}
OTHER_NAME |= {"tanh": "sigmoid", "sigmoid": "tanh", "binary_cross_entropy_with_logits": "binary_cross_entropy"}


@dataclass
class Mutant:
    """A changed syntax tree, the function that was changed ("" at module level), and what was done to which line."""

    tree: ast.Module
    function: str
    line: int
    what: str

    def diff(self, original: ast.Module) -> str:
        before, after = (ast.unparse(tree).splitlines() for tree in (original, self.tree))
        changed = [
            line for line in difflib.unified_diff(before, after, n=0, lineterm="") if line[:2] not in ("--", "++", "@@")
        ]
        return "\n".join([f"line {self.line}, {self.function or 'module'}: {self.what}", *changed])


Change = tuple[str, Callable[[ast.AST], ast.AST]]


def changes(node: ast.AST) -> Iterator[Change]:
    """The ways to break one node: what is done, and a function from (a copy of) the node to its replacement."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value = 2 * node.value if node.value else 1
        yield f"{node.value} -> {value}", lambda n: ast.Constant(value)
    if isinstance(node, ast.BinOp):
        yield "opposite operator", lambda n: ast.BinOp(n.left, OPPOSITE[type(n.op)](), n.right)
        yield "only the left operand", lambda n: n.left
        yield "only the right operand", lambda n: n.right
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "no minus", lambda n: n.operand
    if isinstance(node, ast.Compare):
        yield "the opposite comparison", lambda n: ast.Compare(n.left, [OPPOSITE[type(n.ops[0])]()], n.comparators)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and (name := OTHER_NAME.get(node.func.attr)):
            yield f"{node.func.attr} -> {name}", lambda n: _call(n, ast.Attribute(n.func.value, name, ast.Load()))
        if isinstance(node.func, ast.Attribute) and not _is_module(node.func.value):
            yield f"no .{node.func.attr}()", lambda n: n.func.value
        elif len(node.args) == 1 and not node.keywords:
            yield "the argument instead of the call", lambda n: n.args[0]
        for i in range(len(node.args) - 1):
            yield f"arguments {i} and {i + 1} swapped", lambda n, i=i: _swapped(n, i)
        for i in range(len(node.args)):
            if i > 0:
                yield (
                    f"argument {i} left out",
                    lambda n, i=i: ast.Call(n.func, n.args[:i] + n.args[i + 1 :], n.keywords),
                )
    if isinstance(node, ast.Tuple) and len(node.elts) == 2:
        yield "pair swapped", lambda n: ast.Tuple(n.elts[::-1], n.ctx)
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield "left out", lambda n: ast.Pass()


def _call(node: ast.Call, function: ast.expr) -> ast.Call:
    return ast.Call(function, node.args, node.keywords)


def _swapped(node: ast.Call, i: int) -> ast.Call:
    args = list(node.args)
    args[i], args[i + 1] = args[i + 1], args[i]
    return ast.Call(node.func, args, node.keywords)


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "math")


def sites(tree: ast.AST, function: str = "") -> Iterator[tuple[ast.AST, str, int, ast.AST, str]]:
    """Every place that holds a node: (parent, field, position in it, node, enclosing function); no annotations, no texts."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "values"):  # "values" are the parts of an f-string
            continue
        for i, node in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(node, ast.AST):
                inside = node.name if isinstance(node, ast.FunctionDef) else function
                yield tree, field, i if isinstance(value, list) else -1, node, inside
                yield from sites(node, inside)


def mutants(tree: ast.Module, only: str | None = None) -> Iterator[Mutant]:
    """All mutants of a module, or of one of its functions. The tree is changed, copied, and put back before each is yielded."""
    for parent, field, i, node, function in list(sites(tree)):
        if only is not None and function != only:
            continue
        for what, change in changes(node):
            replacement = ast.copy_location(change(copy.deepcopy(node)), node)
            _put(parent, field, i, replacement)
            mutated = ast.fix_missing_locations(copy.deepcopy(tree))
            _put(parent, field, i, node)
            yield Mutant(mutated, function, node.lineno, what)


def _put(parent: ast.AST, field: str, i: int, node: ast.AST) -> None:
    if i < 0:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[i] = node


class TreeLoader(SourceFileLoader):
    """Imports a syntax tree as if it were the source file."""

    tree: ast.Module

    def get_code(self, fullname: str):
        return compile(self.tree, self.path, "exec")


def module_of(tree: ast.Module, original: ModuleType) -> ModuleType:
    loader = TreeLoader(original.__name__, original.__file__)
    loader.tree = tree
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(original.__name__, loader))
    loader.exec_module(module)
    return module


def load_tests(name: str) -> ModuleType:
    """A unit-test file as a module of its own, under a name that no other test uses."""
    spec = importlib.util.spec_from_file_location(f"mutation_{name}", UNIT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def relevant_first(tests: ModuleType, function: str) -> list[Callable[[], None]]:
    """The tests that need no fixture, those that name `function` first."""
    found = [f for name, f in vars(tests).items() if name.startswith("test_") and not inspect.signature(f).parameters]
    return sorted(found, key=lambda f: function not in inspect.getsource(f)) if function else found


def is_killed(mutant: Mutant, original: ModuleType, tests: ModuleType, functions: list[Callable[[], None]]) -> bool:
    """Whether some test fails with the mutant in place of the module."""
    name = original.__name__.rpartition(".")[2]
    try:
        setattr(tests, name, module_of(mutant.tree, original))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for test in functions:
                test()
    except (Exception, pytest.fail.Exception):
        return True
    finally:
        setattr(tests, name, original)
    return False


def survivors(original: ModuleType, tests: ModuleType, only: str | None = None) -> tuple[list[str], int]:
    """A description of each mutant that no test noticed, and the number of mutants tried."""
    tree = ast.parse(Path(original.__file__).read_text(encoding="utf-8"))
    order: dict[str, list[Callable[[], None]]] = {}
    unchanged = Mutant(tree, "", 0, "nothing")
    assert not is_killed(unchanged, original, tests, relevant_first(tests, "")), (
        "the tests must pass before anything is broken"
    )
    alive, tried = [], 0
    for mutant in mutants(tree, only):
        if mutant.function not in order:
            order[mutant.function] = relevant_first(tests, mutant.function)
        tried += 1
        if not is_killed(mutant, original, tests, order[mutant.function]):
            alive.append(mutant.diff(tree))
    return alive, tried


def test_the_unit_tests_notice_every_mutant_of_the_losses():
    alive, tried = survivors(losses, load_tests("test_losses"))
    assert tried > 300
    assert not alive, f"{len(alive)} of {tried} mutants survived:\n\n" + "\n\n".join(alive)


def test_the_unit_tests_notice_every_mutant_of_the_reparameterisation():  # E22, A14: exp(log_var) as a standard deviation
    alive, tried = survivors(models, load_tests("test_models"), only="reparameterize")
    assert tried > 8
    assert not alive, f"{len(alive)} of {tried} mutants survived:\n\n" + "\n\n".join(alive)


def test_a_test_suite_that_looks_away_lets_mutants_live():
    blind = ModuleType("blind")
    vars(blind)["test_nothing"] = lambda: None
    tree = ast.parse(Path(losses.__file__).read_text(encoding="utf-8"))
    some = [mutant for mutant in mutants(tree, "free_bits")]
    assert some and not any(is_killed(mutant, losses, blind, [blind.test_nothing]) for mutant in some)
    assert ast.dump(tree) == ast.dump(
        ast.parse(Path(losses.__file__).read_text(encoding="utf-8"))
    )  # the tree is as it was
