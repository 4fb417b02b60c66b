"""The mathematics of lesson 01, exactly: three derivations of the bound, Gaussian KLs, mean field, and what the bound does not say."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_helpers import exact, losses
from vae_helpers.checks import lesson_01

CODES, DZ = exact.grid(-10, 10, 4001)
ONE = torch.ones(1, dtype=torch.float64)


def hermite(function, mu: float, sigma: float) -> float:
    """E[function(z)] under N(mu, sigma^2) by Gauss-Hermite quadrature: exact for polynomials below degree 80."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = mu + sigma * torch.from_numpy(nodes)
    return float((torch.from_numpy(weights) * function(z)).sum() / math.sqrt(2 * math.pi))


def log_normal(z: Tensor, mu: float, sigma: float) -> Tensor:
    """log N(z; mu, sigma^2), elementwise, in float64 (torch's Normal(0.0, 1.0) would hold its parameters in float32)."""
    return -0.5 * (losses.LOG_2PI + ((z - mu) / sigma) ** 2) - math.log(sigma)


def mixture(means: tuple[float, float], stds: tuple[float, float]) -> Tensor:
    """Log density on CODES of two Gaussians with weights 0.3 and 0.7: a q that is no Gaussian."""
    log_each = [losses.gaussian_log_prob(CODES, m, 2 * math.log(s)) for m, s in zip(means, stds, strict=True)]
    return torch.logaddexp(log_each[0] + math.log(0.3), log_each[1] + math.log(0.7))


def random_model(seed: int, D: int = 4, d: int = 3) -> tuple[exact.LinearGaussian, Tensor]:
    g = torch.Generator().manual_seed(seed)
    model = exact.LinearGaussian(torch.randn(D, d, generator=g), torch.randn(D, generator=g), 0.7)
    return model, model.sample(6, g).x


@pytest.mark.parametrize("z_true", [0.0, 0.5, exact.Curve.crossing])
def test_the_three_derivations_for_a_posterior_and_a_q_that_are_not_gaussian(z_true):
    curve = exact.Curve()
    log_joint = curve.log_joint(curve.decode([z_true]), CODES)
    log_p = exact.log_marginal_grid(log_joint, DZ)
    log_q = mixture((-0.8, 0.9), (0.4, 0.6))

    def under_q(values):
        return (log_q.exp() * values).sum() * DZ

    log_posterior = log_joint - log_p
    assert under_q(torch.exp(log_joint - log_q)).log() == pytest.approx(float(log_p), abs=1e-10)  # (1.8), left
    elbo = under_q(log_joint - log_q)
    assert elbo < log_p - 0.1  # (1.8), right
    assert elbo + under_q(log_q - log_posterior) == pytest.approx(float(log_p), abs=1e-10)  # (1.9)
    assert exact.kl_grid(log_q, log_posterior, DZ) == pytest.approx(float(log_p - elbo), abs=1e-10)  # (1.10)
    split = under_q(curve.log_likelihood(curve.decode([z_true]), CODES)) - exact.kl_grid(
        log_q, curve.log_prior(CODES), DZ
    )
    assert split == pytest.approx(float(elbo), abs=1e-10)  # (1.11), left
    assert under_q(log_joint) - under_q(log_q) == pytest.approx(float(elbo), abs=1e-10)  # (1.11), right
    at_posterior = exact.elbo_grid(log_joint, log_posterior, DZ)
    assert at_posterior == pytest.approx(float(log_p), abs=1e-10), "the bound is tight at the posterior"


def test_a_grid_that_stops_at_three_misses_what_the_prior_has_beyond():
    z, dz = exact.grid(-3, 3, 6001)
    inside = torch.exp(losses.gaussian_log_prob(z)).sum() * dz
    assert float(inside) == pytest.approx(math.erf(3 / math.sqrt(2)), abs=1e-5)
    assert f"{float(inside):.4f}" == "0.9973"


def test_the_gaussian_kl_from_its_moments():
    for mu, sigma in ((0.0, 1.0), (1.3, 0.4), (-2.0, 2.5)):
        assert hermite(lambda z: z, mu, sigma) == pytest.approx(mu, abs=1e-12)  # (1.12)
        assert hermite(lambda z: z**2, mu, sigma) == pytest.approx(mu**2 + sigma**2, abs=1e-10)
        by_definition = hermite(lambda z, m=mu, s=sigma: log_normal(z, m, s) - log_normal(z, 0, 1), mu, sigma)
        closed = losses.gaussian_kl(mu * ONE, 2 * math.log(sigma) * ONE)  # (1.13)
        assert float(closed) == pytest.approx(by_definition, abs=1e-10)


