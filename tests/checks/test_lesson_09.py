"""Unusual right answers of lesson 09, and wrong ones written without looking at the zoo."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn import functional as F

from vae_helpers import checks
from vae_helpers.checks.lesson_09 import BROKEN_KLS, RIGHT_KLS, try_order


def terms_by_library(logits, x, mu, log_var):
    rec = -(x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(1)
    kl = kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1)
    return [rec.mean(), kl.mean()]


def terms_by_sums(logits, x, mu, log_var):
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return rec, 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum() / len(mu)


def weights_by_library(rec, z, mu, log_var):
    d = z.shape[-1]
    q = MultivariateNormal(mu, torch.diag_embed(log_var.exp()))
    return MultivariateNormal(torch.zeros(d), torch.eye(d)).log_prob(z) - q.log_prob(z) - rec


def constant_in_every_coordinate(rec, z, mu, log_var):
    """A3: the constant is wrong in both densities, and cancels: right by accident."""
    d = z.shape[-1]
    log_p = (-0.5 * z**2 - 0.5 * d * math.log(2 * math.pi)).sum(-1)
    log_q = (-0.5 * (z - mu) ** 2 / log_var.exp() - 0.5 * log_var - 0.5 * d * math.log(2 * math.pi)).sum(-1)
    return -rec + log_p - log_q


def sorted_keys(n, generator):
    return torch.rand(n, generator=generator).argsort()


def order_as_list(n, generator):
    return torch.randperm(n, generator=generator).tolist()


def test_with_asserts(kl):
    mu, log_var = torch.tensor([[0.3, -1.2], [2.0, 0.1]]), torch.tensor([[0.5, -1.0], [0.2, 0.9]])
    expected = torch.stack(
        [
            0.5 * sum(m * m + math.exp(v) - 1 - v for m, v in zip(a, b, strict=True))
            for a, b in zip(mu, log_var, strict=True)
        ]
    )
    torch.testing.assert_close(kl(mu, log_var), expected)


def test_by_sampling(kl):
    mu, log_var = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), torch.tensor([[-1.0, 0.5], [1.0, -2.0]])
    q, p = Independent(Normal(mu, (log_var / 2).exp()), 1), Independent(Normal(torch.zeros(2), 1.0), 1)
    z = q.sample((200_000,))
    found = kl(mu, log_var)
    return found.shape == (2,) and bool(((q.log_prob(z) - p.log_prob(z)).mean(0) - found).abs().max() < 0.03)


test_with_asserts.__test__ = test_by_sampling.__test__ = False  # answers of students, not tests of ours

RIGHT = [
    ("first_wing", "DFB"),
    ("first_wing", ["d", "f", "b"]),
    ("first_wing", "d, f, b"),
    ("second_wing", ("e", "b", "d", "g")),
    ("third_wing", " c a e "),
    ("loss_terms", terms_by_library),
    ("loss_terms", terms_by_sums),
    ("pixel_cost", lambda logits, x: (F.softplus(logits) - x * logits).sum(1)),
    ("pixel_cost", lambda logits, x: -Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(-1)),
    ("draw_code", lambda out, eps: out[:, :2] + out[:, 2:].exp().sqrt() * eps),
    ("draw_code", lambda out, eps: torch.addcmul(out[:, : out.shape[1] // 2], (out[:, out.shape[1] // 2 :] / 2).exp(), eps)),
    ("kl_per_dim", lambda m, v: kl_divergence(Normal(m, torch.exp(0.5 * v)), Normal(0.0, 1.0))),
    ("kl_per_dim", lambda m, v: 0.5 * (m.square() + torch.expm1(v) - v)),
    ("epoch_report", lambda s, c, n: float(sum(s)) / sum(c)),
    ("epoch_report", lambda s, c, n: torch.stack(s).sum() / torch.tensor(c).sum()),
    ("drawn_bound", lambda f, x, m, v, e: F.binary_cross_entropy_with_logits(f(m + v.exp().sqrt() * e), x, reduction="none").sum(1) + 0.5 * (m**2 + torch.expm1(v) - v).sum(1)),
    ("log_weights", weights_by_library),
    ("log_weights", constant_in_every_coordinate),
    ("hold_out", lambda order, h: [order[: len(order) - h], order[len(order) - h :]]),
    ("hold_out", lambda order, h: order.split([len(order) - h, h])),
    ("epoch_order", sorted_keys),
    ("epoch_order", order_as_list),
    ("epoch_order", lambda n, g: torch.multinomial(torch.ones(n), n, generator=g)),
    ("new_images", lambda f, g, x, e: g(0 + 1 * e)),
    ("kl_test", test_with_asserts),
    ("kl_test", test_by_sampling),
]  # fmt: skip
WRONG = [
    ("first_wing", "abc"),
    ("first_wing", "dfba"),
    ("first_wing", "xyz"),
    ("first_wing", 7),
    ("second_wing", "bedg"),
    ("third_wing", "dfb"),
    ("loss_terms", lambda o, x, m, v: (terms_by_sums(o, x, m, v)[0] * 784, terms_by_sums(o, x, m, v)[1])),
    ("loss_terms", lambda o, x, m, v: sum(terms_by_sums(o, x, m, v))),
    ("pixel_cost", lambda logits, x: (logits - x).square().sum(1)),
    ("pixel_cost", lambda logits, x: F.binary_cross_entropy(torch.sigmoid(logits).clamp(1e-3, 1 - 1e-3), x, reduction="none").sum(1)),
    ("draw_code", lambda out, eps: out[:, :2] + 2 * out[:, 2:].exp().sqrt() * eps),
    ("draw_code", lambda out, eps: out[:, :2] + out[:, 2:].exp().sqrt() * torch.randn_like(eps)),
    ("kl_per_dim", lambda m, v: 0.5 * (m**2 + v.exp() - v)),
    ("kl_per_dim", lambda m, v: (0.5 * (m**2 + v.exp() - v) - 0.5).clamp(min=0.01)),
    ("epoch_report", lambda s, c, n: sum(s) / max(c) / len(c)),
    ("drawn_bound", lambda f, x, m, v, e: F.binary_cross_entropy_with_logits(f(m + v / 2 * e), x, reduction="none").sum(1)),
    ("log_weights", lambda r, z, m, v: -r + 0.5 * ((z - m) ** 2 - z**2).sum(-1)),
    ("hold_out", lambda order, h: (order[:-h], order[-h - 1 :])),
    ("hold_out", lambda order, h: order[:-h]),
    ("epoch_order", lambda n, g: torch.randperm(n, generator=g) + 1),
    ("epoch_order", lambda n, g: torch.randperm(n, generator=g) // 2),
    ("new_images", lambda f, g, x, e: g(e) + 0.01 * x.mean()),
    ("new_images", lambda f, g, x, e: torch.sigmoid(g(e))),
    ("kl_test", lambda kl: bool(torch.isfinite(kl(torch.ones(2, 2), torch.ones(2, 2))).all())),
    ("kl_test", lambda kl: bool(kl(torch.zeros(3, 2), torch.full((3, 2), 2.0))[0] > 1)),
    ("kl_test", lambda kl: 1 / 0),
]  # fmt: skip


def test_what_the_blank_cells_hold_gets_the_hint_of_its_own_bug():
    def blank_terms(logits, x, mu, log_var):
        return F.binary_cross_entropy_with_logits(logits, x), (0.5 * (mu**2 + log_var.exp() - 1 - log_var)).sum(
            1
        ).mean()

    for name, answer, words in [
        ("loss_terms", blank_terms, "mean over pixels and images"),
        (
            "draw_code",
            lambda out, eps: out.chunk(2, dim=1)[0] + out.chunk(2, dim=1)[1] * eps,
            "whatever the variable is called",
        ),
        ("epoch_order", lambda n, g: list(range(n)), "order of the file"),
    ]:
        assert words in checks.EXERCISES[name].examine(answer).message


def test_a_diagnosis_gets_one_reason_for_the_first_wrong_chart_and_is_told_what_is_right():
    message = checks.EXERCISES["first_wing"].examine("dab").message
    assert "right so far: chart 1, 3" in message and "Chart 2 is not (a)" in message
    assert "3 letters between a and g" in checks.EXERCISES["first_wing"].examine("df").message


def test_every_order_of_the_zoo_behaves_in_its_own_way():
    found = [try_order(bug.wrong) for bug in checks.EXERCISES["epoch_order"].bugs]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", BROKEN_KLS)
def test_each_broken_kl_differs_from_the_right_ones(name):
    mu, log_var = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(5))
    right = [kl(mu, log_var) for kl in RIGHT_KLS.values()]
    assert all(torch.allclose(right[0], other, atol=1e-5) for other in right)
    wrong = BROKEN_KLS[name](mu, log_var)
    assert wrong.shape != right[0].shape or not torch.allclose(wrong, right[0], atol=1e-2)


def test_only_one_broken_kl_is_caught_at_the_prior():
    caught = [name for name, kl in BROKEN_KLS.items() if bool((kl(torch.zeros(4, 2), torch.zeros(4, 2)) != 0).any())]
    assert caught == ["the 1 is missing"]
