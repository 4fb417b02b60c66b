"""What all sliders share. Each shows a PNG in an `Image` widget (no figure stays open), answers to the arrow keys, prints its value,
and closes its predecessor, so a cell may be run again and again. Each has a static twin in `plotting` for readers without a kernel.
"""

from collections.abc import Callable, Sequence

import ipywidgets as w

_live: dict[str, w.Widget] = {}


def replace(name: str, box: w.Widget) -> w.Widget:
    """Close the widget that an earlier run of the same cell made, all its parts with it."""
    old = _live.pop(name, None)
    if old is not None:
        close(old)
    _live[name] = box
    return box


def close(widget: w.Widget) -> None:
    """Close a widget with its children, layouts and styles, so that the kernel forgets them."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.unobserve_all()
    for part in (getattr(widget, "layout", None), getattr(widget, "style", None), widget):
        if isinstance(part, w.Widget):
            part.close()


def slider(description: str, value: float, low: float, high: float, step: float, tooltip: str = "") -> w.FloatSlider:
    return w.FloatSlider(
        value=value, min=low, max=high, step=step, description=description, tooltip=tooltip or description,
        readout_format=".2f", continuous_update=True, layout=w.Layout(width="340px"),
    )  # fmt: skip


def digit_buttons(description: str, value: int, count: int) -> w.ToggleButtons:
    """One narrow button for each label. Raises ValueError for a model without labels."""
    if not count:
        raise ValueError("this needs a conditional model: build it with num_classes=10")
    style = w.ToggleButtonsStyle(button_width="36px")  # narrower, and "0" is shown as dots
    return w.ToggleButtons(options=list(range(count)), value=value, description=description, style=style)


def picture_explorer(
    name: str, controls: Sequence[w.Widget], draw: Callable[..., bytes], caption: Callable[..., str] | None = None
) -> w.HBox:
    """Controls beside one picture: whenever a control's value changes, `draw(*values)` makes the PNG anew.

    name     what the explorer is; running its cell again replaces the old one
    caption  optional, the text under the picture, from the same values
    """
    values = [c.value for c in controls]
    unstretched = w.Layout(width="280px", align_self="flex-start")  # else it grows as tall as the controls beside it
    picture = w.Image(value=draw(*values), format="png", layout=unstretched)
    picture.add_class("explorer-picture")
    text = w.Label(caption(*values) if caption else "")
    problem = w.Label("")

    def redraw(_change=None) -> None:
        values = [c.value for c in controls]
        try:
            picture.value = draw(*values)
            text.value = caption(*values) if caption else ""
            problem.value = ""
        except Exception as error:  # a callback's exception would vanish: show it
            problem.value = f"{type(error).__name__}: {error}"

    for control in controls:
        control.observe(redraw, "value")
    left = w.VBox(  # a slider's handle may stick out at its end: without a scroll bar
        [*controls, text, problem], layout=w.Layout(flex="0 0 auto", margin="0 12px 0 0", overflow="visible")
    )
    box = w.HBox(
        [left, picture], layout=w.Layout(flex_flow="row wrap")
    )  # the picture goes below where there is no room
    return replace(name, box)