def test_the_kl_of_two_gaussians_is_that_of_the_library():
    g = torch.Generator().manual_seed(0)
    mu, prior_mu = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    sigma, prior_sigma = torch.rand(2, 5, 3, generator=g, dtype=torch.float64) + 0.2
    library = kl_divergence(Normal(mu, sigma), Normal(prior_mu, prior_sigma)).sum(-1)
    formula = 0.5 * ((sigma**2 + (mu - prior_mu) ** 2) / prior_sigma**2 - 1 - torch.log(sigma**2 / prior_sigma**2))
    torch.testing.assert_close(formula.sum(-1), library)  # (1.14)
    torch.testing.assert_close(lesson_01.kl_two_gaussians(mu, sigma, prior_mu, prior_sigma), library)


def test_kl_is_zero_for_equal_gaussians_positive_otherwise_and_not_symmetric():
    g = torch.Generator().manual_seed(1)
    mu, log_var = torch.randn(2, 1000, 4, generator=g, dtype=torch.float64)
    assert (losses.gaussian_kl(mu, log_var) > 0).all()
    assert (losses.gaussian_kl(0 * mu, 0 * log_var) == 0).all() and (
        losses.gaussian_kl(mu, log_var, mu, log_var) == 0
    ).all()
    assert (losses.gaussian_kl(mu, log_var) - losses.gaussian_kl(0 * mu, 0 * log_var, mu, log_var)).abs().min() > 1e-6


def test_the_bug_of_source_s0_adds_half_a_nat_per_dimension_and_keeps_the_gradients():
    for d in (1, 4, 20):
        mu, log_var = torch.randn(
            2, 3, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64
        ).requires_grad_()
        wrong = -0.5 * (log_var - mu**2 - log_var.exp()).sum(-1)
        right = losses.gaussian_kl(mu, log_var)
        torch.testing.assert_close(wrong - right, torch.full((3,), d / 2, dtype=torch.float64))


def test_the_misplaced_constant_of_a_log_density_grows_with_d_squared():
    d = 16
    z = torch.zeros(d, dtype=torch.float64)
    wrong = (-0.5 * (d * losses.LOG_2PI + z + z**2)).sum()
    assert float(losses.gaussian_log_prob(z) - wrong) == pytest.approx(0.5 * d * (d - 1) * losses.LOG_2PI)
    assert f"{0.5 * d * (d - 1) * losses.LOG_2PI:.1f}" == "220.5"


def test_the_elbo_of_a_straight_line_by_quadrature():
    x, w = torch.tensor([1.2, 0.4, -0.3], dtype=torch.float64), torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)

    def log_joint(z):
        return log_normal(x, z[:, None] * w, 0.5).sum(-1) + log_normal(z, 0, 1)

    for mu, sigma in ((0.3, 0.5), (-1.0, 1.5)):
        expected = hermite(lambda z, m=mu, s=sigma: log_joint(z) - log_normal(z, m, s), mu, sigma)
        closed = lesson_01.linear_elbo(x, w, 0.5, mu * ONE[0], 2 * math.log(sigma) * ONE[0])
        assert float(closed) == pytest.approx(expected, abs=1e-10)  # (1.15)


def test_the_best_diagonal_q_and_its_gap():
    for seed in range(5):
        model, x = random_model(seed)
        best = model.best_mean_field(x)
        gap = 0.5 * (model.M.diagonal().log().sum() - torch.logdet(model.M))  # (1.16)
        torch.testing.assert_close(model.kl_to_posterior(x, *best), gap.expand(6))
        torch.testing.assert_close(best.mu, model.posterior(x).mean)
        assert (best.log_var.exp() < model.posterior(x).covariance.diagonal()).all()


def test_one_of_two_bumps_costs_log_2_and_covering_both_needs_the_moments():
    log_p = torch.logaddexp(*(losses.gaussian_log_prob(CODES, m, 2 * math.log(0.2)) for m in (-2.0, 2.0))) - math.log(2)
    one = losses.gaussian_log_prob(CODES, 2.0, 2 * math.log(0.2))
    assert float(exact.kl_grid(one, log_p, DZ)) == pytest.approx(math.log(2), abs=1e-9)
    reverse = {}
    for mean, variance in ((0.0, 4.04), (0.1, 4.04), (-0.1, 4.04), (0.0, 3.9), (0.0, 4.2)):  # (1.17), the other order
        reverse[mean, variance] = float(
            exact.kl_grid(log_p, losses.gaussian_log_prob(CODES, mean, math.log(variance)), DZ)
        )
    assert min(reverse, key=reverse.get) == (0.0, 4.04), "mean 0 and variance 2^2 + 0.2^2 are the moments of p"


