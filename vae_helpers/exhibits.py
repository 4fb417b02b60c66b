"""The museum of lesson 09: ten bugs, found in public code or one small edit away from it, each as the broken and the mended function.

Each exhibit also has its symptoms (a function that runs either version on the workbench and returns what there is to see), a line
that says whether a chart shows them, and the tiny test that would have caught the bug. Numbers such as E1 and A5 are those of the
course's list of errata; S0 to S4 are its five source tutorials.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_helpers import losses, symptoms
from vae_helpers.workbench import Bench, Chart, Reading


@dataclass(frozen=True)
class Exhibit:
    """One bug.

    name, title    its key, and what the label on the wall says
    found          where it comes from
    broken, mended the function as it was, and as it should be: same arguments
    symptoms       (function, bench) -> the chart that the function causes
    shows          whether a chart shows the documented symptom
    tiny_test      function -> bool: a test on tiny tensors that the mended version passes and the broken one fails
    """

    name: str
    title: str
    found: str
    broken: Callable
    mended: Callable
    symptoms: Callable[[Callable, Bench], Chart]
    shows: Callable[[Chart], bool]
    tiny_test: Callable[[Callable], bool]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-6)


_X, _LOGITS = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.5]]), torch.tensor([[-2.0, 0.5, 1.0], [3.0, -0.5, 0.0]])
_MU, _LOG_VAR = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[-1.0, 0.3], [0.0, -2.0]])
_EPS = torch.tensor([[1.0, -0.5], [0.3, 2.0]])


# ---------------------------------------------------------------- the training itself


def averaged_terms(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    rec = F.binary_cross_entropy_with_logits(logits, x)
    kl = losses.gaussian_kl(mu, log_var).mean()
    return rec, kl


def loss_terms(logits: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """rec and kl, two scalars: summed over pixels and dimensions, averaged over images."""
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
    kl = losses.gaussian_kl(mu, log_var).mean()
    return rec, kl


def squashed_twice(logits: Tensor, x: Tensor) -> Tensor:
    x_hat = torch.sigmoid(logits)
    return F.binary_cross_entropy_with_logits(x_hat, x, reduction="none").sum(1)


def pixel_cost(logits: Tensor, x: Tensor) -> Tensor:
    """-log p(x|z) of each image, (batch, D) -> (batch,)."""
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


def log_var_for_sigma(output: Tensor, eps: Tensor) -> Tensor:
    mu, sigma = output.chunk(2, dim=1)
    return mu + sigma * eps


def draw_code(output: Tensor, eps: Tensor) -> Tensor:
    """One code per image from the encoder's raw output, mu beside log_var: (batch, 2d), (batch, d) -> (batch, d)."""
    mu, log_var = output.chunk(2, dim=1)
    return mu + torch.exp(0.5 * log_var) * eps


# ---------------------------------------------------------------- what is reported


def kl_without_its_one(mu: Tensor, log_var: Tensor) -> Tensor:
    return -0.5 * (log_var - mu**2 - log_var.exp())


