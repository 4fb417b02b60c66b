"""The mathematics of lesson 05: bounds that rise with K, the two gaps, the best linear VAE, the price of a code, and ELBO surgery."""

import itertools
import math

import pytest
import torch

from vae_helpers import evaluation, lesson, linear, losses, recipes
from vae_helpers.exact import LinearGaussian
from vae_helpers.models import VAE, Gaussian


@pytest.fixture(scope="module")
def model():
    return LinearGaussian([[1.0, 0.0], [0.5, 1.0], [-0.5, 0.5], [0.0, 0.8]], [0.0, 0.1, 0.0, -0.1], sigma_x=0.5)


X = torch.tensor([2.0, 1.5, -1.0, 0.5], dtype=torch.float64)
MU = torch.tensor([0.5, 0.5], dtype=torch.float64)
LOG_VAR = torch.full((2,), 2 * math.log(0.8), dtype=torch.float64)


# ---------------------------------------------------------------- bounds


def exact_mean_bound(weights, probabilities, K):
    """E[L_K] when q puts `probabilities` on a few codes with these weights: the sum over all K-tuples."""
    total = 0.0
    for codes in itertools.product(range(len(weights)), repeat=K):
        chance = math.prod(probabilities[c] for c in codes)
        log_w = torch.tensor([[math.log(weights[c])] for c in codes], dtype=torch.float64)
        total += chance * float(losses.iw_bound(log_w))
    return total


def test_mean_bound_rises_with_k_and_stays_below_log_p():
    probabilities, joint = (0.6, 0.3, 0.1), (0.001, 0.02, 0.05)  # q(z) and p(x, z) of three codes
    weights = [p / q for p, q in zip(joint, probabilities, strict=True)]
    means = [exact_mean_bound(weights, probabilities, K) for K in range(1, 8)]
    elbo = sum(q * math.log(w) for q, w in zip(probabilities, weights, strict=True))
    assert means[0] == pytest.approx(elbo)
    assert all(a < b for a, b in itertools.pairwise(means)) and means[-1] < math.log(sum(joint))
    assert exact_mean_bound([2.0, 2.0, 2.0], probabilities, 3) == pytest.approx(math.log(2))


@pytest.mark.parametrize("K", [1, 2, 3, 10, 50])
def test_leaving_one_out_never_helps(K):
    log_w = 6 * torch.randn(K + 1, 500, generator=torch.Generator().manual_seed(K), dtype=torch.float64)
    without = torch.stack([losses.iw_bound(torch.cat([log_w[:i], log_w[i + 1 :]])) for i in range(K + 1)])
    assert (losses.iw_bound(log_w) >= without.mean(0) - 1e-12).all()  # (5.4)


