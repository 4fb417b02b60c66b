"""Checks of lesson 09: three wings of charts to diagnose, ten broken functions to mend, and one test to write."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from vae_helpers import exhibits, losses
from vae_helpers.checks.diagnosis import Tried, diagnosis
from vae_helpers.checks.exercise import Bug, Exercise

# ---------------------------------------------------------------- three wings of charts

_FIRST_SIGNS = {
    "a": "A training that stops too early leaves its curves in full descent; look at the last epochs of rec.",
    "b": "A log-variance in the place of sigma removes the noise where the formula charges nothing: a sharp code that is nearly free. Are the decoded images good here, and kl too small for that?",
    "c": "Normalised pixels leave [0, 1], and then a cross-entropy turns negative. No cost here is negative.",
    "d": "A rec averaged over pixels reads below 1 as printed, and its code is empty. What does rec read here?",
    "e": "Without kl in the loss nothing would restrain it: kl would grow to hundreds of nats.",
    "f": "A second sigmoid keeps every probability between 0.5 and 0.73, so a black pixel costs log 2 at least, and rec stays near 784 coin flips. Does it here?",
    "g": "A learning rate that is far too high makes the curves jump, up as well as down.",
}
_SECOND_SIGNS = {
    "a": "Free bits left in the report would lift the bars below one half to exactly one half, and leave the tall ones alone. Are there bars, and are the tall ones those of the healthy run?",
    "b": "A sum over the batches that were seen, divided by all images, is too small by one and the same factor in every epoch, even before training. Is the ratio of the curves constant here?",
    "c": "A mean of batch means differs from the mean over images by a percent or so, and by nothing where all batches are of one size.",
    "d": "With mu in the place of a drawn code nothing is random: five seeds give the same number, and the loose bound passes the tight one. What do the readings say here?",
    "e": "Without its 1 the KL formula is 1/2 too large in every dimension: 16 nats for 32 dimensions, from the first step on. Is anything here too large by a constant?",
    "f": "Thresholded images do cost less than grey ones (drawn ones cost the same on average, given the code), but an honest estimate on them still changes with the seed and stays a bound.",
    "g": "The KL formula inside the weights averages half of log w before the exponential: right at K = 1, wrong beyond, and too high where q is near the posterior (with a poor q it may stay below; it is no bound). Does this chart change with K?",
    "h": "Too few importance samples leave the bound too low, never too high, on average.",
}
_THIRD_SIGNS = {
    "a": "Batches in one fixed order bring the same easy and hard batches at the same place of every epoch. Does this chart show single batches?",
    "b": "If learning by heart were all, there would be a gap: the held-out curve would turn upwards while the training curve falls on. Is there such a gap?",
    "c": "If the held-out images were trained on as well, their curve would follow the training curve down, and only really new images would show the gap. Does this chart have two such curves?",
    "d": "A learning rate that is too high gives noise, but new noise in each epoch.",
    "e": "If the 'samples' are decoded from codes of stored images, the next press of the button redraws the same images with slightly different strokes. Are there samples here?",
    "f": "A decoder that ignores its code draws one and the same picture, all along a row.",
    "g": "A seed that is set anew before each press repeats every number exactly; here the two are only alike.",
}

# ---------------------------------------------------------------- the first wing's functions

_LOGITS = torch.tensor([[-2.0, 0.5, 1.0, 0.2], [3.0, -0.5, 0.0, -1.0], [0.4, 2.0, -3.0, 1.0]])
_X = torch.tensor([[0.0, 1.0, 1.0, 0.3], [1.0, 0.0, 0.5, 0.0], [0.2, 1.0, 0.0, 1.0]])
_MU = torch.tensor([[0.5, -1.0], [2.0, 0.0], [0.1, 0.7]])
_LOG_VAR = torch.tensor([[-1.0, 0.3], [0.4, -2.0], [-0.5, 1.0]])
_EPS = torch.tensor([[1.0, -0.5], [0.3, 2.0], [-1.5, 0.8]])
_OUTPUT = torch.cat([_MU, _LOG_VAR], 1)


def _cost(logits: Tensor, x: Tensor) -> Tensor:
    return losses.bernoulli_nll(logits, x)


def _kl(mu: Tensor, log_var: Tensor) -> Tensor:
    return losses.gaussian_kl(mu, log_var)


_LOSS_TERMS = Exercise(
    "loss_terms",
    exhibits.loss_terms,
    cases=[
        ("three images", (_LOGITS, _X, _MU, _LOG_VAR)),
        ("784 undecided pixels", (torch.zeros(2, 784), torch.ones(2, 784), torch.zeros(2, 2), torch.zeros(2, 2))),
        ("one image", (_LOGITS[:1], _X[:1], _MU[:1], _LOG_VAR[:1])),
    ],
    bugs=[
        Bug("A5: rec averaged over pixels", exhibits.averaged_terms, "Without `reduction`, the cross-entropy is a mean over pixels and images: rec is D times too small, so kl weighs D times too much."),
        Bug("both averaged", lambda o, x, m, v: (_cost(o, x).mean() / x.shape[1], _kl(m, v).mean() / m.shape[1]), "Now both are means, over D pixels and over d dimensions: kl weighs D/d times too much (the proposed mend of A5 does this)."),
        Bug("all divided by the pixels", lambda o, x, m, v: (_cost(o, x).mean() / x.shape[1], _kl(m, v).mean() / x.shape[1]), "That trains rightly, since both terms are D times too small; but it is no longer in nats per image, so no floor or baseline fits it."),
        Bug("rec summed over the batch", lambda o, x, m, v: (_cost(o, x).sum(), _kl(m, v).mean()), "reduction=\"sum\" adds the images of a batch up as well: kl then weighs too little by the batch size."),
        Bug("both summed over the batch", lambda o, x, m, v: (_cost(o, x).sum(), _kl(m, v).sum()), "Right weights, but the loss now grows with the batch size: average over the images."),
        Bug("no mean", lambda o, x, m, v: (_cost(o, x), _kl(m, v)), "Return two scalars: take the mean over the images at the end."),
        Bug("kl averaged over dimensions", lambda o, x, m, v: (_cost(o, x).mean(), _kl(m, v).mean() / m.shape[1]), "rec is right. kl is a sum over its latent dimensions, as it was."),
        Bug("kl negative", lambda o, x, m, v: (_cost(o, x).mean(), -_kl(m, v).mean()), "rec is right. kl is a cost: its sign must stay."),
        Bug("divided by the images twice", lambda o, x, m, v: (_cost(o, x).mean() / x.shape[0], _kl(m, v).mean()), "rec is divided by the number of images twice."),
    ],
    general_hint="The cost of an image is the sum over its pixels: reduction=\"none\", then .sum(1), then .mean().",
    goes_on_with="vae_helpers.exhibits.loss_terms",
)  # fmt: skip

_PIXEL_COST = Exercise(
    "pixel_cost",
    exhibits.pixel_cost,
    cases=[
        ("three images", (_LOGITS, _X)),
        ("a black pixel that is certain to be black", (torch.tensor([[-50.0]]), torch.tensor([[0.0]]))),
        ("logits of 200, wrong", (torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 1.0]]))),
    ],
    bugs=[
        Bug("two sigmoids", exhibits.squashed_twice, "`..._with_logits` applies a sigmoid itself. Hand it the logits, not x_hat."),
        Bug("from probabilities", lambda o, x: F.binary_cross_entropy(torch.sigmoid(o), x, reduction="none").sum(1), "One sigmoid now, but probabilities round to 1 and the cost stops at 100 a pixel: keep the logits and the loss that takes them (lesson 03)."),
        Bug("both sigmoids gone", lambda o, x: F.binary_cross_entropy(o.clamp(0, 1), x, reduction="none").sum(1), "A logit is no probability, and cutting it to [0, 1] does not make it one: keep the loss that takes logits."),
        Bug("logit of the logit", lambda o, x: F.binary_cross_entropy_with_logits(torch.sigmoid(torch.sigmoid(o)), x, reduction="none").sum(1), "That is one sigmoid more, not one less."),
        Bug("one number a pixel", lambda o, x: F.binary_cross_entropy_with_logits(o, x, reduction="none"), "One sigmoid, good. Now add the pixels of each image up again."),
        Bug("mean over pixels", lambda o, x: F.binary_cross_entropy_with_logits(o, x, reduction="none").mean(1), "One sigmoid, good. But pixels add up, they are not averaged: that was the bug of chart 1."),
        Bug("whole batch", lambda o, x: F.binary_cross_entropy_with_logits(o, x, reduction="sum"), "One number per image is wanted, not one per batch."),
        Bug("arguments swapped", lambda o, x: F.binary_cross_entropy_with_logits(x, o, reduction="none").sum(1), "The logits come first, then the image."),
        Bug("the gain", lambda o, x: -_cost(o, x), "That is the log-likelihood, with its sign turned: here it is a cost."),
    ],
    general_hint="F.binary_cross_entropy_with_logits(logits, x, reduction=\"none\").sum(1).",
    goes_on_with="vae_helpers.exhibits.pixel_cost",
)  # fmt: skip


def _halves(output: Tensor) -> tuple[Tensor, Tensor]:
    return output.chunk(2, dim=1)


_DRAW_CODE = Exercise(
    "draw_code",
    exhibits.draw_code,
    cases=[
        ("three images", (_OUTPUT, _EPS)),
        ("q equal to the prior", (torch.zeros(2, 4), _EPS[:2])),
        ("no noise", (_OUTPUT, torch.zeros(3, 2))),
    ],
    bugs=[
        Bug("E11: log_var as sigma", exhibits.log_var_for_sigma, "The second half is log sigma^2, whatever the variable is called. With log_var = 0, q is the prior and sigma must be 1; yours is 0."),
        Bug("A14: variance as sigma", lambda o, e: _halves(o)[0] + _halves(o)[1].exp() * e, "exp(log_var) is the variance. Its root is wanted: the bug of lesson 02."),
        Bug("half without exp", lambda o, e: _halves(o)[0] + 0.5 * _halves(o)[1] * e, "Half of log_var is log sigma. The exponential is missing."),
        Bug("absolute value", lambda o, e: _halves(o)[0] + _halves(o)[1].abs() * e, "Positive now, but still no standard deviation: log_var is a logarithm, so exponentiate."),
        Bug("softplus", lambda o, e: _halves(o)[0] + F.softplus(_halves(o)[1]) * e, "Softplus makes a sigma, but another one than the KL formula of this code believes in: there sigma^2 = exp(log_var)."),
        Bug("halves swapped", lambda o, e: _halves(o)[1] + torch.exp(0.5 * _halves(o)[0]) * e, "mu is the first half of the output, log_var the second."),
        Bug("every other column", lambda o, e: o[:, ::2] + torch.exp(0.5 * o[:, 1::2]) * e, "The halves lie side by side, not every other column: chunk(2, dim=1) was right."),
        Bug("one over sigma", lambda o, e: _halves(o)[0] + torch.exp(-0.5 * _halves(o)[1]) * e, "That is 1/sigma: mind the sign of the exponent."),
        Bug("no mu", lambda o, e: torch.exp(0.5 * _halves(o)[1]) * e, "sigma is right. The code is centred on mu: add it."),
        Bug("no noise", lambda o, e: _halves(o)[0], "Now nothing is random, and the encoder can promise what it likes: z = mu + sigma * eps."),
    ],
    general_hint="mu, log_var = output.chunk(2, dim=1), then the draw of lesson 02.",
    goes_on_with="vae_helpers.exhibits.draw_code",
)  # fmt: skip

# ---------------------------------------------------------------- the second wing's functions

_KL_PER_DIM = Exercise(
    "kl_per_dim",
    exhibits.kl_per_dim,
    cases=[
        ("three images", (_MU, _LOG_VAR)),
        ("q equal to the prior", (torch.zeros(1, 3), torch.zeros(1, 3))),
        ("a sharp q", (torch.ones(2, 2), torch.full((2, 2), -6.0))),
    ],
    bugs=[
        Bug("E1: without its 1", exhibits.kl_without_its_one, "Put mu = 0 and log_var = 0 in: q is the prior, so KL must be 0. Yours is 1/2."),
        Bug("1 subtracted outside", lambda m, v: exhibits.kl_without_its_one(m, v) - 1, "The 1 stands inside the bracket, where it is multiplied by -1/2: now 1/2 too much is taken off."),
        Bug("1 added outside", lambda m, v: exhibits.kl_without_its_one(m, v) + 1, "The 1 stands inside the bracket, with the sign of log_var."),
        Bug("shifted down", lambda m, v: exhibits.kl_without_its_one(m, v) - exhibits.kl_without_its_one(m, v).min(), "Shifting the bars until the smallest is 0 hides the fault: the constant is 1/2, not whatever fits."),
        Bug("without 1/2", lambda m, v: 2 * exhibits.kl_per_dim(m, v), "The 1 is there. The factor 1/2 has gone."),
        Bug("negative", lambda m, v: -exhibits.kl_per_dim(m, v), "The 1 is there. Turn the sign: KL is never negative."),
        Bug("summed", lambda m, v: exhibits.kl_per_dim(m, v).sum(-1), "Right, but summed: the chart wants one number per dimension."),
        Bug("mean over images", lambda m, v: exhibits.kl_per_dim(m, v).mean(0), "Right, but averaged over the images already: return (batch, d)."),
        Bug("log_var as log sigma", lambda m, v: exhibits.kl_per_dim(m, 2 * v), "You changed what log_var means: it is log sigma^2."),
        Bug("mu not squared", lambda m, v: -0.5 * (1 + v - m - v.exp()), "mu enters squared, as it did before."),
    ],
    general_hint="1/2 (mu^2 + sigma^2 - 1 - log sigma^2): is every term there?",
    goes_on_with="vae_helpers.exhibits.kl_per_dim",
)  # fmt: skip

_EPOCH_REPORT = Exercise(
    "epoch_report",
    exhibits.epoch_report,
    cases=[
        ("two batches of 4, rest dropped", ([torch.tensor(8.0), torch.tensor(12.0)], [4, 4], 10)),
        ("a short last batch, nothing dropped", ([torch.tensor(8.0), torch.tensor(10.0), torch.tensor(1.0)], [4, 4, 1], 9)),
        ("one batch", ([torch.tensor(6.0)], [3], 5)),
    ],
    bugs=[
        Bug("E61: by the data set", exhibits.report_over_dataset, "You divide by images that were never seen: count those in the batches."),
        Bug("by the batches", lambda s, c, n: sum(s) / len(s), "That is a loss per batch. Divide by the number of images seen."),
        Bug("mean of means", lambda s, c, n: sum(a / b for a, b in zip(s, c, strict=True)) / len(s), "A mean of batch means gives the images of a short batch more weight (lesson 03)."),
        Bug("all batches full", lambda s, c, n: sum(s) / (c[0] * len(c)), "Not every batch is as large as the first: add the counts."),
        Bug("last batch", lambda s, c, n: s[-1] / c[-1], "That is the last batch alone."),
        Bug("divided twice", lambda s, c, n: sum(a / b for a, b in zip(s, c, strict=True)) / n, "Each batch is divided by its images, then all by the data set again: A11 does this."),
        Bug("not divided", lambda s, c, n: sum(s), "That is the sum over images, not the mean."),
        Bug("scaled up", lambda s, c, n: sum(s) / sum(c) * n / sum(c), "The images that were left out need no correction: a mean over those seen is a mean."),
    ],
    general_hint="A mean is a sum divided by the number of its terms: how many images are in the sum?",
    goes_on_with="vae_helpers.exhibits.epoch_report",
)  # fmt: skip

_W = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.3, 1.0, -1.0, 2.0]])


def _decode(z: Tensor) -> Tensor:
    return torch.tanh(z) @ _W


def _z(mu: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
    return mu + torch.exp(0.5 * log_var) * eps


_DRAWN_BOUND = Exercise(
    "drawn_bound",
    exhibits.drawn_bound,
    cases=[
        ("three images", (_decode, _X, _MU, _LOG_VAR, _EPS)),
        ("other noise", (_decode, _X, _MU, _LOG_VAR, -_EPS)),
        ("q equal to the prior", (_decode, _X, torch.zeros(3, 2), torch.zeros(3, 2), _EPS)),
    ],
    bugs=[
        Bug("A11: z = mu", exhibits.bound_at_the_mean, "rec is an expectation over codes drawn from q. At mu alone it is another, usually smaller number. You have eps: use it."),
        Bug("A14: variance as sigma", lambda f, x, m, v, e: _cost(f(m + v.exp() * e), x) + _kl(m, v), "Drawn now, but with the variance in the place of sigma."),
        Bug("z from the prior", lambda f, x, m, v, e: _cost(f(e), x) + _kl(m, v), "eps alone is a draw from the prior. Codes of this image are mu + sigma * eps."),
        Bug("noise unscaled", lambda f, x, m, v, e: _cost(f(m + e), x) + _kl(m, v), "The noise must be scaled by sigma = exp(log_var / 2)."),
        Bug("no kl", lambda f, x, m, v, e: _cost(f(_z(m, v, e)), x), "rec is right now. kl has gone: without it, nothing is bounded."),
        Bug("kl subtracted", lambda f, x, m, v, e: _cost(f(_z(m, v, e)), x) - _kl(m, v), "kl is a cost: it is added."),
        Bug("both", lambda f, x, m, v, e: 0.5 * (_cost(f(_z(m, v, e)), x) + _cost(f(m), x)) + _kl(m, v), "Half of it still comes from mu. Only drawn codes count."),
        Bug("averaged", lambda f, x, m, v, e: (_cost(f(_z(m, v, e)), x) + _kl(m, v)).mean(), "Right, but averaged: return one number per image."),
        Bug("kl at the code", lambda f, x, m, v, e: _cost(f(_z(m, v, e)), x) + _kl(_z(m, v, e), v), "rec is right. kl compares q with the prior, so it takes mu, not the drawn z."),
    ],
    general_hint="z = mu + sigma * eps; the cost of x under decode(z), plus KL(q || prior).",
    goes_on_with="vae_helpers.exhibits.drawn_bound",
)  # fmt: skip

_DRAWS = torch.tensor([[[0.1, -0.4], [1.5, 0.2], [0.0, 0.9]], [[0.9, -1.2], [2.2, -0.3], [-0.4, 1.6]]])
_RECS = torch.tensor([[3.0, 1.0, 2.0], [2.5, 4.0, 0.5]])
_LOG_P, _LOG_Q = losses.gaussian_log_prob, losses.gaussian_log_prob

_LOG_WEIGHTS = Exercise(
    "log_weights",
    exhibits.log_weights,
    cases=[
        ("two draws for three images", (_RECS, _DRAWS, _MU, _LOG_VAR)),
        ("one draw", (_RECS[:1], _DRAWS[:1], _MU, _LOG_VAR)),
        ("a narrow q", (_RECS, _DRAWS, _MU, torch.full((3, 2), -2.0))),
    ],
    bugs=[
        Bug("A1: analytic kl", exhibits.weights_with_analytic_kl, "The KL formula is an average over all draws. A weight belongs to one draw: it needs log p(z) and log q(z|x) of that very z."),
        Bug("sampled kl, averaged", lambda r, z, m, v: -r + (_LOG_P(z) - _LOG_Q(z, m, v)).mean(0), "Drawn, but averaged over the draws before it enters the weight: keep one value per draw."),
        Bug("A1: the signs", lambda r, z, m, v: r - _LOG_P(z) + _LOG_Q(z, m, v), "All signs are turned: the worst draw would get the largest weight (lesson 05)."),
        Bug("no prior", lambda r, z, m, v: -r - _LOG_Q(z, m, v), "log p(z) is missing: the weight is p(x, z) / q(z|x)."),
        Bug("no q", lambda r, z, m, v: -r + _LOG_P(z), "log q(z|x) is missing: that is log p(x, z) alone."),
        Bug("p and q swapped", lambda r, z, m, v: -r + _LOG_Q(z, m, v) - _LOG_P(z), "The prior stands in the numerator of the weight, q in the denominator."),
        Bug("rec as a gain", lambda r, z, m, v: r + _LOG_P(z) - _LOG_Q(z, m, v), "rec is -log p(x|z), a cost: it enters with a minus."),
        Bug("log_var as log sigma", lambda r, z, m, v: -r + _LOG_P(z) - _LOG_Q(z, m, 2 * v), "q has the log-variance log_var, as it stands."),
        Bug("rec only", lambda r, z, m, v: -r, "That is log p(x|z) alone. The codes were drawn from q and not from the prior, and the weight corrects for that."),
        Bug("normalised", lambda r, z, m, v: torch.log_softmax(-r + _LOG_P(z) - _LOG_Q(z, m, v), 0), "Normalised weights sum to 1, and their mean says nothing about p(x): leave them as they are."),
    ],
    general_hint="log w = log p(x|z) + log p(z) - log q(z|x), with losses.gaussian_log_prob for the last two.",
    goes_on_with="vae_helpers.exhibits.log_weights",
)  # fmt: skip

# ---------------------------------------------------------------- the third wing's functions

_HOLD_OUT = Exercise(
    "hold_out",
    exhibits.hold_out,
    cases=[
        ("10 images, 3 held out", (torch.tensor([4, 9, 0, 7, 2, 8, 1, 6, 3, 5]), 3)),
        ("7 images, 1 held out", (torch.tensor([6, 0, 3, 5, 1, 4, 2]), 1)),
    ],
    bugs=[
        Bug("A9: trains on all", exhibits.leaking_split, "The images that are held out are still among those to train on."),
        Bug("held out from the front", lambda o, h: (o[:-h], o[:h]), "Both parts begin at the front, so the held-out images are trained on, and the last ones are not used at all."),
        Bug("overlapping ends", lambda o, h: (o[h:], o[-h:]), "You took the held-out images from the end, and left out as many at the front: they overlap."),
        Bug("one lost", lambda o, h: (o[: -h - 1], o[-h:]), "No overlap, but one image is in neither part."),
        Bug("swapped", lambda o, h: (o[-h:], o[:-h]), "The parts are swapped: training images first."),
        Bug("shares swapped", lambda o, h: (o[:h], o[h:]), "You train on as many as should be held out."),
        Bug("order ignored", lambda o, h: (torch.arange(len(o) - h), torch.arange(len(o) - h, len(o))), "The last images of the file are no random choice: take positions from `order`."),
        Bug("every image twice", lambda o, h: (torch.cat([o[:-h], o[:-h]]), o[-h:]), "No leak, but each training image stands there twice."),
        Bug("shuffled again", lambda o, h: (o[:-h], o[torch.randperm(len(o))[:h]]), "Held-out images drawn anew from all images: some of them are trained on."),
    ],
    general_hint="order[:-held_out] and order[-held_out:] share no image.",
    goes_on_with="vae_helpers.exhibits.hold_out",
)  # fmt: skip


class OrderTrial(NamedTuple):
    """How an order of 50 images behaves: its length, whether every image comes once, whether epochs repeat, and so on."""

    images: int
    each_once: bool
    repeats: bool
    file_order: bool
    backwards: bool
    seeded: bool
    neighbours_stay: bool
    halves_stay: bool


def try_order(f: Callable) -> OrderTrial:
    """Call f(50, generator) for two epochs, and again with a generator of the same seed."""
    generator, same_seed = (torch.Generator().manual_seed(3) for _ in range(2))
    one, two = (torch.as_tensor(f(50, generator)) for _ in range(2))
    again = torch.as_tensor(f(50, same_seed))
    first_half = sorted(one[:25].tolist())
    return OrderTrial(
        images=len(one),
        each_once=sorted(one.tolist()) == list(range(50)),
        repeats=torch.equal(one, two),
        file_order=torch.equal(one, torch.arange(50)),
        backwards=torch.equal(one, torch.arange(50).flip(0)),
        seeded=torch.equal(one, again),
        neighbours_stay=float((one.diff() == 1).double().mean()) > 0.9,
        halves_stay=first_half == list(range(25)),
    )


def _judge_order(f: Callable) -> tuple[bool, str]:
    found = try_order(f)
    if found.images != 50:
        return False, f"of 50 images, {found.images} come."
    if not found.each_once:
        return False, "some images come twice in an epoch, others never."
    if found.repeats:
        return False, "two epochs come in the same order."
    if not found.seeded:
        return False, "the generator does not decide the order."
    if found.neighbours_stay or found.halves_stay:
        return False, "two epochs differ, but the order is far from random."
    return True, "each image once, a new order in each epoch, decided by the generator."


def _halfway(n: int, g: torch.Generator) -> Tensor:
    half = n // 2
    return torch.cat([torch.randperm(half, generator=g), half + torch.randperm(n - half, generator=g)])


_EPOCH_ORDER = Tried(
    "epoch_order",
    exhibits.epoch_order,
    judge=_judge_order,
    trial=try_order,
    bugs=[
        Bug("S2: the order of the file", exhibits.same_order, "torch.arange is the order of the file. A random permutation of n numbers is torch.randperm."),
        Bug("seed set inside", lambda n, g: torch.randperm(n, generator=torch.Generator().manual_seed(0)), "A generator made inside the function starts afresh at every call, so every epoch has the same order: use the one that is handed in."),
        Bug("with replacement", lambda n, g: torch.randint(0, n, (n,), generator=g), "randint draws with replacement: about a third of the images do not come at all."),
        Bug("global generator", lambda n, g: torch.randperm(n, generator=None), "Random, but not by the generator that is handed in: then a seed does not repeat the run."),
        Bug("backwards", lambda n, g: torch.arange(n).flip(0), "Backwards is another fixed order."),
        Bug("another starting place", lambda n, g: torch.arange(n).roll(int(torch.randint(1, n, (1,), generator=g))), "A new starting place each time, but neighbours stay neighbours, so most batches hold the same images again."),
        Bug("within halves", _halfway, "Shuffled within each half only: images of the first half always come first. In a file sorted by digit, that matters."),
        Bug("one too few", lambda n, g: torch.randperm(n - 1, generator=g), "One image never comes: permute all n."),
    ],
    general_hint="torch.randperm(n, generator=generator).",
    goes_on_with="vae_helpers.exhibits.epoch_order",
)  # fmt: skip


def _encode(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :2] * 2 - 0.5, x[:, 2:] - 1


def _fitted(encode: Callable, decode: Callable, images: Tensor, eps: Tensor) -> Tensor:
    mu, _ = encode(images)
    return decode(mu.mean(0) + mu.std(0) * eps)


_NEW_IMAGES = Exercise(
    "new_images",
    exhibits.new_images,
    cases=[
        ("three codes", (_encode, _decode, _X, _EPS)),
        ("other images, same noise", (_encode, _decode, 1 - _X, _EPS)),
        ("other noise", (_encode, _decode, _X, 2 * _EPS)),
    ],
    bugs=[
        Bug("E17: reconstructions", exhibits.disguised_reconstructions, "Your codes still come from images. New images come from codes drawn from the prior N(0, I): you have them, they are called eps."),
        Bug("decoded means", lambda f, g, x, e: g(f(x)[0]), "The means of stored images: no noise at all, and nothing new."),
        Bug("around the means", lambda f, g, x, e: g(f(x)[0] + e), "More noise, but still around the codes of stored images."),
        Bug("their sigma", lambda f, g, x, e: g(torch.exp(0.5 * f(x)[1]) * e), "Centred at 0 now, but with the width of the encoder's answers. The prior has variance 1."),
        Bug("one Gaussian around all", _fitted, "A Gaussian fitted to all codes may look good, but then it must be called so: the model's prior is N(0, I)."),
        Bug("the centre", lambda f, g, x, e: g(torch.zeros_like(e)), "All at z = 0: one and the same image. Use eps."),
        Bug("own noise", lambda f, g, x, e: g(torch.randn(e.shape)), "Draws from the prior, but use the noise that is handed in, or a seed will not repeat the sheet."),
        Bug("half-way", lambda f, g, x, e: g(0.5 * (f(x)[0] + e)), "Half-way between stored images and new ones is still not new."),
        Bug("shuffled images", lambda f, g, x, e: g(_z(*f(x.flip(0)), e)), "The images come in another order now. They should not come at all."),
        Bug("not decoded", lambda f, g, x, e: e, "These are codes. Decode them."),
    ],
    general_hint="z ~ N(0, I), then decode.",
    goes_on_with="vae_helpers.exhibits.new_images",
)  # fmt: skip

# ---------------------------------------------------------------- the test that would have caught it


def reference_test(kl: Callable) -> bool:
    """Whether kl(mu, log_var) -> (batch,) agrees with torch.distributions at random points, at the prior, and in its shape."""
    generator = torch.Generator().manual_seed(1)
    mu, log_var = torch.randn(2, 5, 3, generator=generator)
    want = kl_divergence(Normal(mu, torch.exp(0.5 * log_var)), Normal(0.0, 1.0)).sum(1)
    at_prior = kl(torch.zeros(4, 2), torch.zeros(4, 2))
    found = kl(mu, log_var)
    return (
        found.shape == want.shape
        and torch.allclose(found, want, atol=1e-5)
        and torch.allclose(at_prior, torch.zeros(4), atol=1e-6)
    )


def _kl_of(mu: Tensor, log_var: Tensor, one: float = 1.0, half: float = 0.5) -> Tensor:
    return half * (mu**2 + log_var.exp() - one - log_var).sum(1)


RIGHT_KLS = {
    "as in the lessons": _kl_of,
    "by the library": lambda m, v: kl_divergence(Normal(m, torch.exp(0.5 * v)), Normal(0.0, 1.0)).sum(1),
    "with expm1": losses.gaussian_kl,
}
BROKEN_KLS = {
    "the 1 is missing": lambda m, v: _kl_of(m, v, one=0.0),
    "the 1/2 is missing": lambda m, v: _kl_of(m, v, half=1.0),
    "negative": lambda m, v: -_kl_of(m, v),
    "a mean over dimensions": lambda m, v: _kl_of(m, v) / m.shape[1],
    "log_var read as log sigma": lambda m, v: _kl_of(m, 2 * v),
    "mu not squared": lambda m, v: 0.5 * (m + v.exp() - 1 - v).sum(1),
    "one number for the batch": lambda m, v: _kl_of(m, v).mean(),
    "the other way round": lambda m, v: kl_divergence(Normal(torch.zeros_like(m), 1.0), Normal(m, torch.exp(0.5 * v))).sum(1),
}  # fmt: skip


def try_test(f: Callable) -> tuple[str, ...]:
    """What a test says of the right formulas and of the broken ones: "yes", "no" or "stops", in that order."""

    def verdict(kl: Callable) -> str:
        try:
            says = f(kl)
            return "yes" if says is None or bool(says) else "no"  # a test made of asserts returns None
        except NotImplementedError:
            raise  # not written yet
        except Exception:  # a test that raises, as by an assert, has noticed something
            return "stops"

    return tuple(verdict(kl) for kl in [*RIGHT_KLS.values(), *BROKEN_KLS.values()])


def _judge_test(f: Callable) -> tuple[bool, str]:
    says = try_test(f)
    right, broken = says[: len(RIGHT_KLS)], says[len(RIGHT_KLS) :]
    if right != ("yes",) * len(right):
        name = next(n for n, v in zip(RIGHT_KLS, right, strict=True) if v != "yes")
        return False, f"your test refuses a right formula ({name})."
    missed = [name for name, v in zip(BROKEN_KLS, broken, strict=True) if v == "yes"]
    if missed:
        return False, f"your test lets {len(missed)} of {len(broken)} broken formulas pass, one of them: {missed[0]}."
    return True, f"it passes {len(right)} right formulas and catches {len(broken)} of {len(broken)} broken ones."


def _at_prior(kl: Callable) -> bool:
    return bool(torch.allclose(kl(torch.zeros(2, 3), torch.zeros(2, 3)), torch.zeros(2), atol=1e-6))


def _gradients_agree(kl: Callable) -> bool:
    mu, log_var = (part.clone().requires_grad_() for part in (_MU, _LOG_VAR))
    got = torch.autograd.grad(kl(mu, log_var).sum(), [mu, log_var])
    want = torch.autograd.grad(_kl_of(mu, log_var).sum(), [mu, log_var])
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, want, strict=True))


def _variance_as_std(kl: Callable) -> bool:
    return bool(torch.allclose(kl(_MU, _LOG_VAR), kl_divergence(Normal(_MU, _LOG_VAR.exp()), Normal(0.0, 1.0)).sum(1)))


_KL_TEST = Tried(
    "kl_test",
    reference_test,
    judge=_judge_test,
    trial=try_test,
    bugs=[
        Bug("always content", lambda kl: True, "A test that nothing can fail tests nothing. Compute something, and compare."),
        Bug("never content", lambda kl: False, "A test must pass for a right formula."),
        Bug("at the prior only", _at_prior, "KL = 0 at the prior catches the missing 1, but many wrong formulas are 0 there, too. Add a point with mu and log_var away from 0, where you know the value."),
        Bug("not negative", lambda kl: bool((kl(_MU, _LOG_VAR) >= 0).all()), "Not negative is true of too many formulas. You need a value, not a sign."),
        Bug("gradients only", _gradients_agree, "Gradients do not see constants: E1 has the right gradients. Compare values."),
        Bug("shape only", lambda kl: kl(_MU, _LOG_VAR).shape == (3,), "The shape is right for most wrong formulas. Compare values as well."),
        Bug("mu only", lambda kl: bool(torch.allclose(kl(_MU, torch.zeros(3, 2)), 0.5 * (_MU**2).sum(1), atol=1e-6)), "With log_var = 0 throughout you never test what log_var does. Let it vary."),
        Bug("variance only", lambda kl: bool(torch.allclose(kl(torch.zeros(3, 2), _LOG_VAR), _kl_of(torch.zeros(3, 2), _LOG_VAR), atol=1e-6)), "With mu = 0 throughout you never test what mu does. Let it vary."),
        Bug("one dimension", lambda kl: bool(torch.allclose(torch.as_tensor(kl(_MU[:1, :1], _LOG_VAR[:1, :1])).reshape(-1), _kl_of(_MU[:1, :1], _LOG_VAR[:1, :1]), atol=1e-6)), "With one image and one dimension, sums and means are all alike. Use several of both."),
        Bug("wrong yardstick", _variance_as_std, "Your own formula for comparison is wrong: Normal takes a standard deviation, exp(log_var / 2)."),
    ],
    general_hint="Compare with torch.distributions.kl_divergence at random mu and log_var (batch and d above 1), and look at the shape.",
    goes_on_with="a test of the package’s own",
)  # fmt: skip

EXERCISES = [
    diagnosis("first_wing", "dfb", _FIRST_SIGNS),
    _LOSS_TERMS,
    _PIXEL_COST,
    _DRAW_CODE,
    diagnosis("second_wing", "ebdg", _SECOND_SIGNS),
    _KL_PER_DIM,
    _EPOCH_REPORT,
    _DRAWN_BOUND,
    _LOG_WEIGHTS,
    diagnosis("third_wing", "cae", _THIRD_SIGNS),
    _HOLD_OUT,
    _EPOCH_ORDER,
    _NEW_IMAGES,
    _KL_TEST,
]
