"""Unusual right answers of lesson 06, and wrong ones written without looking at the zoo."""

import math
from statistics import NormalDist

import numpy as np
import torch

from vae_helpers import checks


def loop_grid(n):
    q = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    return torch.tensor([[z1, z2] for z2 in q[::-1] for z1 in q])


def erfinv_grid(n):
    q = math.sqrt(2) * torch.erfinv((2 * torch.arange(n) + 1) / n - 1)
    return torch.cartesian_prod(q.flip(0), q).flip(1)


def numpy_grid(n):
    q = torch.distributions.Normal(0, 1).icdf(torch.linspace(0.5 / n, 1 - 0.5 / n, n)).numpy()
    z1, z2 = np.meshgrid(q, q[::-1])
    return np.column_stack([z1.ravel(), z2.ravel()])


def rotating(a, b, t):
    """The same arc by turning u in the plane of u and v."""
    u, v = a / a.norm(), b / b.norm()
    across = v - (u @ v) * u
    omega, across = torch.atan2(across.norm(), u @ v), across / across.norm()
    angle = t * omega
    return torch.outer(a.norm() + t * (b.norm() - a.norm()), torch.ones_like(a)) * (
        torch.outer(angle.cos(), u) + torch.outer(angle.sin(), across)
    )


def one_at_a_time(a, b, t):
    u, v = torch.nn.functional.normalize(torch.stack([a, b]), dim=1)
    omega = torch.acos(torch.cosine_similarity(a, b, dim=0))
    rows = []
    for s in t.tolist():
        turned = (math.sin((1 - s) * omega) * u + math.sin(s * omega) * v) / math.sin(omega)
        rows.append(turned * ((1 - s) * a.norm() + s * b.norm()))
    return torch.stack(rows)


RIGHT = [
    ("quantile_grid", loop_grid),
    ("quantile_grid", erfinv_grid),
    ("quantile_grid", numpy_grid),
    ("slerp", rotating),
    ("slerp", one_at_a_time),
    ("slerp", lambda a, b, t: rotating(b, a, 1 - t)),
    ("strip_weights", lambda n: torch.tensor([i / (n - 1) for i in range(n)])),
    ("strip_weights", lambda n: torch.arange(n) / (n - 1)),
    ("strip_weights", lambda n: np.linspace(0, 1, n)),
    ("midpoint_ratio", 0.7071),
    ("midpoint_ratio", 0.71),
    ("midpoint_ratio", torch.tensor(0.5).sqrt()),
]
WRONG = [
    ("quantile_grid", lambda n: loop_grid(n).reshape(n, n, 2)),
    ("quantile_grid", lambda n: 1.1 * loop_grid(n)),
    ("quantile_grid", lambda n: loop_grid(n).flip(0)),
    ("slerp", lambda a, b, t: rotating(a, b, t**2)),
    ("slerp", lambda a, b, t: rotating(a, b, t).T),
    ("slerp", lambda a, b, t: rotating(a, b, t) * 1.01),
    ("strip_weights", lambda n: torch.linspace(0, 1, 10)),
    ("strip_weights", lambda n: torch.linspace(0, 1, n) ** 2),
    ("midpoint_ratio", 0.6),
    ("midpoint_ratio", 1 / 50**0.5),
]


def test_the_bug_of_the_notebook_gets_the_hint_about_its_missing_start():
    verdict = checks.EXERCISES["strip_weights"].examine(lambda n: torch.linspace(0.1, 1, n))
    assert verdict.status == "wrong" and "start image" in verdict.message
