"""The measurements compare like with like: the sources' rebuilt steps compute what ours compute, and results are stored in one form."""

import json
import statistics
import subprocess
import sys
import time

import pytest
import torch
from PIL.Image import Image
from torch import nn
from torchvision.transforms import ToTensor

from benchmarks import figure, machine, scoring, sources, speed
from vae_helpers import paths
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.objective import Objective
from vae_helpers.recipes import RECIPES

NAMES = list(sources.SOURCES)
ROW_KEYS = {  # what a row of each stored file holds
    "speed": {"recipe", "pipeline", "batch_size", "steps", "median", "fastest", "slowest", "repeats", "ratio", "wanted", "share_of_mm"},
    "scoring": {"way", "seconds", "ratio", "wanted", "accuracy", "images", "repeats"},
    "footprint": {"what", "value", "unit"},
    "gpu": {"recipe", "precision", "epoch", "seconds", "train", "source"},
}  # fmt: skip
RUN_KEYS = {"recipe", "seed", "target", "met_in_epoch", "seconds", "epochs", "seconds_of_all", "train", "test"}
SUMMARY_KEYS = {
    "recipe", "seed", "target", "seconds", "source_seconds", "ratio", "wanted", "seeds_met", "test", "faithful_test", "no_worse",
}  # fmt: skip


def linear_layers(*parts: nn.Module) -> list[nn.Linear]:
    return [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Linear)]


def twins(name: str) -> tuple[nn.Module, VAE, list[tuple[torch.Tensor, list[torch.Tensor]]]]:
    """A source's network, ours with its weights, and which parameter corresponds to which (S0: one to mu and log_var together)."""
    torch.manual_seed(0)
    theirs, ours = sources.SOURCES[name].build(), RECIPES[name].build()
    heads = [] if name == "S0" else [theirs.mu, theirs.log_var]
    their_layers = linear_layers(theirs.encoder, *heads, theirs.decoder)
    our_layers: list[list[nn.Linear]] = [[layer] for layer in linear_layers(ours)]
    if name == "S0":
        i = next(i for i, [layer] in enumerate(our_layers) if layer is ours.encoder.mu)
        our_layers[i : i + 2] = [[ours.encoder.mu, ours.encoder.log_var]]
    pairs = []
    with torch.no_grad():
        for one, several in zip(their_layers, our_layers, strict=True):
            for kind in ("weight", "bias"):
                value, parts = getattr(one, kind), [getattr(layer, kind) for layer in several]
                for part, piece in zip(parts, value.chunk(len(parts)), strict=True):
                    part.copy_(piece)
                pairs.append((value, parts))
    return theirs, ours, pairs


