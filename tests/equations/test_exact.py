"""The exactly solvable model against torch.distributions, integrals on a grid, Monte-Carlo in standard errors, and its own identities."""

import doctest
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vae_helpers import exact, losses
from vae_helpers.exact import LinearGaussian


def model_and_data(
    D: int = 5, d: int = 2, n: int = 4, seed: int = 0, sigma_x: float = 0.6
) -> tuple[LinearGaussian, Tensor]:
    g = torch.Generator().manual_seed(seed)
    W, b = torch.randn(D, d, generator=g, dtype=torch.float64), torch.randn(D, generator=g, dtype=torch.float64)
    model = LinearGaussian(W, b, sigma_x)
    return model, model.sample(n, g).x


def some_q(n: int, d: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64), torch.randn(n, d, generator=g, dtype=torch.float64)


def close(found: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype).expand_as(found), rtol=0, atol=tolerance
    )


def test_the_evidence_is_the_integral_of_the_joint_on_a_grid():
    model, x = model_and_data(D=3)
    z, cell = exact.grid(-8, 8, 321, d=2)
    joint = model.log_joint(x[:, None], z)
    close(exact.log_marginal_grid(joint, cell), model.log_marginal(x))


def test_the_evidence_through_the_posterior_precision_agrees():
    """Woodbury and the determinant lemma: d x d matrices instead of D x D."""
    model, x = model_and_data()
    s2, r = model.sigma_x**2, x - model.b
    square = (r**2).sum(-1) / s2 - ((r @ model.W) @ torch.linalg.inv(model.M) * (r @ model.W)).sum(-1) / s2**2
    log_det = model.D * math.log(s2) + torch.logdet(model.M)
    close(model.log_marginal(x), -0.5 * (model.D * losses.LOG_2PI + log_det + square))


def test_bayes_rule_holds_at_every_code():
    model, x = model_and_data()
    mean, covariance = model.posterior(x)
    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    close(MultivariateNormal(mean, covariance).log_prob(z), model.log_joint(x, z) - model.log_marginal(x))


def test_joint_is_likelihood_plus_prior():
    model, x = model_and_data()
    z, _ = some_q(4, 2)
    likelihood = Normal(z @ model.W.T + model.b, model.sigma_x).log_prob(x).sum(-1)
    close(model.log_likelihood(x, z), likelihood)
    close(model.log_prior(z), Normal(0.0, torch.ones(2, dtype=torch.float64)).log_prob(z).sum(-1))
    close(model.log_joint(x, z), likelihood + model.log_prior(z))


def test_evidence_is_elbo_plus_gap_for_any_q():
    model, x = model_and_data()
    for seed in range(5):
        mu, log_var = some_q(4, 2, seed)
        close(model.elbo(x, mu, log_var) + model.kl_to_posterior(x, mu, log_var), model.log_marginal(x))


def test_the_gap_is_the_kl_of_torch_distributions():
    model, x = model_and_data()
    mu, log_var = some_q(4, 2)
    q = MultivariateNormal(mu, torch.diag_embed(log_var.exp()))
    close(model.kl_to_posterior(x, mu, log_var), kl_divergence(q, MultivariateNormal(*model.posterior(x))))


def test_the_elbo_is_the_mean_log_weight_in_standard_errors():
    model, x = model_and_data(n=1, sigma_x=1.5)
    mu, log_var = some_q(1, 2)
    eps = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = mu + torch.exp(log_var / 2) * eps
    log_w = model.log_joint(x, z) - losses.gaussian_log_prob(z, mu, log_var)
    standard_error = float(log_w.std()) / math.sqrt(len(log_w))
    assert standard_error < 0.05
    assert abs(float(log_w.mean() - model.elbo(x, mu, log_var))) < 4 * standard_error


def test_with_one_latent_dimension_the_bound_is_tight_at_the_posterior():
    model, x = model_and_data(d=1)
    mean, covariance = model.posterior(x)
    close(model.elbo(x, mean, covariance.log().expand_as(mean)), model.log_marginal(x))


def test_best_mean_field_has_no_gradient_left_and_a_gap_that_is_its_kl():
    model, x = model_and_data()
    mu, log_var = (t.clone().requires_grad_() for t in model.best_mean_field(x))
    elbo = model.elbo(x, mu, log_var)
    for gradient in torch.autograd.grad(elbo.sum(), (mu, log_var)):
        close(gradient, 0.0)
    best = elbo.detach()
    close(model.log_marginal(x) - best, model.kl_to_posterior(x, mu, log_var).detach())
    for seed in range(5):
        step = 0.1 * torch.stack(some_q(4, 2, seed))
        assert (model.elbo(x, mu + step[0], log_var + step[1]) < best).all()


