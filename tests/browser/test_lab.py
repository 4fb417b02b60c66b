"""Lesson 00 in JupyterLab: everything runs, and the sliders steer the pictures, with the mouse and with the keyboard."""

import re

import in_browser
import pytest
from playwright.sync_api import Error, Locator, Page, expect
from steering import moves

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]


def drag(page: Page, handle: Locator, pixels: int) -> None:
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=4)
    page.mouse.up()


def steer(page: Page, explorer: Locator, description: str) -> None:
    """Both the mouse and an arrow key on the slider change the explorer's picture, and no callback failed."""
    handle = explorer.locator(".widget-slider", has_text=description).locator(".noUi-handle")
    assert moves(explorer.locator("img"), lambda: drag(page, handle, 40)), f"the mouse on {description} changes nothing"
    assert moves(explorer.locator("img"), lambda: handle.press("ArrowRight")), (
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
    in_browser.open_and_run(page, lab, "00_start_here.ipynb")
    errors = page.locator(in_browser.ERRORS)
    meant = page.locator(".jp-Cell:has-text('check_images(255') ").locator(
        "[data-mime-type='application/vnd.jupyter.stderr']"
    )
    unexpected = [text for text in errors.all_inner_texts() if text not in meant.all_inner_texts()]
    assert not unexpected, unexpected
    in_browser.expect_widgets(page)

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