@pytest.mark.parametrize("name", NAMES)
def test_source_and_ours_compute_one_loss_and_one_gradient(name: str, digits: ImageSet):
    source, recipe, few = sources.SOURCES[name], RECIPES[name], digits[:20]
    theirs, ours, pairs = twins(name)
    x, y = next(iter(sources.DataLoader(sources.PilMnist(few), batch_size=20)))
    torch.manual_seed(1)
    loss = source.batch_loss(theirs, x, y) / (1 if name == "S1" else 20)  # S1 alone divides by the batch
    torch.manual_seed(1)
    terms = Objective(ours)(few.x, few.y if ours.num_classes else None, torch.randn(20, ours.latent_dim)[None])
    mine = recipe.bound(terms.rec.mean(), terms.kl.mean()) + recipe.added_constant
    torch.testing.assert_close(mine, loss, rtol=2e-5, atol=0)
    loss.backward()
    mine.backward()
    for value, parts in pairs:
        torch.testing.assert_close(torch.cat([part.grad for part in parts]), value.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_batches_steps_and_epochs_are_the_same(name: str):
    source, settings = sources.SOURCES[name], RECIPES[name].training
    blank = ImageSet(
        torch.zeros(1, 28, 28, dtype=torch.uint8).expand(60_000, 28, 28), torch.zeros(60_000, dtype=torch.long)
    )
    batches = blank.batches(settings["batch_size"], drop_last=settings.get("drop_last", False))
    assert len(source.loader(blank)) == speed.steps_of(name) == sum(1 for _ in batches)
    ours = (settings["batch_size"], settings["epochs"], settings.get("shuffle", True), settings.get("drop_last", False))
    assert (source.batch_size, source.epochs, source.shuffle, source.drop_last) == ours
    assert sources.optimizer_of(source.build()).defaults["lr"] == settings["learning_rate"] == 1e-3


def test_the_source_makes_each_image_by_pil_and_totensor(digits: ImageSet):
    loader = sources.SOURCES["S2-VAE"].loader(digits)
    made, real = [], loader.dataset.transform
    assert isinstance(real, ToTensor)
    loader.dataset.transform = lambda image: made.append(isinstance(image, Image)) or real(image)
    x, y = next(iter(loader))
    assert x.shape == (128, 1, 28, 28) and made == [True] * 128
    torch.testing.assert_close(x.flatten(1), digits[:128].x)
    assert torch.equal(y, digits.y[:128])


@pytest.mark.parametrize("name", NAMES)
def test_a_source_trains(name: str, digits: ImageSet):
    source = sources.SOURCES[name]
    model = source.build()
    loader, optimizer = source.loader(digits[: 2 * source.batch_size]), sources.optimizer_of(model)
    losses = [loss for _ in range(4) for loss in source.epoch(model, optimizer, loader)]
    assert len(losses) == 8 and sum(losses[4:]) < 0.98 * sum(losses[:4])


def test_measuring_clocks_each_pipeline_and_keeps_its_form(digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "OURS", {"ours, float32": {}})
    limits = {"float32": speed.product_limit(torch.float32, size=64, repeats=2)}
    rows = speed.measure("S0", digits[:800], repeats=2, steps=2, limits=limits)
    assert [row["pipeline"] for row in rows] == ["source", "ours, float32"] and rows[0]["ratio"] == 1
    assert all(set(row) == ROW_KEYS["speed"] and row["fastest"] <= row["median"] <= row["slowest"] for row in rows)
    assert "S0" in speed.line_of(rows[1])


def test_a_part_of_an_epoch_is_scaled_to_the_whole(digits: ImageSet):
    part, scale = speed.part_of("S0", digits, 3)
    assert (len(part), scale) == (600, 100.0)
    assert speed.part_of("S0", digits, 0) == (digits, 1.0)


def test_the_products_of_an_epoch_are_counted():
    assert speed.flops(RECIPES["S1"].build(), 468 * 128) / 1e9 == pytest.approx(123.0, abs=0.1)  # by hand
    assert speed.flops(nn.Linear(3, 2), 10) == 2 * 10 * 2 * 6


def test_targets_are_the_sources_last_figures_without_their_mistakes():
    found = {name: round(figure.target(name), 3) for name in NAMES}
    assert found == {"S0": 33.009, "S1": 104.48, "S2-VAE": 141.511, "S2-CVAE": 129.411, "S4": 32.059}


def test_a_fast_run_tells_when_it_met_the_figure(digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
    few, settings = digits[:200], dict(epochs=3, device="cpu")
    monkeypatch.setattr(figure, "target", lambda name: 0.0)
    never = figure.fast_run("S0", 0, few, few, **settings)
    assert set(never) == RUN_KEYS and never["seconds"] is never["met_in_epoch"] is None and never["epochs"] == 3
    monkeypatch.setattr(figure, "target", lambda name: never["train"])
    met = figure.fast_run("S0", 0, few, few, **settings)
    assert met["met_in_epoch"] == 3 and 0 < met["seconds"] <= met["seconds_of_all"]
    assert (met["train"], met["test"]) == (never["train"], never["test"])
    found = figure.summary("S0", [met, met, never], 60.0)
    assert set(found) == SUMMARY_KEYS and found["seconds"] == met["seconds"] and found["seeds_met"] == 2
    assert figure.summary("S0", [never, met, never], 60.0)["ratio"] == 0


def test_the_sources_seconds_are_those_of_all_its_epochs(digits: ImageSet):
    steps, seen = 2, []
    few = digits[:400]
    found = figure.seconds_of_source("S1", lambda images: seen.append(len(images)) or time.sleep(0.02), few, steps)
    assert seen == [2 * 128] and 0.02 <= found / (468 / 2 * 150) < 0.2


def test_the_faithful_test_figure_is_the_last_stored_one():
    rows = json.loads((paths.RESULTS / "reproduction.json").read_text())["rows"]
    assert figure.faithful_test("S4") == next(r["test"] for r in rows if (r["recipe"], r["epoch"]) == ("S4", 10))


def test_the_scoring_loop_and_ours_agree_on_the_same_weights(digits: ImageSet):
    model, few = RECIPES["S2-CVAE"].build().eval(), digits[:4]
    network = scoring.source_of(model)
    torch.manual_seed(0)
    x_hat, mu, _ = network(few.x, few.y)
    torch.testing.assert_close(mu, model.encode(few.x, few.y).mu)
    torch.manual_seed(0)
    z = model.encode(few.x, few.y)
    z = z.mu + torch.exp(0.5 * z.log_var) * torch.randn_like(z.mu)
    torch.testing.assert_close(x_hat, torch.sigmoid(model.decode(z, few.y)))
    assert len(scoring.source_labels(network, few)) == len(scoring.our_labels(model, few, "bfloat16")) == 4


@pytest.mark.parametrize("path", sorted(paths.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_result_is_whole_and_names_its_conditions_but_no_machine(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    conditions, rows = stored["conditions"], stored["rows"]
    assert {"date", "python", "cpu"} <= set(conditions) and rows
    assert conditions.get("complete", True) is True
    for row in rows:
        if path.stem == "figure":
            assert set(row) == (SUMMARY_KEYS if row["seed"] == "median" else RUN_KEYS)
        elif path.stem in ROW_KEYS:
            assert set(row) == ROW_KEYS[path.stem]
    if path.stem == "speed":
        assert {(row["recipe"], row["pipeline"]) for row in rows} == {
            (n, p) for n in NAMES for p in (speed.SOURCE, *speed.OURS)
        }
        assert min(row["repeats"] for row in rows) >= 5


def stored_rows(name: str) -> list[dict]:
    return json.loads((paths.RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]


@pytest.mark.parametrize(
    ("recipe", "accuracy", "seconds"), [("classifier", 0.99, 600), ("classifier-3min", 0.988, 180)]
)
def test_the_stored_classifiers_keep_what_they_promise(recipe: str, accuracy: float, seconds: float):
    rows = [row for row in stored_rows("classifier") if row["recipe"] == recipe]
    assert {row["seed"] for row in rows} == {0, 1, 2}
    assert {row["epochs"] for row in rows} == {RECIPES[recipe].training["epochs"]}
    for rule in ("plug-in", "importance-weighted"):
        found = [row for row in rows if row["rule"] == rule]
        assert statistics.mean(row["test_accuracy"] for row in found) >= accuracy
        assert max(row["test_ece"] for row in found) <= 0.01, "calibrated by one temperature"
    assert min(row["wall_seconds"] for row in rows) <= seconds


@pytest.mark.parametrize(
    ("recipe", "nats", "seconds"),
    [("likelihood", -82.9, 1800), ("likelihood-10min", -84.5, 600), ("likelihood-3min", -86.8, 180)],
)
def test_the_stored_likelihoods_keep_what_they_promise(recipe: str, nats: float, seconds: float):
    (row,) = (row for row in stored_rows("likelihood") if row["recipe"] == recipe)
    assert (row["images"], row["samples"], row["binarization"]) == (10_000, 5000, "dynamic")
    assert row["epochs"] == RECIPES[recipe].training["epochs"] and row["threads"] <= 2
    assert row["log_likelihood"] >= nats and row["wall_seconds"] <= seconds


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_speeds_are_what_was_wanted(name: str):
    best = {row["recipe"]: row["ratio"] for row in stored_rows("speed") if row["pipeline"] == speed.BEST}
    assert best[name] >= speed.WANTED[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_times_to_the_figure_are_what_was_wanted(name: str):
    (row,) = (row for row in stored_rows("figure") if (row["recipe"], row["seed"]) == (name, "median"))
    assert row["ratio"] >= figure.WANTED[name] and row["seeds_met"] == 3 and row["no_worse"]
    ratios = [row["ratio"] for row in stored_rows("figure") if row["seed"] == "median"]
    assert statistics.geometric_mean(ratios) >= figure.WANTED_MEAN


def test_conditions_are_those_of_a_stored_result():
    assert {"date", "python", "torch", "cpu", "cores", "threads"} == set(machine.conditions())


def test_an_unknown_measurement_is_named():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "spede"], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "there is no spede: choose some of speed, figure" in done.stderr
