"""Lesson 00 in JupyterLab: everything runs, and the sliders steer the pictures, with the mouse and with the keyboard."""

import re

import pytest
from playwright.sync_api import Error, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]
expect.set_options(timeout=60_000)
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"


def open_and_run(page: Page, lab, name: str) -> None:
    """Open a notebook, wait for its kernel (before that, Run All silently does nothing), run all cells."""
    page.goto(lab.address(f"lab/tree/{name}"))
    expect(page.get_by_text("| Idle").first).to_be_visible()
    page.evaluate(RUN_ALL)
    expect(page.get_by_text("| Idle").first).to_be_visible()


def moves(picture: Locator, act) -> bool:
    """Whether `act` changes the picture within ten seconds."""
    before = picture.get_attribute("src")
    act()
    try:
        expect(picture).not_to_have_attribute("src", before, timeout=10_000)
    except AssertionError:
        return False
    return True


def drag(page: Page, handle: Locator, pixels: int) -> None:
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=4)
    page.mouse.up()


def press(handle: Locator, key: str) -> None:
    handle.focus()
    handle.press(key)


def steer(page: Page, explorer: Locator, description: str) -> None:
    """Both the mouse and an arrow key on the slider change the explorer's picture, and no callback failed."""
    handle = explorer.locator(".widget-slider", has_text=description).locator(".noUi-handle")
    assert moves(explorer.locator("img"), lambda: drag(page, handle, 40)), f"the mouse on {description} changes nothing"
    assert moves(explorer.locator("img"), lambda: press(handle, "ArrowRight")), (
        f"the key on {description} changes nothing"
    )
    assert not re.search(r"\w+(Error|Exception):", explorer.inner_text()), explorer.inner_text()


def test_nothing_but_this_machine_can_be_reached(page):
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.org")


def test_the_server_asks_for_its_token(lab, page):
    page.goto(f"http://127.0.0.1:{lab.port}/lab")
    expect(page).to_have_url(re.compile("/login"))


def test_lesson_00_runs_and_its_sliders_steer_the_pictures(lab, page, tmp_path):
    open_and_run(page, lab, "00_start_here.ipynb")
    errors = page.locator(
        "[data-mime-type='application/vnd.jupyter.stderr'], [data-mime-type='application/vnd.jupyter.error']"
    )
    meant = page.locator(".jp-Cell:has-text('check_images(255') ").locator(
        "[data-mime-type='application/vnd.jupyter.stderr']"
    )
    unexpected = [text for text in errors.all_inner_texts() if text not in meant.all_inner_texts()]
    assert not unexpected, unexpected
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(page.get_by_text("Loading widget")).to_have_count(0)

    explorers = page.locator(".jp-OutputArea-output").filter(has=page.locator("img.widget-image"))
    pixels, latent = explorers.nth(0), explorers.nth(1)
    steer(page, pixels, "image")
    for convention, slider in (("dynamic", "draw again"), ("static", "threshold")):
        assert moves(pixels.locator("img"), pixels.get_by_role("button", name=convention).click)
        steer(page, pixels, slider)
    steer(page, latent, "z1")
    steer(page, latent, "z2")
    pixels.screenshot(path=tmp_path / "pixels.png")
    latent.screenshot(path=tmp_path / "latent.png")
    page.screenshot(path=tmp_path / "lesson_00.png")
