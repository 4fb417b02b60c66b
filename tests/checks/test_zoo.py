"""Every exercise of every lesson: each known wrong answer fails with its own hint, the reference passes, an empty one says what is missing."""

import pytest

from vae_helpers import checks
from vae_helpers.checks.exercise import Exercise

EXERCISES = list(checks.EXERCISES.values())
BUGS = [(exercise, bug) for exercise in EXERCISES for bug in exercise.bugs]
AT_LEAST = 60  # wrong answers in the whole course


def answer_of(exercise: Exercise, bug) -> object:
    """A wrong answer as a student would hand it in: value exercises with a judge keep theirs behind a function."""
    return bug.wrong() if exercise.reference is None and callable(bug.wrong) else bug.wrong


@pytest.mark.parametrize(("exercise", "bug"), BUGS, ids=[f"{e.name}: {b.name}" for e, b in BUGS])
def test_a_wrong_answer_is_rejected_with_its_own_hint(exercise, bug, capsys):
    answer = answer_of(exercise, bug)
    verdict = exercise.examine(answer)
    assert verdict.status == "wrong", verdict.message
    assert bug.hint in verdict.message
    assert exercise(answer) is not answer, "a wrong answer must not be handed back to the lesson"
    assert "The lesson goes on with" in capsys.readouterr().out


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_the_reference_passes_and_is_handed_back(exercise):
    if exercise.reference is None:
        pytest.skip("its reference is loaded at run time, see test_lesson_00.py")
    assert exercise.examine(exercise.reference).status == "exact"
    assert exercise(exercise.reference) is exercise.reference


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_an_empty_answer_says_what_is_missing_and_the_lesson_goes_on(exercise, capsys):
    def stub(*_arguments, **_more):
        raise NotImplementedError("Your turn")

    for empty in (None, ..., stub):
        if empty is stub and not callable(exercise.reference):
            continue  # a value exercise is left blank as `...`
        assert exercise.examine(empty).status == "empty"
        assert "nothing written yet" in exercise.examine(empty).message
        assert exercise(empty) is not empty
    assert "The lesson goes on with" in capsys.readouterr().out


def test_no_two_exercises_share_one_name():
    names = [exercise.name for exercises in checks.LESSONS.values() for exercise in exercises]
    assert not {name for name in names if names.count(name) > 1}, "the later one would stand in for the earlier"


def test_hints_differ_within_an_exercise():
    for exercise in EXERCISES:
        hints = [bug.hint for bug in exercise.bugs]
        assert len(set(hints)) == len(hints), f"{exercise.name} gives two wrong answers one hint"


def test_the_zoo_is_large_enough():
    assert len(BUGS) >= AT_LEAST
    assert all(len(exercise.bugs) >= 1 for exercise in EXERCISES)


def test_an_answer_that_crashes_is_reported_and_not_raised():
    def crashes(*_arguments):
        return 1 / 0

    for exercise in EXERCISES:
        if callable(exercise.reference) and exercise.cases:
            verdict = exercise.examine(crashes)
            assert verdict.status == "wrong" and "ZeroDivisionError" in verdict.message


def test_an_unknown_check_names_those_that_exist():
    with pytest.raises(AttributeError, match=r"there are:.*best_p"):
        checks.no_such_check  # noqa: B018
