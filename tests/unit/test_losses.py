"""The losses against torch.distributions, exact integrals, finite differences, and the mistakes people make.

The tests without an argument also run against every mutant of losses.py: see tests/mutation.
"""

import doctest
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

from vae_helpers import losses

D = 3  # pixels
LATENT = 2
LOGITS = (-200.0, -30.0, -5.0, -0.5, -0.11, -0.09, -1e-4, 0.0, 1e-4, 0.05, 0.0999, 0.2, 1.0, 5.0, 30.0, 200.0)


def rand(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    uniform = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * uniform


def posterior(*batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """mu and log_var of some q(z|x), all different, none of unit variance."""
    return rand(*batch, LATENT, seed=seed, low=-2, high=2), rand(*batch, LATENT, seed=seed + 1, low=-3, high=1)


def std(log_var: Tensor) -> Tensor:
    return (log_var / 2).exp()


def close(found: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    """Equal shape, type and value."""
    expected = torch.as_tensor(expected, dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def unit_interval(panels: int = 400) -> tuple[Tensor, Tensor]:
    """Nodes and weights that integrate a smooth function over [0, 1] to about 1e-12 (Gauss-Legendre on panels)."""
    x, w = np.polynomial.legendre.leggauss(10)
    edges = np.arange(panels)[:, None] / panels
    nodes = torch.from_numpy((edges + (x + 1) / 2 / panels).ravel())
    return nodes, torch.from_numpy(np.tile(w / 2 / panels, panels))


# ---------------------------------------------------------------- Gaussians


def test_kl_equals_that_of_torch_distributions_for_the_standard_and_for_any_prior():
    mu, log_var = posterior(2, 4)
    prior_mu, prior_log_var = posterior(4, seed=7)  # broadcasts over the first axis
    q = Normal(mu, std(log_var))
    close(losses.gaussian_kl_per_dim(mu, log_var), kl_divergence(q, Normal(torch.zeros_like(mu), 1.0)))
    close(losses.gaussian_kl(mu, log_var), kl_divergence(q, Normal(torch.zeros_like(mu), 1.0)).sum(-1))
    other = kl_divergence(q, Normal(prior_mu, std(prior_log_var)))
    close(losses.gaussian_kl_per_dim(mu, log_var, prior_mu, prior_log_var), other)
    close(losses.gaussian_kl(mu, log_var, prior_mu, prior_log_var), other.sum(-1))


def test_kl_of_the_prior_to_itself_is_zero():  # E1: without its "1 +" it would be d/2
    for d in (1, 4):
        assert torch.equal(losses.gaussian_kl(torch.zeros(5, d), torch.zeros(5, d)), torch.zeros(5))
    mu, log_var = posterior(4)
    close(losses.gaussian_kl(mu, log_var, mu, log_var), torch.zeros(4))


def test_kl_takes_a_log_variance_and_no_standard_deviation():  # E11, A4
    mu, sigma = rand(3, LATENT), rand(3, LATENT, seed=1, low=0.3, high=0.7)
    exact = kl_divergence(Normal(mu, sigma), Normal(torch.zeros_like(mu), 1.0)).sum(-1)
    close(losses.gaussian_kl(mu, 2 * sigma.log()), exact)
    for wrong in (sigma, sigma.log(), sigma**2):
        assert (losses.gaussian_kl(mu, wrong) - exact).abs().min() > 0.02


def test_kl_keeps_its_digits_near_the_prior_in_single_precision():
    tiny = torch.tensor([[1e-3], [-1e-3], [1e-4]])
    exact = losses.gaussian_kl(torch.zeros(3, 1).double(), tiny.double())
    found = losses.gaussian_kl(torch.zeros(3, 1), tiny)
    assert (found > 0).all()
    torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=0)


def test_gaussian_log_prob_equals_that_of_torch_distributions():
    z = rand(4, LATENT, seed=3, low=-2, high=2)
    mu, log_var = posterior(5, 4)
    close(losses.gaussian_log_prob(z), Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1))
    close(losses.gaussian_log_prob(z, mu, log_var), Normal(mu, std(log_var)).log_prob(z).sum(-1))


def test_gaussian_log_prob_counts_its_constant_once_per_dimension():  # A3: inside every coordinate, then summed: D times too often
    for d in (1, 16):
        close(losses.gaussian_log_prob(torch.zeros(d).double()), -d / 2 * math.log(2 * math.pi))


# ---------------------------------------------------------------- likelihoods


def test_bernoulli_of_binary_pixels_is_the_exact_likelihood():
    logits, b = rand(2, 4, D, low=-4, high=4), rand(4, D, seed=1).round()
    close(losses.bernoulli_nll(logits, b), -Bernoulli(logits=logits).log_prob(b.expand(2, 4, D)).sum(-1))


def test_bernoulli_of_grey_pixels_is_the_mean_over_their_binarisations():  # E26
    logits, x = rand(1, D, low=-3, high=3), rand(1, D, seed=2)
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * D)
    share = (bits * x + (1 - bits) * (1 - x)).prod(-1)
    close(losses.bernoulli_nll(logits, x)[0], (share * losses.bernoulli_nll(logits, bits)).sum())
    floor = -(x * x.log() + (1 - x) * (1 - x).log()).sum(-1)
    close(losses.bernoulli_nll(torch.logit(x), x), floor)


def test_bernoulli_stays_exact_for_logits_where_probabilities_saturate():
    logits = torch.tensor([[200.0], [-200.0], [200.0], [-200.0]], requires_grad=True)
    x = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    nll = losses.bernoulli_nll(logits, x)
    close(nll.detach(), torch.tensor([200.0, 200.0, 0.0, 0.0]))
    (gradient,) = torch.autograd.grad(nll.sum(), logits)
    close(gradient, torch.tensor([[1.0], [-1.0], [0.0], [0.0]]))

    usual = F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="none")
    (lost,) = torch.autograd.grad(usual.sum(), logits)
    assert usual.max() <= 100 and (lost[1] == 0).all()  # it clamps, and learns nothing more from the worst pixels


