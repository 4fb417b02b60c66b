"""The twenty confusions that the field keeps having: each is settled by a callout or an exercise of a lesson, or waits for a named one."""

import re

import pytest

from vae_helpers import paths

CONFUSIONS = {
    1: ("sum or mean, over what", "03"),
    2: ("the weight of the KL, what is beta", "04"),
    3: ("cross-entropy on grey pixels", "03"),
    4: ("inputs outside [0, 1]", "00"),
    5: ("is a negative loss a bug", "04"),
    6: ("NaN from exp(log_var)", "02"),
    7: ("log-variance, variance or std, and where the 1/2 comes from", "02"),
    8: ("the sign of the ELBO", "03"),
    9: ("why reparameterise", "02"),
    10: ("generate from the prior or from the encoder", "03"),
    11: ("are mu and sigma parameters of the model", "01"),
    12: ("samples bad though reconstructions good", "03"),
    13: ("posterior collapse", "05"),
    14: ("blurry samples", "03"),
    15: ("is the output a pixel, a probability or a distribution", "00"),
    16: ("mu or a sample at evaluation", "03"),
    17: ("how many latent dimensions", "05"),
    18: ("autoencoder or VAE", "03"),
    19: ("where the label goes in a CVAE", "07"),
    20: ("is the ELBO p(x|y)", "08"),
}
PENDING: set[str] = set()  # lessons that are not written yet
MARKER = re.compile(r"<!-- confusion (\d+) -->")
SOURCES = {path.name[:2]: path for path in sorted((paths.NOTEBOOKS / "source").glob("[0-9][0-9]_*.py"))}


def settled_in(lesson: str) -> set[int]:
    return (
        {int(number) for number in MARKER.findall(SOURCES[lesson].read_text(encoding="utf-8"))}
        if lesson in SOURCES
        else set()
    )


@pytest.mark.parametrize("number", CONFUSIONS)
def test_each_confusion_is_settled_where_the_map_says(number):
    words, lesson = CONFUSIONS[number]
    if lesson not in SOURCES:
        assert lesson in PENDING, f"confusion {number} ({words}) belongs to lesson {lesson}, which is gone"
        return
    assert lesson not in PENDING, f"lesson {lesson} exists: take it out of PENDING"
    assert number in settled_in(lesson), f"lesson {lesson} has no <!-- confusion {number} --> callout: {words}"


def test_the_list_is_whole_and_no_marker_is_unknown():
    assert sorted(CONFUSIONS) == list(range(1, 21))
    for lesson in SOURCES:
        assert settled_in(lesson) <= set(CONFUSIONS), f"lesson {lesson} marks a confusion that is not in the list"


def test_a_marker_stands_in_the_text_and_not_in_code():
    for path in SOURCES.values():
        for line in path.read_text(encoding="utf-8").splitlines():
            if MARKER.search(line):
                assert line.startswith("# "), f"{path.name}: {line}"
