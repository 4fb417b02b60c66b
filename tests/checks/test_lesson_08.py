"""Unusual right answers of lesson 08, and wrong ones written without looking at the zoo."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from vae_helpers import checks, losses
from vae_helpers.scoring import label_scores


def bayes_one_image_at_a_time(log_px_y, log_prior):
    rows = []
    for row in log_px_y.double():
        joint = [float(s) + float(p) for s, p in zip(row, log_prior, strict=True)]
        top = max(joint)
        log_px = top + math.log(sum(math.exp(j - top) for j in joint))
        rows.append([j - log_px for j in joint])
    return torch.tensor(rows)


def bayes_in_numpy(log_px_y, log_prior):
    joint = log_px_y.numpy().astype(float) + log_prior.numpy()
    return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)


def label_by_label(model, x, eps):
    columns = []
    for label in range(model.num_classes):
        y = torch.full((len(x),), label)
        mu, log_var = model.encode(x, y)
        columns.append(-losses.bernoulli_nll(model.decode(mu + (log_var / 2).exp() * eps[:, label], y), x))
    return torch.stack(columns, dim=1)


def labels_first(model, x, eps):
    C, N = model.num_classes, len(x)
    y = torch.arange(C).repeat_interleave(N)
    many = x.repeat(C, 1)
    mu, log_var = model.encode(many, y)
    z = mu + log_var.mul(0.5).exp() * eps.transpose(0, 1).reshape(C * N, -1)
    return -F.binary_cross_entropy_with_logits(model.decode(z, y), many, reduction="none").sum(1).view(C, N).T


def by_the_formula(model, x, eps):
    C, N = model.num_classes, len(x)
    many, y = x[:, None].expand(N, C, -1).flatten(0, 1), torch.arange(C).expand(N, C).flatten()
    q = model.encode(many, y)
    p = torch.sigmoid(model.decode(q.mu + q.log_var.exp().sqrt() * eps.flatten(0, 1), y).double())
    return (torch.xlogy(many, p) + torch.xlogy(1 - many, 1 - p)).sum(1).view(N, C)


def mean_of_many_draws(model, x):
    return label_scores(model, x, rule="elbo", samples=30, generator=torch.Generator().manual_seed(3))


def joint_at_the_mean(model, x):
    """log p(x|z, y) + log p(z) at z = mu: a likelihood of x and z together."""
    eps = torch.zeros(len(x), model.num_classes, model.latent_dim)
    mu = torch.stack([model.encode(x, torch.full((len(x),), y)).mu for y in range(model.num_classes)], 1)
    return label_by_label(model, x, eps) + losses.gaussian_log_prob(mu)


RIGHT = [
    ("log_posterior", bayes_one_image_at_a_time),
    ("log_posterior", bayes_in_numpy),
    ("log_posterior", lambda s, p: torch.log_softmax(s + p[None, :], dim=-1)),
    ("reconstruction_scores", label_by_label),
    ("reconstruction_scores", labels_first),
    ("reconstruction_scores", by_the_formula),
    ("better_scores", lambda model, x: label_scores(model, x)),
    ("better_scores", lambda model, x: label_scores(model, x).numpy()),
    ("better_scores", mean_of_many_draws),
    ("better_scores", joint_at_the_mean),
    ("better_scores", lambda model, x: label_scores(model, x).log_softmax(1)),
    ("log_marginal", lambda s, p: torch.logsumexp(torch.stack([a + b for a, b in zip(s.T, p, strict=True)]), 0)),
    ("log_marginal", lambda s, p: s.max(1).values + ((s - s.max(1, keepdim=True).values).exp() @ p.exp()).log()),
    ("most_a_label_tells", 2.3026),
    ("most_a_label_tells", -torch.tensor(0.1).log()),
]
WRONG = [
    ("log_posterior", lambda s, p: s + p - s.max(1, keepdim=True).values),
    ("log_posterior", lambda s, p: (s + 2 * p).log_softmax(1)),
    ("log_posterior", lambda s, p: (s + p).log_softmax(1).argmax(1)),
    ("reconstruction_scores", lambda m, x, e: 2 * label_by_label(m, x, e)),
    ("reconstruction_scores", lambda m, x, e: label_by_label(m, x, e.flip(1))),
    ("reconstruction_scores", lambda m, x, e: label_by_label(m, (x > 0.5).float(), e)),
    ("better_scores", lambda model, x: torch.zeros(len(x), 10)),
    ("better_scores", lambda model, x: label_scores(model, x)[:, :9]),
    ("better_scores", lambda model, x: label_scores(model, x) * math.nan),
    ("better_scores", lambda model, x: label_scores(model, x, rule="reconstruction")),
    ("log_marginal", lambda s, p: torch.logsumexp(s, 1) - p.sum() / len(p)),
    ("log_marginal", lambda s, p: torch.logsumexp(s + p, 1, keepdim=True)),
    ("most_a_label_tells", 2.0),
    ("most_a_label_tells", 100.0),
]


def test_the_bug_of_the_notebook_gets_the_hint_about_the_shares():
    verdict = checks.EXERCISES["log_marginal"].examine(lambda s, p: torch.logsumexp(s, dim=1))
    assert verdict.status == "wrong" and "shares p(y)" in verdict.message


def test_a_rule_is_judged_by_the_same_images_each_time():
    first, second = (checks.EXERCISES["better_scores"].examine(lambda model, x: x[:, 300:310]) for _ in range(2))
    assert first == second and "of 500 hidden images" in first.message


def test_a_known_mistake_is_named_even_when_it_is_written_differently():
    """The judge counts right answers; which mistake it was is found on the tiny fixture."""

    def reconstruction_only(model, x):
        return label_by_label(model, x, torch.zeros(len(x), model.num_classes, model.latent_dim))

    assert "rec alone" in checks.EXERCISES["better_scores"].examine(reconstruction_only).message