def test_continuous_bernoulli_is_a_density_on_the_unit_interval():
    x, weight = unit_interval()
    logits = torch.tensor(LOGITS).double()
    density = torch.exp(-losses.continuous_bernoulli_nll(logits[:, None, None], x[:, None]))
    close(density @ weight, torch.ones(len(LOGITS)), 1e-9)
    plain = torch.exp(-losses.bernoulli_nll(logits[:, None, None], x[:, None])) @ weight
    assert (plain <= 0.5 + 1e-12).all()  # grey "Bernoulli" is none: it integrates to at most one half
    close(losses.continuous_bernoulli_log_constant(logits), -plain.log(), 1e-9)


def test_continuous_bernoulli_constant_is_at_least_two():
    logits = torch.tensor(LOGITS).double()
    assert (losses.continuous_bernoulli_log_constant(logits) >= math.log(2)).all()
    close(losses.continuous_bernoulli_log_constant(torch.zeros(1).double()), [math.log(2)])


def test_continuous_bernoulli_mean_equals_its_integral():
    x, weight = unit_interval()
    logits = torch.tensor(LOGITS).double()
    density = torch.exp(-losses.continuous_bernoulli_nll(logits[:, None, None], x[:, None]))
    close(losses.continuous_bernoulli_mean(logits), density @ (weight * x), 1e-9)
    close(losses.continuous_bernoulli_mean(torch.logit(torch.tensor([0.1]))), [0.330], 1e-3)  # not 0.1


def test_continuous_bernoulli_sums_over_pixels_and_adds_up_over_them():
    logits, x = rand(4, D, low=-9, high=9), rand(4, D, seed=1)
    pixels = [losses.continuous_bernoulli_nll(logits[:, [j]], x[:, [j]]) for j in range(D)]
    close(losses.continuous_bernoulli_nll(logits, x), torch.stack(pixels).sum(0))