def test_joining_blocks_never_lowers_the_bound():
    log_w = 4 * torch.randn(60, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bounds = [losses.iw_bound(log_w.unflatten(0, (-1, K)).transpose(0, 1)).mean(0) for K in (1, 2, 4, 12, 60)]
    assert all((b >= a - 1e-12).all() for a, b in itertools.pairwise(bounds))
    assert torch.allclose(bounds[0], log_w.mean(0)) and torch.allclose(bounds[-1], losses.iw_bound(log_w))


def test_estimates_agree_with_the_exact_model(model):
    z = MU + 0.8 * torch.randn(200, 3000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_w = losses.log_importance_weights(
        model.log_likelihood(X, z), model.log_prior(z), losses.gaussian_log_prob(z, MU, LOG_VAR)
    )
    log_p, elbo = float(model.log_marginal(X)), float(model.elbo(X, MU, LOG_VAR))
    one = log_w[0]
    assert abs(one.mean() - elbo) < 4 * one.std() / 3000**0.5
    many = losses.iw_bound(log_w)
    assert abs(many.mean() - log_p) < 0.1 and abs(log_w.exp().mean() / math.exp(log_p) - 1) < 0.03
    assert (one > log_p).any(), "a single estimate may exceed log p(x)"


def test_weights_from_the_exact_posterior_are_all_equal():
    one_dimensional = LinearGaussian([[2.0], [1.0]], [0.0, 0.0], sigma_x=0.7)
    x = torch.tensor([1.0, -0.5], dtype=torch.float64)
    q = one_dimensional.best_mean_field(x)  # with one latent dimension, the posterior itself
    z = q.mu + torch.exp(0.5 * q.log_var) * torch.randn(30, 1, dtype=torch.float64)
    log_w = one_dimensional.log_joint(x, z) - losses.gaussian_log_prob(z, *q)
    assert torch.allclose(log_w, one_dimensional.log_marginal(x), atol=1e-10)
    assert float(losses.effective_sample_size(log_w[:, None])) == pytest.approx(30)


def test_effective_sample_size_lies_between_one_and_k():
    log_w = 5 * torch.randn(20, 300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ess = losses.effective_sample_size(log_w)
    assert (ess >= 1).all() and (ess <= 20).all()
    assert torch.allclose(ess, losses.effective_sample_size(log_w - 1000))
    w = log_w.exp()
    assert torch.allclose(ess, w.sum(0) ** 2 / (w**2).sum(0))  # (5.5)


def test_gap_is_the_sum_of_two(model):
    best = model.best_mean_field(X)
    gap = model.log_marginal(X) - model.elbo(X, MU, LOG_VAR)
    approximation, amortisation = model.kl_to_posterior(X, *best), model.elbo(X, *best) - model.elbo(X, MU, LOG_VAR)
    assert float(gap) == pytest.approx(float(approximation + amortisation), abs=1e-10)  # (5.6)
    assert 0.008 < float(approximation) < 0.009 and 7.92 < float(amortisation) < 7.93


# ---------------------------------------------------------------- refining q


@pytest.fixture(scope="module")
def images():
    """400 images in [0, 1] with a spectrum that falls through 1, and mean one half."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(784, 8, generator=generator)).Q
    scales = torch.tensor([2.0, 1.6, 1.3, 1.1, 0.9, 0.6, 0.3, 0.1])
    x = 0.5 + (torch.rand(400, 8, generator=generator) - 0.5) * 12**0.5 * scales @ basis.T
    return x.clamp(0, 1)


def test_refining_finds_the_exact_posterior(images):
    closed = linear.best_linear_vae(linear.spectrum(images), 4, 1.0)
    poor = VAE(**closed.config)
    poor.decoder.load_state_dict(closed.decoder.state_dict())
    x = images[:6]
    before = {name: value.clone() for name, value in poor.state_dict().items()}
    refined = evaluation.refine_posterior(poor, x, steps=400, samples=16, learning_rate=0.05)
    with torch.no_grad():
        mu, log_var = closed.encode(x)
    assert (refined.mu - mu).abs().max() < 0.1 and (refined.log_var - log_var).abs().max() < 0.2
    assert all(torch.equal(value, before[name]) for name, value in poor.state_dict().items())
    assert all(weight.grad is None for weight in poor.parameters())


def test_log_weights_from_a_given_posterior(images):
    vae = linear.best_linear_vae(linear.spectrum(images), 4, 1.0)
    x = images[:5]
    exact = LinearGaussian(vae.decoder.out.weight.detach(), vae.decoder.out.bias.detach(), 1.0)
    with torch.no_grad():
        posterior = vae.encode(x)
    log_w = evaluation.log_weights(vae, x, samples=3, posterior=posterior)
    assert torch.allclose(log_w.double(), exact.log_marginal(x).expand(3, 5), atol=2e-3), "q is exact: no scatter"
    wide = evaluation.log_weights(vae, x, samples=200, posterior=Gaussian(posterior.mu, posterior.log_var + 1))
    assert wide.std(0).min() > 0.1 and wide.mean() < log_w.mean()


# ---------------------------------------------------------------- the best linear VAE


def expected_loss(W, b, A, a, log_var, x, sigma_x):
    """Mean -ELBO of a linear VAE, without sampling, in float64."""
    mu = x @ A.T + a
    rec = losses.gaussian_nll(mu @ W.T + b, x, sigma_x) + (log_var.exp() @ (W**2).sum(0)) / (2 * sigma_x**2)
    return (rec + losses.gaussian_kl(mu, log_var.expand_as(mu))).mean()


def optimum(images, latent_dim, sigma_x):
    vae = linear.best_linear_vae(linear.spectrum(images), latent_dim, sigma_x)
    parts = (
        vae.decoder.out.weight, vae.decoder.out.bias, vae.encoder.mu.weight, vae.encoder.mu.bias, vae.encoder.log_var.bias
    )  # fmt: skip
    return [part.detach().double().requires_grad_() for part in parts]


@pytest.mark.parametrize("sigma_x", [1.0, 0.7])
@pytest.mark.parametrize("latent_dim", [2, 6, 12])
def test_bound_of_the_optimum_is_exact_and_stationary(images, latent_dim, sigma_x):
    parts = optimum(images, latent_dim, sigma_x)
    loss = expected_loss(*parts, images.double(), sigma_x)
    eigenvalues = linear.spectrum(images).eigenvalues
    exact = linear.negative_log_likelihood(eigenvalues, latent_dim, sigma_x)
    truth = LinearGaussian(parts[0].detach(), parts[1].detach(), sigma_x)
    assert loss.item() == pytest.approx(exact, abs=1e-4)
    assert exact == pytest.approx(-float(truth.log_marginal(images).mean()), abs=1e-4)
    gradients = torch.autograd.grad(loss, parts)
    assert max(float(g.abs().max()) for g in gradients) < 1e-4
    generator = torch.Generator().manual_seed(0)
    for size in (0.01, 0.1):
        moved = [p.detach() + size * torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parts]
        assert expected_loss(*moved, images.double(), sigma_x) > loss


@pytest.mark.parametrize(("sigma_x", "count"), [(1.0, 4), (0.7, 5)])
def test_active_units_are_the_eigenvalues_above_the_noise(images, sigma_x, count):
    eigenvalues = linear.spectrum(images).eigenvalues
    assert int((eigenvalues > sigma_x**2).sum()) == count, "the images were made so"
    vae = linear.best_linear_vae(linear.spectrum(images), 10, sigma_x)
    mu, log_var = vae.encoder(images)
    kl, variances = losses.gaussian_kl_per_dim(mu, log_var).mean(0).double(), mu.var(0, correction=0).double()
    assert torch.allclose(kl, linear.rate(eigenvalues[:10], sigma_x), atol=1e-4)  # (5.10)
    assert torch.allclose(variances, linear.posterior_variances(eigenvalues[:10], sigma_x), atol=1e-4)
    assert evaluation.active_units(mu).tolist() == [True] * count + [False] * (10 - count)
    assert torch.allclose(kl, -0.5 * torch.log(1 - variances), atol=1e-4)


def test_more_dimensions_than_pay_change_nothing(images):
    eigenvalues = linear.spectrum(images).eigenvalues
    values = [linear.negative_log_likelihood(eigenvalues, d, 1.0) for d in (0, 2, 4, 5, 50, 784)]
    assert values[0] > values[1] > values[2] == values[3] == values[4] == values[5]


def test_distortion_is_that_of_reverse_water_filling(images):
    parts = [p.detach() for p in optimum(images, 12, 1.0)]
    W, b, A, a, log_var = parts
    mu = images.double() @ A.T + a
    error = losses.squared_error(mu @ W.T + b, images.double()).mean() + log_var.exp() @ (W**2).sum(0)
    assert float(error) == pytest.approx(float(linear.spectrum(images).eigenvalues.clamp(max=1.0).sum()), abs=1e-4)


# ---------------------------------------------------------------- the price of a code


def test_shipped_family_obeys_its_prices():
    metrics = [lesson.shipped(f"beta-{beta:g}").metrics for beta in recipes.BETAS]
    rows = list(zip(recipes.BETAS, metrics, strict=True))
    for (b1, one), (b2, two) in itertools.pairwise(rows):
        price = (two["test_rec"] - one["test_rec"]) / (one["test_kl"] - two["test_kl"])
        assert b1 <= price <= b2  # (5.8)
    assert min(rows, key=lambda row: row[1]["test"])[0] == 1.0
    units = [row["active_units"] for row in metrics]
    assert units == sorted(units, reverse=True) and units[0] > units[-1]


@pytest.mark.parametrize(("mean", "gradient"), [(0.2, 0.0), (0.7, 1.0)])
def test_free_bits_give_no_gradient_below_the_minimum(mean, gradient):
    kl = torch.full((4, 1), mean, requires_grad=True)
    losses.free_bits(kl, 0.5).backward()
    assert float(kl.grad.sum()) == pytest.approx(gradient)
    assert float(losses.free_bits(kl, 0.5)) == pytest.approx(max(mean, 0.5))  # (5.11)


# ---------------------------------------------------------------- surgery


def on_a_grid(mu, sigma, z, dz):
    log_q = torch.distributions.Normal(mu, sigma).log_prob(z[:, None])
    log_agg = torch.logsumexp(log_q, 1) - math.log(len(mu))
    log_prior = -0.5 * (z**2 + math.log(2 * math.pi))
    information = (log_q.exp() * (log_q - log_agg[:, None])).sum(0).mean() * dz
    return float(information), float((log_agg.exp() * (log_agg - log_prior)).sum() * dz)


@pytest.fixture(scope="module")
def fifty():
    generator = torch.Generator().manual_seed(4)
    mu = torch.randn(50, generator=generator, dtype=torch.float64)
    return mu, 0.1 + 0.3 * torch.rand(50, generator=generator, dtype=torch.float64)


def test_surgery_on_a_grid_is_exact(fifty):
    mu, sigma = fifty
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    information, marginal = on_a_grid(mu, sigma, z, z[1] - z[0])
    mean_kl = float(losses.gaussian_kl(mu[:, None], 2 * sigma.log()[:, None]).mean())
    assert information + marginal == pytest.approx(mean_kl, abs=1e-9)  # (5.12)
    assert 0 < information < math.log(50) and marginal > 0  # (5.13)


def test_float32_spacing_spoils_the_identity(fifty):
    mu, sigma = (part.float() for part in fifty)
    z = torch.linspace(-12, 12, 24_001)
    mean_kl = float(losses.gaussian_kl(mu[:, None], 2 * sigma.log()[:, None]).mean())
    careless, careful = (sum(on_a_grid(mu, sigma, z, dz)) - mean_kl for dz in (z[1] - z[0], 24 / 24_000))
    assert abs(careless) > 1e-5 and abs(careful) < abs(careless) / 5


def test_estimated_surgery_agrees_with_the_grid(fifty):
    mu, sigma = fifty
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    information, marginal = on_a_grid(mu, sigma, z, z[1] - z[0])
    found = evaluation.elbo_surgery(Gaussian(mu[:, None], 2 * sigma.log()[:, None]), samples=400)
    assert found.mutual_information == pytest.approx(information, abs=0.02)
    assert found.marginal_kl == pytest.approx(marginal, abs=0.02)


def test_information_is_capped_by_the_number_of_images():
    far_apart = Gaussian(20 * torch.randn(64, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(64, 5))
    assert evaluation.elbo_surgery(far_apart).mutual_information == pytest.approx(math.log(64), abs=1e-3)
    same = Gaussian(torch.ones(64, 5), torch.zeros(64, 5))
    assert evaluation.elbo_surgery(same).mutual_information == pytest.approx(0, abs=1e-9)
