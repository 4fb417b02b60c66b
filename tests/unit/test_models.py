"""The networks: shapes, named results, labels in their places, and messages that say what to do."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from vae_helpers import losses, models
from vae_helpers.images import DataError
from vae_helpers.models import VAE

SOURCES = {  # sizes of the five source models and their numbers of parameters
    105_816: dict(
        latent_dim=4, encoder_sizes=(64, 32), decoder_sizes=(32, 64), likelihood="gaussian", sigmoid_mean=True
    ),
    410_404: dict(latent_dim=10, encoder_sizes=(256,), decoder_sizes=(256,)),
    1_068_820: dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512)),
    1_076_500: dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512), num_classes=10),
    477_732: dict(latent_dim=10, encoder_sizes=(256, 128, 32), decoder_sizes=(32, 128, 256), likelihood="gaussian"),
}


def small(latent_dim: int = 3, **settings) -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim, (16,), (16,), **settings)


def images(n: int = 5) -> Tensor:
    return torch.rand(n, 784, generator=torch.Generator().manual_seed(1))


def noise(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- reparameterisation


def test_reparameterize_scales_the_noise_by_the_standard_deviation():  # E22, A14: exp(log_var) is the variance
    mu, log_var = torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([[0.0, 2.0], [-4.0, 1.0]])
    eps = torch.randn(2, 2, generator=noise())
    std = torch.tensor([[1.0, math.e], [math.exp(-2), math.exp(0.5)]])
    torch.testing.assert_close(models.reparameterize(mu, log_var, generator=noise()), mu + std * eps)


def test_reparameterize_passes_the_gradient_to_both_arguments():
    mu, log_var = torch.zeros(1, 2, requires_grad=True), torch.tensor([[1.0, -1.0]], requires_grad=True)
    z = models.reparameterize(mu, log_var, generator=noise())
    d_mu, d_log_var = torch.autograd.grad(z.sum(), (mu, log_var))
    torch.testing.assert_close(d_mu, torch.ones(1, 2))
    torch.testing.assert_close(d_log_var, z.detach() / 2)  # dz / d log_var = sigma eps / 2


def test_reparameterize_draws_the_posterior():
    n = 100_000
    z = models.reparameterize(torch.full((n, 1), 2.0), torch.full((n, 1), math.log(9.0)), generator=noise())
    assert abs(float(z.mean()) - 2) < 5 * 3 / math.sqrt(n)
    assert abs(float(z.std()) - 3) < 5 * 3 / math.sqrt(2 * n)


# ---------------------------------------------------------------- sizes and results


@pytest.mark.parametrize("parameters", SOURCES)
def test_the_source_models_have_their_number_of_parameters(parameters: int):
    assert sum(p.numel() for p in VAE(**SOURCES[parameters]).parameters()) == parameters


def test_forward_returns_names_and_per_image_shapes():  # E21: four values unpacked into three names
    out = small()(images())
    assert out._fields == ("logits", "mu", "log_var", "z")
    assert out.logits.shape == (5, 784) and out.mu.shape == out.log_var.shape == out.z.shape == (5, 3)
    assert small().encode(images())._fields == ("mu", "log_var")


def test_one_seed_gives_one_forward_pass():
    model = small()
    first, again, other = (model(images(), generator=noise(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.logits, again.logits) and not torch.equal(first.z, other.z)
    assert torch.equal(first.mu, other.mu)


def test_negative_elbo_is_the_loss_of_the_forward_pass():
    model = small(likelihood="gaussian", sigma_x=0.3)
    rec, kl = model.negative_elbo(images(), generator=noise())
    out = model(images(), generator=noise())
    assert rec.shape == kl.shape == (5,)
    torch.testing.assert_close(rec, losses.gaussian_nll(out.logits, images(), 0.3))
    torch.testing.assert_close(kl, losses.gaussian_kl(out.mu, out.log_var))


def test_sample_makes_n_images_whatever_the_latent_dimension():  # E43: n was silently the latent dimension
    for latent_dim in (2, 3):
        for n in (1, 2, 4):
            made = small(latent_dim).sample(n, generator=noise())
            assert made.shape == (n, 784) and not made.requires_grad
            assert (made > 0).all() and (made < 1).all()
    assert small().sample(4, generator=noise()).unique(dim=0).shape == (4, 784)


def test_reconstruct_decodes_the_posterior_mean():
    model = small()
    x_hat = model.reconstruct(images())
    assert torch.equal(x_hat, model.reconstruct(images())) and not x_hat.requires_grad
    torch.testing.assert_close(x_hat, torch.sigmoid(model.decode(model.encode(images()).mu)))


def test_mean_image_is_the_mean_of_the_likelihood():
    logits = torch.tensor([[-2.0, 0.0, 3.0]])
    assert torch.equal(small().mean_image(logits), torch.sigmoid(logits))
    assert torch.equal(small(likelihood="gaussian").mean_image(logits), logits)  # not clamped (E64)
    continuous = small(likelihood="continuous_bernoulli").mean_image(logits)
    assert torch.equal(continuous, losses.continuous_bernoulli_mean(logits))


def test_sigmoid_mean_squashes_the_means_once():
    squashed, plain = small(likelihood="gaussian", sigmoid_mean=True), small(likelihood="gaussian")
    z = torch.randn(4, 3, generator=noise())
    assert torch.equal(squashed.decode(z), torch.sigmoid(plain.decode(z)))
    assert torch.equal(squashed.mean_image(squashed.decode(z)), squashed.decode(z))


def test_sigma_x_is_fixed_or_learned():
    fixed, learned = (small(likelihood="gaussian", sigma_x=0.5, learn_sigma_x=learn) for learn in (False, True))
    for model in (fixed, learned):
        torch.testing.assert_close(model.sigma_x.detach(), torch.tensor(0.5))
    assert "log_sigma_x" not in dict(fixed.named_parameters()) and "log_sigma_x" in dict(learned.named_parameters())
    rec, kl = learned.negative_elbo(images(), generator=noise())
    (rec + kl).mean().backward()
    assert learned.log_sigma_x.grad != 0


def test_no_hidden_layer_is_a_linear_model():
    model = VAE(2, (), (), likelihood="gaussian")
    assert sum(p.numel() for p in model.parameters()) == 2 * (784 * 2 + 2) + 2 * 784 + 784
    z = torch.randn(3, 2, generator=noise())
    torch.testing.assert_close(
        model.decode(z[:1] + z[1:2]) + model.decode(torch.zeros(1, 2)), model.decode(z[:1]) + model.decode(z[1:2])
    )


# ---------------------------------------------------------------- settings


def test_the_callers_layer_lists_are_left_alone():  # E51: an ancestor of S2 added the labels to the caller's list
    encoder_sizes, decoder_sizes, label_in = [16, 8], [8, 16], ["decoder", "encoder"]
    first = VAE(2, encoder_sizes, decoder_sizes, num_classes=10, label_in=label_in)
    assert (encoder_sizes, decoder_sizes, label_in) == ([16, 8], [8, 16], ["decoder", "encoder"])
    second = VAE(2, encoder_sizes, decoder_sizes, num_classes=10, label_in=label_in)
    assert [p.shape for p in first.parameters()] == [p.shape for p in second.parameters()]
    encoder_sizes.append(4)
    assert first.config["encoder_sizes"] == [16, 8]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict(likelihood="gaussian", sigma_x=0.3, learn_sigma_x=True, sigmoid_mean=True, activation="tanh"),
        dict(num_classes=10, label_in=("prior", "decoder")),
    ],
)
def test_config_builds_the_same_network(settings: dict):
    model = small(**settings)
    again = VAE(**model.config)
    assert again.config == model.config
    again.load_state_dict(model.state_dict())
    y = torch.arange(5) if model.num_classes else None
    assert torch.equal(again(images(), y, generator=noise()).logits, model(images(), y, generator=noise()).logits)
    assert torch.equal(again.sigma_x, model.sigma_x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(likelihood="mse"), "likelihood='mse' does not exist: choose one of bernoulli, "),
        (dict(activation="gelu"), "activation='gelu' does not exist: choose one of relu, "),
        (
            dict(num_classes=10, label_in=("input",)),
            "label_in='input' does not exist: choose one of encoder, decoder, prior",
        ),
        (dict(num_classes=10, label_in=()), "needs a place for the label"),
        (dict(latent_dim=0), "latent_dim must be >= 1"),
        (dict(sigma_x=0), "sigma_x > 0"),
        (dict(num_classes=-1), "num_classes >= 0"),
        (dict(learn_sigma_x=True), "need likelihood='gaussian' or 'laplace', not 'bernoulli'"),
        (dict(sigmoid_mean=True), "need likelihood='gaussian' or 'laplace', not 'bernoulli'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        VAE(**settings)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "places", [("encoder",), ("decoder",), ("encoder", "decoder"), ("prior",), ("decoder", "prior")]
)
def test_the_label_goes_where_it_was_put(places: tuple[str, ...]):
    model = small(num_classes=10, label_in=places)
    if "prior" in places:
        torch.nn.init.normal_(model.prior_log_var.weight)
    x, z = images(1).expand(2, -1), torch.zeros(2, 3)
    y = torch.tensor([3, 8])
    depends = {
        "encoder": not torch.equal(*model.encode(x, y).mu),
        "decoder": not torch.equal(*model.decode(z, y)),
        "prior": len(model.prior(y).mu) == 2 and not torch.equal(*model.prior(y).mu),
    }
    assert depends == {place: place in places for place in models.LABEL_PLACES}
    rec, kl = model.negative_elbo(x, y, generator=noise())
    out = model(x, y, generator=noise())
    torch.testing.assert_close(kl, losses.gaussian_kl(out.mu, out.log_var, *model.prior(y)))
    torch.testing.assert_close(rec, losses.bernoulli_nll(out.logits, x))


def test_one_hot_is_one_row_a_label():
    assert torch.equal(
        models.one_hot(torch.tensor([2, 0], dtype=torch.int32), 3), torch.tensor([[0.0, 0, 1], [1, 0, 0]])
    )


def test_labels_are_moved_to_the_model():  # E44: on a GPU, torch.cat of two devices fails
    model = small(num_classes=10).to("meta")
    assert model.decode(torch.zeros(2, 3, device="meta"), torch.tensor([1, 2])).shape == (2, 784)


@pytest.mark.parametrize("places", [("encoder", "decoder"), ("prior",)])
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, r"this model is conditional: pass labels y of shape \(batch,\) in 0\.\.9"),
        (torch.tensor([[1], [2]]), r"got torch.int64 of shape \(2, 1\): use y.flatten\(\).long\(\)"),
        (torch.tensor([1.0, 2.0]), "whole numbers"),
        (torch.tensor([1, 10]), r"labels must lie in 0\.\.9, got 1\.\.10"),
        (torch.tensor([-1, 1]), r"labels must lie in 0\.\.9, got -1\.\.1"),
    ],
)
def test_labels_of_another_kind_are_refused(places: tuple[str, ...], y: Tensor | None, message: str):
    model = small(num_classes=10, label_in=places)
    with pytest.raises(ValueError, match=message):
        model.negative_elbo(images(2), y)
    with pytest.raises(ValueError, match=message):
        model.sample(2, y)


def test_the_number_of_labels_is_checked():  # E43: four samples, two labels, silently two images
    model = small(num_classes=10)
    with pytest.raises(ValueError, match="4 images but 2 labels"):
        model.sample(4, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="5 rows but 2 labels"):
        model(images(5), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="4 images but 2 labels"):
        small(num_classes=10, label_in=("prior",)).sample(4, torch.tensor([1, 2]))


def test_a_model_without_labels_says_so():
    with pytest.raises(ValueError, match="this model takes no labels: build it with num_classes=10"):
        small()(images(2), torch.tensor([1, 2]))


def test_conditional_samples_follow_their_labels():
    model = small(num_classes=10)
    y = torch.tensor([4, 4, 7])
    assert model.sample(3, y, generator=noise()).shape == (3, 784)
    with_prior = small(num_classes=10, label_in=("prior",))
    torch.nn.init.constant_(with_prior.prior_log_var.weight, -30.0)  # no spread: one image a label
    made = with_prior.sample(3, y, generator=noise())
    torch.testing.assert_close(made[0], made[1])
    assert (made[0] - made[2]).abs().max() > 1e-3


# ---------------------------------------------------------------- images, codes and log-variances that are wrong


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 28, 28), "reshape"),
        (torch.zeros(784), "reshape"),
        (torch.zeros(2, 100), "784"),
        (torch.zeros(2, 784, dtype=torch.uint8), "x.float\\(\\) / 255"),
        (torch.full((2, 784), 255.0), "divide by 255"),
        (torch.full((2, 784), -0.42), "undo the normalisation"),
        (torch.full((2, 784), math.nan), "NaN"),
    ],
)
def test_images_of_another_kind_are_refused_with_the_line_that_mends_them(x: Tensor, message: str):
    with pytest.raises(DataError, match=message):
        small()(x)


def test_rounding_at_the_ends_of_the_grey_scale_is_no_error():
    small()(torch.tensor([-1e-6, 1 + 1e-6]).repeat(392)[None])


def test_codes_of_another_shape_are_refused():  # E13: nn.Linear broadcasts over leading axes
    for z in (torch.zeros(2, 1, 3), torch.zeros(3), torch.zeros(2, 4)):
        with pytest.raises(ValueError, match=r"codes must have shape \(batch, 3\)"):
            small().decode(z)


def test_a_log_variance_that_runs_away_is_clamped_with_a_warning():
    model = small()
    torch.nn.init.zeros_(model.encoder.log_var.weight)
    model.encoder.log_var.bias.data = torch.tensor([-50.0, 0.0, 42.0])
    with pytest.warns(UserWarning, match="clamped. With the usual loss: lower the learning rate") as caught:
        log_var = model.encode(images(1)).log_var
    assert caught[0].filename == __file__
    assert torch.equal(log_var, torch.tensor([[-20.0, 0.0, 20.0]]))


def test_a_log_variance_within_bounds_gives_no_warning():
    model = small()
    torch.nn.init.zeros_(model.encoder.log_var.weight)
    for bias in (
        torch.tensor([-20.0, 0.0, 20.0]),
        torch.tensor([math.nan, 0.0, 0.0]),
    ):  # training has its own word for NaN
        model.encoder.log_var.bias.data = bias
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.encode(images(1))


def test_the_model_computes_in_the_type_of_its_weights():
    model = small(num_classes=10).double()
    out = model(images().double(), torch.arange(5), generator=noise())
    assert out.logits.dtype == torch.float64
