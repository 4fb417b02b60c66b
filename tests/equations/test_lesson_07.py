"""The mathematics of lesson 07: the bound with a label, the encoder that does not see it, its price, the codes of a class, half an image."""

import math

import pytest
import torch

from vae_helpers import evaluation, exact, losses
from vae_helpers.models import VAE, Gaussian, reparameterize
from vae_helpers.scoring import label_scores

W = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 1.0]])
MODELS = [exact.LinearGaussian(W, b, 0.5) for b in torch.tensor([[0.0, 0.0, 0.0], [1.5, -1.0, 0.5]])]
SHARES = torch.tensor([0.3, 0.7], dtype=torch.float64)


@pytest.fixture(scope="module")
def images():
    """Images of both labels, (400, 3), with the labels."""
    draws = [model.sample(200, generator=torch.Generator().manual_seed(y)).x for y, model in enumerate(MODELS)]
    return torch.cat(draws), torch.arange(2).repeat_interleave(200)


def scores(x):
    return torch.stack([model.log_marginal(x) for model in MODELS], -1)


def test_the_conditional_density_is_the_integral_over_codes():  # (7.1)
    x = torch.tensor([0.9, -0.4, 0.1], dtype=torch.float64)
    codes, dz = exact.grid(-7, 7, 141, d=2)
    for model in MODELS:
        assert float(exact.log_marginal_grid(model.log_joint(x, codes), dz)) == pytest.approx(
            float(model.log_marginal(x))
        )


def test_bound_plus_gap_is_the_conditional_log_likelihood_for_any_q(images):  # (7.2)
    x, _ = images
    mu, log_var = torch.randn(2, len(x), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for model in MODELS:
        elbo, gap = model.elbo(x, mu, log_var), model.kl_to_posterior(x, mu, log_var)
        assert torch.allclose(elbo + gap, model.log_marginal(x), atol=1e-9) and (gap > 0).all()
        best = model.best_mean_field(x)
        assert torch.allclose(model.elbo(x, *best), model.log_marginal(x), atol=1e-9), "W has orthogonal columns"


def average_gap(x, q):
    p = scores(x).softmax(-1)
    gaps = torch.stack([model.kl_to_posterior(x, *q) for model in MODELS], -1)
    return (p * gaps).sum(-1)


def test_what_an_encoder_loses_that_does_not_see_the_label(images):  # (7.3)
    x, _ = images
    M = MODELS[0].M
    p = scores(x).softmax(-1)
    means = torch.stack([model.posterior(x).mean for model in MODELS], 1)
    middle = (p[..., None] * means).sum(1)
    away = means - middle[:, None]
    formula = 0.5 * (p * torch.einsum("nyi,ij,nyj->ny", away, M, away)).sum(-1)
    log_var = (-torch.log(M.diagonal())).expand_as(middle)
    best = average_gap(x, Gaussian(middle, log_var))
    assert torch.allclose(best, formula, atol=1e-10)
    noise = torch.Generator().manual_seed(1)
    for _ in range(20):  # no other single answer does better
        other = Gaussian(
            middle + 0.3 * torch.randn(middle.shape, generator=noise, dtype=torch.float64),
            log_var + 0.3 * torch.randn(middle.shape, generator=noise, dtype=torch.float64),
        )
        assert (average_gap(x, other) > best).all()
    certain = p.max(-1).values > 0.999
    assert certain.any() and formula[certain].max() < 0.02 and formula.max() > 0.5


def test_the_price_of_a_label_image_by_image_and_on_average(images):  # (7.4), (7.5), (7.6), (7.7)
    x, y = images
    log_px_y = scores(x)
    log_px = torch.logsumexp(log_px_y + SHARES.log(), -1)
    given = log_px_y.gather(1, y[:, None])[:, 0]
    log_py_x = (log_px_y + SHARES.log()).log_softmax(-1).gather(1, y[:, None])[:, 0]
    tells = given - log_px
    assert torch.allclose(tells, log_py_x - SHARES[y].log(), atol=1e-10)
    assert (tells <= -SHARES[y].log() + 1e-12).all() and (log_px <= log_px_y.max(-1).values).all()
    assert (tells < 0).any(), "there is no floor"
    for model, label in zip(MODELS, (0, 1), strict=True):
        mine = x[y == label]
        q = Gaussian(torch.zeros(len(mine), 2, dtype=torch.float64), torch.zeros(len(mine), 2, dtype=torch.float64))
        assert (-log_px[y == label] <= -model.elbo(mine, *q) - SHARES[label].log()).all()


def test_the_evidence_is_that_of_a_mixture_of_gaussians(images):  # (7.4), from torch.distributions
    x, _ = images
    means = torch.stack([model.b for model in MODELS])
    covariance = (W @ W.T + 0.25 * torch.eye(3)).double()
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(SHARES), torch.distributions.MultivariateNormal(means, covariance)
    )
    assert torch.allclose(torch.logsumexp(scores(x) + SHARES.log(), -1), mixture.log_prob(x), atol=1e-10)


