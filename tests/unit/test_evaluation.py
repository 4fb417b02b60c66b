"""What a trained model is worth, against closed forms: a linear-Gaussian model, mixtures on a grid, hand-made posteriors."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from vae_helpers import evaluation, losses
from vae_helpers.images import DataError, ImageSet
from vae_helpers.models import VAE, Gaussian


def small(**settings) -> VAE:
    torch.manual_seed(0)
    return VAE(2, (8,), (8,), **settings)


def linear_gaussian() -> VAE:
    """A linear decoder, whose evidence is a Gaussian integral, under an encoder that ignores the image."""
    torch.manual_seed(0)
    model = VAE(2, (), (), likelihood="gaussian", sigma_x=0.5)
    for parameter in model.encoder.parameters():
        torch.nn.init.zeros_(parameter)  # q(z|x) = N(0, I): loose on purpose
    torch.nn.init.normal_(model.decoder.out.weight, std=0.05)
    return model


def evidence(model: VAE, x: Tensor) -> Tensor:
    """The exact log p(x) of `linear_gaussian`, (batch,)."""
    w, b = model.decoder.out.weight.detach().double(), model.decoder.out.bias.detach().double()
    covariance = w @ w.T + float(model.sigma_x) ** 2 * torch.eye(784)
    return torch.distributions.MultivariateNormal(b, covariance).log_prob(x.double())


# ---------------------------------------------------------------- bounds on held-out images


def test_evaluate_is_the_mean_over_all_images_whatever_the_batches(
    digits: ImageSet, monkeypatch: pytest.MonkeyPatch
):  # E31, E61
    model, images = small(), digits[:50]
    with torch.no_grad():
        per_image = model.negative_elbo(images.x, generator=torch.Generator().manual_seed(0))
    exact = evaluation.evaluate(model, images)
    assert exact.images == 50
    assert exact.rec == pytest.approx(float(per_image.rec.mean()), rel=1e-6)
    assert exact.kl == pytest.approx(float(per_image.kl.mean()), rel=1e-6)
    assert exact.negative_elbo == pytest.approx(exact.rec + exact.kl, rel=1e-9)
    total = (per_image.rec + per_image.kl).double()
    assert exact.standard_error == pytest.approx(float(total.std()) / math.sqrt(50), rel=1e-5)
    monkeypatch.setattr(evaluation, "EVALUATION_BATCH", 40)  # the last batch is short: 40 and 10
    assert evaluation.evaluate(model, images).kl == pytest.approx(exact.kl, rel=1e-6)


def test_evaluate_changes_nothing_but_the_mode(few: ImageSet):
    model = small().train()
    before, random_state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    result = evaluation.evaluate(model, few, pixels="dynamic")
    assert evaluation.evaluate(model, few, pixels="dynamic") == result != evaluation.evaluate(model, few, seed=1)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state) and not model.training


def test_more_samples_of_z_scatter_less(few: ImageSet):
    model = small(likelihood="gaussian", sigma_x=0.05)
    torch.nn.init.normal_(model.decoder.body[0].weight)

    def spread(samples: int) -> float:
        recs = [evaluation.evaluate(model, few, samples=samples, seed=seed).rec for seed in range(12)]
        return float(torch.tensor(recs).std())

    assert spread(25) < spread(1) / 2


def test_what_cannot_be_evaluated_is_refused(few: ImageSet):
    for function in (evaluation.evaluate, evaluation.log_likelihood):
        with pytest.raises(ValueError, match="samples must be at least 1"):
            function(small(), few, samples=0)
        with pytest.raises(DataError, match="non-empty ImageSet"):
            function(small(), few[:0])
    one = evaluation.evaluate(small(), few[:1])
    assert one.images == 1 and math.isnan(one.standard_error)


# ---------------------------------------------------------------- importance weights


def test_log_weights_bound_the_exact_evidence(few: ImageSet):
    model, x = linear_gaussian(), few[:4].x
    exact = evidence(model, x)
    log_w = evaluation.log_weights(model, x, samples=1024, generator=torch.Generator().manual_seed(0)).double()
    assert log_w.shape == (1024, 4) and not log_w.requires_grad
    bounds = torch.stack([losses.iw_bound(log_w.view(k, -1, 4)).mean(0) for k in (1, 8, 64, 1024)])
    assert (bounds.diff(dim=0) > 0).all()
    assert (bounds[0] < exact - 0.5).all()
    torch.testing.assert_close(bounds[-1], exact, rtol=0, atol=0.2)


def test_log_weights_of_the_exact_posterior_do_not_scatter(few: ImageSet):
    model, x = linear_gaussian(), few[:1].x
    # rotate z so that the posterior is diagonal, and let the encoder return it for this image
    w = model.decoder.out.weight.data
    model.decoder.out.weight.data = w = torch.linalg.qr(w)[0] * torch.tensor([1.5, 0.7])
    precision = 1 + (w**2).sum(0) / model.sigma_x**2
    model.encoder.mu.bias.data = w.T @ (x[0] - model.decoder.out.bias.data) / model.sigma_x**2 / precision
    model.encoder.log_var.bias.data = -precision.log()
    log_w = evaluation.log_weights(model, x, samples=5).double()
    torch.testing.assert_close(
        log_w, evidence(model, x).expand(5, 1), rtol=0, atol=2e-2
    )  # single precision, 784 pixels
    assert losses.effective_sample_size(log_w)[0] > 4.99


def test_log_likelihood_averages_the_bounds(few: ImageSet):
    model = linear_gaussian()
    result = evaluation.log_likelihood(model, few, samples=500, pixels="grey")
    exact = evidence(model, few.x)
    assert (result.images, result.samples) == (12, 500)
    assert result.log_likelihood == pytest.approx(float(exact.mean()), abs=0.5)
    assert result.standard_error == pytest.approx(float(exact.std()) / math.sqrt(12), rel=0.05)
    elbo = -evaluation.evaluate(model, few, samples=50).negative_elbo
    assert elbo < result.log_likelihood


@pytest.mark.parametrize("codes_at_once", [1000, 24])  # all six of an image together, or two by two
@pytest.mark.parametrize("likelihood", losses.LIKELIHOODS)
@pytest.mark.parametrize("label_in", [(), ("decoder",), ("encoder", "decoder", "prior")])
def test_iw_bounds_equal_the_formula_written_out(likelihood, label_in, codes_at_once, few, monkeypatch):
    monkeypatch.setattr(evaluation, "CODES_AT_ONCE", {"cpu": codes_at_once})
    model = small(likelihood=likelihood, **(dict(num_classes=10, label_in=label_in) if label_in else {})).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, y = few.x.double(), few.y if label_in else None
    monkeypatch.setattr(ImageSet, "batches", lambda self, *_, **__: iter([(x, few.y)]))
    (found,) = evaluation.iw_bounds(model, few, samples=6, pixels="grey", seed=3)
    seed = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(3)))
    noise, at_once = torch.Generator().manual_seed(seed), min(6, codes_at_once // 12)
    eps = [torch.randn(12, at_once, 2, generator=noise, dtype=torch.float64) for _ in range(6 // at_once)]
    eps = torch.cat(eps, 1)
    q, prior = model.encode(x, y), model.prior(y)
    rows = []
    for k in range(6):
        z = q.mu + (q.log_var / 2).exp() * eps[:, k]
        rec = losses.reconstruction_nll(model.decode(z, y), x, likelihood, model.sigma_x)
        rows.append(losses.gaussian_log_prob(z, *prior) - rec - losses.gaussian_log_prob(z, *q))
    torch.testing.assert_close(found, losses.iw_bound(torch.stack(rows)).detach(), rtol=0, atol=1e-9)


def test_iw_bounds_come_image_by_image_in_order(digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
    model = small()
    bounds = list(evaluation.iw_bounds(model, digits[:65], samples=200, pixels="grey"))
    assert [len(part) for part in bounds] == [10] * 6 + [5]
    alone = torch.cat(
        [torch.cat(list(evaluation.iw_bounds(model, digits[i], samples=200, pixels="grey"))) for i in (3, 64)]
    )
    together = torch.cat(bounds)
    torch.testing.assert_close(together[[3, 64]], alone, rtol=0, atol=0.5)
    assert evaluation.summary(bounds[:2], 200).images == 20
    assert evaluation.summary(bounds, 200) == evaluation.log_likelihood(model, digits[:65], samples=200, pixels="grey")


def test_two_cores_give_the_same_bounds_and_are_given_back(digits: ImageSet):
    model, settings = small(), dict(samples=120, pixels="dynamic")
    one = torch.cat(list(evaluation.iw_bounds(model, digits[:95], **settings)))
    torch.set_num_threads(2)
    try:
        two = evaluation.iw_bounds(model, digits[:95], **settings)
        assert torch.equal(torch.cat([next(two) for _ in range(3)]), one[:30])
        two.close()  # as an interrupt does
        assert torch.equal(torch.cat(list(evaluation.iw_bounds(model, digits[:95], **settings))), one)
        with ThreadPoolExecutor(1) as pool:
            assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(1)


def test_an_error_on_another_core_is_raised_here(digits: ImageSet, monkeypatch: pytest.MonkeyPatch):
    def fail(*_):
        raise RuntimeError("on another core")

    monkeypatch.setattr(evaluation, "_iw_bound", fail)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="on another core"):
            evaluation.log_likelihood(small(), digits[:30])
    finally:
        torch.set_num_threads(1)


def test_the_score_of_a_label_counts_the_kl():  # E45: by reconstruction alone, a label whose code nobody expects would tie
    model = VAE(2, (8,), (8,), num_classes=2, label_in=("encoder",))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.encoder.body[0].weight.data[:, 785] = 1.0  # label 1 sends every image far away from the prior
    torch.nn.init.ones_(model.encoder.mu.weight)
    x = torch.rand(3, 784, generator=torch.Generator().manual_seed(0))
    terms = [model.negative_elbo(x, torch.full((3,), label)) for label in (0, 1)]
    torch.testing.assert_close(terms[0].rec, terms[1].rec)
    assert (terms[1].kl > terms[0].kl + 50).all()
    scores = [
        losses.iw_bound(evaluation.log_weights(model, x, torch.full((3,), label), samples=50)) for label in (0, 1)
    ]
    assert (scores[0] > scores[1] + 10).all()


# ---------------------------------------------------------------- the use of the code


def test_posteriors_are_those_of_the_encoder(digits: ImageSet):
    model = small(num_classes=10)
    found = evaluation.posteriors(model, digits)
    mu, log_var = model.encode(digits.x, digits.y)
    assert found.mu.shape == (1500, 2) and not found.mu.requires_grad
    torch.testing.assert_close(found.mu, mu.detach())
    torch.testing.assert_close(found.log_var, log_var.detach())


def test_the_kl_of_the_dimensions_adds_up_to_that_of_the_bound(few: ImageSet):
    model = small()
    per_dimension = evaluation.kl_per_dimension(evaluation.posteriors(model, few))
    assert per_dimension.shape == (2,) and (per_dimension > 0).all()
    assert float(per_dimension.sum()) == pytest.approx(evaluation.evaluate(model, few).kl, rel=1e-5)


def test_active_units_are_those_whose_mean_moves():
    mu = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.2, 0.05])
    assert evaluation.active_units(mu + 5).tolist() == [True, True, False]
    assert evaluation.active_units(mu, threshold=0.5).tolist() == [True, False, False]


def mixture() -> Gaussian:
    """Six posteriors on a line, of different widths."""
    mu = torch.tensor([-2.0, -1.0, -0.8, 0.5, 1.0, 2.5])[:, None]
    return Gaussian(mu, torch.tensor([-2.0, -1.0, -3.0, 0.0, -2.0, -1.5])[:, None])


def test_elbo_surgery_equals_the_integrals_on_a_grid():
    posterior = mixture()
    z = torch.linspace(-12, 12, 40_001, dtype=torch.float64)
    dz = float(z[1] - z[0])
    each = torch.distributions.Normal(posterior.mu.double(), (posterior.log_var.double() / 2).exp()).log_prob(z)
    aggregate = torch.logsumexp(each, 0) - math.log(6)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    information = float((each.exp() * (each - aggregate)).sum()) * dz / 6
    marginal = float((aggregate.exp() * (aggregate - prior)).sum()) * dz

    found = evaluation.elbo_surgery(posterior, samples=3000)
    assert found.mean_kl == pytest.approx(information + marginal, abs=1e-6)
    assert found.mutual_information == pytest.approx(information, abs=0.03)
    assert found.marginal_kl == pytest.approx(marginal, abs=0.03)
    assert found.mean_kl == pytest.approx(float(evaluation.kl_per_dimension(posterior).sum()), abs=1e-6)


def test_information_is_between_nothing_and_log_n():
    collapsed = Gaussian(torch.zeros(7, 2), torch.zeros(7, 2))
    found = evaluation.elbo_surgery(collapsed)
    assert found.mean_kl == 0 and found.mutual_information == pytest.approx(0, abs=1e-12)
    apart = Gaussian(torch.arange(7.0)[:, None] * 100, torch.zeros(7, 1))
    assert evaluation.elbo_surgery(apart).mutual_information == pytest.approx(math.log(7), abs=1e-9)


def test_the_aggregate_posterior_is_the_mean_of_the_densities_however_narrow():
    torch.manual_seed(0)
    mu, log_var = 3 * torch.randn(40, 5).double(), torch.linspace(-10, 2, 200).double().view(40, 5)
    z = mu + 0.01 * torch.randn(40, 5)
    each = losses.gaussian_log_prob(z[:, None], mu, log_var)
    expected = torch.logsumexp(each, 1) - math.log(40)
    torch.testing.assert_close(evaluation._log_mixture(z, mu, log_var), expected, rtol=1e-8, atol=1e-8)