def test_continuous_bernoulli_has_finite_right_gradients_everywhere():
    logits = torch.tensor(LOGITS).double().requires_grad_()
    for function in (losses.continuous_bernoulli_log_constant, losses.continuous_bernoulli_mean):
        (gradient,) = torch.autograd.grad(function(logits).sum(), logits)
        assert gradient.isfinite().all()
        step = 1e-5
        difference = (function(logits.detach() + step) - function(logits.detach() - step)) / (2 * step)
        close(gradient, difference, 1e-7)
        huge = torch.tensor([1e15, -1e15], requires_grad=True)  # its powers in the Taylor series overflow
        (gradient,) = torch.autograd.grad(function(huge).sum(), huge)
        assert gradient.isfinite().all() and function(huge).isfinite().all()


def test_gaussian_equals_torch_distributions_for_any_standard_deviation():
    mean, x = rand(2, 4, D), rand(4, D, seed=1)
    for sigma_x in (1.0, 0.3, torch.tensor(2.0).double(), rand(D, seed=2, low=0.2)):
        normal = Normal(mean, torch.as_tensor(sigma_x, dtype=torch.float64))
        close(losses.gaussian_nll(mean, x, sigma_x), -normal.log_prob(x).sum(-1))
    close(losses.gaussian_nll(mean, x), -Normal(mean, 1.0).log_prob(x).sum(-1))


def test_squared_error_is_a_gaussian_of_variance_one_half_without_its_constant():  # E9, E63
    mean, x = rand(2, 784), rand(2, 784, seed=1)
    constant = 784 / 2 * math.log(math.pi)
    assert round(constant, 2) == 448.73
    close(losses.gaussian_nll(mean, x, math.sqrt(0.5)), losses.squared_error(mean, x) + constant)
    close(losses.squared_error(mean, x), F.mse_loss(mean, x, reduction="none").sum(-1))


def test_laplace_equals_torch_distributions_and_keeps_its_constant():  # E27
    mean, x = rand(2, 4, 784), rand(4, 784, seed=1)
    for scale in (1.0, 0.3, rand(784, seed=2, low=0.2)):
        laplace = Laplace(mean, torch.as_tensor(scale, dtype=torch.float64))
        close(losses.laplace_nll(mean, x, scale), -laplace.log_prob(x).sum(-1))
    close(losses.laplace_nll(mean, x), losses.absolute_error(mean, x) + 543.4274, 1e-6)
    close(losses.absolute_error(mean, x), F.l1_loss(mean, x.expand_as(mean), reduction="none").sum(-1))


def test_reconstruction_nll_chooses_the_named_likelihood():
    output, x = rand(4, D, low=-3, high=3), rand(4, D, seed=1)
    close(losses.reconstruction_nll(output, x), losses.bernoulli_nll(output, x))
    expected = {
        "bernoulli": losses.bernoulli_nll(output, x),
        "continuous_bernoulli": losses.continuous_bernoulli_nll(output, x),
        "gaussian": losses.gaussian_nll(output, x, 0.4),
        "laplace": losses.laplace_nll(output, x, 0.4),
    }
    assert tuple(expected) == losses.LIKELIHOODS
    for name, nll in expected.items():
        close(losses.reconstruction_nll(output, x, name, 0.4), nll)
        with pytest.raises(ValueError, match=r"got \(4, 3\) and \(4, 1\)"):  # decoder first, image second
            losses.reconstruction_nll(output, x[:, :1], name)
    close(losses.reconstruction_nll(output, x, "gaussian"), losses.gaussian_nll(output, x, 1.0))
    with pytest.raises(ValueError, match="'mse': choose one of bernoulli, continuous_bernoulli, gaussian, laplace"):
        losses.reconstruction_nll(output, x, "mse")


# ---------------------------------------------------------------- shapes


PAIRS = (
    "bernoulli_nll",
    "continuous_bernoulli_nll",
    "gaussian_nll",
    "laplace_nll",
    "squared_error",
    "absolute_error",
    "gaussian_kl",
)


