"""The mathematics of lesson 08: Bayes' rule, gaps of bounds, what a label is worth, calibration, and one step against a classifier."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from vae_helpers import exact, losses, plotting
from vae_helpers.classifier import best_temperature, expected_calibration_error
from vae_helpers.models import VAE
from vae_helpers.scoring import label_scores


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def model():
    """A conditional VAE small enough for exact integrals: two latent dimensions, six pixels, three labels, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VAE(2, (5,), (5,), num_classes=3, pixels=6).double().eval()
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(2)
    return network


X = torch.tensor([[0, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 1, 1]], dtype=torch.float64)


@torch.no_grad()
def log_joint_on_grid(model, x, points=241, reach=12.0):
    """log p(x, z|y) at each grid point (N, C, G), the codes, and the area of a cell."""
    z, area = exact.grid(-reach, reach, points, d=2)
    columns = []
    for label in range(model.num_classes):
        logits = model.decode(z, torch.full((len(z),), label))
        columns.append(-losses.bernoulli_nll(logits[None], x[:, None]) + losses.gaussian_log_prob(z))
    return torch.stack(columns, 1), z, area


def test_bayes_rule_on_a_table_of_all_images(model):  # (8.1), (8.2)
    """64 binary images of six pixels: the likelihoods of all of them sum to 1 under each label, and Bayes' rule divides by p(x)."""
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 6)
    joint, _, area = log_joint_on_grid(model, images, points=101)
    p = exact.log_marginal_grid(joint, area).exp()
    assert torch.allclose(p.sum(0), torch.ones(3, dtype=torch.float64), atol=1e-6)
    prior = torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64)
    posterior = p * prior / (p * prior).sum(1, keepdim=True)
    assert torch.equal(posterior.argmax(1), (p.log() + prior.log()).argmax(1))
    assert (posterior.argmax(1) != p.argmax(1)).any(), "or the prior would decide nothing"
    assert torch.allclose((posterior * (p @ prior)[:, None]).sum(0), prior, atol=1e-6)


def test_the_gap_is_the_kl_to_the_true_posterior(model):  # (8.3)
    joint, z, area = log_joint_on_grid(model, X)
    truth = exact.log_marginal_grid(joint, area)
    for label in range(3):
        y = torch.full((len(X),), label)
        with torch.no_grad():
            q = model.encode(X, y)
            log_q = losses.gaussian_log_prob(z, q.mu[:, None], q.log_var[:, None])
        log_posterior = joint[:, label] - truth[:, label, None]
        elbo = exact.elbo_grid(joint[:, label], log_q, area)
        gap = exact.kl_grid(log_q, log_posterior, area)
        assert torch.allclose(truth[:, label] - gap, elbo, atol=2e-3)  # the grid is not infinite
        assert (gap > 0.01).all()
        many = label_scores(model, X, rule="elbo", samples=20000, generator=seeded())[:, label]
        assert torch.allclose(many, elbo, atol=0.1)


def test_a_label_overtakes_exactly_when_the_gaps_differ_by_more_than_the_margin():  # (8.4)
    truth = torch.randn(2000, 5, generator=seeded(), dtype=torch.float64) * 3
    gap = torch.randn(2000, 5, generator=seeded(1), dtype=torch.float64).exp()
    score = truth - gap
    best = truth.argmax(1, keepdim=True)
    overtaken = gap.gather(1, best) - gap > truth.gather(1, best) - truth
    assert torch.equal(overtaken.any(1), score.argmax(1) != best[:, 0])
    assert 0.05 < overtaken.any(1).double().mean() < 0.5
    assert torch.equal((truth - gap[:, :1]).argmax(1), best[:, 0]), "equal gaps are sufficient"
    leaning = torch.where(F.one_hot(best[:, 0], 5).bool(), gap.min(1, keepdim=True).values, gap)
    assert torch.equal((truth - leaning).argmax(1), best[:, 0]), "and not necessary: larger ones for the losers will do"


