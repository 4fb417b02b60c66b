"""Exercise checks, one `Exercise` each: `gaussian_kl = check.gaussian_kl(gaussian_kl)` after `from vae_helpers import checks as check`."""

from vae_helpers.checks import (
    lesson_00,
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_07,
    lesson_08,
    lesson_09,
)
from vae_helpers.checks.exercise import Bug, Exercise

LESSONS = {
    "00": lesson_00.EXERCISES,
    "01": lesson_01.EXERCISES,
    "02": lesson_02.EXERCISES,
    "03": lesson_03.EXERCISES,
    "04": lesson_04.EXERCISES,
    "05": lesson_05.EXERCISES,
    "06": lesson_06.EXERCISES,
    "07": lesson_07.EXERCISES,
    "08": lesson_08.EXERCISES,
    "09": lesson_09.EXERCISES,
}
EXERCISES: dict[str, Exercise] = {exercise.name: exercise for exercises in LESSONS.values() for exercise in exercises}

__all__ = ["EXERCISES", "LESSONS", "Bug", "Exercise"]


def __getattr__(name: str) -> Exercise:
    try:
        return EXERCISES[name]
    except KeyError:
        raise AttributeError(f"there is no check named {name!r}; there are: {', '.join(sorted(EXERCISES))}") from None
