"""How an exercise is checked: run the student's answer and the reference side by side, say exact, close or wrong, and by how much.

Every exercise carries its bug zoo: the wrong answers that people really write, each with the hint that helps. When an answer is wrong
and behaves like one of them, the student gets that hint. A check never raises, and always hands back something that works, so the
lesson goes on. These are self-checks for learning, no sandbox for grading.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

EXACT, CLOSE = 1e-6, 1e-3  # largest error relative to max(1, |value|); float32 rounding stays below the first


@dataclass(frozen=True)
class Bug:
    """A wrong answer that people really write, and what to tell them."""

    name: str
    wrong: Any
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: what it is called, what a right answer does, and which wrong answers are known.

    name         the name in `check.<name>`
    reference    the package's own answer: a function for function exercises, else the value
    cases        for functions: a description and the arguments of each trial; empty for value exercises
    bugs         the zoo; each must be told apart from the reference by some case
    goes_on_with what the lesson uses in place of a missing or wrong answer, in words
    judge        for answers with randomness or many right forms: takes the answer and returns (passed, message)
    """

    name: str
    reference: Any
    cases: Sequence[tuple[str, tuple]] = ()
    bugs: Sequence[Bug] = ()
    goes_on_with: str = ""
    general_hint: str = "Compare shapes first, then signs, then constant factors."
    exact: float = EXACT
    close: float = CLOSE
    judge: Callable[[Any], tuple[bool, str]] | None = field(default=None)

    def __call__(self, answer: Any) -> Any:
        """Check `answer`, print what was found, and return it if it is right, else the reference."""
        verdict = self.examine(answer)
        print(verdict.message)
        if verdict.passed:
            return answer
        print(f"   The lesson goes on with {self.goes_on_with or 'the package’s answer'}.")
        return self.reference

    def examine(self, answer: Any) -> "Verdict":
        """The verdict alone, nothing printed."""
        if answer is None or answer is ...:
            return Verdict("empty", f"○ {self.name}: nothing written yet. Replace the `...` with your answer.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                if self.judge is not None:
                    passed, message = self.judge(answer)
                    return self._verdict_of_judge(answer, passed, message)
                return self._compare(answer)
            except NotImplementedError:
                return Verdict(
                    "empty",
                    f"○ {self.name}: nothing written yet. Replace the line with NotImplementedError, then run the cell again.",
                )
            except Exception as error:
                return Verdict(
                    "wrong",
                    f"✗ {self.name}: your code stopped with {type(error).__name__}: {error}\n   Hint: {self._hint_for_error(answer, error)}",
                )

    def _verdict_of_judge(self, answer: Any, passed: bool, message: str) -> "Verdict":
        if passed:
            return Verdict("exact", f"✓ {self.name}: {message}")
        return Verdict("wrong", f"✗ {self.name}: {message}\n   Hint: {self._hint(answer)}")

    def _compare(self, answer: Any) -> "Verdict":
        trials = self.cases or [("the value", ())]
        worst, where = 0.0, ""
        for description, arguments in trials:
            want = self.reference(*_fresh(arguments)) if self.cases else self.reference
            got = answer(*_fresh(arguments)) if self.cases else answer
            problem = _shape_problem(got, want)
            if problem:
                return Verdict("wrong", f"✗ {self.name}: {description}: {problem}\n   Hint: {self._hint(answer)}")
            error = _error(got, want)
            if not error <= worst:  # also when it is NaN
                worst, where = error, description
        if worst <= self.exact:
            count = f" on {len(trials)} cases" if len(trials) > 1 else ""
            return Verdict("exact", f"✓ {self.name}: exact{count}.")
        if worst <= self.close:
            return Verdict("close", f"✓ {self.name}: close (largest error {worst:.1g}, at {where}); fine here.")
        return Verdict("wrong", f"✗ {self.name}: wrong by {worst:.3g} at {where}.\n   Hint: {self._hint(answer)}")

    def _hint(self, answer: Any) -> str:
        for bug in self.bugs:
            if self._behaves_like(answer, bug.wrong):
                return bug.hint
        return self.general_hint

    def _hint_for_error(self, answer: Any, error: Exception) -> str:
        for bug in self.bugs:
            if callable(bug.wrong) and _fails_alike(bug.wrong, self.cases, error):
                return bug.hint
        if isinstance(error, NameError):
            return f"Python does not know that name: is an import missing, or a letter wrong? {self.general_hint}"
        return f"Print the shapes and types of what goes in. {self.general_hint}"

    def _behaves_like(self, answer: Any, wrong: Any) -> bool:
        try:
            if answer is wrong:
                return True
            if not self.cases:
                return self.judge is None and _error(answer, wrong) <= self.close
            for _, arguments in self.cases:
                torch.manual_seed(0)
                ours = wrong(*_fresh(arguments))
                torch.manual_seed(0)
                theirs = answer(*_fresh(arguments))
                if _shape_problem(theirs, ours) or not _error(theirs, ours) <= 1e-4:
                    return False
            return True
        except Exception:
            return False


@dataclass(frozen=True)
class Verdict:
    """What a check found: "exact", "close", "wrong" or "empty", and the message for the student."""

    status: str
    message: str

    @property
    def passed(self) -> bool:
        return self.status in ("exact", "close")


def _fresh(arguments: tuple) -> tuple:
    """Copies, so that an answer that works in place spoils nothing."""
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments)


def _parts(value: Any) -> list[Tensor]:
    values = value if isinstance(value, tuple | list) else [value]
    return [torch.as_tensor(v).detach().double() for v in values]


def _shape_problem(got: Any, want: Any) -> str:
    if got is None:
        return "your function returns None: is the `return` missing?"
    if isinstance(want, tuple | list) and (not isinstance(got, tuple | list) or len(got) != len(want)):
        return f"{len(want)} results are expected, {len(got) if isinstance(got, tuple | list) else 1} came back"
    for g, w in zip(_parts(got), _parts(want), strict=True):
        if g.shape != w.shape:
            return f"the result has shape {tuple(g.shape)}, expected {tuple(w.shape)}"
    return ""


def _error(got: Any, want: Any) -> float:
    worst = 0.0
    for g, w in zip(_parts(got), _parts(want), strict=True):
        if g.shape != w.shape:
            return float("inf")
        if not g.numel():
            continue
        same = (g == w) | (g.isnan() & w.isnan())
        error = torch.where(same, 0.0, (g - w).abs() / w.abs().clamp(min=1))
        worst = max(worst, float("inf") if bool(error.isnan().any()) else float(error.max()))
    return worst


def _fails_alike(wrong: Callable, cases: Sequence[tuple[str, tuple]], error: Exception) -> bool:
    try:
        for _, arguments in cases:
            wrong(*_fresh(arguments))
    except Exception as other:
        return type(other) is type(error) and str(other) == str(error)
    return False
