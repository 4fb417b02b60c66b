"""Unusual right answers of lesson 07, and wrong ones written without looking at the zoo."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.distributions import Normal
from torch.nn import functional as F

from vae_helpers import checks


def with_eye(x, y, n):
    return torch.hstack([x, torch.eye(n, dtype=x.dtype)[y.reshape(-1)]])


def with_scatter(x, y, n):
    rows = x.new_zeros(len(x), n)
    return torch.cat((x, rows.scatter_(1, y.view(-1, 1), 1.0)), -1)


def with_comparison(x, y, n):
    return torch.cat([x, (y.view(-1, 1) == torch.arange(n)).to(x.dtype)], axis=1)


def one_by_one(model, y):
    rows = []
    for label in y:
        z = torch.randn(1, model.latent_dim)
        rows.append(torch.sigmoid(model.decode(z, label[None])))
    return torch.cat(rows).detach()


def halves(model, y):
    return torch.cat([model.sample(len(part), part) for part in y.chunk(2)])


@torch.no_grad()
def from_a_distribution(model, y):
    z = Normal(0.0, 1.0).sample((y.shape[0], model.latent_dim))
    return model.decode(z, y).sigmoid()


@torch.no_grad()
def label_by_label(model, x, y):
    mu, _ = model.encode(x, y)
    return torch.stack(
        [torch.sigmoid(model.decode(mu, torch.full_like(y, k))) for k in range(model.num_classes)], dim=1
    )


@torch.no_grad()
def row_by_row(model, x, y):
    rows = []
    for i in range(len(x)):
        code = model.encode(x[i : i + 1], y[i : i + 1]).mu
        rows.append(model.mean_image(model.decode(code.expand(10, -1), torch.arange(10))))
    return torch.stack(rows)


def largest_first(s, p):
    joint = s + torch.log(p)
    top = joint.amax(1, keepdim=True)
    return (top + (joint - top).exp().sum(1, keepdim=True).log())[:, 0]


RIGHT = [
    ("with_label", with_eye),
    ("with_label", with_scatter),
    ("with_label", with_comparison),
    ("conditional_sizes", lambda sizes, n: [size + n * (i == 0) for i, size in enumerate(sizes)]),
    ("conditional_sizes", lambda sizes, n: (sizes[0] + n, *sizes[1:])),
    ("conditional_sizes", lambda sizes, n: np.array(sizes) + n * np.eye(len(sizes), dtype=int)[0]),
    ("sample_digits", one_by_one),
    ("sample_digits", halves),
    ("sample_digits", from_a_distribution),
    ("analogies", label_by_label),
    ("analogies", row_by_row),
    ("log_evidence", largest_first),
    ("log_evidence", lambda s, p: logsumexp(s.double().numpy(), axis=1, b=p.double().numpy())),
    ("log_evidence", lambda s, p: torch.logsumexp(s.double() + p.double().log(), dim=-1)),
    ("largest_gain", 2.303),
    ("largest_gain", 2.3),
    ("largest_gain", -math.log(0.1)),
    ("largest_gain", torch.tensor(10.0).log()),
]
WRONG = [
    ("with_label", lambda x, y, n: x),
    ("with_label", lambda x, y, n: torch.cat([x, torch.ones(len(x), n).to(x)], 1)),
    ("with_label", lambda x, y, n: torch.cat([x, F.one_hot(y.flatten(), n + 1).to(x)], 1)),
    ("with_label", lambda x, y, n: torch.cat([x, F.one_hot(y.flatten(), n).float()], 1)),  # stays where y is
    ("conditional_sizes", lambda sizes, n: sizes.append(n)),
    ("conditional_sizes", lambda sizes, n: sum(sizes) + n),
    ("conditional_sizes", lambda sizes, n: [sizes[0] * n, *sizes[1:]]),
    ("sample_digits", lambda model, y: torch.rand(len(y), 6)),
    ("sample_digits", lambda model, y: (model.sample(len(y), y) > 0.5).float()),
    ("sample_digits", lambda model, y: model.sample(len(y), y.flip(0)).flip(0)[:10]),
    ("sample_digits", lambda model, y: None),
    ("sample_digits", lambda model, y: torch.sigmoid(model.decode(2 * torch.randn(len(y), 3), y)).detach()),
    ("analogies", lambda model, x, y: model.reconstruct(x, y)),
    ("analogies", lambda model, x, y: label_by_label(model, x, y).flip(1)),
    ("analogies", lambda model, x, y: label_by_label(model, x, 9 - y)),
    ("log_evidence", lambda s, p: torch.logsumexp(s, 1) + p.log().mean()),
    ("log_evidence", lambda s, p: torch.logsumexp(s + p.log(), 1, keepdim=True)),
    ("largest_gain", 12.1),
    ("largest_gain", 2.5),
    ("largest_gain", -2.3026),
]


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("conditional_sizes", lambda s, n: (s.__setitem__(0, s[0] + n), s)[1], "the caller's own"),
        ("with_label", lambda x, y, n: torch.cat([x, F.one_hot(y, n)], 1), "shape (batch, 1)"),
        (
            "sample_digits",
            lambda m, y: m.mean_image(m.decode(torch.randn(m.latent_dim).repeat(len(y), 1), y)),
            "one code",
        ),
        (
            "sample_digits",
            lambda m, y: m.mean_image(m.decode(torch.randn(len(y)).view(-1, m.latent_dim), y)),
            "view folds",
        ),
        ("sample_digits", lambda m, y: m.sample(len(y), torch.randint(10, y.shape)), "labels of your own"),
        ("analogies", lambda m, x, y: label_by_label(m, x, y).movedim(1, 0), "exchanged"),
        ("log_evidence", lambda s, p: s.exp().matmul(p).log(), "minus infinity"),
    ],
)
def test_a_mistake_in_the_students_own_words_gets_the_hint_about_it(name, answer, words):
    verdict = checks.EXERCISES[name].examine(answer)
    assert verdict.status == "wrong" and words in verdict.message, verdict.message


def test_a_result_of_another_type_is_refused():
    verdict = checks.EXERCISES["with_label"].examine(lambda x, y, n: with_eye(x, y, n).double())
    assert verdict.status == "wrong" and "float64" in verdict.message


def test_the_list_of_a_check_survives_an_answer_that_changes_it():
    exercise = checks.EXERCISES["conditional_sizes"]
    exercise.examine(lambda sizes, n: sizes.clear())
    assert exercise.cases[0][1][0] == [784, 512, 256]