def test_the_mixture_over_labels_is_a_density():  # (7.4)
    line = [exact.LinearGaussian([[0.8]], [b], 0.5) for b in (-1.0, 2.0)]
    x, dx = exact.grid(-12, 12, 4001)
    density = sum(p * model.log_marginal(x).exp() for p, model in zip(SHARES, line, strict=True))
    assert float(density.sum() * dx) == pytest.approx(1, abs=1e-9)


def test_a_conditional_network_keeps_the_identities_of_the_price():  # (7.5), (7.7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VAE(2, (16,), (16,), num_classes=10).double()
        for weight in model.parameters():
            weight.data.mul_(4)
        x, y = torch.bernoulli(torch.full((30, 784), 0.3)).double(), torch.arange(10).repeat(3)
    noise = torch.Generator().manual_seed(0)
    s = label_scores(model, x, rule="importance-weighted", samples=8, generator=noise)
    log_px = torch.logsumexp(s, 1) - math.log(10)
    tells = s.gather(1, y[:, None])[:, 0] - log_px
    label_nll = -s.log_softmax(1).gather(1, y[:, None]).mean()
    assert tells.max() <= math.log(10) + 1e-9 and s.std(1).min() > 1
    assert float(tells.mean()) == pytest.approx(math.log(10) - float(label_nll), abs=1e-8)


def test_an_encoder_that_alone_sees_the_label_leaves_the_model_of_images_alone():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VAE(2, (8,), (8,), num_classes=10, label_in=("encoder",))
    z = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.decode(z, torch.arange(10)), model.decode(z, torch.zeros(10, dtype=torch.long)))
        x = torch.rand(10, 784, generator=torch.Generator().manual_seed(0))
        assert not torch.equal(model.encode(x, torch.arange(10)).mu, model.encode(x, torch.zeros(10).long()).mu)


def test_the_surgery_of_one_class():  # (7.8)
    noise = torch.Generator().manual_seed(0)
    mu = torch.randn(12, 1, generator=noise, dtype=torch.float64)
    log_var = -2 + 0.5 * torch.randn(12, 1, generator=noise, dtype=torch.float64)
    codes, dz = exact.grid(-8, 8, 8001)
    log_each = losses.gaussian_log_prob(codes[None], mu[:, None], log_var[:, None])
    log_class = torch.logsumexp(log_each, 0) - math.log(12)
    information = exact.kl_grid(log_each, log_class, dz).mean()
    waste = exact.kl_grid(log_class, losses.gaussian_log_prob(codes), dz)
    assert float(losses.gaussian_kl(mu, log_var).mean()) == pytest.approx(float(information + waste), abs=1e-9)
    assert 0 < information < math.log(12) and waste > 0


def test_the_second_term_of_the_surgery_is_what_the_code_says_about_the_label_and_the_misfit_of_all_codes():  # (7.8)
    noise = torch.Generator().manual_seed(1)
    codes, dz = exact.grid(-10, 10, 8001)
    log_class = torch.stack(
        [
            torch.logsumexp(
                losses.gaussian_log_prob(
                    codes[None], centre + torch.randn(8, 1, 1, generator=noise, dtype=torch.float64), -1.5
                ),
                0,
            )
            - math.log(8)
            for centre in (-2.0, 0.0, 1.5)
        ]
    )
    log_all = torch.logsumexp(log_class, 0) - math.log(3)
    log_prior = losses.gaussian_log_prob(codes)
    second = exact.kl_grid(log_class, log_prior, dz).mean()
    says, misfit = exact.kl_grid(log_class, log_all, dz).mean(), exact.kl_grid(log_all, log_prior, dz)
    assert float(second) == pytest.approx(float(says + misfit), abs=1e-9)
    assert 0.1 < says < math.log(3) and misfit > 0.1
    surgeries = []
    for spread in (0.0, 1.0):  # the estimate of the lesson: one surgery on all codes, less those of the classes
        means = spread * torch.tensor([-2.0, 2.0]).repeat_interleave(300)[:, None] + torch.randn(
            600, 1, generator=noise
        )
        each = [
            evaluation.elbo_surgery(Gaussian(part, torch.full_like(part, -4.0)), samples=1) for part in means.split(300)
        ]
        pooled = evaluation.elbo_surgery(Gaussian(means, torch.full_like(means, -4.0)), samples=1)
        surgeries.append(pooled.mutual_information - sum(s.mutual_information for s in each) / 2)
    assert abs(surgeries[0]) < 0.1 and 0.4 < surgeries[1] < math.log(2) + 0.05


