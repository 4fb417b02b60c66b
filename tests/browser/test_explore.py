"""The explorers in Chromium: the decoder in JavaScript agrees with torch, the saved page needs nobody, and JupyterLab shows them all."""

import base64
import re
import statistics

import nbformat
import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, expect

from vae_helpers import data, lesson, widgets
from vae_helpers.models import VAE
from vae_helpers.widgets.latent_map import LatentMap, page_state

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]
expect.set_options(timeout=60_000)
RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
FRAME_MS = 16  # the decoder in the page: the point never waits for its picture
KERNEL_MS = 60 * 3  # through the kernel: at most 60 on an idle machine, and tests also run on busy ones

CASES = [
    dict(activation="relu"),
    dict(activation="tanh", decoder_sizes=(8, 30)),
    dict(activation="silu"),
    dict(decoder_sizes=()),
    dict(activation="softplus", num_classes=10),
    dict(activation="relu", num_classes=10, label_in=("encoder",)),
    dict(activation="tanh", num_classes=10, label_in=("encoder", "decoder", "prior")),
    dict(likelihood="continuous_bernoulli"),
    dict(likelihood="gaussian"),
    dict(likelihood="laplace", sigmoid_mean=True),
]
DECODE = """async ([source, cases]) => {
  const js = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  return cases.map(({ weights, sizes, bytes, activation, output, codes }) => {
    const view = new DataView(Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0)).buffer);
    const layers = js.unpack(view, sizes, bytes);
    return codes.map((code) => Array.from(js.decode(layers, activation, output, Float32Array.from(code))));
  });
}"""


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.load("digits").random_subset(300)


def in_page(page: Page, model: VAE, images: data.ImageSet, z: torch.Tensor, y: torch.Tensor | None):
    """Mean images (n, 784) of the codes: from JavaScript, and from torch."""
    state = page_state(model, images, 20, None)
    inputs = z if not state["classes"] else torch.cat([z, torch.nn.functional.one_hot(y, 10)], 1)
    case = {key: state[key] for key in ("sizes", "activation", "output")}
    case |= {"weights": base64.b64encode(state["weights"]).decode(), "bytes": state["bytes_per_weight"]}
    case |= {"codes": inputs.tolist()}
    with torch.no_grad():
        expected = model.mean_image(model.decode(z, y))
    return torch.tensor(page.evaluate(DECODE, [LatentMap._esm, [case]])[0]), expected


UNPACK = """async ([source, text, count]) => {
  const js = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const view = new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const [{ weights, biases }] = js.unpack(view, [1, count], 2);
  return [...weights, ...biases];
}"""


