"""The tables of README.md, made from the stored results: `python -m benchmarks.tables` writes them, and a test holds README to them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. Without its result file, or with an incomplete one, there is none.
"""

import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path

from vae_helpers import paths
from vae_helpers.recipes import RECIPES

README = paths.ROOT / "README.md"
COMMAND = "python -m benchmarks.tables"
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PUBLISHED = (  # log p(x) in nats per image, MNIST binarised anew in training, 5 000 codes
    ("Burda et al. (2016), table 1: VAE", -86.76),
    ("Burda et al. (2016), table 1: IWAE, 50 codes", -84.78),
)


def reproduction(rows: list[dict]) -> list[str]:
    """Every source at its last printed epoch, and the worst of all its printed epochs."""
    lines = []
    for name in dict.fromkeys(row["recipe"] for row in rows):
        printed = [row for row in rows if row["recipe"] == name and row["source"] is not None]
        last, worst = printed[-1], max(printed, key=lambda row: abs(row["difference"]))
        largest = f"{number(worst['difference'], '+.2f')} in epoch {worst['epoch']}"
        figures = (number(last["source"]), number(last["train"]), number(last["difference"], "+.2f"))
        lines.append([name, last["epoch"], *figures, len(printed), largest])
    head = ("source", "last epoch", "it prints", "ours", "difference", "epochs compared", "largest difference")
    return ["Training loss in nats per image, counted as the source counts.", *table(head, lines)]


def speed(rows: list[dict]) -> list[str]:
    """Seconds of an epoch, the source's pipeline against each of ours."""
    pipelines = list(dict.fromkeys(row["pipeline"] for row in rows))
    lines = []
    for name in dict.fromkeys(row["recipe"] for row in rows):
        found = {row["pipeline"]: row for row in rows if row["recipe"] == name}
        best = max(row["ratio"] for row in found.values())
        lines.append([name, *(number(found[label]["median"]) for label in pipelines), f"{best:.1f}"])
    head = ("seconds an epoch", *pipelines, "times faster at best")
    return ["Same network, batches and number of steps; medians of alternating runs.", *table(head, lines)]


def figure(rows: list[dict]) -> list[str]:
    """Seconds until the source's last figure is met, medians over the seeds."""
    lines = []
    for row in rows:
        if row["seed"] == "median":
            seeds = sum(run["recipe"] == f"{row['recipe']}-fast" for run in rows)
            lines.append(
                [row["recipe"], number(row["target"]), number(row["source_seconds"], ".0f"), number(row["seconds"], ".1f"),
                 number(row["ratio"], ".1f"), f"{row['seeds_met']} of {seeds}", number(row["test"]), number(row["faithful_test"])]
            )  # fmt: skip
    head = (
        "recipe",
        "target",
        "source, s",
        "ours, s",
        "times sooner",
        "seeds that met it",
        "test",
        "test, as the source",
    )
    about = "Seconds until the training loss meets the source's last figure (nats per image, without its mistakes)."
    return [about, *table(head, lines)]


def classifier(rows: list[dict]) -> list[str]:
    """Test accuracy, calibration error and training time by recipe and rule: mean and range over the seeds."""
    lines = []
    for recipe, rule, samples in dict.fromkeys((row["recipe"], row["rule"], row["samples"]) for row in rows):
        of_rule = [row for row in rows if (row["recipe"], row["rule"], row["samples"]) == (recipe, rule, samples)]
        accuracy = mean_and_range((100 * row["test_accuracy"] for row in of_rule), ".2f")
        error = mean_and_range((row["test_ece"] for row in of_rule), ".4f")
        seconds = [
            mean_and_range((row[f"{clock}_seconds"] for row in of_rule), ".0f") for clock in ("wall", "processor")
        ]
        codes = "" if samples == 1 else f", {samples} codes"
        lines.append([recipe, f"{rule}{codes}", len(of_rule), accuracy, error, *seconds])
    head = ("recipe", "rule", "runs", "test accuracy, %", "calibration error", "training, s", "processor, s")
    threads = " or ".join(map(str, sorted({row["threads"] for row in rows if "threads" in row})))
    about = "Bayes' rule over a conditional VAE, MNIST's test images: mean (least to most) over the seeds."
    return [f"{about} Trained with {threads} threads.", *table(head, lines)]


