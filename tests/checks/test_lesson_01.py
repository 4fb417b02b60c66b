"""Unusual right answers of lesson 01, and wrong ones written without looking at the zoo."""

import math

import numpy as np
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence


def shifted(values, dz):
    top = values.max(-1, keepdim=True).values
    return top[..., 0] + torch.log(torch.exp(values - top).sum(-1) * dz)


def chained(values, dz):
    total = values[..., 0]
    for g in range(1, values.shape[-1]):
        total = torch.logaddexp(total, values[..., g])
    return total + math.log(dz)


def trapezoid(values, dz):
    """Another rule for the same integral: half weight at both ends, where the joint is zero to any digit."""
    ends = torch.full_like(values, math.log(dz))
    ends[..., 0] -= math.log(2)
    ends[..., -1] -= math.log(2)
    return torch.logsumexp(values + ends, dim=-1)


def kl_by_library(mu, log_var):
    return kl_divergence(Normal(mu, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(1)


def kl_by_matrices(mu, log_var):
    d = mu.shape[1]
    q = MultivariateNormal(mu, torch.diag_embed(log_var.exp()))
    return kl_divergence(q, MultivariateNormal(torch.zeros(d), torch.eye(d)))


def kl_by_loops(mu, log_var):
    sums = []
    for m, v in zip(mu.tolist(), log_var.tolist(), strict=True):
        sums.append(sum(0.5 * (a * a + math.expm1(b) - b) for a, b in zip(m, v, strict=True)))
    return sums and torch.tensor(sums)


def elbo_by_library(x, w, sigma_x, mu, log_var):
    rec = Normal(mu[..., None] * w, sigma_x).log_prob(x).sum(-1) - log_var.exp() * w.dot(w) / (2 * sigma_x**2)
    return rec - kl_divergence(Normal(mu, (log_var / 2).exp()), Normal(0.0, 1.0))


def elbo_by_quadrature(x, w, sigma_x, mu, log_var):
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    weights = torch.from_numpy(weights / weights.sum())
    z = mu[..., None] + torch.exp(log_var / 2)[..., None] * torch.from_numpy(nodes)
    log_joint = Normal(z[..., None] * w, sigma_x).log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z)
    return ((log_joint - Normal(mu[..., None], torch.exp(log_var / 2)[..., None]).log_prob(z)) * weights).sum(-1)


def elbo_by_gap(x, w, sigma_x, mu, log_var):
    """log p(x) minus the gap to the posterior, with no KL to the prior anywhere."""
    precision = 1 + w.dot(w) / sigma_x**2
    posterior = Normal(w.dot(x) / sigma_x**2 / precision, precision**-0.5)
    covariance = torch.outer(w, w) + sigma_x**2 * torch.eye(len(w), dtype=w.dtype)
    evidence = MultivariateNormal(torch.zeros_like(w), covariance).log_prob(x)
    return evidence - kl_divergence(Normal(mu, (log_var / 2).exp()), posterior)


def density_by_library(z, mu, log_var):
    return Independent(Normal(mu, torch.exp(0.5 * log_var)), 1).log_prob(z)


RIGHT = [
    ("log_marginal_grid", shifted),
    ("log_marginal_grid", chained),
    ("log_marginal_grid", trapezoid),
    ("log_marginal_grid", lambda values, dz: (values + math.log(dz)).logsumexp(-1)),
    ("gaussian_kl", kl_by_library),
    ("gaussian_kl", kl_by_matrices),
    ("gaussian_kl", kl_by_loops),
    ("gaussian_kl", lambda m, v: -0.5 * torch.einsum("bd->b", 1 + v - m.pow(2) - v.exp())),
    ("kl_two_gaussians", lambda m, s, pm, t: kl_divergence(Normal(m, s), Normal(pm, t)).sum(-1)),
    ("kl_two_gaussians", lambda m, s, pm, t: (torch.log(t / s) + (s**2 + (m - pm) ** 2) / (2 * t**2) - 0.5).sum(1)),
    ("linear_elbo", elbo_by_library),
    ("linear_elbo", elbo_by_quadrature),
    ("linear_elbo", elbo_by_gap),
    ("log_normal", density_by_library),
    ("log_normal", lambda z, m, v: MultivariateNormal(m, torch.diag_embed(v.exp())).log_prob(z)),
    ("moves_log_p", [False, True, False]),
    ("moves_log_p", (0, 1, 0)),
    ("gap_of_one_bump", 0.69),
    ("gap_of_one_bump", 0.7),
    ("gap_of_one_bump", torch.tensor(2.0).log()),
]
WRONG = [
    ("log_marginal_grid", lambda values, dz: torch.logsumexp(values, 0) + math.log(dz)),
    ("log_marginal_grid", lambda values, dz: values.mean(-1) + math.log(dz)),
    ("log_marginal_grid", lambda values, dz: torch.logsumexp(values, -1) + math.log10(dz)),
    ("log_marginal_grid", lambda values, dz: torch.logsumexp(values * dz, -1)),
    ("gaussian_kl", lambda m, v: kl_divergence(Normal(0.0, 1.0), Normal(m, (v / 2).exp())).sum(-1)),
    ("gaussian_kl", lambda m, v: kl_divergence(Normal(m, v.exp()), Normal(0.0, 1.0)).sum(-1)),
    ("gaussian_kl", lambda m, v: kl_by_library(m, v).mean()),
    ("gaussian_kl", lambda m, v: kl_by_library(m, v) + 1),
    ("gaussian_kl", lambda m, v: 0.5 * (m**2).sum(-1)),
    ("kl_two_gaussians", lambda m, s, pm, t: kl_divergence(Normal(m, s), Normal(0.0, 1.0)).sum(-1)),
    ("kl_two_gaussians", lambda m, s, pm, t: kl_divergence(Normal(m, s**2), Normal(pm, t**2)).sum(-1)),
    ("kl_two_gaussians", lambda m, s, pm, t: kl_divergence(Normal(m, s), Normal(pm, t))),
    ("linear_elbo", lambda x, w, s, m, v: Normal(m[..., None] * w, s).log_prob(x).sum(-1)),
    ("linear_elbo", lambda x, w, s, m, v: elbo_by_library(x, w, s, m, v / 2)),
    ("linear_elbo", lambda x, w, s, m, v: elbo_by_library(x, w, s**0.5, m, v)),
    ("linear_elbo", lambda x, w, s, m, v: elbo_by_library(x, w, s, m, v).sum()),
    ("log_normal", lambda z, m, v: density_by_library(z, m, 2 * v)),
    ("log_normal", lambda z, m, v: density_by_library(m, z, v).mean()),
    ("log_normal", lambda z, m, v: density_by_library(z, m, 0 * v)),
    ("moves_log_p", (False, True)),
    ("moves_log_p", False),
    ("gap_of_one_bump", 1.5),
    ("gap_of_one_bump", 0.25),
]
