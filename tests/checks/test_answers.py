"""Every lesson's unusual right answers pass, and wrong ones written without looking at the zoo fail with a hint.

The answers stand in RIGHT and WRONG of test_lesson_NN.py, beside the tests that only that lesson needs.
"""

import importlib.util
from pathlib import Path

import pytest

from vae_helpers import checks


def answers(which: str) -> list:
    """(exercise, answer) pairs of all lessons, each with a readable id."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_lesson_*.py")):
        spec = importlib.util.spec_from_file_location(f"answers_of_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for i, (name, answer) in enumerate(getattr(module, which)):
            found.append(pytest.param(name, answer, id=f"{path.stem.removeprefix('test_')}: {name} {i}"))
    return found


RIGHT, WRONG = answers("RIGHT"), answers("WRONG")


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_unusual_right_answers_pass(name, answer):
    verdict = checks.EXERCISES[name].examine(answer)
    assert verdict.passed, verdict.message


@pytest.mark.parametrize(("name", "answer"), WRONG)
def test_wrong_answers_fail_with_a_hint(name, answer):
    verdict = checks.EXERCISES[name].examine(answer)
    assert verdict.status == "wrong" and "Hint:" in verdict.message, verdict.message


def test_there_are_enough_of_them():
    assert len(RIGHT) >= 25
    assert {lesson for lesson, exercises in checks.LESSONS.items() if exercises} == {p.id[7:9] for p in RIGHT}
