"""python -m vae_helpers classify: a small conditional model, the digits, and messages that say what to type."""

import json
import re

import numpy as np
import pytest

from vae_helpers import __main__ as command_line
from vae_helpers import checkpoints, data, paths, scoring
from vae_helpers.classifier import GenerativeClassifier
from vae_helpers.commands.classify import RULES
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES

KEYS = ["accuracy", "label_nll", "images", "images_per_second", "rule", "samples", "checkpoint"]


@pytest.fixture(autouse=True)
def only_digits(monkeypatch):
    """No MNIST anywhere near."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, split: load("digits", split))


@pytest.fixture(scope="module")
def checkpoint(digits, tmp_path_factory):
    """A conditional VAE trained for a second on 1 000 digits."""
    settings = dict(latent_dim=6, encoder_sizes=(48,), decoder_sizes=(48,), epochs=12, learning_rate=5e-3)
    trained = GenerativeClassifier(**settings, progress=False).fit(digits[:1000].x, digits[:1000].y)
    return checkpoints.save(tmp_path_factory.mktemp("classifier") / "small.safetensors", trained.model_)


def classify(capsys, *arguments) -> dict:
    assert command_line.main(["classify", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_what_the_classifier_finds(checkpoint, capsys):
    result = classify(capsys, checkpoint)
    test = data.load("digits", "test")
    expected = GenerativeClassifier.from_model(checkpoints.load(checkpoint).model)
    x, y = test.x.numpy(), test.y.numpy()
    assert list(result) == KEYS
    assert result["accuracy"] == round(expected.score(x, y), 4) > 0.65
    log_p = expected.predict_log_proba(x)[np.arange(len(y)), y]
    assert result["label_nll"] == pytest.approx(-log_p.mean(), abs=1e-4)
    assert (result["images"], result["rule"], result["samples"]) == (297, "plug-in", 1)
    assert result["images_per_second"] > 10 and result["checkpoint"] == str(checkpoint)


def test_without_json_it_is_one_line(checkpoint, capsys):
    assert command_line.main(["classify", str(checkpoint), "--images", "40"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(
        r"\d+\.\d\d % of 40 test images \(digits\) right, label NLL \d+\.\d{3} nats; \d+ images a second by the rule plug-in\n",
        out,
    )


@pytest.mark.parametrize("rule", scoring.RULES)
def test_rule_samples_and_images_are_used(rule, checkpoint, capsys):
    result = classify(capsys, checkpoint, "--rule", rule, "--samples", 3, "--images", 50)
    test = data.load("digits", "test").random_subset(50)
    model = checkpoints.load(checkpoint).model
    expected = GenerativeClassifier.from_model(model, rule=rule, samples=3).predict_log_proba(test.x.numpy())
    assert (result["rule"], result["samples"], result["images"]) == (rule, 3, 50)
    assert result["label_nll"] == pytest.approx(-expected[np.arange(50), test.y.numpy()].mean(), abs=1e-4)


def test_the_command_line_knows_every_rule():
    assert RULES == scoring.RULES


def test_the_default_checkpoint_is_the_shipped_one(checkpoint, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    (tmp_path / "classifier.safetensors").write_bytes(checkpoint.read_bytes())
    assert classify(capsys, "--images", 20)["checkpoint"] == str(tmp_path / "classifier.safetensors")


def test_a_missing_default_says_what_to_type(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    assert command_line.main(["classify"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "Type: python -m vae_helpers train classifier" in err
    assert f'python -m vae_helpers classify "{tmp_path / "runs" / "classifier.safetensors"}"' in err


def test_what_the_message_tells_to_type_works(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setitem(RECIPES["classifier"].training, "epochs", 1)
    assert command_line.main(["train", "classifier"]) == 0
    capsys.readouterr()
    assert classify(capsys, tmp_path / "runs" / "classifier.safetensors", "--images", 10)["images"] == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            dict(),
            "holds a model with 0 labels and 784 pixels, but the images have 10 and 784: choose a conditional one",
        ),
        (dict(num_classes=3), "3 labels and 784"),
        (dict(num_classes=10, pixels=64), "10 labels and 64 pixels"),
    ],
)
def test_a_model_that_does_not_fit_is_told(settings, message, tmp_path, capsys):
    path = checkpoints.save(tmp_path / "other.safetensors", VAE(2, (4,), (4,), **settings))
    assert command_line.main(["classify", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err


def test_a_named_checkpoint_that_is_missing_is_named(tmp_path, capsys):
    assert command_line.main(["classify", str(tmp_path / "absent.safetensors")]) == 1
    assert "absent.safetensors does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "guess"], "guess"),
        (["--samples", "-1"], "'-1' is not a whole number of at least 0"),
        (["--images", "0"], "'0' is not a whole number of at least 1"),
        (["--rule", "elbo", "--samples", "0"], "use rule='plug-in'"),
    ],
)
def test_mistake_in_typing_is_one_line_and_exit_code_2(arguments, message, capsys):
    try:
        code = command_line.main(["classify", *arguments])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.count("\n") == 1
    assert message in err and "--help" in err