def test_its_gap_is_zero_exactly_when_the_columns_of_W_are_orthogonal():
    orthogonal = LinearGaussian([[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0], 0.5)
    close(orthogonal.kl_to_posterior([0.3, -1.0], *orthogonal.best_mean_field([0.3, -1.0])), 0.0)
    model, x = model_and_data()
    assert (model.kl_to_posterior(x, *model.best_mean_field(x)) > 1e-3).all()


def test_samples_have_the_mean_the_covariance_and_the_entropy_of_the_marginal():
    model, x = model_and_data(D=3, n=50_000)
    assert x.shape == (50_000, 3)
    covariance = model.W @ model.W.T + model.sigma_x**2 * torch.eye(3)
    standard_errors = covariance.diagonal().sqrt() / math.sqrt(len(x))
    assert ((x.mean(0) - model.b).abs() < 4 * standard_errors).all()
    assert (x.T.cov() / covariance - 1).abs().max() < 0.1
    log_p = model.log_marginal(x)
    assert abs(float(log_p.mean() + model.entropy())) < 4 * float(log_p.std()) / math.sqrt(len(x))


def test_samples_repeat_with_the_generator_and_pair_x_with_its_z():
    model, _ = model_and_data(sigma_x=1e-6)
    first, again = (model.sample(10, torch.Generator().manual_seed(5)) for _ in range(2))
    close(first.x, again.x)
    close(first.x, first.z @ model.W.T + model.b, 1e-4)


def test_plain_lists_and_float32_come_out_as_float64():
    model = LinearGaussian([[1.0], [2.0]], [0.0, 1.0], 1)
    assert model.log_marginal(torch.tensor([1.0, 2.0])).dtype == torch.float64
    assert model.elbo([1.0, 2.0], [0.0], [0.0]).shape == ()


def test_variance_of_the_naive_estimate_is_its_integral():
    model, x = model_and_data(D=3)
    z, cell = exact.grid(-8, 8, 321, d=2)
    second_moment = exact.log_marginal_grid(2 * model.log_likelihood(x[:, None], z) + model.log_prior(z), cell)
    close(model.naive_relative_variance(x), torch.expm1(second_moment - 2 * model.log_marginal(x)), 1e-8)


def test_the_curve_crosses_itself_where_it_says_and_its_density_integrates_to_one():
    curve = exact.Curve()
    both = curve.decode([[curve.crossing], [-curve.crossing]])
    close(both[0], both[1], 1e-12)
    z, dz = exact.grid(-4, 4, 401)
    x, cell = exact.grid(-5, 5, 101, d=2)
    mass = exact.log_marginal_grid(curve.log_joint(x[:, None], z), dz).exp().sum() * cell
    assert abs(float(mass) - 1) < 1e-3
    close(curve.sample(5, torch.Generator().manual_seed(0)).x, curve.sample(5, torch.Generator().manual_seed(0)).x)


def test_bound_and_gap_on_a_grid_are_those_of_the_closed_forms():
    model, x = model_and_data(D=3)
    mu, log_var = some_q(4, 2)
    z, cell = exact.grid(-12, 12, 481, d=2)
    log_q = losses.gaussian_log_prob(z, mu[:, None], log_var[:, None])
    log_joint = model.log_joint(x[:, None], z)
    close(exact.elbo_grid(log_joint, log_q, cell), model.elbo(x, mu, log_var), 1e-9)
    log_posterior = log_joint - model.log_marginal(x)[:, None]
    close(exact.kl_grid(log_q, log_posterior, cell), model.kl_to_posterior(x, mu, log_var), 1e-9)
    close(exact.kl_grid(log_q, log_q, cell), 0.0)


def test_log_marginal_grid_survives_an_image_that_underflows():
    log_joint = torch.full((2, 100), -5000.0, dtype=torch.float64)
    close(exact.log_marginal_grid(log_joint, 0.01), -5000.0)


def test_grid_has_its_points_in_float64_and_the_volume_of_a_cell():
    z, cell = exact.grid(-4, 4, 5, d=2)
    assert z.shape == (25, 2) and z.dtype == torch.float64
    assert cell == 4.0 and z[0].tolist() == [-4.0, -4.0] and z[-1].tolist() == [4.0, 4.0]
    assert len({tuple(point) for point in z.tolist()}) == 25


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: LinearGaussian([1.0, 2.0], [0.0, 0.0], 1.0), "W must be"),
        (lambda: LinearGaussian([[1.0], [2.0]], [0.0], 1.0), "W must be"),
        (lambda: LinearGaussian([[1.0]], [0.0], 0.0), "standard deviation"),
        (lambda: LinearGaussian([[1.0]], [0.0], math.nan), "standard deviation"),
        (lambda: LinearGaussian([[1.0]], [0.0], 1.0).log_marginal([1.0, 2.0]), "x must be"),
        (lambda: LinearGaussian([[1.0]], [0.0], 1.0).elbo([1.0], [1.0, 2.0], [0.0, 0.0]), "2"),
        (lambda: exact.log_marginal_grid(torch.zeros(3), 0.0), "dz must be positive"),
        (lambda: exact.log_marginal_grid(torch.zeros(3), -0.1), "dz must be positive"),
    ],
)
def test_wrong_shapes_and_numbers_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        wrong()


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(exact).failed == 0
