"""Checks of lesson 06: the grid of equal shares, the arc between two codes, the weights of a strip, and one prediction."""

import math

import torch

from vae_helpers.checks.exercise import Bug, Exercise
from vae_helpers.interpolation import slerp
from vae_helpers.plotting.latent import latent_grid


def _on(line, *, up=True, z1_first=True):
    rows, columns = torch.meshgrid(line.flip(0) if up else line, line, indexing="ij")
    return torch.stack([columns, rows] if z1_first else [rows, columns], dim=-1).reshape(-1, 2)


def _quantiles(probability):
    return torch.special.ndtri(probability.double()).float()


def _middles(n):
    return _quantiles((torch.arange(n) + 0.5) / n)


def _arc(a, b, t, *, first=None, second=None, norm=None, divide=True):
    """(6.4) with parts exchanged."""
    u, v, t = a / a.norm(), b / b.norm(), t[:, None]
    omega = torch.arccos(u @ v)
    turned = torch.sin((1 - t) * omega) * (u if first is None else first) + torch.sin(t * omega) * (
        v if second is None else second
    )
    norm = (1 - t) * a.norm() + t * b.norm() if norm is None else norm
    return norm * turned / (torch.sin(omega) if divide else 1)


def _normalised_line(a, b, t):
    t = t[:, None]
    line = (1 - t) * a / a.norm() + t * b / b.norm()
    return ((1 - t) * a.norm() + t * b.norm()) * line / line.norm(dim=1, keepdim=True)


_T = torch.linspace(0, 1, 5)
_WIDE_A, _WIDE_B = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-0.3, 1.5, 0.4])

