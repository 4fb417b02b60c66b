"""Unusual right answers of lesson 04, and wrong ones written without looking at the zoo."""

import math

import torch
from torch.distributions import ContinuousBernoulli, Independent, Laplace, Normal
from torch.nn import functional as F

from vae_helpers import checks, losses


def gaussian_by_loop(mean, x, sigma_x):
    rows = []
    for m, v in zip(mean, x, strict=True):
        rows.append(sum((a - b) ** 2 for a, b in zip(m, v, strict=True)) / (2 * sigma_x**2))
    return torch.stack(rows) + x.shape[1] / 2 * math.log(2 * math.pi * float(sigma_x) ** 2)


def gaussian_from_torch(mean, x, sigma_x):
    variance = torch.full_like(x, float(sigma_x) ** 2)
    return F.gaussian_nll_loss(mean, x, variance, full=True, reduction="none").sum(1)


def series_at_one_half(p):
    return losses.continuous_bernoulli_log_constant(torch.log(p) - torch.log1p(-p))


def masked(p):
    inside = torch.where(p == 0.5, torch.full_like(p, 0.4), p)
    value = torch.log(torch.log(inside / (1 - inside)) / (2 * inside - 1))
    return torch.where(p == 0.5, torch.full_like(p, math.log(2.0)), value)


def from_atanh(p):
    t = 1 - 2 * p
    t = torch.where(t.abs() < 1e-3, torch.full_like(t, 1e-3), t)
    return torch.log(2 * torch.atanh(t) / t)


def from_distribution(p):
    return ContinuousBernoulli(probs=p).log_prob(torch.zeros_like(p)) - torch.log1p(-p)


RIGHT = [
    ("gaussian_nll", lambda m, x, s: -Independent(Normal(m, s), 1).log_prob(x)),
    ("gaussian_nll", gaussian_by_loop),
    ("gaussian_nll", gaussian_from_torch),
    ("gaussian_nll", lambda m, x, s: -Normal(m.double(), s.double()).log_prob(x.double()).sum(dim=1)),
    ("gaussian_nll", lambda m, x, s: losses.gaussian_log_prob(x, m, 2 * torch.log(s)).neg()),
    ("laplace_nll", lambda m, x, b: -Laplace(m, b).log_prob(x).sum(-1)),
    ("laplace_nll", lambda m, x, b: F.l1_loss(m, x, reduction="none").sum(1) / b + x.size(1) * math.log(2 * float(b))),
    ("laplace_nll", lambda m, x, b: torch.cdist(m[:, None], x[:, None], p=1)[:, 0, 0] / b + x.shape[1] * (2 * b).log()),
    ("sse_variance", 1 / 2),
    ("sse_variance", torch.tensor(0.5)),
    ("log_constant", series_at_one_half),
    ("log_constant", masked),
    ("log_constant", from_atanh),
    ("log_constant", from_distribution),
    ("best_sigma", lambda m, x: F.mse_loss(m, x) ** 0.5),
    ("best_sigma", lambda m, x: (((x - m) ** 2).sum(1).mean() / x.shape[1]).sqrt()),
    ("best_sigma", lambda m, x: math.sqrt(float((x - m).pow(2).sum()) / x.numel())),
    ("best_sigma", lambda m, x: (x - m).norm() / math.sqrt(m.numel())),
    ("learned_sigma_nll", lambda m, x, ls: -Normal(m, ls.exp()).log_prob(x).sum(1)),
    ("learned_sigma_nll", lambda m, x, ls: 0.5 * ((x - m).square() * torch.exp(-2 * ls) + 2 * ls + losses.LOG_2PI).sum(1)),
    ("learned_sigma_nll", lambda m, x, ls: -losses.gaussian_log_prob(x, m, 2 * ls.expand(x.shape[1]))),
    ("effective_beta", lambda a, b, w: (w / b) / (1 / a)),
    ("effective_beta", lambda a, b, w: torch.tensor(w, dtype=torch.double) * a / b),
]  # fmt: skip
WRONG = [
    ("gaussian_nll", lambda m, x, s: F.mse_loss(m, x, reduction="none").sum(1) + x.shape[1] / 2 * math.log(math.pi)),
    ("gaussian_nll", lambda m, x, s: -Normal(m, s**2).log_prob(x).sum(1)),
    ("gaussian_nll", lambda m, x, s: -Normal(m, s).log_prob(x)),
    ("gaussian_nll", lambda m, x, s: F.gaussian_nll_loss(m, x, torch.full_like(x, float(s) ** 2), reduction="none").sum(1)),
    ("laplace_nll", lambda m, x, b: F.smooth_l1_loss(m, x, reduction="none").sum(1) / b + x.shape[1] * torch.log(2 * b)),
    ("laplace_nll", lambda m, x, b: -Normal(m, b).log_prob(x).sum(1)),
    ("sse_variance", -0.5),
    ("log_constant", lambda p: torch.full_like(p, math.log(2))),
    ("log_constant", lambda p: ContinuousBernoulli(probs=p).log_prob(torch.zeros_like(p))),
    ("best_sigma", lambda m, x: F.mse_loss(m, x, reduction="sum") ** 0.5),
    ("best_sigma", lambda m, x: ((x - m) ** 2).mean(0).sqrt()),
    ("learned_sigma_nll", lambda m, x, ls: losses.gaussian_nll(m, x, ls)),
    ("learned_sigma_nll", lambda m, x, ls: losses.gaussian_nll(m, x, ls.exp()).detach().requires_grad_()),
    ("learned_sigma_nll", lambda m, x, ls: losses.gaussian_nll(m, x, ls.exp()).tolist()),
    ("learned_sigma_nll", lambda m, x, ls: losses.laplace_nll(m, x, ls.exp())),
    ("learned_sigma_nll", lambda m, x, ls: 0.5 * ((x - m).square() * torch.exp(-2 * ls) + 2 * ls).sum(1)),
    ("effective_beta", lambda a, b, w: a / (b * w)),
    ("effective_beta", lambda a, b, w: 1.0),
]  # fmt: skip


def test_a_loss_that_lets_sigma_run_away_is_caught_although_it_is_lower():
    exercise = checks.EXERCISES["learned_sigma_nll"]
    bug = next(bug for bug in exercise.bugs if bug.name == "constant dropped")
    assert "nothing stops a larger sigma_x" in exercise.examine(bug.wrong).message


def test_a_cut_gradient_is_told_from_a_wrong_value():
    exercise = checks.EXERCISES["learned_sigma_nll"]
    message = exercise.examine(lambda m, x, ls: losses.gaussian_nll(m, x, ls.exp().detach())).message
    assert "no gradient reaches log_sigma_x" in message
    assert "cut the gradient" in message
