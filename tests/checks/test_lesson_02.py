"""Unusual right answers of lesson 02, and wrong ones written without looking at the zoo."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from vae_helpers import checks


def by_autograd(f_z, z, mu, std):
    mean = torch.full_like(z, mu).requires_grad_()
    (score,) = torch.autograd.grad(Normal(mean, std).log_prob(z).sum(), mean)
    return f_z * score


def loop(f_z, z, mu, std):
    return torch.stack([f * (v - mu) / (std * std) for f, v in zip(f_z, z, strict=True)])


def row_by_row(mu, log_var):
    rows = [m + torch.exp(v / 2) * torch.randn(len(m)) for m, v in zip(mu[:1000], log_var[:1000], strict=True)]
    rest = mu[1000:] + torch.sqrt(torch.exp(log_var[1000:])) * torch.randn_like(mu[1000:])
    return torch.cat([torch.stack(rows), rest])


def box_muller(mu, log_var):
    radius = torch.sqrt(-2 * torch.log(1 - torch.rand_like(mu)))
    return mu + (log_var / 2).exp() * radius * torch.cos(2 * torch.pi * torch.rand_like(mu))


def full_covariance(mu, log_var):
    return MultivariateNormal(mu, scale_tril=torch.diag_embed((0.5 * log_var).exp())).rsample()


class Sampler(nn.Module):
    def forward(self, mu, log_var):
        return torch.addcmul(mu, log_var.mul(0.5).exp(), torch.empty_like(mu).normal_())


RIGHT = [
    ("score_gradient", by_autograd),
    ("score_gradient", loop),
    ("score_gradient", lambda f_z, z, mu, std: f_z / std * ((z - mu) / std)),
    ("score_gradient", lambda f_z, z, mu, std: -f_z * (mu - z) * std**-2),
    ("draws_needed", 22 * 24 / 4),
    ("draws_needed", torch.tensor(132)),
    ("draws_needed", np.int64(132)),
    ("reparameterize", lambda mu, log_var: Normal(mu, (0.5 * log_var).exp()).rsample()),
    ("reparameterize", lambda mu, log_var: Independent(Normal(mu, log_var.exp().sqrt()), 1).rsample()),
    ("reparameterize", lambda mu, log_var: mu - torch.exp(log_var / 2) * torch.randn_like(mu)),
    ("reparameterize", lambda mu, log_var: log_var.exp() ** 0.5 * torch.randn(mu.size()) + mu),
    ("reparameterize", row_by_row),
    ("reparameterize", box_muller),
    ("reparameterize", full_covariance),
    ("reparameterize", Sampler()),
    ("code_from_noise", lambda mu, log_var, eps: mu + log_var.exp().sqrt() * eps),
    ("code_from_noise", lambda mu, log_var, eps: torch.addcmul(mu, torch.pow(torch.e, log_var / 2), eps)),
    ("code_from_noise", lambda mu, log_var, eps: eps.mul(log_var.mul(0.5).exp()).add(mu)),
]


def in_place(mu, log_var):
    return mu.add_(log_var.mul_(0.5).exp_() * torch.randn_like(mu))


def stale_noise(mu, log_var, noise=torch.randn(50_000, 2)):  # noqa: B008 (the mistake is the point)
    return mu + torch.exp(0.5 * log_var) * noise


def heavy_tails(mu, log_var):
    return mu + torch.exp(0.5 * log_var) * torch.distributions.StudentT(5.0).sample(mu.shape) * (3 / 5) ** 0.5


WRONG = [
    ("score_gradient", lambda f_z, z, mu, std: 2 * z),
    ("score_gradient", lambda f_z, z, mu, std: (f_z - f_z.mean()) * (z - mu) / std**2),
    ("score_gradient", lambda f_z, z, mu, std: f_z[:, None] * (z - mu)),
    ("draws_needed", 131),
    ("draws_needed", 2.0),
    ("reparameterize", in_place),
    ("reparameterize", stale_noise),
    ("reparameterize", heavy_tails),
    ("reparameterize", lambda mu, log_var: (mu, torch.exp(0.5 * log_var) * torch.randn_like(mu))),
    ("reparameterize", lambda mu, log_var: torch.randn_like(mu)),
    ("reparameterize", lambda mu, log_var: mu + torch.exp(0.5 * log_var) * (torch.randn_like(mu) + 0.1)),
    ("reparameterize", lambda mu, log_var: mu + 1.1 * torch.exp(0.5 * log_var) * torch.randn_like(mu)),
    ("reparameterize", lambda mu, log_var: mu.detach() + torch.exp(0.5 * log_var) * torch.randn_like(mu)),
    ("reparameterize", lambda mu, log_var: (mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)).mean(0)),
    ("reparameterize", lambda mu, log_var: mu + torch.exp(0.5 * log_var) * torch.randn_like(mu).abs()),
    ("code_from_noise", lambda mu, log_var, eps: mu + eps),
    ("code_from_noise", lambda mu, log_var, eps: mu + torch.exp(0.5 * log_var).mean() * eps),
]

# the same mistake in other words: the fingerprint of its draws must lead to the hint of the known one
REWORDED = [
    ("A14: variance as sigma", lambda mu, log_var: Normal(mu, log_var.exp()).rsample()),
    ("A14: variance as sigma", lambda mu, log_var: mu - torch.pow(torch.e, log_var) * torch.randn(mu.shape)),
    ("torch.normal", lambda mu, log_var: torch.normal(mu, log_var.exp().sqrt())),
    ("detached", lambda mu, log_var: Normal(mu, (0.5 * log_var).exp()).sample()),
    ("detached", lambda mu, log_var: mu.data + torch.exp(0.5 * log_var.data) * torch.randn_like(mu.data)),
    ("noise shared over the batch", lambda mu, log_var: mu + torch.randn(2).expand(len(mu), 2) * (log_var / 2).exp()),
    ("no noise", lambda mu, log_var: mu + 0 * torch.randn_like(mu) * log_var),
]


@pytest.mark.parametrize(("bug", "answer"), REWORDED)
def test_a_reworded_mistake_gets_the_hint_of_the_known_one(bug, answer):
    exercise = checks.EXERCISES["reparameterize"]
    hint = next(b.hint for b in exercise.bugs if b.name == bug)
    verdict = exercise.examine(answer)
    assert verdict.status == "wrong" and hint in verdict.message


def test_the_size_of_the_error_is_said():
    verdict = checks.EXERCISES["reparameterize"].examine(lambda mu, log_var: Normal(mu, log_var.exp()).rsample())
    assert "standard deviations 0.14 and 2.7" in verdict.message and "expected 0.37 and 1.65" in verdict.message


def test_examining_a_sampler_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    exercise = checks.EXERCISES["reparameterize"]
    exercise.examine(exercise.reference)
    exercise.examine(exercise.bugs[0].wrong)
    assert torch.equal(torch.randn(3), expected)
