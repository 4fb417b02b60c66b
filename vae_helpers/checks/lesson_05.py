"""Checks of lesson 05: the importance-weighted bound, the weights with the wrong sign, effective samples, a suspicious figure, free bits."""

import math

import torch

from vae_helpers import losses
from vae_helpers.checks.exercise import Bug, Exercise

_LOG_W = torch.tensor([[-3.0, 0.5, -1.0], [-1.0, 2.0, -1.0], [-2.5, -4.0, -1.0], [0.25, 1.0, -1.0]])
_BLOCKS = torch.stack([_LOG_W, _LOG_W - 1, 2 * _LOG_W], 1)  # (4, 3, 3)
_REC = torch.tensor([[90.0, 80.0], [95.0, 79.0], [93.0, 83.0]])
_LOG_PZ = torch.tensor([[-3.0, -2.0], [-2.5, -4.0], [-5.0, -2.2]])
_LOG_QZ = torch.tensor([[1.0, 0.3], [0.2, 2.0], [-1.0, 0.5]])
_REPEATS = 1.5 * torch.randn(40, 60, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
_UNEVEN = torch.tensor([[0.0, 0.0, 0.0], [-9.0, -9.0, 0.0], [-9.0, -9.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
_KL = torch.tensor([[0.0, 0.6, 2.0], [0.2, 1.0, 0.0]])


def _logsumexp_only(log_w, *_):
    return torch.logsumexp(log_w, 0)


def _ess(log_w):
    return losses.effective_sample_size(log_w)


def _reference_weights(rec, log_pz, log_qz):
    return torch.softmax(losses.log_importance_weights(-rec, log_pz, log_qz), 0)


def smallest_k(log_w, target=2.0):
    """The smallest K whose mean effective sample size over the repeats, of the first K rows, reaches `target`; (K_max, repeats) -> int."""
    for K in range(1, len(log_w) + 1):
        if _ess(log_w[:K]).mean() >= target:
            return K
    raise ValueError(f"the mean effective sample size stays below {target} with {len(log_w)} samples: draw more")


def _first(condition_of_k, log_w):
    return next((K for K in range(1, len(log_w) + 1) if condition_of_k(log_w[:K])), len(log_w))


def _smallest_index(log_w, target=2.0):
    return smallest_k(log_w, target) - 1


def _larger(log_w, target=2.0):
    return _first(lambda part: _ess(part).mean() > target, log_w)


def _every_repeat(log_w, target=2.0):
    return _first(lambda part: _ess(part).min() >= target, log_w)


def _some_repeat(log_w, target=2.0):
    return _first(lambda part: _ess(part).max() >= target, log_w)


def _along_the_repeats(log_w, target=2.0):
    return _first(lambda part: _ess(part.T).mean() >= target, log_w)


def _counts_samples(log_w, target=2.0):
    return math.ceil(target)


def _last_row(log_w, target=2.0):
    return math.ceil(target / float(_ess(log_w).mean()) * len(log_w))


_WEIGHT_CASES = [
    ("four samples of three images", (_LOG_W,)),
    ("one sample", (_LOG_W[:1],)),
    ("log-weights near -1000", (_LOG_W.double() - 1000,)),
    ("log-weights near +800", (_LOG_W.double() + 800,)),
    ("samples, repeats and images", (_BLOCKS,)),
]

EXERCISES = [
    Exercise(
        "iw_bound",
        losses.iw_bound,
        cases=_WEIGHT_CASES,
        bugs=[
            Bug(
                "mean of logs",
                lambda log_w: log_w.mean(0),
                "That is the mean of the logarithms: the ELBO again, for every K. Average the weights first, then take the log.",
            ),
            Bug(
                "no log K",
                _logsumexp_only,
                "You have the log of the sum of the weights. It grows with K without end: subtract log K.",
            ),
            Bug(
                "divided by K",
                lambda log_w: torch.logsumexp(log_w, 0) / log_w.shape[0],
                "The mean is inside the logarithm: dividing the weights by K means subtracting log K from the logarithm.",
            ),
            Bug(
                "added log K",
                lambda log_w: torch.logsumexp(log_w, 0) + math.log(log_w.shape[0]),
                "log K has the wrong sign: a mean is a sum divided by K, so log K is subtracted.",
            ),
            Bug(
                "largest weight",
                lambda log_w: log_w.max(0).values,
                "That is the largest log-weight. It is above the bound; use logsumexp, a smooth maximum, less log K.",
            ),
            Bug(
                "largest weight less log K",
                lambda log_w: log_w.max(0).values - math.log(log_w.shape[0]),
                "Only the largest weight counts in yours. Add up all K weights: logsumexp in place of max.",
            ),
            Bug(
                "exp and log apart",
                lambda log_w: log_w.exp().mean(0).log(),
                "Right on paper, but exp(-1000) is 0 and exp(800) is inf, even in float64: use torch.logsumexp.",
            ),
            Bug(
                "sign of the weights",
                lambda log_w: torch.logsumexp(-log_w, 0) - math.log(log_w.shape[0]),
                "You turned the sign of log_w: now the worst samples count most. Log-weights are no costs.",
            ),
            Bug(
                "the bound negated",
                lambda log_w: math.log(log_w.shape[0]) - torch.logsumexp(log_w, 0),
                "That is -L_K, the loss. The function returns the bound itself.",
            ),
            Bug(
                "wrong axis",
                lambda log_w: torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1]),
                "You averaged over the images. The samples lie along the first axis: dim=0.",
            ),
            Bug(
                "K from the wrong axis",
                lambda log_w: torch.logsumexp(log_w, 0) - math.log(log_w.shape[-1]),
                "You subtract the log of the number of images. K is the length of the first axis: log_w.shape[0].",
            ),
            Bug(
                "one number",
                lambda log_w: (torch.logsumexp(log_w, 0) - math.log(log_w.shape[0])).mean(),
                "One number came back. Keep one bound per image; averaging over images comes later.",
            ),
            Bug(
                "self-normalised mean",
                lambda log_w: (torch.softmax(log_w, 0) * log_w).sum(0),
                "That is the mean of log w under the normalised weights. (5.2) is the log of the plain mean of w.",
            ),
        ],
        general_hint="Test yourself: K equal weights must give that weight back, and K = 1 must give log_w[0].",
        goes_on_with="vae_helpers.losses.iw_bound",
    ),
    Exercise(
        "normalised_weights",
        _reference_weights,
        cases=[
            ("three samples of two images", (_REC, _LOG_PZ, _LOG_QZ)),
            ("one sample", (_REC[:1], _LOG_PZ[:1], _LOG_QZ[:1])),
            ("costs of a thousand nats", (10 * _REC, _LOG_PZ, _LOG_QZ)),
        ],
        bugs=[
            Bug(
                "all signs turned",
                lambda rec, p, q: torch.softmax(rec + q - p, 0),
                "The sample with the largest cost gets the largest weight. log w = -rec + log p(z) - log q(z|x): turn all three signs.",
            ),
            Bug(
                "sign of rec",
                lambda rec, p, q: torch.softmax(rec + p - q, 0),
                "log p(x|z) is minus rec: a sample that explains the image well (small rec) must weigh more.",
            ),
            Bug(
                "sign of the prior and q",
                lambda rec, p, q: torch.softmax(-rec - p + q, 0),
                "rec is right now, but log p(z) enters with plus and log q(z|x) with minus: w = p(x|z) p(z) / q(z|x).",
            ),
            Bug(
                "without q",
                lambda rec, p, q: torch.softmax(-rec + p, 0),
                "log q(z|x) is missing: the draws came from q, so each is divided by how often q draws it.",
            ),
            Bug(
                "without the prior",
                lambda rec, p, q: torch.softmax(-rec - q, 0),
                "log p(z) is missing: w = p(x|z) p(z) / q(z|x).",
            ),
            Bug(
                "likelihood alone",
                lambda rec, p, q: torch.softmax(-rec, 0),
                "Only the likelihood is left. That would be right if the codes came from the prior; they come from q.",
            ),
            Bug(
                "over the batch",
                lambda rec, p, q: torch.softmax(-rec + p - q, 1),
                "The weights sum to one over the images. They must do so over the K samples: dim=0.",
            ),
            Bug(
                "not normalised",
                lambda rec, p, q: torch.exp(-rec + p - q),
                "These are the plain weights. They must sum to one over the samples (and exp underflows here): torch.softmax.",
            ),
            Bug(
                "still in logs",
                lambda rec, p, q: -rec + p - q,
                "That is log w. The weights are its softmax over the samples.",
            ),
        ],
        general_hint="Write down (5.1) for one sample, with log p(x|z) = -rec, then take the softmax over axis 0.",
        goes_on_with="the softmax of (5.1)",
    ),
    Exercise(
        "effective_sample_size",
        losses.effective_sample_size,
        cases=_WEIGHT_CASES,
        bugs=[
            Bug(
                "one over it",
                lambda log_w: 1 / _ess(log_w),
                "Numerator and denominator are swapped: yours lies between 1/K and 1, ESS between 1 and K.",
            ),
            Bug(
                "share of K",
                lambda log_w: _ess(log_w) / log_w.shape[0],
                "You divided by K: that is the share of effective samples. (5.5) has no 1/K.",
            ),
            Bug(
                "log-weights in place of weights",
                lambda log_w: log_w.sum(0) ** 2 / (log_w**2).sum(0),
                "w in (5.5) is the weight, not its logarithm: exponentiate first (a softmax is safest).",
            ),
            Bug(
                "exp without care",
                lambda log_w: log_w.exp().sum(0) ** 2 / (log_w.exp() ** 2).sum(0),
                "Right on paper; exp(-1000) is 0 on a computer, and 0/0 is nan. ESS ignores a common factor: use the softmax.",
            ),
            Bug(
                "sum not squared",
                lambda log_w: log_w.exp().sum(0) / (log_w.exp() ** 2).sum(0),
                "The sum in the numerator must be squared; else a common factor of the weights would not cancel.",
            ),
            Bug(
                "wrong axis",
                lambda log_w: 1 / (torch.softmax(log_w, -1) ** 2).sum(-1),
                "You summed over the images. The samples lie along the first axis: dim=0.",
            ),
            Bug(
                "entropy",
                lambda log_w: torch.exp(-(torch.softmax(log_w, 0) * torch.log_softmax(log_w, 0)).sum(0)),
                "That is exp of the entropy of the weights, another measure with the same range. (5.5) uses squares.",
            ),
            Bug(
                "one number",
                lambda log_w: _ess(log_w).mean(),
                "One number came back. Keep one ESS per image.",
            ),
            Bug(
                "one over the largest",
                lambda log_w: 1 / torch.softmax(log_w, 0).max(0).values,
                "That is one over the largest weight, an upper limit. (5.5) sums the squares of all of them.",
            ),
        ],
        general_hint="Test yourself: K equal weights must give K, and one weight that dwarfs the others must give 1.",
        goes_on_with="vae_helpers.losses.effective_sample_size",
    ),
    Exercise(
        "smallest_k",
        smallest_k,
        cases=[
            ("uneven weights, target 2", (_UNEVEN, 2.0)),
            ("sixty repeats, target 2", (_REPEATS, 2.0)),
            ("sixty repeats, target 4", (_REPEATS, 4.0)),
            ("equal weights, target 2.5", (torch.zeros(6, 5), 2.5)),
            ("target 1", (_REPEATS, 1.0)),
        ],
        bugs=[
            Bug(
                "an index",
                _smallest_index,
                "Off by one: you return the index, which counts from 0. The first K rows are K samples.",
            ),
            Bug("strictly above", _larger, "At least `target` includes equality: >= in place of >."),
            Bug(
                "every repeat",
                _every_repeat,
                "You wait until every repeat has reached the target. The mean over the repeats decides.",
            ),
            Bug(
                "some repeat", _some_repeat, "One lucky repeat is enough for yours. The mean over the repeats decides."
            ),
            Bug(
                "along the repeats",
                _along_the_repeats,
                "You measured the ESS across repeats. An estimate uses K rows of one column.",
            ),
            Bug(
                "counts draws",
                _counts_samples,
                "K draws are worth at most K effective ones, mostly far fewer: compute the ESS for each K.",
            ),
            Bug("extrapolated", _last_row, "ESS does not grow in proportion to K. Try K = 1, 2, 3, ... in turn."),
        ],
        general_hint="Loop over K = 1, 2, ...; take effective_sample_size(log_w[:K]).mean(); return the first K that reaches the target.",
        exact=0.0,
        close=0.0,
        goes_on_with="a loop over K",
    ),
    Exercise(
        "best_reaction",
        2,
        bugs=[
            Bug(
                "below the floor",
                1,
                "The floor of grey pixels is 45.5 nats (lesson 00): 77.3 is above it, so it is not impossible.",
            ),
            Bug(
                "too many samples",
                3,
                "(5.3): on average L_K lies below log p(x) for every K, so its negative is never too good on average.",
            ),
            Bug(
                "grey is easier",
                4,
                "Lesson 03: one model costs more on grey pixels than on binary draws. And the table's models had 3 280 epochs.",
            ),
            Bug("none of them", 0, "Choose one of the four numbers: 1, 2, 3 or 4."),
            Bug("a number of nats", 77.3, "Give the number of the answer (1, 2, 3 or 4), not the nats."),
        ],
        general_hint="Go through the four: the floor of grey pixels, the table, the direction in which L_K errs, the order of the conventions.",
        goes_on_with="answer 2",
    ),
    Exercise(
        "free_bits",
        losses.free_bits,
        cases=[
            ("two images, three dimensions, half a nat", (_KL, 0.5)),
            ("no free bits", (_KL, 0.0)),
            ("more free than used", (_KL, 3.0)),
            ("one image", (_KL[:1], 0.5)),
        ],
        bugs=[
            Bug(
                "maximum before the mean",
                lambda kl, m: kl.clamp(min=m).mean(0).sum(),
                "You take the maximum for each image. (5.11) takes the mean over the batch first: kl_per_dim.mean(0).",
            ),
            Bug(
                "maximum of the sum",
                lambda kl, m: kl.mean(0).sum().clamp(min=m),
                "You compare the total KL with one lambda. Each dimension has its own: maximum first, sum afterwards.",
            ),
            Bug(
                "all dimensions share",
                lambda kl, m: kl.mean(0).sum().clamp(min=m * kl.shape[1]),
                "You compare the total with d times lambda: a busy dimension then pays for an empty one. Take the maximum for each.",
            ),
            Bug(
                "minimum",
                lambda kl, m: kl.mean(0).clamp(max=m).sum(),
                "clamp(max=...) is a minimum: it makes used dimensions cheap. You need max(lambda, KL_j): clamp(min=...).",
            ),
            Bug(
                "subtracted",
                lambda kl, m: (kl.mean(0) - m).clamp(min=0).sum(),
                "You subtract lambda and cut at 0: the same gradient, but not the value of (5.11): d lambda is missing.",
            ),
            Bug(
                "added",
                lambda kl, m: (kl.mean(0) + m).sum(),
                "You add lambda to every dimension; that changes no gradient at all. Take the maximum of the two.",
            ),
            Bug(
                "sum over the batch",
                lambda kl, m: kl.sum(0).clamp(min=m).sum(),
                "You summed over the images. KL_j is the mean over the batch.",
            ),
            Bug(
                "mean over dimensions",
                lambda kl, m: kl.mean(0).clamp(min=m).mean(),
                "The last step is a sum over the dimensions, not a mean.",
            ),
            Bug(
                "wrong axis",
                lambda kl, m: kl.mean(1).clamp(min=m).sum(),
                "You averaged over the dimensions (axis 1). The batch is axis 0.",
            ),
            Bug(
                "not summed",
                lambda kl, m: kl.mean(0).clamp(min=m),
                "One number per dimension came back: sum them.",
            ),
            Bug("no free bits", lambda kl, m: kl.mean(0).sum(), "The minimum is not used: that is the plain KL."),
        ],
        general_hint="Mean over the batch, maximum with lambda for each dimension, sum over the dimensions, in this order.",
        goes_on_with="vae_helpers.losses.free_bits",
    ),
]
