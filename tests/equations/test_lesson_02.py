"""The mathematics of lesson 02, exactly: both gradients are unbiased, their variances, the batch's two sources of noise, and the finer estimators."""

import itertools
import math

import pytest
import torch

from vae_helpers import gradients, losses
from vae_helpers.exact import LinearGaussian
from vae_helpers.models import reparameterize

MODEL, X = LinearGaussian([[2.0]], [0.0], sigma_x=1.0), torch.tensor([1.5], dtype=torch.float64)
POSTERIOR = MODEL.posterior(X)
MEAN, VARIANCE = POSTERIOR.mean.item(), POSTERIOR.covariance.item()


def weighted(weight, values) -> tuple[float, float]:
    mean = float((weight * values).sum())
    return mean, float((weight * (values - mean) ** 2).sum())


def product_grid(d: int, nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes (nodes^d, d) and weights of a product quadrature for eps ~ N(0, I_d)."""
    node, weight = gradients.hermite(nodes)
    eps = torch.cartesian_prod(*[node] * d).reshape(-1, d)
    return eps, torch.cartesian_prod(*[weight] * d).reshape(-1, d).prod(1)


@pytest.mark.parametrize("power", range(13))
def test_quadrature_gives_the_moments_of_a_gaussian(power):
    exact = 0.0 if power % 2 else math.prod(range(1, power, 2))
    assert gradients.gaussian_mean(lambda z: z**power, nodes=20) == pytest.approx(exact, rel=1e-10, abs=1e-9)


def test_quadrature_of_a_wave():
    assert gradients.gaussian_mean(torch.sin, 0.7, 1.5) == pytest.approx(
        math.exp(-(1.5**2) / 2) * math.sin(0.7)
    )  # (2.9)


@pytest.mark.parametrize("mu", [-2.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_both_gradients_are_unbiased_for_any_width(mu, std):
    """(2.2) to (2.4) for f = z^2 + sin z, whose expectation is mu^2 + std^2 + exp(-std^2/2) sin mu."""
    eps, _ = gradients.hermite()
    z = mu + std * eps
    exact = 2 * mu + math.exp(-(std**2) / 2) * math.cos(mu)
    assert gradients.moments(gradients.score_gradient(z**2 + z.sin(), z, mu, std)).mean == pytest.approx(exact)
    assert gradients.moments(2 * z + z.cos()).mean == pytest.approx(exact)


@pytest.mark.parametrize("mu", [0.0, 1.0, -1.7])
def test_variances_in_one_dimension(mu):
    z = mu + gradients.hermite()[0]
    score = gradients.moments(gradients.score_gradient(z**2, z, mu, 1.0))
    assert score.variance == pytest.approx(mu**4 + 14 * mu**2 + 15)  # (2.6)
    assert gradients.moments(2 * z).variance == pytest.approx(4)  # (2.5)
    assert gradients.square_norm_variances(mu, 1).score == pytest.approx(score.variance)


@pytest.mark.parametrize("mu", [0.0, 0.8, -2.0])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_variances_in_several_dimensions(mu, d):
    eps, weight = product_grid(d, 8)  # exact up to degree 15; the square of the estimate has degree 6
    z = eps.clone()
    z[:, 0] += mu
    f_z, exact = (z**2).sum(1), gradients.square_norm_variances(mu, d)
    mean, variance = weighted(weight, gradients.score_gradient(f_z, z[:, 0], mu, 1.0))
    assert mean == pytest.approx(2 * mu) and variance == pytest.approx(exact.score)  # (2.7)
    best = float((weight * f_z * eps[:, 0] ** 2).sum())
    assert best == pytest.approx(mu**2 + d + 2)
    mean, variance = weighted(weight, (f_z - best) * eps[:, 0])
    assert mean == pytest.approx(2 * mu) and variance == pytest.approx(exact.baseline)  # (2.8)
    for other in (best - 0.5, best + 0.5):
        assert weighted(weight, (f_z - other) * eps[:, 0])[1] > variance, "no constant beats the best one"


@pytest.mark.parametrize("d", [1, 5, 20, 100])
def test_at_the_origin_the_variance_is_d_plus_2_times_d_plus_4(d):
    assert gradients.square_norm_variances(0.0, d) == ((d + 2) * (d + 4), 2 * (d + 2), 4)


def test_simulated_gradients_have_the_exact_moments():
    n = 50_000
    draws = gradients.square_norm_gradients(0.5, 4, n, generator=torch.Generator().manual_seed(0))
    exact = gradients.square_norm_variances(0.5, 4)
    for values, variance in ((draws.score, exact.score), (draws.pathwise, exact.pathwise)):
        assert abs(values.mean() - 1.0) < 4 * (variance / n) ** 0.5
        assert values.var() == pytest.approx(variance, rel=0.1)


def test_a_dimension_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        gradients.square_norm_variances(0.0, 0)


def test_the_textbook_function():
    """(2.9): the exact derivative at 0.5, and the ratio of variances at 0.3."""
    phi = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    mu, std = phi**3, phi.exp()
    (slope,) = torch.autograd.grad(mu**2 + std**2 + torch.exp(-(std**2) / 2) * mu.sin(), phi)
    assert slope.item() == pytest.approx(5.728164, abs=5e-7)
    mu, std, eps = 0.3**3, math.exp(0.3), gradients.hermite()[0]
    z = mu + std * eps
    score = gradients.moments((z**2 + z.sin()) * (eps * 0.27 / std + eps**2 - 1))
    path = gradients.moments((2 * z + z.cos()) * (0.27 + std * eps))
    assert score.mean == pytest.approx(path.mean)
    assert score.variance / path.variance == pytest.approx(9.59, abs=0.005)


def test_the_derivatives_of_the_draw():
    mu = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    log_var = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    z = reparameterize(mu, log_var)  # (2.10)
    by_mu, by_log_var = torch.autograd.grad(z.sum(), [mu, log_var])
    torch.testing.assert_close(by_mu, torch.ones_like(mu))
    torch.testing.assert_close(by_log_var, 0.5 * (z - mu).detach())  # (2.11)


def test_torch_normal_hands_back_gradients_of_zero():
    """The lesson warns of it; when this fails, PyTorch has changed and the lesson's sentence must go."""
    mu, std = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    z = torch.normal(mu, std)
    assert z.requires_grad
    assert all(not g.any() for g in torch.autograd.grad(z.sum(), [mu, std]))


def test_two_sources_of_noise_by_enumeration():
    """(2.12) and (2.13) for 3 images with 2 equally likely draws each, over all batches of B images and S draws."""
    table = torch.tensor([[1.0, 4.0], [0.0, 2.5], [-3.0, 7.0]], dtype=torch.float64)  # (images, draws)
    between, within = table.mean(1).var(correction=0), table.var(1, correction=0).mean()
    for B, S in ((1, 1), (1, 2), (2, 1), (2, 2)):
        means = []
        for images in itertools.product(range(3), repeat=B):
            for draws in itertools.product(range(2), repeat=B * S):
                values = [table[image, draws[b * S + s]] for b, image in enumerate(images) for s in range(S)]
                means.append(torch.stack(values).mean())
        assert torch.stack(means).var(correction=0) == pytest.approx(float((between + within / S) / B))


def test_the_best_number_of_draws_when_encoding_costs_something():
    """With B (encode + S decode) fixed, the variance (2.13) is smallest at S = sqrt(within encode / (between decode)); without, at S = 1."""
    between, within = 110.0, 448.0

    def variance(S, encode, decode=1.0):
        return (between + within / S) * (encode + S * decode)

    assert min(range(1, 51), key=lambda S: variance(S, encode=0.0)) == 1
    for encode in (0.5, 1.0, 4.0):
        best = math.sqrt(within * encode / between)
        assert all(variance(best, encode) <= variance(best * factor, encode) for factor in (0.9, 1.1))


def test_the_sampled_bound_has_no_noise_at_the_posterior():
    """(2.14): with q = p(z|x), the sampled form is -log p(x) for every z, while the closed one scatters; both have mean -ELBO."""
    eps, weight = gradients.hermite(40)
    z = (MEAN + VARIANCE**0.5 * eps)[:, None]
    mu, log_var = torch.tensor([[MEAN]], dtype=torch.float64), torch.tensor([[math.log(VARIANCE)]], dtype=torch.float64)
    rec = -MODEL.log_likelihood(X, z)
    sampled = rec + losses.gaussian_log_prob(z, mu, log_var) - losses.gaussian_log_prob(z)
    closed = rec + losses.gaussian_kl(mu, log_var)
    torch.testing.assert_close(sampled, -MODEL.log_marginal(X).expand(40))
    assert weighted(weight, closed)[0] == pytest.approx(-MODEL.log_marginal(X).item())
    assert weighted(weight, closed)[1] > 0.1


def encoder_gradient(kind: str, K: int, shift: float, spread: float, nodes: int = 60) -> tuple[float, float]:
    """Exact mean and variance of one gradient estimate of L_K with respect to mu; q is `shift` and `spread` off the posterior."""
    eps, weight = product_grid(K, nodes)
    mu = torch.full((len(eps),), MEAN + shift, dtype=torch.float64, requires_grad=True)
    log_var = torch.full_like(mu, math.log(spread**2 * VARIANCE))
    z = (mu + torch.exp(0.5 * log_var) * eps.T)[..., None]

    def log_w(mean):
        return MODEL.log_joint(X, z) - losses.gaussian_log_prob(z, mean[:, None], log_var[:, None])

    if kind == "plain":
        objective = losses.iw_bound(log_w(mu))  # (2.16)
    elif kind == "dreg":
        objective = gradients.dreg_objective(log_w(mu.detach()))  # (2.17)
    else:
        objective = (torch.softmax(log_w(mu.detach()).detach(), 0) * log_w(mu.detach())).sum(0)
    (estimates,) = torch.autograd.grad(objective.sum(), mu)
    return weighted(weight, estimates)


def test_sticking_the_landing_has_no_variance_at_the_posterior():
    """(2.15): the path part alone vanishes for every draw; with its score part the variance is 1/v."""
    mean, variance = encoder_gradient("dreg", 1, 0.0, 1.0)
    assert abs(mean) < 1e-12 and variance < 1e-24
    mean, variance = encoder_gradient("plain", 1, 0.0, 1.0)
    assert abs(mean) < 1e-12 and variance == pytest.approx(1 / VARIANCE)


def test_the_closed_form_kl_lies_in_between():
    z = MEAN + VARIANCE**0.5 * gradients.hermite(40)[0]
    mean, variance = gradients.moments(-2 * (1.5 - 2 * z) + MEAN)
    assert abs(mean) < 1e-12 and variance == pytest.approx((1 - VARIANCE) ** 2 / VARIANCE)


@pytest.mark.parametrize(("K", "nodes"), [(1, 60), (2, 60), (3, 24)])
def test_the_doubly_reparameterised_gradient_is_unbiased_and_less_noisy(K, nodes):
    plain, dreg = (encoder_gradient(kind, K, 0.3, 1.3, nodes) for kind in ("plain", "dreg"))
    assert dreg[0] == pytest.approx(plain[0], abs=1e-6)
    assert dreg[1] < 0.2 * plain[1]


def test_without_the_square_it_is_biased():
    assert abs(encoder_gradient("not squared", 2, 0.3, 1.3)[0] - encoder_gradient("plain", 2, 0.3, 1.3)[0]) > 0.3
