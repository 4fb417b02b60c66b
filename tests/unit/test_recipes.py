"""The recipes: sizes of the sources' networks, their printed figures, and their own ways of counting."""

import math

import pytest
import torch

from vae_helpers import losses
from vae_helpers.history import Epoch
from vae_helpers.recipes import FAST, GAUSSIAN_HALF_CONSTANT, RECIPES, SHIPPED, SOURCES

PARAMETERS = {"S0": 105_816, "S1": 410_404, "S2-VAE": 1_068_820, "S2-CVAE": 1_076_500, "S4": 477_732}


def row(rec: float, kl: float, seen: int = 60_000) -> Epoch:
    return Epoch(0, rec, kl, seen, 1.0)


@pytest.mark.parametrize("name", SOURCES)
def test_network_has_as_many_parameters_as_its_source(name):
    assert sum(p.numel() for p in RECIPES[name].build().parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", SOURCES)
def test_a_fast_recipe_has_the_network_and_the_bound_of_its_source(name):
    source, fast = RECIPES[name], RECIPES[f"{name}-fast"]
    assert fast.model == source.model and fast.dropped_constant == source.dropped_constant
    assert fast.training["epochs"] < source.training["epochs"]
    assert (
        fast.training.get("beta", 1.0) == 1 and 2 * fast.training.get("beta_warmup_epochs", 0) < fast.training["epochs"]
    )


def test_sources_and_shipped_models_are_all_recipes():
    assert set(SOURCES) == set(PARAMETERS)
    assert set(RECIPES) == {*SOURCES, *FAST, *SHIPPED, "classifier-3min", "likelihood-10min", "likelihood-3min"}
    assert all(RECIPES[name].name == name for name in RECIPES)


@pytest.mark.parametrize(
    ("name", "epochs", "steps", "last"),
    [
        ("S0", 50, 300, 35.0090),
        ("S1", 150, 468, 104.480),
        ("S2-VAE", 15, 469, 141.511),
        ("S2-CVAE", 14, 469, 129.411),
        ("S4", 10, 937, 32.059),
    ],
)
def test_epochs_steps_and_last_printed_figure_are_the_sources(name, epochs, steps, last):
    training, printed = RECIPES[name].training, RECIPES[name].printed
    rounded = math.floor if training.get("drop_last") else math.ceil
    assert (training["epochs"], rounded(60_000 / training["batch_size"])) == (epochs, steps)
    assert max(printed) == epochs and printed[epochs] == last
    assert training["learning_rate"] == 1e-3


def test_only_the_second_source_does_not_shuffle():
    assert [name for name in SOURCES if not RECIPES[name].training.get("shuffle", True)] == ["S2-VAE", "S2-CVAE"]


def test_dropped_constant_is_what_squared_error_leaves_out_of_the_density():
    x, mean = torch.rand(2, 3, 784, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    density = losses.gaussian_nll(mean, x, math.sqrt(0.5))
    torch.testing.assert_close(
        density - losses.squared_error(mean, x), torch.full((3,), GAUSSIAN_HALF_CONSTANT).double()
    )
    assert abs(GAUSSIAN_HALF_CONSTANT - 448.73) < 0.01


@pytest.mark.parametrize("name", ["S0", "S4"])
def test_squared_error_plus_kl_of_a_batch_is_the_bound_in_the_sources_unit(name):
    recipe = RECIPES[name]
    model, x = recipe.build().eval(), torch.rand(4, 784, generator=torch.Generator().manual_seed(0))
    rec, kl = model.negative_elbo(x, generator=torch.Generator().manual_seed(1))
    out = model(x, generator=torch.Generator().manual_seed(1))
    expected = losses.squared_error(model.mean_image(out.logits), x) + kl
    torch.testing.assert_close(recipe.bound(rec, kl), expected, rtol=0, atol=1e-3)


def test_missing_one_plus_adds_two_nats_to_s0():
    """E1: -0.5 sum(log_var - mu^2 - exp(log_var)) is the KL plus d/2."""
    recipe = RECIPES["S0"]
    mu, log_var = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    kl = losses.gaussian_kl(mu, log_var).mean().item()
    buggy = -0.5 * (log_var - mu**2 - log_var.exp()).sum(-1).mean().item()
    rec = 30.0 + GAUSSIAN_HALF_CONSTANT
    assert recipe.as_source_counts(row(rec, kl)) == pytest.approx(30.0 + buggy, abs=1e-5)
    assert recipe.bound(rec, kl) == pytest.approx(30.0 + kl, abs=1e-5)


def test_s4_divides_by_images_that_it_did_not_see():
    """E61: 59 968 images seen, 60 000 divided by: the printed 32.0588 is really 32.0759."""
    recipe = RECIPES["S4"]
    rec = 20.0759 + GAUSSIAN_HALF_CONSTANT
    assert recipe.as_source_counts(row(rec, 12.0, seen=937 * 64)) == pytest.approx(32.0588, abs=1e-4)
    assert recipe.bound(rec, 12.0) == pytest.approx(32.0759, abs=1e-4)


@pytest.mark.parametrize("name", ["S1", "S2-VAE", "S2-CVAE"])
def test_the_others_count_as_we_do(name):
    assert RECIPES[name].as_source_counts(row(80.0, 25.0, seen=468 * 128)) == 105.0


def test_same_seed_same_weights_whatever_was_drawn_before():
    first = RECIPES["S0"].build(3).state_dict()
    torch.rand(5)
    before = torch.get_rng_state()
    again, other = RECIPES["S0"].build(3).state_dict(), RECIPES["S0"].build(4).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["decoder.out.weight"], other["decoder.out.weight"])


def test_train_uses_the_recipes_settings_unless_told_otherwise(digits):
    recipe = RECIPES["S4"]
    few = digits[:150]
    _, history = recipe.train(few, epochs=1, seed=2, progress=False)
    settings = history.settings
    assert (settings["batch_size"], settings["drop_last"], settings["seed"], len(history)) == (64, True, 2, 1)
    assert history[0].images_seen == 128
    _, history = recipe.train(few, epochs=1, progress=False, batch_size=50)
    assert history[0].images_seen == 150


def test_train_goes_on_with_a_model_that_it_is_given(digits):
    recipe = RECIPES["first-vae"]
    model = recipe.build(5)
    before = model.decoder.out.weight.detach().clone()
    trained, _ = recipe.train(digits[:64], model=model, epochs=1, progress=False)
    assert trained is model and not torch.equal(before, model.decoder.out.weight)
