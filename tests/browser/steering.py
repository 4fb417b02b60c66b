"""Hands for the browser tests: drag on a canvas, and see whether a picture changed."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect


def moves(picture: Locator, act: Callable[[], object]) -> bool:
    """Whether `act` changes an <img> within ten seconds."""
    before = picture.get_attribute("src")
    act()
    try:
        expect(picture).not_to_have_attribute("src", before, timeout=10_000)
    except AssertionError:
        return False
    return True


def changes(canvas: Locator, act: Callable[[], object]) -> bool:
    """Whether a canvas has other pixels after `act`."""
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    act()
    return canvas.evaluate("canvas => canvas.toDataURL()") != before


def drag(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Between two places given as fractions of an element's width and height."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=5)
    page.mouse.up()


def steer_the_map(page: Page, place: Locator) -> None:
    """Drag, arrow keys, shift, Home; each changes the picture and says where the point is. It ends at (-0.4, 0)."""
    map_, picture = place.locator(".latent-map-codes"), place.locator(".latent-map-picture")
    caption = place.locator("[aria-live=polite]")
    assert changes(picture, lambda: drag(page, map_, (0.5, 0.5), (0.25, 0.3)))
    numbers = re.findall(r"−?\d+\.\d+", caption.inner_text())[:2]
    where = [float(number.replace("−", "-")) for number in numbers]
    assert where == pytest.approx([-1.80, 1.08], abs=0.06), "the point follows the pointer; z2 grows upwards"
    assert changes(picture, lambda: map_.press("Home"))
    expect(caption).to_have_text("z = (0.00, 0.00), at distance 0.00 from the centre")
    for key, said in (
        ("ArrowRight", "(0.10, 0.00)"),
        ("ArrowUp", "(0.10, 0.10)"),
        ("Shift+ArrowLeft", "(−0.40, 0.10)"),
    ):
        assert changes(picture, lambda key=key: map_.press(key)), key
        expect(caption).to_contain_text(said)
    map_.press("ArrowDown")
    expect(caption).to_contain_text("(−0.40, 0.00)")