def likelihood(rows: list[dict]) -> list[str]:
    """log p(x), the published figures first."""
    lines = [[who, number(value), "", "", ""] for who, value in PUBLISHED]
    for row in rows:
        about = f"ours: {row['recipe']}, seed {row['seed']}, {row['epochs']} epochs, threads: {row['threads']}"
        value = f"{number(row['log_likelihood'])} ± {row['standard_error']:.2f}"
        seconds = [number(row[f"{clock}_seconds"], ".0f") for clock in ("wall", "processor")]
        lines.append([about, value, f"{row['samples']:,} codes, {row['images']:,} images", *seconds])
    head = ("model", "log p(x), nats per image", "estimated with", "training, s", "processor, s")
    model = RECIPES["likelihood"].model
    sizes = "-".join(map(str, (784, *model["encoder_sizes"], model["latent_dim"])))
    about = (
        f"Ours: {sizes} and back, {model['activation']}, under a prior learned by {model['prior_couplings']} couplings; training images "
        "binarised anew in each epoch, test images once; ± is the standard error over images."
    )
    return [about, *table(head, lines)]


def slider(rows: list[dict]) -> list[str]:
    """From a key to the new picture."""
    lines = [[row["path"], number(row["median_ms"], ".1f"), number(row["p90_ms"], ".1f"), row["moves"]] for row in rows]
    head = ("a slider's picture by", "median, ms", "90th percentile, ms", "moves")
    return ["From a key press to the new picture in JupyterLab.", *table(head, lines)]


def scoring(rows: list[dict]) -> list[str]:
    """Bayes' rule over S2's conditional VAE: the source's loop against ours."""
    lines = [
        [row["way"], number(row["seconds"]), number(row["ratio"], ".1f"), f"{row['accuracy']:.1%} of {row['images']:,}"]
        for row in rows
    ]
    about = "Seconds to score 10,000 images under ten labels; the source's loop scaled up from fewer images."
    return [about, *table(("way", "seconds", "times faster", "right"), lines)]


def footprint(rows: list[dict]) -> list[str]:
    """What the package costs to import, and what training costs in memory."""
    lines = [[row["what"], f"{row['value']:g} {row['unit']}"] for row in rows]
    return ["Each in a process of its own.", *table(("what", "median or peak"), lines)]


TABLES: dict[str, Callable[[list[dict]], list[str]]] = {
    made.__name__: made for made in (reproduction, speed, figure, classifier, scoring, likelihood, slider, footprint)
}


# ---------------------------------------------------------------- pieces


def number(value: float | None, form: str = ".2f") -> str:
    """A figure with a true minus sign; nothing for None."""
    return "" if value is None else format(value, form).replace("-", "−")


def mean_and_range(values: Iterable[float], form: str) -> str:
    """ "mean (least to most)", or the one value there is."""
    values = list(values)
    if len(values) == 1:
        return number(values[0], form)
    return f"{number(statistics.mean(values), form)} ({number(min(values), form)} to {number(max(values), form)})"


def table(head: Iterable[str], lines: Iterable[Iterable]) -> list[str]:
    """A Markdown table, after an empty line."""
    rows = [list(head), *lines]
    rows.insert(1, ["---"] * len(rows[0]))
    return ["", *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def conditions_line(stored: dict, source: str) -> str:
    """The machine and the day, in one line."""
    parts = [stored["date"], stored["cpu"]]
    for key in ("cores", "threads"):
        if key in stored:
            parts.append(f"{stored[key]} {key if stored[key] != 1 else key.removesuffix('s')}")
    parts.append(f"torch {stored['torch'].split('+')[0]}")
    parts += [f"Chromium {stored['chromium']}"] if "chromium" in stored else []
    note = f". {stored['note'][0].upper()}{stored['note'][1:]}" if "note" in stored else ""
    return f"Measured: {', '.join(parts)}{note}. All of it: [{source}](benchmarks/results/{source})."


def block(name: str, results: Path = paths.RESULTS) -> str:
    """What belongs between the marks of table `name`: nothing without a complete result. Raises KeyError for a name that is none."""
    make, path = TABLES[name], results / f"{name}.json"
    if not path.is_file():
        return ""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not stored["conditions"].get("complete", True) or not stored["rows"]:
        return ""
    return "\n".join([*make(stored["rows"]), conditions_line(stored["conditions"], path.name), ""])


def filled(text: str, results: Path = paths.RESULTS) -> str:
    """`text` with every table made anew."""
    return BLOCK.sub(lambda found: found[1] + block(found[2], results) + found[3], text)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{README.name}: {', '.join(name for name in TABLES if block(name)) or 'no tables'}")
