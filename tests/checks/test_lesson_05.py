"""Unusual right answers of lesson 05, and wrong ones written without looking at the zoo."""

import math

import pytest
import torch

from vae_helpers import checks


def shifted_bound(log_w):
    top = log_w.max(dim=0, keepdim=True).values
    return (top + (log_w - top).exp().mean(0, keepdim=True).log()).squeeze(0)


def running_bound(log_w):
    total = log_w[0]
    for row in log_w[1:]:
        total = torch.logaddexp(total, row)
    return total - math.log(len(log_w))


def weights_by_hand(rec, log_pz, log_qz):
    w = log_pz - rec - log_qz
    w = torch.exp(w - w.max(0).values)
    return w / w.sum(0)


def loop_ess(log_w):
    columns = log_w.reshape(len(log_w), -1).T
    out = []
    for column in columns:
        w = (column - column.max()).exp()
        out.append(w.sum() ** 2 / (w**2).sum())
    return torch.stack(out).reshape(log_w.shape[1:])


def cumulative_k(log_w, target=2.0):
    ess = torch.exp(2 * torch.logcumsumexp(log_w, 0) - torch.logcumsumexp(2 * log_w, 0)).mean(1)
    return int((ess >= target).nonzero()[0]) + 1


def while_k(log_w, target=2.0):
    K = 1
    while loop_ess(log_w[:K]).mean() < target:
        K += 1
    return torch.tensor(K)


def relu_free_bits(kl, minimum):
    mean = kl.mean(dim=0)
    return (minimum + torch.relu(mean - minimum)).sum()


def loop_free_bits(kl, minimum):
    return sum(max(float(column.sum()) / len(kl), minimum) for column in kl.T)


RIGHT = [
    ("iw_bound", shifted_bound),
    ("iw_bound", running_bound),
    ("iw_bound", lambda log_w: (log_w - math.log(log_w.size(0))).logsumexp(0)),
    ("iw_bound", lambda log_w: torch.logcumsumexp(log_w, 0)[-1] - torch.tensor(float(len(log_w))).log()),
    ("normalised_weights", weights_by_hand),
    ("normalised_weights", lambda rec, p, q: (p - q - rec).log_softmax(0).exp()),
    ("normalised_weights", lambda rec, p, q: torch.exp(p - q - rec - torch.logsumexp(p - q - rec, 0))),
    ("effective_sample_size", loop_ess),
    ("effective_sample_size", lambda log_w: torch.softmax(log_w, 0).square().sum(0).reciprocal()),
    ("effective_sample_size", lambda log_w: torch.exp(-torch.logsumexp(2 * torch.log_softmax(log_w, 0), 0))),
    ("smallest_k", cumulative_k),
    ("smallest_k", while_k),
    ("best_reaction", 2.0),
    ("best_reaction", torch.tensor(2)),
    ("free_bits", relu_free_bits),
    ("free_bits", loop_free_bits),
    ("free_bits", lambda kl, minimum: torch.maximum(kl.mean(0), torch.tensor(minimum)).sum()),
]
WRONG = [
    ("iw_bound", lambda log_w: torch.logsumexp(log_w, 0) - math.log2(len(log_w))),
    ("iw_bound", lambda log_w: torch.logsumexp(log_w, 0, keepdim=True) - math.log(len(log_w))),
    ("iw_bound", lambda log_w: log_w.median(0).values),
    ("iw_bound", lambda log_w: None),
    ("iw_bound", lambda log_w: torch.logsumexp(log_w[:2], 0) - math.log(2)),
    ("normalised_weights", lambda rec, p, q: torch.softmax(-rec + p + q, 0)),
    ("normalised_weights", lambda rec, p, q: torch.full_like(rec, 1 / len(rec))),
    ("normalised_weights", lambda rec, p, q: torch.softmax((-rec + p - q).flatten(), 0).view_as(rec)),
    ("effective_sample_size", lambda log_w: torch.full(log_w.shape[1:], float(len(log_w)))),
    ("effective_sample_size", lambda log_w: 1 / (torch.softmax(log_w, 0) ** 2).mean(0)),
    ("smallest_k", lambda log_w, target=2.0: len(log_w)),
    ("smallest_k", lambda log_w, target=2.0: cumulative_k(log_w, target) + 1),
    ("smallest_k", lambda log_w, target=2.0: cumulative_k(log_w.median(1, keepdim=True).values, target)),
    ("best_reaction", 5),
    ("best_reaction", "2?"),
    ("free_bits", lambda kl, minimum: kl.clamp(min=minimum).sum()),
    ("free_bits", lambda kl, minimum: (kl.mean(0) > minimum).sum() * minimum),
    ("free_bits", lambda kl, minimum: kl.mean(0).clamp(min=minimum).max()),
]


def test_the_library_s_weights_are_recognised():
    """The bug of the lesson, as its blank version writes it, gets the hint about the signs."""

    def blank(rec, log_pz, log_qz):
        kl = log_qz - log_pz
        log_w = rec + kl
        return torch.softmax(log_w, dim=0)

    assert "turn all three signs" in checks.EXERCISES["normalised_weights"].examine(blank).message


def test_too_few_samples_are_named():
    with pytest.raises(ValueError, match="draw more"):
        checks.EXERCISES["smallest_k"].reference(torch.zeros(3, 2), 4.0)