def test_changing_q_never_changes_the_evidence():
    model, x = random_model(3)
    elbos = []
    for seed in range(4):
        mu, log_var = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        elbos.append(model.elbo(x, mu, log_var))
        torch.testing.assert_close(
            elbos[-1] + model.kl_to_posterior(x, mu, log_var), model.log_marginal(x), rtol=0, atol=1e-9
        )
    assert (torch.stack(elbos).std(0) > 0.1).all()


def test_a_larger_bound_can_mean_a_smaller_likelihood():
    """With q fixed at the prior, going from theta = 2 to theta = 0 raises the ELBO and lowers log p(x)."""
    zero, two = (exact.LinearGaussian([[theta]], [0.0], 1.0) for theta in (0.0, 2.0))
    x, q = [2.0], ([0.0], [0.0])
    assert zero.elbo(x, *q) > two.elbo(x, *q) + 1 and zero.log_marginal(x) < two.log_marginal(x) - 0.5


def test_tighten_then_climb_never_lowers_the_likelihood():
    thetas = torch.linspace(0.05, 4, 80, dtype=torch.float64)
    family = [exact.LinearGaussian([[float(t)]], [0.0], 1.0) for t in thetas]
    x = torch.tensor([2.0], dtype=torch.float64)
    log_p = torch.stack([one.log_marginal(x) for one in family])
    for start in range(0, 80, 7):
        mean, covariance = family[start].posterior(x)
        bound = torch.stack([one.elbo(x, mean, covariance[0].log()) for one in family])
        assert (bound <= log_p + 1e-12).all() and float(bound[start]) == pytest.approx(float(log_p[start]), abs=1e-12)
        assert log_p[bound.argmax()] >= log_p[start]


def test_the_bound_exceeds_the_data_density_somewhere_but_never_on_average():
    points, dx = exact.grid(-9, 9, 3601)
    weight = torch.exp(losses.gaussian_log_prob(points)) * dx
    ceiling = -0.5 * (losses.LOG_2PI + 1)  # -H of N(0, 1)
    confident = exact.LinearGaussian([[0.06]], [0.0], 0.08)
    mean, covariance = confident.posterior([0.0])
    elbo = confident.elbo([0.0], mean, covariance[0].log())
    assert f"{float(elbo):.3f}" == "1.384" and f"{float(losses.gaussian_log_prob(0 * ONE)):.3f}" == "-0.919"
    for slope, sigma_x in ((0.06, 0.08), (0.6, 0.8), (1.2, 1.6), (0.0, 1.0)):
        model = exact.LinearGaussian([[slope]], [0.0], sigma_x)
        log_p = float((weight * model.log_marginal(points)).sum())
        mean_elbo = float((weight * model.elbo(points, ONE * 0, ONE * 0)).sum())
        assert mean_elbo <= log_p + 1e-9 and log_p <= ceiling + 1e-9  # (1.18)
        variance = slope**2 + sigma_x**2
        assert log_p == pytest.approx(-0.5 * (losses.LOG_2PI + math.log(variance) + 1 / variance), abs=1e-9)


def test_an_average_over_prior_draws_is_unbiased_and_its_logarithm_is_not():
    """One draw: E[p(x|z)] = p(x), and E[log p(x|z)] is the ELBO of q = prior without any KL, strictly below log p(x)."""
    model, x = random_model(0, D=2, d=1)
    prior = torch.exp(losses.gaussian_log_prob(CODES)) * DZ
    log_likelihood = model.log_likelihood(x[:, None], CODES)
    torch.testing.assert_close(
        (prior * log_likelihood.exp()).sum(-1).log(), model.log_marginal(x), rtol=0, atol=1e-9
    )  # (1.6)
    mean_log = (prior * log_likelihood).sum(-1)
    torch.testing.assert_close(mean_log, model.elbo(x, ONE * 0, ONE * 0), rtol=0, atol=1e-8)
    assert (mean_log < model.log_marginal(x)).all()


def test_the_naive_estimate_gets_worse_with_what_is_seen_and_faster_with_what_is_hidden():
    medians = {}
    for d in (2, 10):
        for D in (10, 784):
            g = torch.Generator().manual_seed(0)
            model = exact.LinearGaussian(torch.randn(D, d, generator=g), torch.zeros(D), 0.5)
            medians[d, D] = float(model.naive_relative_variance(model.sample(50, g).x).median())  # (1.7)
    assert 30 < medians[2, 784] / medians[2, 10] < 1000 and medians[10, 784] / medians[10, 10] > 1e8
