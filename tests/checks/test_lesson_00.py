"""Unusual right answers of lesson 00, and wrong ones written without looking at the zoo."""

import math

import numpy as np
import torch
from torch.distributions import Bernoulli
from torch.nn import functional as F

from vae_helpers import checks, data

RIGHT = [
    ("best_p", torch.tensor(0.3)),
    ("best_p", np.float64(0.3)),
    ("best_p", 3 / 10),
    ("pixel_entropy", lambda x: Bernoulli(x).entropy().sum(-1)),
    ("pixel_entropy", lambda x: F.binary_cross_entropy(x, x, reduction="none").sum(-1)),
    ("pixel_entropy", lambda x: (torch.special.entr(x) + torch.special.entr(1 - x)).sum(dim=-1)),
    ("pixel_entropy", lambda x: torch.where((x > 0) & (x < 1), -x * x.log() - (1 - x) * (1 - x).log(), 0.0).sum(-1)),
    ("bits_per_dim", lambda nats, dimensions=784: nats / dimensions / math.log(2)),
    ("bits_per_dim", lambda nats, dimensions=784: nats * math.log2(math.e) / dimensions),
    ("bits_per_dim", lambda nats, dimensions=784: float(nats) / (dimensions * np.log(2))),
]
WRONG = [
    ("best_p", 0.31),
    ("best_p", "0.3?"),
    ("pixel_entropy", lambda x: Bernoulli(x).entropy().sum()),
    ("pixel_entropy", lambda x: Bernoulli(x).entropy()),
    ("pixel_entropy", lambda x: torch.zeros(x.shape[:-1])),
    ("pixel_entropy", lambda x: None),
    ("bits_per_dim", lambda nats, dimensions=784: nats / (dimensions * 2)),
]


def test_the_test_split_is_told_from_the_training_split(capsys):
    exercise = checks.EXERCISES["test_images"]
    test = data.load("digits", "test")
    assert exercise.examine(data.load(split="test")).passed
    assert exercise.examine(data.load(split="train")[:50]).status == "wrong"
    assert exercise.examine(test.images).status == "wrong"
    assert len(exercise(...)) == len(data.load(split="test")), "a blank answer is replaced by the real test images"


def test_errors_have_a_size():
    verdict = checks.EXERCISES["pixel_entropy"].examine(lambda x: 1.01 * Bernoulli(x).entropy().sum(-1))
    assert "wrong by 0.01" in verdict.message
    verdict = checks.EXERCISES["pixel_entropy"].examine(lambda x: 1.0001 * Bernoulli(x).entropy().sum(-1))
    assert verdict.status == "close" and "largest error 0.0001" in verdict.message