def test_a_mixture_lies_between_the_mean_and_the_best_of_its_parts():  # (8.5)
    s = torch.randn(50, 4, generator=seeded(), dtype=torch.float64) * 5 - 100
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    log_px = torch.logsumexp(s + prior.log(), 1)
    assert torch.allclose(log_px, ((s + 100).exp() @ prior).log() - 100)
    assert (log_px <= s.max(1).values).all() and (log_px >= s @ prior).all()
    assert (torch.logsumexp(s, 1) > s.max(1).values).all(), "the mistake of the find-the-bug"


def test_what_a_label_gains_is_its_entropy_less_the_label_nll():  # (8.6)
    s = torch.randn(300, 10, generator=seeded(), dtype=torch.float64) * 20 - 100
    y = torch.randint(0, 10, (300,), generator=seeded(1))
    of_y = s[torch.arange(300), y]
    for prior in (torch.full((10,), 0.1, dtype=torch.float64), torch.arange(1, 11, dtype=torch.float64) / 55):
        log_px = torch.logsumexp(s + prior.log(), 1)
        nll = -(s + prior.log()).log_softmax(1)[torch.arange(300), y]
        assert torch.allclose((of_y - log_px).mean(), -prior.log()[y].mean() - nll.mean(), atol=1e-10)
        assert (s - log_px[:, None] <= -prior.log() + 1e-12).all(), "no label tells more than -log p(y)"


def test_calibration_error_from_the_bins_of_the_figure():  # (8.7)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(10, 0.3), 500)
    y = rng.integers(0, 10, 500)
    bins = plotting.reliability_bins(p, y, bins=15)
    filled = bins.count > 0
    by_hand = (bins.count * abs(bins.accuracy - bins.confidence))[filled].sum() / 500
    assert by_hand == pytest.approx(expected_calibration_error(p, y), abs=1e-12) and by_hand > 0.1
    assert bins.count.sum() == 500 and np.isnan(bins.accuracy[~filled]).all()


def test_a_temperature_keeps_every_order_and_undoes_a_factor():  # (8.8)
    s = torch.randn(4000, 5, generator=seeded(), dtype=torch.float64) * 2
    y = torch.distributions.Categorical(logits=s).sample().numpy()  # calibrated by construction
    assert best_temperature((7 * s).numpy(), y) == pytest.approx(7, rel=0.1)
    assert torch.equal((s / 7).softmax(1).argsort(1), s.argsort(1))


def test_one_step_against_a_linear_classifier_takes_epsilon_times_the_l1_norm():  # (8.9)
    weights = torch.randn(3, 20, generator=seeded(), dtype=torch.float64)
    x = torch.full((1, 20), 0.5, dtype=torch.float64, requires_grad=True)
    eps, (first, second) = 0.01, (weights @ x[0]).topk(2).indices.tolist()
    margin = (weights @ x[0])[first] - (weights @ x[0])[second]
    (gradient,) = torch.autograd.grad(margin, x)
    moved = (x - eps * gradient.sign()).clamp(0, 1).detach()
    lost = float(margin.detach()) - float((weights[first] - weights[second]) @ moved[0])
    assert lost == pytest.approx(eps * float((weights[first] - weights[second]).abs().sum()))


def test_answering_the_surest_first():
    share, wrong = plotting.answered_curve(np.array([0.5, 0.9, 0.7, 0.6]), np.array([False, True, True, False]))
    assert share.tolist() == [0.25, 0.5, 0.75, 1.0] and wrong.tolist() == pytest.approx([0, 0, 1 / 3, 0.5])


def test_cutting_the_logits_bounds_what_one_pixel_can_say():
    """Grey 0.1 on a pixel that two labels call black with logits -10 and -15 is worth half a nat; cut at 5, nothing."""
    logits, grey = torch.tensor([[-10.0], [-15.0]], dtype=torch.float64), torch.tensor([[0.1]], dtype=torch.float64)
    cost = losses.bernoulli_nll(logits, grey)
    assert float(cost[1] - cost[0]) == pytest.approx(0.5, abs=1e-4)
    cut = losses.bernoulli_nll(logits.clamp(-5, 5), grey)
    assert float(cut[1] - cut[0]) == 0.0 and math.isclose(float(torch.sigmoid(torch.tensor(5.0))), 0.9933, abs_tol=1e-4)
