"""Unusual right answers of lesson 03, and wrong ones written without looking at the zoo."""

import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn import functional as F


def distributions(logits, x, mu, log_var):
    rec = -Independent(Bernoulli(logits=logits, validate_args=False), 1).log_prob(x)
    kl = kl_divergence(Normal(mu, torch.exp(log_var / 2)), Normal(0.0, 1.0)).sum(-1)
    return rec, kl


def by_hand(logits, x, mu, log_var):
    rec = torch.clamp(logits, min=0) - logits * x + torch.log1p(torch.exp(-logits.abs()))
    sigma = torch.exp(0.5 * log_var)
    return [rec.sum(dim=1), -0.5 * (1 + log_var - mu**2 - sigma**2).sum(dim=1)]


def softplus(logits, x, mu, log_var):
    rec = x * F.softplus(-logits) + (1 - x) * F.softplus(logits)
    return torch.einsum("bd->b", rec), 0.5 * torch.sum(mu.square() + torch.expm1(log_var) - log_var, 1)


def loop(logits, x, mu, log_var):
    recs, kls = [], []
    for o, i, m, v in zip(logits, x, mu, log_var, strict=True):
        recs.append(F.binary_cross_entropy_with_logits(o, i, reduction="sum"))
        kls.append(0.5 * torch.sum(m**2 + v.exp() - 1 - v))
    return torch.stack(recs), torch.stack(kls)


RIGHT = [
    ("negative_elbo", distributions),
    ("negative_elbo", by_hand),
    ("negative_elbo", softplus),
    ("negative_elbo", loop),
    ("negative_elbo", lambda o, x, m, v: tuple(t.double() for t in by_hand(o, x, m, v))),
    ("mean_over_images", lambda parts: sum(p.sum() for p in parts) / sum(len(p) for p in parts)),
    ("mean_over_images", lambda parts: float(torch.cat(tuple(parts)).double().mean())),
    ("mean_over_images", lambda parts: sum(float(v) for p in parts for v in p) / sum(p.numel() for p in parts)),
    ("loss_per_image", lambda batch, total: total / batch.x.shape[0]),
    ("loss_per_image", lambda batch, total: total / len(batch[0])),
    ("loss_per_image", lambda batch, total: total / batch.y.numel()),
    ("factor", 1),
    ("factor", torch.tensor(1.0)),
    ("beta_of_the_bug", 28 * 28),
    ("beta_of_the_bug", 784.0),
]
WRONG = [
    ("negative_elbo", lambda o, x, m, v: sum(distributions(o, x, m, v))),
    ("negative_elbo", lambda o, x, m, v: (distributions(o, x, m, v)[0], torch.zeros(len(m)))),
    (
        "negative_elbo",
        lambda o, x, m, v: (distributions(o, x, m, v)[0], kl_divergence(Normal(m, v.exp()), Normal(0.0, 1.0)).sum(-1)),
    ),
    (
        "negative_elbo",
        lambda o, x, m, v: (
            distributions(o, x, m, v)[0],
            kl_divergence(Normal(0.0, 1.0), Normal(m, (v / 2).exp())).sum(-1),
        ),
    ),
    ("mean_over_images", lambda parts: torch.cat(parts).median()),
    ("mean_over_images", lambda parts: torch.cat(parts)),
    ("loss_per_image", lambda batch, total: total / batch.y.max()),
    ("factor", 4),
    ("beta_of_the_bug", 0),
]
