"""Paths between two codes: along the straight line, and along an arc that keeps away from the centre."""

import torch
from torch import Tensor


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight line from a to b, (1 - t) a + t b: codes (d,) and times (T,) -> (T, d).

    Half-way between two independent draws from N(0, I_d) the norm is about sqrt(d / 2), not sqrt(d) as for the draws themselves.
    """
    _check(a, b)
    t = t[:, None]
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The direction turns at an even pace from a to b, the norm goes evenly from |a| to |b|: codes (d,) and times (T,) -> (T, d).

    For equal norms this is Shoemake (1985), "Animating rotation with quaternion curves". His formula applied to unequal ones would leave
    the range between the two norms, so only the directions go through it. Raises ValueError where no direction is defined: for a code at
    the centre, and for two exactly opposite ones.
    """
    _check(a, b)
    norm_a, norm_b = a.norm(), b.norm()
    if norm_a == 0 or norm_b == 0:
        raise ValueError("slerp turns a direction, and a code at the centre has none: use lerp")
    u, v, t = a / norm_a, b / norm_b, t[:, None]
    angle = torch.arccos((u @ v).clamp(-1, 1))
    sine = torch.sin(angle)
    if (u + v).norm() < 1e-6:
        raise ValueError("slerp: opposite codes are joined by many arcs, none shorter than the others: use lerp")
    if sine < 1e-6:  # the arc is as good as straight
        direction = (1 - t) * u + t * v
    else:
        direction = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / sine
    return ((1 - t) * norm_a + t * norm_b) * direction


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"two codes of one shape (d,) are needed, got {tuple(a.shape)} and {tuple(b.shape)}: use mu[0]"
        )
