"""Training the source tutorials' recipes again, and holding each epoch against the figure that the source printed.

Every figure is in the source's own unit (see `Recipe.as_source_counts`), so `train` repeats its mistakes; `test` never does.
"""

import datetime
import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vae_helpers import data
from vae_helpers.devices import pick_device
from vae_helpers.history import Epoch, History
from vae_helpers.recipes import RECIPES, Recipe


def row_of(recipe: Recipe, epoch: Epoch) -> dict:
    """One epoch as a row of the table: nats per image in the source's unit; `source` and `difference` are None where it prints none.

    train             ours as the source would have counted it, its mistakes included
    train_corrected   ours without the constant that the source's mistake adds (S0 only)
    test              -ELBO on the test images, without mistakes
    seconds           of training, the test not included
    """
    number = epoch.epoch + 1  # sources differ in where they start to count; here the first epoch is 1
    train, source = recipe.as_source_counts(epoch), recipe.printed.get(number)
    row = {"recipe": recipe.name, "epoch": number, "train": round(train, 4)}
    if recipe.added_constant:
        row["train_corrected"] = round(recipe.bound(epoch.rec, epoch.kl), 4)
    row["source"] = source
    row["difference"] = None if source is None else round(train - source, 4)
    row["test"] = None if epoch.val_loss is None else round(recipe.bound(epoch.val_rec, epoch.val_kl), 4)
    row["seconds"] = round(epoch.seconds, 3)
    return row


def reproduce(
    names: Sequence[str],
    *,
    epochs: int | None = None,
    seed: int | None = None,
    on_row: Callable[[dict], None] = lambda row: None,
) -> list[dict]:
    """Train the named recipes on all of MNIST's training images and return one row an epoch; `on_row` gets each as it comes.

    `epochs` shortens each run. The test images are measured after each epoch and choose nothing. Raises DataError without MNIST, and
    KeyboardInterrupt when interrupted: by then `on_row` has had every complete epoch.
    """
    train, test = data.load("mnist", "train"), data.load("mnist", "test")
    rows: list[dict] = []

    for name in names:
        recipe = RECIPES[name]

        def report(history: History, recipe: Recipe = recipe) -> None:
            rows.append(row_of(recipe, history[-1]))
            on_row(rows[-1])

        _, history = recipe.train(train, validation=test, epochs=epochs, seed=seed, on_epoch=report)
        if history.interrupted:
            raise KeyboardInterrupt
    return rows


def line_of(row: dict) -> str:
    """A row as a line of text, aligned under `HEADER`."""

    def cell(key: str, form: str, width: int) -> str:
        value = row.get(key)
        return ("–" if value is None else format(value, form)).rjust(width)

    return (
        f"{row['recipe']:8}{row['epoch']:6}{cell('source', '.3f', 10)}{cell('train', '.3f', 10)}{cell('difference', '+.3f', 12)}"
        f"{cell('train_corrected', '.3f', 11)}{cell('test', '.3f', 10)}{cell('seconds', '.1f', 9)}"
    )


HEADER = (
    f"{'recipe':8}{'epoch':>6}{'source':>10}{'ours':>10}{'difference':>12}{'corrected':>11}{'test':>10}{'seconds':>9}"
)


def conditions(*, names: Sequence[str], seed: int | None, epochs: int | None) -> dict:
    """What a stored result depends on: versions, processor, threads, seed, date; nothing that names the machine."""
    device = pick_device()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": {name: RECIPES[name].seed if seed is None else seed for name in names},
        "epochs": epochs or "as the source",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "unit": "nats per image, as the source counts them; test without its mistakes",
    }


def cpu_model() -> str:
    """The processor's model name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def rows_as_json(rows: list[dict]) -> str:
    """A JSON list with one row a line, so that two results can be compared line by line."""
    return "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]" if rows else "[]"


def write(path: Path, rows: list[dict], stored_conditions: dict, *, complete: bool) -> None:
    """Store rows and conditions as JSON; the old file stays until the new one is whole. Raises OSError."""
    aside = path.with_name(path.name + ".tmp")
    head = json.dumps({**stored_conditions, "complete": complete}, indent=2)
    aside.write_text(f'{{"conditions": {head},\n"rows": {rows_as_json(rows)}}}\n', encoding="utf-8")
    aside.replace(path)
