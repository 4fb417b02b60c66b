"""The mathematics behind the exhibits of lesson 09: constants, factors, floors, and inequalities that a report may not break."""

import math

import pytest
import torch
from torch.nn import functional as F

from vae_helpers import exhibits, losses, symptoms


@pytest.mark.parametrize("d", [1, 4, 32])
def test_the_missing_one_costs_half_a_nat_a_dimension_and_no_gradient(d):
    mu, log_var = (
        t.requires_grad_()
        for t in torch.randn(2, 6, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    )
    broken, mended = exhibits.kl_without_its_one(mu, log_var), exhibits.kl_per_dim(mu, log_var)
    assert torch.allclose((broken - mended).sum(1), torch.full((6,), d / 2, dtype=torch.float64))
    gradients = [torch.autograd.grad(kl.sum(), [mu, log_var]) for kl in (broken, mended)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert torch.allclose(mended.sum(1), losses.gaussian_kl(mu, log_var))


def test_two_sigmoids_have_a_floor_on_every_pixel():
    logits = torch.linspace(-40, 40, 801, dtype=torch.float64)[:, None]
    for x, floor in ((0.0, math.log(2)), (1.0, math.log(1 + math.exp(-1)))):
        cost = exhibits.squashed_twice(logits, torch.full_like(logits, x))
        assert float(cost.min()) == pytest.approx(floor, abs=1e-9) and float(cost.max()) < 1.32


@pytest.mark.parametrize("x", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_the_best_that_two_sigmoids_leave_is_the_nearest_probability(x):
    """The floor that the lesson computes by clamping each pixel between one half and sigmoid(1)."""
    logits = torch.linspace(-40, 40, 80_001, dtype=torch.float64)[:, None]
    nearest = min(max(x, 0.5), 1 / (1 + math.exp(-1)))
    floor = -(x * math.log(nearest) + (1 - x) * math.log(1 - nearest))
    assert float(exhibits.squashed_twice(logits, torch.full_like(logits, x)).min()) == pytest.approx(floor, abs=1e-6)


def test_mean_over_pixels_is_beta_784():
    generator = torch.Generator().manual_seed(0)
    logits, x = torch.randn(5, 784, generator=generator), torch.rand(5, 784, generator=generator)
    mu, log_var = torch.randn(2, 5, 3, generator=generator)
    (rec, kl), (mean_rec, same_kl) = (f(logits, x, mu, log_var) for f in (exhibits.loss_terms, exhibits.averaged_terms))
    assert torch.allclose(784 * (mean_rec + same_kl), rec + 784 * kl, rtol=1e-5)


def test_the_broken_draw_is_exact_where_kl_is_zero():
    mu, log_var, eps = torch.zeros(3, 2), torch.zeros(3, 2), torch.randn(3, 2)
    z = exhibits.log_var_for_sigma(torch.cat([mu, log_var], 1), eps)
    assert torch.equal(z, mu) and float(losses.gaussian_kl(mu, log_var).sum()) == 0


@pytest.mark.parametrize("seed", range(5))
def test_no_code_names_images_better_than_its_information_allows(seed):
    """(9.1) exactly, for discrete codes: best guess of the image from the code, information, and mean KL to any prior."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.softmax(
        (1 + 3 * seed) * torch.randn(20, 30, generator=generator, dtype=torch.float64), 1
    )  # q(z|n): 20 images, 30 codes
    aggregate = q.mean(0)
    information = (q * (q / aggregate).log()).sum(1).mean()
    error = 1 - float((q.max(0).values / 20).sum())  # the best guess from z is the image with the largest q(z|n)
    prior = torch.softmax(torch.randn(30, generator=generator, dtype=torch.float64), 0)
    mean_kl = (q * (q / prior).log()).sum(1).mean()
    assert mean_kl >= information >= (1 - error) * math.log(20) - math.log(2)


def test_the_analytic_kl_passes_log_p_even_with_the_best_q():
    """Its limit is log E_q p(x|z) - KL, by Jensen above the ELBO; with q near the posterior, above log p(x). Both in closed form."""
    exact, x = symptoms.small_exact_model()
    q = exact.best_mean_field(x)
    spread = exact.W * torch.exp(0.5 * q.log_var)
    covariance = spread @ spread.T + exact.sigma_x**2 * torch.eye(4, dtype=torch.float64)
    centre = exact.decode(q.mu)
    limit = torch.distributions.MultivariateNormal(centre, covariance).log_prob(x) - losses.gaussian_kl(*q)
    log_p = exact.log_marginal(x)
    assert exact.elbo(x, *q) <= log_p < limit - 0.2
    z = q.mu + torch.exp(0.5 * q.log_var) * torch.randn(
        200_000, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    log_w = exhibits.weights_with_analytic_kl(-exact.log_likelihood(x, z), z, q.mu, q.log_var)
    assert float(losses.iw_bound(log_w)) == pytest.approx(float(limit), abs=0.02)
    honest = exhibits.log_weights(-exact.log_likelihood(x, z), z, q.mu, q.log_var)
    assert float(losses.iw_bound(honest)) == pytest.approx(float(log_p), abs=0.02)


def test_rec_at_the_mean_leaves_out_half_the_trace():
    """For a linear Gaussian decoder E rec(z) - rec(mu) = tr(W' W diag sigma^2) / (2 sigma_x^2), never negative."""
    exact, x = symptoms.small_exact_model()
    mu, log_var = torch.tensor([0.4, 0.2], dtype=torch.float64), torch.tensor([-1.0, 0.3], dtype=torch.float64)
    left_out = exact.log_likelihood(x, mu) - exact.expected_log_likelihood(x, mu, log_var)
    trace = (exact.W**2).sum(0) @ log_var.exp() / (2 * exact.sigma_x**2)
    assert float(left_out) == pytest.approx(float(trace)) and float(trace) > 0


def test_a_report_over_the_data_set_is_off_by_the_share_that_was_seen():
    summed, counts = [torch.tensor(30.0), torch.tensor(34.0)], [4, 4]
    assert float(exhibits.report_over_dataset(summed, counts, 10)) == pytest.approx(
        0.8 * float(exhibits.epoch_report(summed, counts, 10))
    )
    assert pytest.approx(32.0759, abs=1e-4) == 32.0588 * 60_000 / 59_968, "source S4"


def test_an_untrained_vae_flips_784_coins():
    assert float(
        F.binary_cross_entropy_with_logits(torch.zeros(784), torch.rand(784), reduction="sum")
    ) == pytest.approx(784 * math.log(2))
