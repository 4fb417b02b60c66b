"""The mathematics of lesson 04: densities with their constants, the best sigma_x, and what a weight before kl does. Exact, double precision."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Laplace, Normal

from vae_helpers import evaluation, losses, recipes
from vae_helpers.models import VAE

D = 784


def rand(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    uniform = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return low + (high - low) * uniform


def area(nll, low: float, high: float) -> float:
    x = torch.linspace(low, high, 200_001, dtype=torch.double)[:, None]
    return float(torch.trapezoid(torch.exp(-nll(x)), x[:, 0]))


@pytest.mark.parametrize("output", [0.02, 0.3, 0.5, 0.9])
def test_every_likelihood_is_normalised_for_every_output(output):
    """(4.1)"""
    m = torch.tensor([output], dtype=torch.double)
    logit = torch.logit(m)
    binary = torch.tensor([[0.0], [1.0]], dtype=torch.double)
    assert float(torch.exp(-losses.bernoulli_nll(logit, binary)).sum()) == pytest.approx(1, abs=1e-12)
    assert area(lambda x: losses.continuous_bernoulli_nll(logit, x), 0, 1) == pytest.approx(1, abs=1e-8)
    for scale in (0.1, 0.71):
        assert area(lambda x, s=scale: losses.gaussian_nll(m, x, s), -10, 10) == pytest.approx(1, abs=1e-8)
        # the kink of the Laplace costs the trapezium rule a little
        assert area(lambda x, s=scale: losses.laplace_nll(m, x, s), -30, 30) == pytest.approx(1, abs=1e-6)


def test_sse_and_l1_are_a_gaussian_and_a_laplace_without_their_constants():
    """(4.2), (4.3)"""
    m, x = rand(5, D, seed=1), rand(5, D, seed=2)
    normal = -Normal(m, math.sqrt(0.5)).log_prob(x).sum(1)
    laplace = -Laplace(m, 1.0).log_prob(x).sum(1)
    torch.testing.assert_close(
        normal - losses.squared_error(m, x), torch.full((5,), 448.73412, dtype=torch.double), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        laplace - losses.absolute_error(m, x), torch.full((5,), 543.42739, dtype=torch.double), rtol=0, atol=1e-5
    )
    assert abs(recipes.GAUSSIAN_HALF_CONSTANT - 448.73412) < 1e-5


@pytest.mark.parametrize("p", [0.01, 0.1, 0.4, 0.6, 0.99])
def test_the_area_under_the_grey_cross_entropy_and_the_mean_of_the_normalised_one(p):
    """(4.4), (4.5), (4.6)"""
    logit = torch.logit(torch.tensor([p], dtype=torch.double))
    found = area(lambda x: losses.bernoulli_nll(logit, x), 0, 1)
    assert found == pytest.approx((2 * p - 1) / float(logit), abs=1e-8)
    assert found < 0.5
    log_constant = float(losses.continuous_bernoulli_log_constant(logit))
    assert log_constant == pytest.approx(-math.log(found), abs=1e-8)
    assert log_constant > math.log(2)
    mean = float(losses.continuous_bernoulli_mean(logit))
    assert mean == pytest.approx(p / (2 * p - 1) - 1 / float(logit), abs=1e-12)
    judge = ContinuousBernoulli(probs=torch.tensor(p, dtype=torch.double))
    assert mean == pytest.approx(float(judge.mean), abs=1e-9)


def test_the_mean_at_one_tenth():
    assert float(losses.continuous_bernoulli_mean(torch.logit(torch.tensor(0.1)))) == pytest.approx(0.330, abs=5e-4)


def test_the_density_of_a_continuous_bernoulli_at_zero_grows_without_bound():
    for a in (10.0, 100.0, 1000.0):
        nll = losses.continuous_bernoulli_nll(torch.tensor([-a]).double(), torch.zeros(1).double())
        assert float(torch.exp(-nll)) == pytest.approx(a / (1 - math.exp(-a)), rel=1e-6)


def test_best_sigma_x_is_where_the_slope_vanishes_and_the_nll_is_a_logarithm():
    """(4.8), (4.9)"""
    m, x = rand(7, 30, seed=3, low=-1, high=2), rand(7, 30, seed=4)
    star = evaluation.best_sigma_x(m, x).requires_grad_()
    nll = losses.gaussian_nll(m, x, star).mean()
    (slope,) = torch.autograd.grad(nll, star)
    assert float(slope) == pytest.approx(0, abs=1e-11)
    assert nll.item() == pytest.approx(15 * math.log(2 * math.pi * math.e * star.item() ** 2), abs=1e-10)
    for other in (0.9, 1.1):
        assert losses.gaussian_nll(m, x, other * star).mean() > nll


def test_cutting_the_gradient_of_the_best_sigma_x_changes_nothing():
    m, x = rand(4, 9, seed=5).requires_grad_(), rand(4, 9, seed=6)

    def gradient(cut: bool) -> Tensor:
        star = evaluation.best_sigma_x(m, x)
        return torch.autograd.grad(losses.gaussian_nll(m, x, star.detach() if cut else star).mean(), m)[0]

    torch.testing.assert_close(gradient(True), gradient(False), rtol=0, atol=1e-14)
    assert gradient(True).abs().max() > 1e-3


def gradient(loss_of) -> Tensor:
    """The gradient of loss_of(sse, kl) in the weights of a small VAE, in double precision."""
    torch.manual_seed(0)
    model = VAE(3, (8,), (8,), likelihood="gaussian").double()
    x = rand(6, D, seed=7)
    mu, log_var = model.encode(x)
    mean = model.decode(mu + torch.exp(log_var / 2) * rand(6, 3, seed=8, low=-2, high=2))
    loss = loss_of(losses.squared_error(mean, x), losses.gaussian_kl(mu, log_var)).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_twice_the_variance_is_the_weight_of_kl():
    """(4.7)"""
    by_noise = gradient(lambda sse, kl: sse / (2 * 0.3**2) + kl)
    by_weight = gradient(lambda sse, kl: sse + 2 * 0.3**2 * kl)
    torch.testing.assert_close(2 * 0.3**2 * by_noise, by_weight, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("a", "b", "w"), [(784, 784, 1), (784, 20, 1), (784, 1, 1), (12288, 1, 0.00025)])
def test_divisors_are_a_weight(a, b, w):
    """(4.11)"""
    as_written = gradient(lambda sse, kl: sse / a + w * kl / b)
    weighted = gradient(lambda sse, kl: sse + w * a / b * kl)
    torch.testing.assert_close(a * as_written, weighted, rtol=1e-9, atol=1e-12)


def test_dequantised_pixels_cost_at_least_what_their_probability_says():
    """(4.10), for a Gaussian and a byte k: E_u[-log p(k + u)] >= -log of the mass in [k, k + 1] >= 0."""
    u = (torch.arange(20_000).double() + 0.5) / 20_000
    for k, mean, sigma in [(0, 0.5, 12**-0.5), (0, 0.5, 0.01), (7, 9.0, 3.0)]:
        p = Normal(torch.tensor(mean).double(), sigma)
        cost = float(-p.log_prob(k + u).mean())
        mass = float(p.cdf(torch.tensor(k + 1.0).double()) - p.cdf(torch.tensor(float(k)).double()))
        assert cost >= -math.log(mass) >= 0
    best = float(-Normal(torch.tensor(0.5).double(), 12**-0.5).log_prob(u).mean())
    assert best == pytest.approx(0.5 * math.log(2 * math.pi * math.e / 12), abs=1e-6)
    assert best == pytest.approx(0.1765, abs=1e-4)


def test_the_unit_of_a_pixel_shifts_every_density_by_the_same_amount():
    """(4.13)"""
    m, x = rand(3, D, seed=9), rand(3, D, seed=10)
    shift = losses.gaussian_nll(255 * m, 255 * x, 255 * 0.2) - losses.gaussian_nll(m, x, 0.2)
    torch.testing.assert_close(shift, torch.full((3,), D * math.log(255), dtype=torch.double), rtol=0, atol=1e-8)


def test_prices_of_optima_lie_between_their_weights():
    """(4.12), on a model whose optima are known: rate r costs distortion d = 50 exp(-r / 10), so d' = -beta at its optimum."""
    optima = [(beta, -10 * math.log(beta / 5)) for beta in (0.1, 0.5, 1.0, 2.0, 4.0)]
    for (b1, r1), (b2, r2) in pairwise(optima):
        price = (50 * math.exp(-r2 / 10) - 50 * math.exp(-r1 / 10)) / (r1 - r2)
        assert b1 <= price <= b2