EXERCISES = [
    Exercise(
        "quantile_grid",
        lambda n: latent_grid(n, spacing="quantile"),
        cases=[("n = 3", (3,)), ("n = 1", (1,)), ("n = 4", (4,)), ("n = 15", (15,))],
        bugs=[
            Bug(
                "equal steps",
                lambda n: _on(torch.linspace(-3, 3, n)),
                "Those are equal steps from -3 to 3. Take quantiles: torch.special.ndtri of equally spaced probabilities.",
            ),
            Bug(
                "upside down",
                lambda n: _on(_middles(n), up=False),
                "Your first row holds the smallest z2, so the sheet is upside down against the scatter: flip the line for the rows.",
            ),
            Bug(
                "coordinates swapped",
                lambda n: _on(_middles(n), z1_first=False),
                "z1 and z2 are swapped: along a row of the sheet z1 must change, and column 0 of the result is z1.",
            ),
            Bug(
                "read by columns",
                lambda n: latent_grid(n, spacing="quantile").reshape(n, n, 2).transpose(0, 1).reshape(-1, 2),
                "The codes come column by column. A sheet is read row by row: the first n codes form the top row.",
            ),
            Bug(
                "ends at 0 and 1",
                lambda n: _on(_quantiles(torch.linspace(0, 1, n) if n > 1 else torch.tensor([0.5]))),
                "The probabilities 0 and 1 belong to minus and plus infinity. Use the middles of n equal cells, (i + 1/2)/n.",
            ),
            Bug(
                "half a cell missing",
                lambda n: _on(_quantiles(torch.arange(n) / n)),
                "i/n is the lower edge of cell i, and minus infinity for i = 0. Its middle is (i + 1/2)/n.",
            ),
            Bug(
                "n + 1",
                lambda n: _on(_quantiles((torch.arange(n) + 1) / (n + 1))),
                "(i + 1)/(n + 1) is another respectable choice, but its codes are no middles of n equal shares: use (i + 1/2)/n.",
            ),
            Bug(
                "the distribution function itself",
                lambda n: _on(torch.special.ndtr((torch.arange(n) + 0.5) / n)),
                "That is the distribution function, which turns codes into probabilities. You need its inverse, torch.special.ndtri.",
            ),
        ],
        general_hint="n = 1 must give (0, 0); the first code is the top left: z1 smallest, z2 largest; the result has shape (n * n, 2).",
        goes_on_with="plotting.latent_grid(n, spacing='quantile')",
    ),
    Exercise(
        "slerp",
        slerp,
        cases=[
            ("a quarter circle", (torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), _T)),
            ("two norms", (_WIDE_A, _WIDE_B, _T)),
            ("half-way only", (_WIDE_A, 3 * _WIDE_B, torch.tensor([0.5]))),
        ],
        bugs=[
            Bug(
                "a straight line",
                lambda a, b, t: (1 - t[:, None]) * a + t[:, None] * b,
                "That is the straight line: half-way it comes too near the centre. Turn the direction as in (6.4).",
            ),
            Bug(
                "a straight line, stretched",
                _normalised_line,
                "You stretch the straight line to the right norm. The path is right, but not its pace: the angle must grow evenly.",
            ),
            Bug(
                "directions not normalised",
                lambda a, b, t: _arc(a, b, t, first=a, second=b, norm=1.0),
                "The sines turn directions. With a and b themselves the norm leaves the range of the two norms when these differ: use u and v.",
            ),
            Bug(
                "norm left out",
                lambda a, b, t: _arc(a, b, t, norm=1.0),
                "All your codes have norm 1. Multiply by (1 - t)|a| + t|b|.",
            ),
            Bug(
                "norm of the first",
                lambda a, b, t: _arc(a, b, t, norm=a.norm()),
                "Your path keeps the norm of a all the way, so it does not end in b. The norm goes evenly from |a| to |b|.",
            ),
            Bug(
                "from b to a",
                lambda a, b, t: slerp(b, a, t),
                "Your path runs from b to a. At t = 0 it must be at a.",
            ),
            Bug(
                "sine of the angle forgotten",
                lambda a, b, t: _arc(a, b, t, divide=False),
                "Divide by sin(omega), else the ends are not a and b unless the angle is a right one.",
            ),
            Bug(
                "angle of the codes themselves",
                lambda a, b, t: (
                    ((1 - t[:, None]) * a.norm() + t[:, None] * b.norm())
                    * (
                        torch.sin((1 - t[:, None]) * torch.arccos(a @ b)) * a / a.norm()
                        + torch.sin(t[:, None] * torch.arccos(a @ b)) * b / b.norm()
                    )
                    / torch.sin(torch.arccos(a @ b))
                ),
                "arccos wants the cosine of the angle, the product of the two *directions* u and v; a @ b may lie outside [-1, 1] and gives NaN.",
            ),
        ],
        general_hint="At t = 0 you must be at a, at t = 1 at b, half-way at norm (|a| + |b|)/2; t[:, None] makes a column of the times.",
        goes_on_with="vae_helpers.interpolation.slerp",
    ),
    Exercise(
        "strip_weights",
        lambda n: torch.linspace(0, 1, n),
        cases=[("n = 10", (10,)), ("n = 2", (2,)), ("n = 5", (5,))],
        bugs=[
            Bug(
                "starts at 0.1",
                lambda n: torch.linspace(0.1, 1, n),
                "Print your weights for n = 10: which one belongs to the start image itself? It is missing.",
            ),
            Bug(
                "the end is missing",
                lambda n: torch.arange(n) / n,
                "The last weight must be 1, else the reconstruction of the second image is missing.",
            ),
            Bug(
                "backwards",
                lambda n: torch.linspace(1, 0, n),
                "Your strip runs from the second image to the first: begin at 0.",
            ),
            Bug(
                "both ends missing",
                lambda n: (torch.arange(n) + 1) / (n + 1),
                "Both ends are missing. The first weight is 0 and the last is 1.",
            ),
            Bug(
                "one too many",
                lambda n: torch.linspace(0, 1, n + 1),
                "That is one weight too many: n pictures need n weights, and n - 1 steps between them.",
            ),
            Bug(
                "step 0.1",
                lambda n: torch.arange(n) * 0.1,
                "The step depends on n: it is 1/(n - 1).",
            ),
        ],
        general_hint="n equally spaced numbers, the first 0 and the last 1.",
        goes_on_with="torch.linspace(0, 1, n)",
    ),
    Exercise(
        "midpoint_ratio",
        1 / math.sqrt(2),
        close=0.012,
        bugs=[
            Bug(
                "no change",
                1.0,
                "Only if the two codes were equal. Two independent ones mostly point in unrelated directions.",
            ),
            Bug(
                "half",
                0.5,
                "Half the length would need the second code at the centre. Add the *variances* of z/2 and z'/2.",
            ),
            Bug("cancelled", 0.0, "They would have to be opposite. Independent codes are nearly at right angles."),
            Bug("a quarter", 0.25, "1/4 is the variance of z/2; there are two such terms, and a length is a root."),
            Bug("squared", 0.52, "Nearly the square of the ratio: the variance halves. A length is its root."),
            Bug("longer", math.sqrt(2), "That is the length of the sum. The mean is half of it."),
            Bug(
                "in plain units",
                5.0,
                "Right, if measured from the centre in plain units. Divide by the norm of the codes, the root of 50.",
            ),
        ],
        general_hint="Each coordinate of (z + z')/2 has variance 1/4 + 1/4. What is its standard deviation?",
        goes_on_with="the square root of one half",
    ),
]