def test_every_16_bit_number_arrives_exactly(page):
    numbers = np.arange(2**16, dtype=np.uint16).view("<f2")
    numbers = numbers[np.isfinite(numbers)]
    text = base64.b64encode(numbers.tobytes()).decode()
    found = page.evaluate(UNPACK, [LatentMap._esm, text, len(numbers) // 2])
    assert np.array_equal(np.array(found), numbers.astype(np.float64))


def codes(n: int) -> torch.Tensor:
    return 2 * torch.randn(n, 2, generator=torch.Generator().manual_seed(1))


def test_the_decoder_in_javascript_agrees_with_torch(page, digits):
    for settings in CASES:
        torch.manual_seed(0)
        model = VAE(2, (16,), **({"decoder_sizes": (40,)} | settings)).eval()
        y = torch.arange(10) if model.num_classes else None
        found, expected = in_page(page, model, digits, codes(10), y)
        assert found.shape == (10, 784)
        assert float((found - expected).abs().max()) < 1e-3, settings
        assert float(expected.std(0).max()) > 1e-2, "the ten codes give ten different images"


def test_the_shipped_map_agrees_with_torch_and_large_weights_travel_in_full(page, digits):
    model = lesson.shipped("latent-2d").model
    found, expected = in_page(page, model, digits, codes(10), None)
    assert float((found - expected).abs().max()) < 1e-3
    with torch.no_grad():
        model.decoder.out.bias[0] = 1e6  # too large for 16 bits
    found, expected = in_page(page, model, digits, codes(10), None)
    assert float((found - expected).abs().max()) < 1e-5
    assert float(found[0, 0]) == 1.0


def pixels(canvas: Locator) -> str:
    return canvas.evaluate("canvas => canvas.toDataURL()")


def changes(canvas: Locator, act) -> bool:
    before = pixels(canvas)
    act()
    return pixels(canvas) != before


def drag(page: Page, canvas: Locator, start, end) -> None:
    """Between two places given as fractions of a canvas."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    (x0, y0), (x1, y1) = ((box["x"] + u * box["width"], box["y"] + v * box["height"]) for u, v in (start, end))
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move(x1, y1, steps=5)
    page.mouse.up()


def steer_the_map(page: Page, place: Locator) -> None:
    """Drag, arrow keys, shift, Home; each changes the picture and says where the point is."""
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


ACTIVE_CELL = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
REDRAW = """async (map) => {  // milliseconds from an event to its picture, forty times
  const times = [], press = (key) => map.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  for (let i = 0; i < 40; i++) {
    const start = performance.now();
    press(i % 2 ? "ArrowLeft" : "ArrowRight");
    times.push(performance.now() - start);
    await new Promise((done) => setTimeout(done, 0));
  }
  return times;
}"""


def test_the_saved_page_needs_no_kernel_and_no_network(page, digits, tmp_path):
    path = widgets.save_latent_map(
        tmp_path / "map.html", lesson.shipped("latent-2d").model, digits, title="1 < 2 STATE"
    )
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text))
    page.goto(path.as_uri())
    expect(page.get_by_role("heading")).to_have_text("1 < 2 STATE")
    steer_the_map(page, page.locator("body"))
    page.set_viewport_size({"width": 800, "height": 300})
    scrolled = page.evaluate("window.scrollTo(0, 20), window.scrollY")
    page.keyboard.press("ArrowDown")  # the map has the focus
    expect(page.locator("[aria-live=polite]")).to_contain_text("(−0.40, −0.10)")
    assert page.evaluate("new Promise((done) => setTimeout(() => done(window.scrollY), 300))") == scrolled > 0
    page.set_viewport_size({"width": 1300, "height": 1000})
    times = page.locator(".latent-map-codes").evaluate(REDRAW)
    assert statistics.median(times) < FRAME_MS
    print(f"the decoder in the page: median {statistics.median(times):.2f} ms")
    assert not complaints and requests == [path.as_uri()], (complaints, requests)
    page.screenshot(path=tmp_path / "map.png")


def test_the_saved_page_of_a_conditional_model_has_a_button_for_each_digit(page, digits, tmp_path):
    torch.manual_seed(0)
    model = VAE(2, (16,), (30,), num_classes=10).eval()
    page.goto(widgets.save_latent_map(tmp_path / "map.html", model, digits).as_uri())
    picture = page.locator(".latent-map-picture")
    assert page.get_by_role("radio").count() == 10
    expect(page.get_by_label("0", exact=True)).to_be_checked()
    assert changes(picture, page.get_by_label("7", exact=True).check)
    assert changes(picture, lambda: page.get_by_label("7", exact=True).press("ArrowRight"))
    expect(page.get_by_label("8", exact=True)).to_be_checked()
    expect(picture).to_have_attribute("aria-label", "The decoder's mean image of a 8 at z = (0.00, 0.00)")


# ---------------------------------------------------------------- JupyterLab

CELLS = [
    """import torch
from vae_helpers import data, lesson, widgets
from vae_helpers.models import VAE
images = data.load("digits").random_subset(300)
model = lesson.shipped("first-vae").model""",
    "the_map = widgets.latent_map(lesson.shipped('latent-2d').model, images)\nthe_map",
    "widgets.drawing_reconstruction(model, images)",
    "widgets.pair_explorer(model, images)",
    "torch.manual_seed(0)\nwidgets.latent_map(VAE(2, num_classes=10), images, name='second')",
    "def fails(x):\n    raise RuntimeError(f'saw {int((x > 0).sum() > 0)}')\nwidgets.drawing_pad(fails)",
    "print('the point is at', the_map.z)",
]
BEAT = """([handle, image]) => new Promise((done) => {  // milliseconds from a key to the new picture
  const start = performance.now();
  new MutationObserver((_, watcher) => { watcher.disconnect(); done(performance.now() - start); })
    .observe(image, { attributes: true, attributeFilter: ["src"] });
  handle.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
})"""


def moves(picture: Locator, act) -> None:
    before = picture.get_attribute("src")
    act()
    expect(picture).not_to_have_attribute("src", before)


def test_jupyterlab_shows_the_explorers_and_they_answer(lab, page, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.folder / "explore.ipynb")
    outside = []
    page.on(
        "request",
        lambda r: (
            outside.append(r.url) if not r.url.startswith((f"http://127.0.0.1:{lab.port}/", "data:", "blob:")) else None
        ),
    )
    page.goto(lab.address("lab/tree/explore.ipynb"))
    expect(page.get_by_text("| Idle").first).to_be_visible()
    page.evaluate(RUN_ALL)
    expect(page.get_by_text("| Idle").first).to_be_visible()
    expect(
        page.locator(
            "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
        )
    ).to_have_count(0)
    expect(page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(page.locator(".latent-map-codes")).to_have_count(2)
    outputs = page.locator(".jp-Cell-outputWrapper")
    map_, drawing, pair, labels, failing, place = (outputs.nth(i) for i in range(1, 7))

    steer_the_map(page, map_)
    assert statistics.median(map_.locator(".latent-map-codes").evaluate(REDRAW)) < FRAME_MS
    expect(map_.locator("[aria-live=polite]")).to_contain_text("(−0.40, 0.00)")
    page.locator(".jp-Cell").nth(6).click()
    page.keyboard.press("Control+Enter")  # the kernel knows where the point was left
    expect(place).to_contain_text("the point is at (-0.4, 0.0)")
    map_.screenshot(path=tmp_path / "map.png")

    picture, pad, words = drawing.locator("img"), drawing.locator(".drawing-pad"), drawing.locator(".widget-label")
    choice, box = drawing.locator(".widget-slider"), picture.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(58 / 28, rel=0.01), "the picture is not stretched"
    moves(picture, lambda: choice.locator(".noUi-handle").press("ArrowRight"))
    expect(choice).to_contain_text("example 1: a")
    moves(picture, lambda: drag(page, pad, (0.3, 0.2), (0.7, 0.2)))
    moves(picture, lambda: drag(page, pad, (0.7, 0.2), (0.45, 0.85)))
    expect(choice).to_contain_text("my drawing")
    expect(words.filter(has_text="rec ")).to_contain_text("nats")
    drawing.screenshot(path=tmp_path / "drawing.png")
    moves(picture, drawing.get_by_role("button", name="Clear").click)
    expect(words.filter(has_text="Draw a digit")).to_have_count(1)

    picture, thumbnails = pair.locator("img"), pair.locator(".digit-picker button")
    assert thumbnails.count() == 40
    moves(picture, thumbnails.nth(7).click)
    moves(picture, thumbnails.nth(12).click)
    assert [i for i in range(40) if thumbnails.nth(i).get_attribute("aria-pressed") == "true"] == [7, 12]
    handle = pair.locator(".widget-slider", has_text="second").locator(".noUi-handle")
    moves(picture, lambda: handle.press("ArrowRight"))
    assert thumbnails.nth(13).get_attribute("aria-pressed") == "true"
    moves(picture, pair.get_by_role("button", name="pixels").click)
    times = [page.evaluate(BEAT, [handle.element_handle(), picture.element_handle()]) for _ in range(15)]
    print(f"through the kernel: median {statistics.median(times):.0f} ms")
    assert statistics.median(times) < KERNEL_MS
    pair.screenshot(path=tmp_path / "pair.png")

    three, picture = labels.get_by_label("3", exact=True), labels.locator(".latent-map-picture")
    assert changes(picture, three.check)
    active = page.evaluate(ACTIVE_CELL)
    assert changes(picture, lambda: three.press("ArrowRight"))
    labels.locator(".latent-map-codes").press("ArrowDown")
    assert page.evaluate(ACTIVE_CELL) == active, "JupyterLab took the key for its own"
    labels.screenshot(path=tmp_path / "labels.png")

    drag(page, failing.locator(".drawing-pad"), (0.3, 0.3), (0.6, 0.6))
    expect(failing.get_by_role("alert")).to_have_text("RuntimeError: saw 1")
    assert not outside, outside
