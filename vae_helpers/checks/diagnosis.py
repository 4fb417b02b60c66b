"""Two kinds of answer that lesson 09 alone asks for: a diagnosis in letters, and a function known by how it behaves when it is tried."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vae_helpers.checks.exercise import Bug, Exercise


def letters(answer: Any) -> str:
    """ "DFB", ("d", "f", "b") and "d, f, b" -> "dfb"."""
    text = answer if isinstance(answer, str) else "".join(map(str, answer))
    return "".join(c for c in text.lower() if c.isalpha())


@dataclass(frozen=True)
class Diagnosis(Exercise):
    """One letter per chart: `reference` is the right string, `signs` says of each letter what its chart would show."""

    signs: Mapping[str, str] = field(default_factory=dict)

    def _compare(self, answer: Any) -> Any:
        raise NotImplementedError  # `judge` decides

    def _hint(self, answer: Any) -> str:
        given = letters(answer)
        if len(given) != len(self.reference) or not set(given) <= set(self.signs):
            return f"Write {len(self.reference)} letters between {min(self.signs)} and {max(self.signs)}, one for each chart, in order."
        for number, (letter, right) in enumerate(zip(given, self.reference, strict=True), 1):
            if letter != right:
                return self.hint_for(number, letter)
        return self.general_hint

    def hint_for(self, number: int, letter: str) -> str:
        """What speaks against suspect `letter` on chart `number`."""
        return f"Chart {number} is not ({letter}). {self.signs[letter]}"


def diagnosis(name: str, right: str, signs: Mapping[str, str]) -> Diagnosis:
    """The exercise whose zoo has every wrong letter on every chart, each with its own hint."""

    def judge(answer: Any) -> tuple[bool, str]:
        given = letters(answer)
        if given == right:
            return True, f"all {len(right)} charts are read rightly."
        good = [str(i) for i, (a, b) in enumerate(zip(given, right, strict=False), 1) if a == b]
        return False, f"right so far: chart {', '.join(good)}." if good and len(given) == len(right) else "not yet."

    wrong = [(i, letter) for i, own in enumerate(right) for letter in signs if letter != own]
    made = Diagnosis(name, right, judge=judge, signs=signs, goes_on_with=f"“{right}”")
    bugs = [
        Bug(f"chart {i + 1}: {letter}", right[:i] + letter + right[i + 1 :], made.hint_for(i + 1, letter))
        for i, letter in wrong
    ]
    return Diagnosis(name, right, judge=judge, signs=signs, goes_on_with=f"“{right}”", bugs=bugs)


@dataclass(frozen=True)
class Tried(Exercise):
    """A function with many right forms: `trial(function)` returns its fingerprint, any comparable value, and `judge` reads that."""

    trial: Callable[[Any], Any] = repr

    def _behaves_like(self, answer: Any, wrong: Any) -> bool:
        try:
            return answer is wrong or self.trial(answer) == self.trial(wrong)
        except Exception:
            return False
