"""Every widget of the course in JupyterLab, without a network: it shows itself whole, its controls answer, its picture changes."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import in_browser
import pytest
from playwright.sync_api import Locator, Page, expect
from steering import changes, drag, moves, steer_the_map

from vae_helpers import widgets

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(600)]

SETUP = """import torch
from vae_helpers import data, lesson, plotting, recipes, training, widgets
from vae_helpers.models import VAE
from vae_helpers.widgets import javascript
lesson.start()
images = data.load("digits").random_subset(300)
model, flat, conditional = (lesson.shipped(name).model for name in ("first-vae", "latent-2d", "cvae-2d"))
sigmas = {s: lesson.shipped(f"sigma-{s:g}") for s in recipes.SIGMAS}
uses = {b: plotting.code_use(lesson.shipped(f"beta-{b:g}").model, images) for b in recipes.BETAS}
log_w = 2 * torch.randn(1000, 400, generator=torch.Generator().manual_seed(0)) - 2
start = model.encode(images.x[:1]).mu[0].detach()"""

# name -> a cell, and what is done to its output, one thing after the other; each must change the picture.
# "z1" presses an arrow key on that slider, "[grey]" a button.
EXPLORERS = {
    "pixels": (
        "widgets.binarization_explorer(images)",
        ["image", "[dynamic]", "draw again", "[static]", "threshold", "[grey]"],
    ),
    "latent": ("widgets.latent_explorer(flat)", ["z1", "z2"]),
    "latent, with labels": (
        "widgets.latent_explorer(conditional, labels=True, name='with labels')",
        ["z1", "z2", "[7]"],
    ),
    "one code": ("widgets.curve_explorer()", ["z"]),
    "bound": ("widgets.bound_explorer()", ["mu", "sigma", "[two explanations]"]),
    "gradients": ("widgets.gradient_explorer()", ["mu", "d", "draws"]),
    "family over sigma": (
        "widgets.family_explorer(sigmas, images, symbol='σₓ')",
        ["σₓ", "[one draw of each]", "[samples]"],
    ),
    "importance samples": ("widgets.importance_explorer(log_w, 0.0)", ["K"]),
    "beta": ("widgets.beta_explorer(uses)", ["β"]),
    "traversal": (
        "widgets.traversal_explorer(model, start, [3, 0, 7, 1, 2])",
        [f"z{j + 1}" for j in (3, 0, 7, 1, 2)],
    ),
    "map without anywidget": (
        "kept, javascript.Base = javascript.Base, None\nshown = widgets.latent_map(flat, images, name='plain')\n"
        "javascript.Base = kept\nshown",
        ["z1", "z2"],
    ),
    "drawing, reconstructed": ("widgets.drawing_reconstruction(model, images)", ["digit"]),
    "drawing, restyled": ("widgets.drawing_restyled(conditional, images)", ["digit", "[4]"]),
    "drawing, classified": (
        "widgets.drawing_classified(lambda x: (20 * x @ images.x[:10].T - x.sum()).detach(), images)",
        ["digit"],
    ),
    "pairs": ("widgets.pair_explorer(model, images)", ["first", "second", "[arc]", "[pixels]"]),
}
# The others have tests of their own below.
OTHERS = {
    "map": "the_map = widgets.latent_map(flat, images)\nthe_map",
    "where": "print('the point is at', the_map.z)",
    "map with labels": "widgets.latent_map(conditional, images, name='second')",
    "pad that fails": "def fails(x):\n    raise RuntimeError(f'saw {int((x > 0).sum() > 0)}')\nwidgets.drawing_pad(fails)",
    "charts": "from vae_helpers.workbench import Chart\n"
    "a, b = (Chart({}, '', None, {'four': images.x[i : i + 4]}, ()) for i in (0, 4))\n"
    "widgets.chart_explorer({'one': a, 'two': b}, healthy=a)",
    "live curve": "curve = widgets.live_curve()\ncurve",
    "training": "training.fit(VAE(2, (8,), (8,)), images, epochs=2, seed=0, on_epoch=curve.update)[-1].epoch",
}
CELLS = {name: source for name, (source, _) in EXPLORERS.items()} | OTHERS
PADS = [name for name in EXPLORERS if name.startswith("drawing")]

CUT = """(output) => [...output.querySelectorAll(".widget-label, .widget-readout, .widget-toggle-button, .widget-html")]
  .filter((part) => part.scrollWidth > part.clientWidth).map((part) => part.textContent)"""
TOO_WIDE = """(output) => [output, ...output.querySelectorAll("*")].some((part) => part.scrollWidth > part.clientWidth + 1
  && ["auto", "scroll"].includes(getComputedStyle(part).overflowX))"""
ACTIVE_CELL = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"


class Notebook:
    """The notebook of all widgets, executed: the output of each cell by its name."""

    def __init__(self, page: Page, cells: Locator) -> None:
        self.page, self.cells = page, cells

    def cell(self, name: str) -> Locator:
        return self.cells.nth(1 + list(CELLS).index(name))

    def __getitem__(self, name: str) -> Locator:
        return self.cell(name).locator(".jp-Cell-outputWrapper")


@pytest.fixture(scope="module")
def notebook(lab: in_browser.Lab) -> Iterator[Notebook]:
    outside, here = [], (f"http://127.0.0.1:{lab.port}/", "data:", "blob:")
    with in_browser.new_page() as page:
        page.on("request", lambda request: None if request.url.startswith(here) else outside.append(request.url))
        cells = in_browser.open_and_run(page, lab, lab.write("widgets.ipynb", [SETUP, *CELLS.values()]))
        yield Notebook(page, cells)
    assert not outside, f"asked for from elsewhere: {outside}"


def test_all_show_themselves_and_no_cell_complains(notebook):
    in_browser.expect_widgets(notebook.page)
    assert notebook.page.locator(in_browser.ERRORS).all_inner_texts() == []


def test_no_widget_of_the_package_is_left_out():
    makers = {name for name in widgets.__all__ if inspect.isfunction(getattr(widgets, name))}
    made = set(re.findall(r"widgets\.(\w+)", "\n".join(CELLS.values())))
    parts = {"close", "slider", "picture_explorer", "drawing_explorer", "family_row", "save_latent_map"}
    assert made == makers - parts, "a new widget needs a row in EXPLORERS, so that a browser has seen it"


def arrow(output: Locator, description: str) -> None:
    """One step to the right, at the end of the slider to the left; the value beside the slider says so."""
    slider = output.locator(".widget-slider").filter(has=output.page.get_by_text(description, exact=True))
    handle, value = slider.locator(".noUi-handle"), slider.locator(".widget-readout")
    before, at = value.inner_text(), float(handle.get_attribute("aria-valuenow"))
    handle.press("ArrowRight" if at < float(handle.get_attribute("aria-valuemax")) else "ArrowLeft")
    expect(value).not_to_have_text(before)


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_is_whole_and_each_control_changes_its_picture(notebook, name, tmp_path):
    output, steps = notebook[name], EXPLORERS[name][1]
    picture = output.locator("img")
    output.scroll_into_view_if_needed()
    for step in steps:
        button = step.strip("[]")
        act = output.get_by_role("button", name=button, exact=True).click if button != step else None
        assert moves(picture, act or (lambda step=step: arrow(output, step))), f"{step} changes nothing"
    assert not re.search(r"\w+(Error|Exception):", output.inner_text()), output.inner_text()
    _looks_right(output, picture, tmp_path / "explorer.png")


def _looks_right(output: Locator, picture: Locator, path: Path) -> None:
    output.screenshot(path=path)
    size = picture.evaluate("image => [image.naturalWidth, image.naturalHeight, image.width, image.height]")
    assert size[0] / size[1] == pytest.approx(size[2] / size[3], rel=0.02), f"the picture is stretched: {size}"
    assert output.evaluate(CUT) == [], "words are cut"
    assert not output.evaluate(TOO_WIDE), "wider than the page"


@pytest.mark.parametrize("name", PADS)
def test_what_is_drawn_on_a_pad_changes_the_picture(notebook, name):
    output, page = notebook[name], notebook.page
    picture, pad, words = output.locator("img"), output.locator(".drawing-pad"), output.locator(".widget-label")
    assert moves(picture, lambda: drag(page, pad, (0.3, 0.2), (0.7, 0.2)))
    assert moves(picture, lambda: drag(page, pad, (0.7, 0.2), (0.45, 0.85)))
    expect(output.locator(".widget-slider")).to_contain_text("my drawing")
    assert output.evaluate(CUT) == [], "words are cut"
    assert moves(picture, output.get_by_role("button", name="Clear").click)
    expect(words.filter(has_text="Draw a digit")).to_have_count(1)


def test_a_pad_without_a_picture_shows_what_went_wrong(notebook):
    output = notebook["pad that fails"]
    drag(notebook.page, output.locator(".drawing-pad"), (0.3, 0.3), (0.6, 0.6))
    expect(output.get_by_role("alert")).to_have_text("RuntimeError: saw 1")


def test_two_digits_are_chosen_with_clicks(notebook):
    output = notebook["pairs"]
    picture, thumbnails = output.locator("img"), output.locator(".digit-picker button")
    assert thumbnails.count() == 40
    for i in (7, 12):
        assert moves(picture, thumbnails.nth(i).click)
    assert [i for i in range(40) if thumbnails.nth(i).get_attribute("aria-pressed") == "true"] == [7, 12]
    assert moves(picture, lambda: arrow(output, "second"))
    expect(thumbnails.nth(13)).to_have_attribute("aria-pressed", "true")


def test_the_map_is_steered_and_the_kernel_knows_where_the_point_was_left(notebook, tmp_path):
    output, page = notebook["map"], notebook.page
    steer_the_map(page, output)
    notebook.cell("where").click()
    page.keyboard.press("Control+Enter")
    expect(notebook["where"]).to_contain_text("the point is at (-0.4, 0.0)")
    output.screenshot(path=tmp_path / "map.png")
    assert not output.evaluate(TOO_WIDE), "wider than the page"


def test_the_map_of_a_conditional_model_keeps_its_arrow_keys(notebook, tmp_path):
    output, page = notebook["map with labels"], notebook.page
    three, picture = output.get_by_label("3", exact=True), output.locator(".latent-map-picture")
    assert changes(picture, three.check)
    active = page.evaluate(ACTIVE_CELL)
    assert changes(picture, lambda: three.press("ArrowRight"))
    assert changes(picture, lambda: output.locator(".latent-map-codes").press("ArrowDown"))
    assert page.evaluate(ACTIVE_CELL) == active, "JupyterLab took the key for its own"
    output.screenshot(path=tmp_path / "labels.png")


def test_a_chart_is_chosen_with_the_arrow_keys_and_the_healthy_one_shown_beside_it(notebook, tmp_path):
    output = notebook["charts"]
    picture = output.locator("img")
    output.scroll_into_view_if_needed()
    assert moves(picture, lambda: output.locator(".noUi-handle").press("ArrowRight"))
    assert moves(picture, output.get_by_role("checkbox").check)
    _looks_right(output, picture, tmp_path / "charts.png")


def test_the_curve_grows_while_a_model_is_trained(notebook, tmp_path):
    output, picture = notebook["live curve"], notebook["live curve"].locator("img")
    expect(output).to_contain_text("epoch 2: rec ")
    notebook.cell("training").click()
    assert moves(picture, lambda: notebook.page.keyboard.press("Control+Enter"))
    expect(output).to_contain_text("epoch 2: rec ")
    _looks_right(output, picture, tmp_path / "curve.png")
