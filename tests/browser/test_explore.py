"""The map in Chromium, without JupyterLab: the decoder in JavaScript agrees with torch, and the saved page needs nobody."""

import base64
import statistics

import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect
from steering import changes, steer_the_map

from vae_helpers import data, lesson, widgets
from vae_helpers.models import VAE
from vae_helpers.widgets.latent_map import LatentMap, page_state

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]
FRAME_MS = 16  # the decoder in the page: the point never waits for its picture

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
