"""python -m vae_helpers evaluate: its figures against direct evaluation and closed forms, and messages that say what to type."""

import json
import math
import re

import pytest
import torch

from vae_helpers import __main__ as command_line
from vae_helpers import checkpoints, data, evaluation, linear
from vae_helpers.commands.evaluate import BINARIZATION_SEED, CODES_FOR_THE_ELBO, PIXELS
from vae_helpers.history import History
from vae_helpers.images import PIXEL_CONVENTIONS, ImageSet, binarize
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES

KEYS = ["negative_elbo", "rec", "kl", "log_likelihood", "standard_error", "active_units", "images", "samples"]
KEYS += ["binarization", "binarization_seed", "conditional", "data", "checkpoint", "interrupted"]
FIGURES = KEYS[:5]
SIGMA_X = 0.3


@pytest.fixture(autouse=True)
def only_digits(monkeypatch):
    """No MNIST anywhere near."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, split: load("digits", split))


@pytest.fixture(scope="module")
def test() -> ImageSet:
    return data.load("digits", "test")


@pytest.fixture
def stored(tmp_path):
    """Puts a model into a checkpoint and gives its path."""
    return lambda model, **more: checkpoints.save(tmp_path / "model.safetensors", model, **more)


def small(**settings) -> VAE:
    torch.manual_seed(0)
    model = VAE(3, (16,), (16,), **settings)
    torch.nn.init.normal_(model.encoder.mu.weight, std=0.5)
    torch.nn.init.normal_(model.decoder.body[0].weight)
    return model.eval()


def evaluate(capsys, *arguments) -> dict:
    assert command_line.main(["evaluate", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def directly(model: VAE, images: ImageSet, samples: int) -> list[float]:
    """The first five figures, from images whose pixels were read already."""
    elbo = evaluation.evaluate(model, images, samples=CODES_FOR_THE_ELBO)
    estimate = evaluation.log_likelihood(model, images, samples=samples, pixels="grey")
    return [elbo.negative_elbo, elbo.rec, elbo.kl, estimate.log_likelihood, estimate.standard_error]


# ---------------------------------------------------------------- the figures


@pytest.mark.parametrize("settings", [dict(), dict(num_classes=10)])
def test_json_holds_what_direct_evaluation_finds(settings, stored, test, capsys):
    model = small(**settings)
    path = stored(model, metrics={"pixels": "grey"})
    result = evaluate(capsys, path, "--samples", 7)
    images = test.random_subset(297)
    assert list(result) == KEYS
    assert [result[name] for name in FIGURES] == pytest.approx(directly(model, images, 7), abs=1e-3)
    assert result["negative_elbo"] == pytest.approx(result["rec"] + result["kl"], abs=1e-3)
    assert result["active_units"] == int(evaluation.active_units(evaluation.posteriors(model, test).mu).sum()) > 0
    assert (result["images"], result["samples"], result["data"]) == (297, 7, "digits")
    assert (result["binarization"], result["binarization_seed"]) == ("grey", None)
    assert result["conditional"] is bool(settings) and result["interrupted"] is False
    assert result["checkpoint"] == str(path)


def test_dynamic_test_images_are_drawn_once_for_all_figures(stored, test, capsys):
    model = small()
    result = evaluate(capsys, stored(model, metrics={"pixels": "dynamic"}), "--images", 40, "--samples", 9)
    b = binarize(test.x, "dynamic", generator=torch.Generator().manual_seed(BINARIZATION_SEED))
    drawn = ImageSet.from_floats(b, test.y).random_subset(40)
    assert set(drawn.images.unique().tolist()) == {0, 255}
    assert [result[name] for name in FIGURES] == pytest.approx(directly(model, drawn, 9), abs=1e-3)
    assert (result["binarization"], result["binarization_seed"], result["images"]) == ("dynamic", 1234, 40)


def test_the_same_command_gives_the_same_figures(stored, capsys):
    path = stored(small(), metrics={"pixels": "dynamic"})
    first = evaluate(capsys, path, "--samples", 3)
    torch.manual_seed(5)
    assert evaluate(capsys, path, "--samples", 3) == first
    assert evaluate(capsys, path, "--samples", 30)["log_likelihood"] > first["log_likelihood"]


@pytest.fixture
def best(test) -> tuple[VAE, float]:
    """The best linear VAE of the test images, whose q(z|x) is the exact posterior, and its mean log p(x) in closed form."""
    components = linear.spectrum(test.x)
    model = linear.best_linear_vae(components, 8, SIGMA_X)
    return model, -linear.negative_log_likelihood(components.eigenvalues, 8, SIGMA_X)


def test_with_the_exact_posterior_one_code_gives_log_p_exactly(best, stored, capsys):
    model, log_p = best
    result = evaluate(capsys, stored(model, metrics={"pixels": "grey"}), "--samples", 1)
    assert result["log_likelihood"] == pytest.approx(log_p, abs=2e-3)
    assert result["negative_elbo"] == pytest.approx(-log_p, abs=0.1)  # its KL is exact, its rec is drawn
    assert result["active_units"] == 8


def test_a_loose_posterior_costs_the_elbo_its_kl_and_many_codes_win_it_back(best, stored, capsys):
    model, log_p = best
    model.encoder.log_var.bias.data += math.log(2.0)  # twice the variance that is right, in eight dimensions
    gap = 8 / 2 * (2 - 1 - math.log(2.0))
    path = stored(model, metrics={"pixels": "grey"})
    one, many = (evaluate(capsys, path, "--samples", k) for k in (1, 300))
    assert one["negative_elbo"] == pytest.approx(-log_p + gap, abs=0.2)
    assert one["log_likelihood"] == pytest.approx(log_p - gap, abs=0.5)
    assert many["log_likelihood"] == pytest.approx(log_p, abs=0.05)
    assert many["negative_elbo"] == one["negative_elbo"]


# ---------------------------------------------------------------- which pixels, which images


def test_the_command_line_knows_every_convention():
    assert PIXELS == PIXEL_CONVENTIONS


def test_pixels_are_read_as_in_training_unless_told(stored, capsys):
    settings = {"pixels": "static", "data": "digits"}
    path = stored(small(), history=History(settings=settings), metrics={"train": None})
    assert evaluate(capsys, path, "--samples", 1)["binarization"] == "static"
    assert evaluate(capsys, path, "--samples", 1, "--pixels", "grey")["binarization"] == "grey"


def test_what_train_keeps_can_be_evaluated(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RECIPES["first-vae"].training, "pixels", "dynamic")
    path = tmp_path / "run.safetensors"
    assert command_line.main(["train", "--epochs", "1", "--out", str(path)]) == 0
    capsys.readouterr()
    assert evaluate(capsys, path, "--images", 20, "--samples", 2)["binarization"] == "dynamic"


def test_one_image_has_no_standard_error_and_no_active_units(stored, capsys):
    result = evaluate(capsys, stored(small(), metrics={"pixels": "grey"}), "--images", 1)
    assert result["standard_error"] is None and result["active_units"] is None and result["images"] == 1


# ---------------------------------------------------------------- for a person


def test_the_text_names_convention_estimate_and_both_halves(stored, capsys):
    path = stored(small(), metrics={"pixels": "dynamic"})
    assert command_line.main(["evaluate", str(path), "--images", "30", "--samples", "4"]) == 0
    number = r" +\d+\.\d\d"
    assert re.fullmatch(
        r"30 test images \(digits\), dynamic pixels, drawn once with seed 1234; nats per image\n"
        rf"-ELBO{number} = rec{number} \+ kl{number}\n"
        r"log p\(x\) +-\d+\.\d\d ± \d+\.\d\d \(from 4 codes an image; too low on average\)\n"
        r"[0-3] of 3 latent dimensions in use\n",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize(
    ("settings", "pixels", "said", "unsaid"),
    [
        (dict(num_classes=10), "static", ["log p(x|y)", "its true label"], ["grey", "densities", "drawn"]),
        (dict(), "grey", ["log p(x)", "no density of greys"], ["label", "drawn"]),
        (dict(likelihood="gaussian", sigma_x=0.1), "grey", ["densities"], ["Bernoulli"]),
    ],
)
def test_the_text_says_what_the_number_is_not(settings, pixels, said, unsaid, stored, capsys):
    path = stored(small(**settings), metrics={"pixels": pixels})
    assert command_line.main(["evaluate", str(path), "--images", "5", "--samples", "2"]) == 0
    out = capsys.readouterr().out
    assert all(words in out for words in said) and not any(words in out for words in unsaid)


# ---------------------------------------------------------------- Ctrl-C


def interrupt_after(monkeypatch, batches: int) -> None:
    bounds = evaluation.iw_bounds

    def interrupted(*arguments, **settings):
        for i, part in enumerate(bounds(*arguments, **settings)):
            if i == batches:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(evaluation, "iw_bounds", interrupted)


def test_interrupt_gives_the_figures_of_the_images_that_were_done(stored, test, monkeypatch, capsys):
    model = small()
    path = stored(model, metrics={"pixels": "grey"})
    interrupt_after(monkeypatch, 2)
    assert command_line.main(["evaluate", str(path), "--samples", "50", "--json"]) == 130
    out, err = capsys.readouterr()
    result = json.loads(out)
    done = 2 * evaluation.CODES_AT_ONCE["cpu"] // 50
    monkeypatch.undo()
    assert (result["images"], result["interrupted"]) == (done, True)
    assert [result[name] for name in FIGURES] == pytest.approx(
        directly(model, test.random_subset(297)[:done], 50), abs=1e-3
    )
    assert err.endswith(f"interrupted after a random {done} of 297 images\n")


def test_interrupt_before_any_image_gives_no_figure(stored, monkeypatch, capsys):
    interrupt_after(monkeypatch, 0)
    path = stored(small(), metrics={"pixels": "grey"})
    assert command_line.main(["evaluate", str(path)]) == 130
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("interrupted before the first images were done\n")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_classes=3), "3 labels and 784 pixels, but the images have 10 and 784: choose another one"),
        (dict(pixels=64), "0 labels and 64 pixels"),
    ],
)
def test_a_model_that_does_not_fit_is_told(settings, message, stored, capsys):
    assert command_line.main(["evaluate", str(stored(VAE(2, (4,), (4,), **settings)))]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04 a pickle"])
def test_a_file_that_is_no_checkpoint_is_named(content, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert command_line.main(["evaluate", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "model.safetensors" in err


def test_a_model_of_unknown_training_needs_its_pixels(stored, capsys):
    path = stored(small())
    assert command_line.main(["evaluate", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "does not say how its training read grey pixels: add --pixels grey, dynamic or static" in err
    assert evaluate(capsys, path, "--images", 5, "--pixels", "dynamic")["binarization"] == "dynamic"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "CHECKPOINT"),
        (["{path}", "--samples", "0"], "'0' is not a whole number of at least 1"),
        (["{path}", "--images", "0"], "'0' is not a whole number of at least 1"),
        (["{path}", "--images", "10001"], "--images 10001: there are only 297 test images (digits)"),
        (["{path}", "--pixels", "blue"], "blue"),
    ],
)
def test_mistake_in_typing_is_one_line_and_exit_code_2(arguments, message, stored, capsys):
    path = stored(small(), metrics={"pixels": "grey"})
    try:
        code = command_line.main(["evaluate", *(a.format(path=path) for a in arguments)])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and err.count("\n") == 1
    assert message in err and "--help" in err