def test_a_prior_that_sees_the_label_is_the_old_prior_and_a_decoder_that_sees_the_label_once_more():
    """z = mu_y + sigma_y u: the same bound in terms of u, and draws of u that do not know the label."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VAE(3, (8,), (8,), num_classes=10, label_in=("encoder", "decoder", "prior"))
        torch.nn.init.normal_(model.prior_mu.weight)
        torch.nn.init.normal_(model.prior_log_var.weight, std=0.5)
        x, y = torch.rand(40, 784), torch.arange(10).repeat(4)
        eps = torch.randn(40, 3)
    with torch.no_grad():
        prior, (mu, log_var) = model.prior(y), model.encode(x, y)
        kl = losses.gaussian_kl(mu, log_var, *prior)
        u, width = (mu - prior.mu) * torch.exp(-0.5 * prior.log_var), log_var - prior.log_var
        assert torch.allclose(losses.gaussian_kl(u, width), kl, atol=1e-4) and kl.min() > 0.1
        z = reparameterize(mu, log_var, eps=eps)
        again = prior.mu + torch.exp(0.5 * prior.log_var) * reparameterize(u, width, eps=eps)
        assert torch.allclose(z, again, atol=1e-5)


def test_a_bound_with_a_prior_that_sees_the_condition_and_its_gap():  # (7.9), exactly
    model, x = MODELS[1], torch.tensor([0.9, -0.4, 0.1], dtype=torch.float64)
    rest, given = exact.LinearGaussian(W[:2], model.b[:2], 0.5), exact.LinearGaussian(W[2:], model.b[2:], 0.5)
    mean, covariance = given.posterior(x[2:])
    assert torch.equal(covariance, torch.diag(covariance.diagonal())), "p(z|c) must be diagonal for a diagonal q"
    mu, log_var = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kl = losses.gaussian_kl(mu, log_var, mean, covariance.diagonal().log())
    bound = rest.expected_log_likelihood(x[:2], mu, log_var) - kl
    truth = model.log_marginal(x) - given.log_marginal(x[2:])
    assert torch.allclose(bound + model.kl_to_posterior(x, mu, log_var), truth.expand(50), atol=1e-9)
    assert not torch.allclose(bound + model.kl_to_posterior(x, mu, log_var) + kl, truth.expand(50), atol=1e-3)


def test_a_bound_with_a_prior_that_sees_the_condition():  # (7.9)
    """x = (c, r): a linear-Gaussian model of the whole, and its conditional density of r given c."""
    model = MODELS[0]
    x = torch.tensor([0.6, -0.2, 0.4], dtype=torch.float64)
    c, r = x[:1], x[1:]
    of_c = exact.LinearGaussian(W[:1], torch.zeros(1), 0.5)
    given = exact.Posterior(*of_c.posterior(c))  # p(z|c): the prior of (7.9)
    truth = float(model.log_marginal(x) - of_c.log_marginal(c))  # log p(r|c)
    whole = model.posterior(x)  # p(z|r, c): the best q
    noise = torch.Generator().manual_seed(0)
    prior, q = (torch.distributions.MultivariateNormal(*p) for p in (given, whole))
    other = torch.distributions.MultivariateNormal(whole.mean + 0.3, 0.5 * torch.eye(2, dtype=torch.float64))
    for answer, tight in ((q, True), (other, False)):
        eps = torch.randn(20000, 2, generator=noise, dtype=torch.float64)
        z = answer.mean + eps @ torch.linalg.cholesky(answer.covariance_matrix).T
        rec = losses.gaussian_nll(z @ W[1:].double().T, r, 0.5)
        bound = -rec - torch.distributions.kl_divergence(answer, prior)
        error = float(bound.std()) / math.sqrt(len(z))
        if tight:
            assert abs(float(bound.mean()) - truth) < 5 * error
        else:
            gap = float(torch.distributions.kl_divergence(answer, q))
            assert abs(float(bound.mean()) + gap - truth) < 5 * error and gap > 0.1
