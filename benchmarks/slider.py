"""From a key on a slider to the new picture in JupyterLab, in milliseconds: `python -m benchmarks.slider`, or `make bench`.

Three ways to show x_hat(z) of one model in one notebook, measured in turns: the map of lesson 06, whose decoder runs in the page; the
course's own slider, whose picture comes from the kernel; and `ipywidgets.interact` with matplotlib. The clock starts with the key's event in
the page and stops when the new picture is decoded and part of the page; the screen shows it with its next frame. Before each move the kernel is
idle and the page at rest.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page

from benchmarks.machine import conditions
from vae_helpers import paths
from vae_helpers.reproduce import write

sys.path.insert(0, str(paths.ROOT / "tests" / "browser"))  # the tests drive JupyterLab with the same few functions
import in_browser

JAVASCRIPT, KERNEL, INTERACT = PATHS = ("javascript decoder", "kernel, Pillow PNG", "interact + matplotlib")
UNIT = "milliseconds from the key's event to the decoded picture in the page, without the next refresh of the screen"
LIMITS_MS = {JAVASCRIPT: 16, KERNEL: 60}  # a frame; what a finger on a key still takes for immediate
CELLS = [
    """import ipywidgets
import matplotlib.pyplot as plt
import torch
from vae_helpers import data, lesson, widgets
model = lesson.shipped("latent-2d").model""",
    "widgets.latent_map(model, data.load('digits').random_subset(300))",
    "widgets.latent_explorer(model)",
    """@torch.no_grad()
def show(z1, z2):
    plt.imshow(model.mean_image(model.decode(torch.tensor([[z1, z2]]))).reshape(28, 28), cmap="gray", vmin=0, vmax=1)
    plt.show()
ipywidgets.interact(show, z1=(-3.0, 3.0, 0.05), z2=(-3.0, 3.0, 0.05));""",
]
CONTROL = {JAVASCRIPT: ".latent-map-codes", KERNEL: ".noUi-handle", INTERACT: ".noUi-handle"}

# Milliseconds from a key to its picture, in one cell's output. A canvas has changed when the event has been dealt with; an <img> comes later.
MOVE = """async ([output, control, key]) => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  for (let calm = 0; calm < 5; calm = kernel.status === "idle" ? calm + 1 : 0) await pause(20);
  const handle = output.querySelector(control), canvas = output.querySelector(".latent-map-picture");
  const press = () => handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  if (canvas) {
    const before = canvas.toDataURL(), start = performance.now();
    press();
    const time = performance.now() - start;
    if (canvas.toDataURL() === before) throw new Error("the key changed nothing");
    return time;
  }
  const before = output.querySelector("img").src;
  return new Promise((done, failed) => {
    const late = setTimeout(() => failed(new Error("no new picture within 20 s")), 20000);
    const watcher = new MutationObserver(async () => {
      const picture = output.querySelector("img");
      if (!picture || picture.src === before) return;
      watcher.disconnect();
      await picture.decode();
      clearTimeout(late);
      done(performance.now() - start);
    });
    watcher.observe(output, { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] });
    const start = performance.now();
    press();
  });
}"""


def measure(page: Page, lab: in_browser.Lab, moves: int, *, warm_up: int = 5) -> dict[str, list[float]]:
    """Milliseconds of each move, by path. A round moves each path once, so that a busy moment meets all three."""
    cells = in_browser.open_and_run(page, lab, lab.write("slider.ipynb", CELLS))
    in_browser.expect_widgets(page)
    outputs = {path: cells.nth(i).locator(".jp-Cell-outputWrapper").element_handle() for i, path in enumerate(PATHS, 1)}
    times = {path: [] for path in PATHS}
    for i in range(warm_up + moves):
        key = "ArrowLeft" if i // 25 % 2 else "ArrowRight"  # there and back, within the reach of the sliders
        for path in PATHS:
            times[path].append(page.evaluate(MOVE, [outputs[path], CONTROL[path], key]))
    return {path: values[warm_up:] for path, values in times.items()}


def rows(times: dict[str, list[float]]) -> list[dict]:
    """Median and 90th percentile by path."""
    return [
        {
            "path": path,
            "median_ms": round(statistics.median(values), 2),
            "p90_ms": round(statistics.quantiles(values, n=10)[-1], 2),
            "moves": len(values),
        }
        for path, values in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=100, help="moves of each slider (default: 100)")
    parser.add_argument("--out", type=Path, default=paths.RESULTS / "slider.json", help="where to store the result")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        in_browser.running_lab(Path(home)) as lab,
        in_browser.new_page() as page,
    ):
        found = rows(measure(page, lab, arguments.moves))
        stored = conditions() | {"chromium": page.context.browser.version, "unit": UNIT}
    write(arguments.out, found, stored, complete=True)
    for row in found:
        limit = f"at most {LIMITS_MS[row['path']]} wanted" if row["path"] in LIMITS_MS else ""
        print(f"{row['path']:24}median {row['median_ms']:7.2f} ms{row['p90_ms']:10.2f} at the 90th percentile  {limit}")
    print(f"stored in {arguments.out}")


if __name__ == "__main__":
    main()