def test_each_image_has_its_own_loss_whatever_else_is_in_the_batch():
    for name in PAIRS:
        loss = getattr(losses, name)
        a, b = rand(4, D, low=-2, high=2), rand(4, D, seed=1)
        each = loss(a, b)
        assert each.shape == (4,)
        close(
            loss(torch.cat([a, a]), torch.cat([b, b])), torch.cat([each, each])
        )  # twice the batch, the same per-image loss
        close(loss(a[2:3], b[2:3]), each[2:3])
        close(loss(a[2], b[2]), each[2])  # and no leading axis at all


def test_leading_axes_broadcast():
    for name in PAIRS[:-1]:
        loss = getattr(losses, name)
        a, b = rand(5, 1, D, low=-2, high=2), rand(4, D, seed=1)
        found = loss(a, b)
        assert found.shape == (5, 4)
        close(found[3, 2], loss(a[3, 0], b[2]))


def test_lengths_that_would_broadcast_by_accident_are_refused():
    for name in PAIRS:
        with pytest.raises(ValueError) as caught:
            getattr(losses, name)(torch.zeros(4, 1), torch.zeros(4, 9))
        assert str(caught.value) == (
            f"{name.removeprefix('continuous_')}: the last axes must have the same length, got (4, 1) and (4, 9). "
            "Flatten images to (batch, 784) first: x.flatten(1)."
        )


# ---------------------------------------------------------------- bounds


def test_negative_elbo_is_rec_and_kl_by_name_for_each_image():  # E21: no bare tuple
    output, x = rand(4, D, low=-3, high=3), rand(4, D, seed=1)
    mu, log_var = posterior(4)
    terms = losses.negative_elbo(output, x, mu, log_var)
    assert type(terms)._fields == ("rec", "kl")
    close(terms.rec, losses.bernoulli_nll(output, x))
    close(terms.kl, losses.gaussian_kl(mu, log_var))
    close(losses.negative_elbo(output, x, mu, log_var, likelihood="laplace").rec, losses.laplace_nll(output, x, 1.0))
    prior_mu, prior_log_var = posterior(4, seed=5)
    terms = losses.negative_elbo(
        output, x, mu, log_var, likelihood="gaussian", sigma_x=0.4, prior_mu=prior_mu, prior_log_var=prior_log_var
    )
    close(terms.rec, losses.gaussian_nll(output, x, 0.4))
    close(terms.kl, losses.gaussian_kl(mu, log_var, prior_mu, prior_log_var))


def test_free_bits_count_each_dimension_at_least_once_at_the_minimum():
    kl = torch.tensor([[0.0, 3.0, 0.5], [0.2, 1.0, 0.7]])  # batch means 0.1, 2.0, 0.6
    close(losses.free_bits(kl, 0.0), 2.7, 1e-6)
    close(losses.free_bits(kl, 0.5), 3.1, 1e-6)
    close(losses.free_bits(kl, 5.0), 15.0, 1e-6)


def linear_gaussian() -> tuple[Tensor, Tensor, float]:
    """x, W and sigma_x of x = W z + sigma_x eps, where log p(x) and p(z|x) are known."""
    return rand(D, seed=1, low=-1, high=2), rand(D, LATENT, seed=2, low=-1, high=1), 0.5


def log_weights(z: Tensor, mu: Tensor, covariance: Tensor) -> Tensor:
    x, w, sigma_x = linear_gaussian()
    log_q = MultivariateNormal(mu, covariance).log_prob(z)
    return losses.log_importance_weights(-losses.gaussian_nll(z @ w.T, x, sigma_x), losses.gaussian_log_prob(z), log_q)


def log_evidence() -> Tensor:
    x, w, sigma_x = linear_gaussian()
    return MultivariateNormal(torch.zeros(D).double(), w @ w.T + sigma_x**2 * torch.eye(D)).log_prob(x)


def test_with_the_exact_posterior_every_weight_is_the_evidence():
    x, w, sigma_x = linear_gaussian()
    covariance = torch.linalg.inv(torch.eye(LATENT) + w.T @ w / sigma_x**2)
    mu = covariance @ w.T @ x / sigma_x**2
    log_w = log_weights(rand(6, LATENT, low=-3, high=3), mu, covariance)
    close(log_w, log_evidence().expand(6))
    close(losses.iw_bound(log_w), log_evidence())
    close(losses.effective_sample_size(log_w), 6.0)


