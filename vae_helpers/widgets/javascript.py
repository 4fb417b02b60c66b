"""Widgets that run in the page itself, through anywidget; where that is missing, each has a plain one to fall back on."""

from importlib.resources import files

try:
    from anywidget import AnyWidget as Base
except ImportError:  # an older or smaller set-up: the course goes on without
    Base = None

MISSING = "anywidget is not installed, so {what}. To have it: python -m pip install anywidget, then restart Jupyter."


def source(name: str) -> str:
    """The JavaScript that lies beside this file. Text, because anywidget keeps every widget alive whose `_esm` is a path."""
    return files("vae_helpers.widgets").joinpath(name).read_text(encoding="utf-8")


def has_javascript(without: str) -> bool:
    """Whether anywidget is there; if not, print one sentence that says what the reader gets in its place."""
    if Base is None:
        print(MISSING.format(what=without))
    return Base is not None