def kl_per_dim(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL of each latent dimension to N(0, 1), (batch, d) -> (batch, d)."""
    return -0.5 * (1 + log_var - mu**2 - log_var.exp())


def report_over_dataset(summed: list, counts: list[int], dataset: int) -> Tensor:
    return sum(summed) / dataset


def epoch_report(summed: list, counts: list[int], dataset: int) -> Tensor:
    """The loss per image of an epoch, from each batch's summed loss and number of images."""
    return sum(summed) / sum(counts)


def bound_at_the_mean(decode: Callable, x: Tensor, mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    return losses.bernoulli_nll(decode(mu), x) + losses.gaussian_kl(mu, log_var)


def drawn_bound(decode: Callable, x: Tensor, mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    """-ELBO of each image from one drawn code, (batch,)."""
    z = mu + torch.exp(0.5 * log_var) * eps
    return losses.bernoulli_nll(decode(z), x) + losses.gaussian_kl(mu, log_var)


def weights_with_analytic_kl(rec: Tensor, z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    return -rec - losses.gaussian_kl(mu, log_var)


def log_weights(rec: Tensor, z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """log w of each draw: rec = -log p(x|z) (K, batch), z (K, batch, d), mu and log_var (batch, d) -> (K, batch)."""
    return -rec + losses.gaussian_log_prob(z) - losses.gaussian_log_prob(z, mu, log_var)


# ---------------------------------------------------------------- data and pictures


def leaking_split(order: Tensor, held_out: int) -> tuple[Tensor, Tensor]:
    return order, order[-held_out:]


def hold_out(order: Tensor, held_out: int) -> tuple[Tensor, Tensor]:
    """Positions to train on and to hold out, from positions in random order (n,)."""
    return order[:-held_out], order[-held_out:]


def same_order(n: int, generator: torch.Generator) -> Tensor:
    return torch.arange(n)


def epoch_order(n: int, generator: torch.Generator) -> Tensor:
    """A new order of n images for each epoch, (n,)."""
    return torch.randperm(n, generator=generator)


def disguised_reconstructions(encode: Callable, decode: Callable, images: Tensor, eps: Tensor) -> Tensor:
    mu, log_var = encode(images)
    return decode(mu + torch.exp(0.5 * log_var) * eps)


def new_images(encode: Callable, decode: Callable, images: Tensor, eps: Tensor) -> Tensor:
    """Logits of new images from noise (n, d); the images at hand are not needed."""
    return decode(eps)


# ---------------------------------------------------------------- the tiny tests


def _test_loss_terms(f: Callable) -> bool:
    """784 undecided pixels cost 784 log 2."""
    coin = f(torch.zeros(3, 784), torch.ones(3, 784), torch.zeros(3, 2), torch.zeros(3, 2))[0]
    return math.isclose(float(coin), 784 * math.log(2), rel_tol=1e-5)


def _test_pixel_cost(f: Callable) -> bool:
    """A pixel that is certainly black, and is black, costs nothing."""
    return abs(float(f(torch.tensor([[-50.0]]), torch.tensor([[0.0]])))) < 1e-6


def _test_code(f: Callable) -> bool:
    """An encoder that answers N(0, 1), that is mu = 0 and log_var = 0, must hand on the noise unchanged."""
    return _equal(f(torch.zeros(2, 4), _EPS), _EPS)


def _test_kl_per_dim(f: Callable) -> bool:
    """KL(N(0, 1) || N(0, 1)) = 0."""
    return _equal(f(torch.zeros(1, 3), torch.zeros(1, 3)), torch.zeros(1, 3))


def _test_report(f: Callable) -> bool:
    """If every image costs 2 nats, the mean is 2 nats, however many were dropped."""
    return math.isclose(float(f([torch.tensor(8.0)], [4], 5)), 2.0)


def _test_bound(f: Callable) -> bool:
    """Other noise, other number."""
    one, other = (f(lambda z: z, _X[:, :2], _MU, _LOG_VAR, sign * _EPS) for sign in (1, -1))
    return not _equal(one, other)


def _test_log_weights(f: Callable) -> bool:
    """If q is the exact posterior, every weight is p(x). For p(x|z) = N(x; z, 1) and x = 1: q = N(1/2, 1/2), p(x) = N(1; 0, 2)."""
    z = torch.tensor([[[-1.0]], [[0.5]], [[2.0]]])
    rec = -losses.gaussian_log_prob(z - 1)
    log_w = f(rec, z, torch.tensor([[0.5]]), torch.tensor([[0.5]]).log())
    log_p = -0.5 * math.log(4 * math.pi) - 0.25  # log N(1; 0, 2)
    return _equal(log_w, torch.full((3, 1), log_p))


def _test_split(f: Callable) -> bool:
    """No image stands on both sides, and none is lost."""
    train, held_out = (part.tolist() for part in f(torch.tensor([3, 0, 2, 1, 4]), 2))
    return not set(train) & set(held_out) and sorted(train + held_out) == [0, 1, 2, 3, 4]


def _test_order(f: Callable) -> bool:
    """Two epochs come in two orders, and each image comes once."""
    generator = torch.Generator().manual_seed(0)
    one, two = f(20, generator).tolist(), f(20, generator).tolist()
    return one != two and sorted(one) == sorted(two) == list(range(20))


def _test_new_images(f: Callable) -> bool:
    """New images do not depend on old ones."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2], torch.zeros(len(x), 2)

    blank, white = (f(encode, lambda z: z, torch.full((2, 3), value), _EPS) for value in (0.0, 1.0))
    return _equal(blank, white)


# ---------------------------------------------------------------- the museum


def _ratio(chart: Chart, what: str) -> float:
    reading = next(r for r in chart.readings if r.what == what)
    return reading.value / reading.reference


def _above(reading: Reading) -> float:
    return reading.value - reading.reference


MUSEUM = {
    exhibit.name: exhibit
    for exhibit in [
        Exhibit(
            "averaged", "Every digit the same", "keras issue 3373; A5", averaged_terms, loss_terms, symptoms.of_loss_terms,
            lambda c: c.value("latent dimensions in use") == 0 and 0.9 < _ratio(c, c.readings[0].what) < 1.15,
            _test_loss_terms,
        ),
        Exhibit(
            "squashed twice", "No better than a coin", "lesson 03", squashed_twice, pixel_cost, symptoms.of_pixel_cost,
            lambda c: _ratio(c, "rec in the last epoch") > 1.5,
            _test_pixel_cost,
        ),
        Exhibit(
            "log_var for sigma", "Too good to be true", "E11, A16", log_var_for_sigma, draw_code, symptoms.of_code,
            lambda c: _ratio(c, "kl on held-out images") < 1 and c.value("share of images recognised by their codes") > 0.8,
            _test_code,
        ),
        Exhibit(
            "kl without its one", "The bars that never reach the floor", "E1", kl_without_its_one, kl_per_dim, symptoms.of_kl_per_dim,
            lambda c: c.value("smallest bar") >= 0.5 and c.value("kl before the first step") > 1,
            _test_kl_per_dim,
        ),
        Exhibit(
            "dropped rest", "Better than its own model", "E61", report_over_dataset, epoch_report, symptoms.of_report,
            lambda c: _ratio(c, "reported in the end") < 0.9 and _ratio(c, "reported before the first step") < 0.9,
            _test_report,
        ),
        Exhibit(
            "mean for a draw", "A loose bound below a tight one", "A11", bound_at_the_mean, drawn_bound, symptoms.of_bound,
            lambda c: _ratio(c, "−ELBO, reported") < 1 and c.value("highest minus lowest of five seeds") == 0,
            _test_bound,
        ),
        Exhibit(
            "analytic kl", "Past the truth", "A1", weights_with_analytic_kl, log_weights, symptoms.of_log_weights,
            lambda c: _above(c.readings[0]) > 0.1,
            _test_log_weights,
        ),
        Exhibit(
            "leak", "No gap at all", "A9", leaking_split, hold_out, symptoms.of_split,
            lambda c: _above(c.readings[0]) < 4 < _above(c.readings[1]),
            _test_split,
        ),
        Exhibit(
            "same order", "The same tune every epoch", "S2", same_order, epoch_order, symptoms.of_order,
            lambda c: c.value("correlation of the two epochs") > 0.7,
            _test_order,
        ),
        Exhibit(
            "disguised reconstructions", "Press again, and the same come back", "E17", disguised_reconstructions, new_images,
            symptoms.of_new_images,
            lambda c: c.readings[0].value < 0.75,
            _test_new_images,
        ),
    ]
}  # fmt: skip
WINGS = {
    "first": ("averaged", "squashed twice", "log_var for sigma"),
    "second": ("kl without its one", "dropped rest", "mean for a draw", "analytic kl"),
    "third": ("leak", "same order", "disguised reconstructions"),
}