def test_iw_bound_rises_with_k_to_the_evidence():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2**14, LATENT, generator=generator, dtype=torch.float64)  # q = prior: loose
    log_w = log_weights(z, torch.zeros(LATENT).double(), torch.eye(LATENT).double())
    # groups of K from the same draws: merging two groups can only raise the mean of the bounds (Jensen)
    bounds = torch.stack([losses.iw_bound(log_w.view(k, -1)).mean() for k in (1, 4, 16, 256, 2**14)])
    close(bounds[0], log_w.mean())  # K = 1 is the ELBO
    assert (bounds.diff() > 0).all()
    close(bounds[-1], log_evidence(), 0.05)
    assert bounds[0] < log_evidence() - 1


def test_iw_bound_lies_between_the_mean_and_the_best_sample():  # A1: with the sign inverted the worst sample counts most
    log_w = torch.tensor([[-100.0, -2.0], [-90.0, -1.0], [-95.0, -7.0]])
    bound = losses.iw_bound(log_w)
    assert bound.shape == (2,)
    assert (bound > log_w.mean(0)).all() and (bound < log_w.max(0).values).all()
    close(bound, (log_w.exp().double().mean(0).log()).float(), 1e-5)
    close(losses.iw_bound(log_w - 1000), bound - 1000, 1e-6)  # in the log domain: exp(-1100) is 0


def test_effective_sample_size_lies_between_one_and_k():
    close(losses.effective_sample_size(torch.tensor([[0.0], [math.log(3)]])), [16 / 10], 1e-6)  # (1 + 3)^2 / (1 + 9)
    close(losses.effective_sample_size(torch.full((7, 2), -500.0)), [7.0, 7.0], 1e-4)
    close(losses.effective_sample_size(torch.tensor([0.0, -300.0, -300.0])), 1.0, 1e-6)
    sizes = losses.effective_sample_size(rand(9, 50, low=-30, high=0))
    assert ((sizes >= 1) & (sizes <= 9)).all()


def test_log_importance_weights_are_likelihood_times_prior_over_posterior():
    close(losses.log_importance_weights(torch.tensor(-9.0), torch.tensor(-3.0), torch.tensor(-2.0)), -10.0)


# ---------------------------------------------------------------- gradients and documentation


def test_gradients_equal_finite_differences():
    mu, log_var = (t.requires_grad_() for t in posterior(2))
    output, x = rand(2, D, low=-3, high=3).requires_grad_(), rand(2, D, seed=1)
    sigma_x = torch.tensor(0.6).double().requires_grad_()
    check = torch.autograd.gradcheck
    assert check(losses.gaussian_kl, (mu, log_var))
    assert check(losses.gaussian_log_prob, (rand(2, LATENT, seed=4), mu, log_var))
    assert check(lambda a: losses.bernoulli_nll(a, x), output)
    assert check(lambda a: losses.continuous_bernoulli_nll(a, x), output)
    assert check(lambda a, s: losses.gaussian_nll(a, x, s), (output, sigma_x))
    assert check(lambda a, s: losses.laplace_nll(a, x, s), (output, sigma_x))
    assert check(losses.iw_bound, rand(4, 2, low=-3).requires_grad_())
    assert check(losses.effective_sample_size, rand(4, 2, low=-3).requires_grad_())


def test_results_keep_the_type_of_their_arguments():
    a, b = torch.zeros(2, D), torch.zeros(2, D)
    for name in PAIRS:
        assert getattr(losses, name)(a, b).dtype == torch.float32
        assert getattr(losses, name)(a.double(), b.double()).dtype == torch.float64


def test_the_examples_in_the_docstrings_run(capsys: pytest.CaptureFixture):
    tested = doctest.testmod(losses)
    assert tested.attempted > 0 and tested.failed == 0, capsys.readouterr().out
