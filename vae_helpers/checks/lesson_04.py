"""Checks of lesson 04: four densities with their constants, the best sigma_x, a learned sigma_x, and weights that nobody chose."""

import math

import torch
from torch import Tensor

from vae_helpers import losses
from vae_helpers.checks.exercise import Bug, Exercise
from vae_helpers.evaluation import best_sigma_x

_MEAN = torch.tensor([[0.2, 0.9, 0.0, 0.4], [1.1, -0.1, 0.5, 0.5]])
_X = torch.tensor([[0.0, 1.0, 0.25, 0.8], [1.0, 0.0, 0.5, 0.1]])


def _t(value: float) -> Tensor:
    return torch.tensor(value)


_SCALES = [("a scale of 0.7", (_MEAN, _X, _t(0.7))), ("a scale of 0.1", (_MEAN, _X, _t(0.1)))]


def _sse(mean: Tensor, x: Tensor) -> Tensor:
    return ((x - mean) ** 2).sum(-1)


def _l1(mean: Tensor, x: Tensor) -> Tensor:
    return (x - mean).abs().sum(-1)


def _gaussian(mean: Tensor, x: Tensor, s: Tensor) -> Tensor:
    return losses.gaussian_nll(mean, x, s)


def _laplace(mean: Tensor, x: Tensor, b: Tensor) -> Tensor:
    return losses.laplace_nll(mean, x, b)


def _log_c(p: Tensor) -> Tensor:
    return losses.continuous_bernoulli_log_constant(torch.logit(p))


def _learned(mean: Tensor, x: Tensor, log_sigma_x: Tensor) -> Tensor:
    return losses.gaussian_nll(mean, x, log_sigma_x.exp())


_LEARNED_CASES = [("sigma_x = 1", (_MEAN, _X, _t(0.0))), ("sigma_x = 0.2", (_MEAN, _X, _t(math.log(0.2))))]


def _judge_learned(answer) -> tuple[bool, str]:
    """Value and gradient with respect to log_sigma_x, at two values of sigma_x."""
    for where, (mean, x, log_sigma_x) in _LEARNED_CASES:
        theirs, ours = log_sigma_x.clone().requires_grad_(), log_sigma_x.clone().requires_grad_()
        got, want = answer(mean.clone(), x.clone(), theirs), _learned(mean, x, ours)
        if not isinstance(got, Tensor) or got.shape != want.shape:
            return False, f"the result should be a tensor of shape {tuple(want.shape)}, one number per image."
        error = float((got - want).detach().abs().max())
        if not error < 1e-3:
            return False, f"wrong by {error:.3g} nats at {where}."
        if not got.requires_grad:
            return False, "the values are right, but no gradient reaches log_sigma_x."
        got.sum().backward()
        want.sum().backward()
        slope = 0.0 if theirs.grad is None else float(theirs.grad)
        if not abs(slope - float(ours.grad)) < 1e-3 * max(1.0, abs(float(ours.grad))):
            return False, f"the slope in log_sigma_x is {slope:.3g}, expected {float(ours.grad):.3g}, at {where}."
    return True, "value and slope are exact at two values of sigma_x."


_HALF_LOG_2PI = 0.5 * losses.LOG_2PI
_TARGETS = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.4, 0.9]])
_GUESSES = torch.tensor([[0.1, 0.7, 0.5], [0.5, 0.1, 0.4]])

EXERCISES = [
    Exercise(
        "gaussian_nll",
        _gaussian,
        cases=[*_SCALES, ("a perfect guess", (_X, _X, _t(0.5)))],
        bugs=[
            Bug(
                "the squared error alone",
                lambda m, x, s: _sse(m, x),
                "That is the squared error. (4.2) divides it by 2 sigma_x^2 and adds the constant.",
            ),
            Bug(
                "constant dropped",
                lambda m, x, s: _sse(m, x) / (2 * s**2),
                "The constant D/2 log(2 pi sigma_x^2) is missing: without it exp(-nll) does not integrate to 1.",
            ),
            Bug(
                "constant once, not per pixel",
                lambda m, x, s: _sse(m, x) / (2 * s**2) + torch.log(s) + _HALF_LOG_2PI,
                "The constant belongs to every pixel: it is added D times, not once per image.",
            ),
            Bug(
                "variance for standard deviation",
                lambda m, x, s: _sse(m, x) / (2 * s) + x.shape[-1] * (0.5 * torch.log(s) + _HALF_LOG_2PI),
                "You treat sigma_x as a variance. It is a standard deviation: the variance is sigma_x**2.",
            ),
            Bug(
                "without 1/2 before the square",
                lambda m, x, s: _sse(m, x) / s**2 + x.shape[-1] * (torch.log(s) + _HALF_LOG_2PI),
                "The squared error is divided by 2 sigma_x^2; your 2 is missing.",
            ),
            Bug(
                "log sigma^2 without its 1/2",
                lambda m, x, s: _sse(m, x) / (2 * s**2) + x.shape[-1] * (2 * torch.log(s) + _HALF_LOG_2PI),
                "log sigma_x^2 needs the factor 1/2 of (4.2): half of log sigma_x^2 is log sigma_x.",
            ),
            Bug(
                "without 2 pi",
                lambda m, x, s: _sse(m, x) / (2 * s**2) + x.shape[-1] * torch.log(s),
                "The 2 pi under the logarithm is missing: 0.919 nats for each pixel.",
            ),
            Bug(
                "mean over pixels",
                lambda m, x, s: _gaussian(m, x, s) / x.shape[-1],
                "You averaged over pixels. The log-densities of independent pixels add up: .sum(-1).",
            ),
            Bug(
                "averaged over the batch",
                lambda m, x, s: _gaussian(m, x, s).mean(),
                "One number for the whole batch came back. Keep one per image.",
            ),
            Bug(
                "log density",
                lambda m, x, s: -_gaussian(m, x, s),
                "That is the log-density. The loss is minus that.",
            ),
        ],
        general_hint="Compare with (4.2) term by term; both terms are sums over the pixels.",
        goes_on_with="vae_helpers.losses.gaussian_nll",
    ),
    Exercise(
        "laplace_nll",
        _laplace,
        cases=[*_SCALES, ("a perfect guess", (_X, _X, _t(0.5)))],
        bugs=[
            Bug(
                "absolute error alone",
                lambda m, x, b: _l1(m, x),
                "That is the absolute error: no scale, no constant. Its exp(-.) does not integrate to 1.",
            ),
            Bug(
                "constant dropped",
                lambda m, x, b: _l1(m, x) / b,
                "The constant D log(2 b) is missing: you find it from the integral over both sides of the mean.",
            ),
            Bug(
                "one side only",
                lambda m, x, b: _l1(m, x) / b + x.shape[-1] * torch.log(b),
                "The integral of exp(-|r|/b) is 2b, b on each side of the mean. You counted one side.",
            ),
            Bug(
                "constant once, not per pixel",
                lambda m, x, b: _l1(m, x) / b + torch.log(2 * b),
                "log(2 b) is added once for every pixel, D times in all.",
            ),
            Bug(
                "constant subtracted",
                lambda m, x, b: _l1(m, x) / b - x.shape[-1] * torch.log(2 * b),
                "The sign of the constant is turned round: the density is divided by 2b, so its -log gains log(2 b).",
            ),
            Bug(
                "divided by 2b",
                lambda m, x, b: _l1(m, x) / (2 * b) + x.shape[-1] * torch.log(2 * b),
                "The exponent is |r|/b; the 2 belongs to the Gaussian's square.",
            ),
            Bug(
                "squared",
                lambda m, x, b: _sse(m, x) / b + x.shape[-1] * torch.log(2 * b),
                "The Laplace density has the absolute error in its exponent, not the square.",
            ),
            Bug(
                "mean over pixels",
                lambda m, x, b: _laplace(m, x, b) / x.shape[-1],
                "You averaged over pixels where the log-densities must be summed: .sum(-1).",
            ),
            Bug(
                "averaged over the batch",
                lambda m, x, b: _laplace(m, x, b).mean(),
                "One number for the whole batch came back; keep one per image.",
            ),
        ],
        general_hint="Write the density as exp(-|x - m|/b) divided by its integral, 2b; then take minus the logarithm and sum.",
        goes_on_with="vae_helpers.losses.laplace_nll",
    ),
    Exercise(
        "sse_variance",
        0.5,
        bugs=[
            Bug("one", 1.0, "sigma_x^2 = 1 is the variance behind *half* the squared error: look at the 2 in (4.2)."),
            Bug("two", 2.0, "The other way round: 1/(2 sigma_x^2) must be 1, so 2 sigma_x^2 must be 1."),
            Bug("standard deviation", math.sqrt(0.5), "That is sigma_x. The question asks for the variance sigma_x^2."),
            Bug(
                "per pixel",
                392.0,
                "392 is the variance behind the *mean* over 784 pixels. Here the error is summed.",
            ),
            Bug("constant", 784 / 2 * math.log(math.pi), "That is the dropped constant. Asked is the variance."),
            Bug("quarter", 0.25, "Check: 1/(2 * 0.25) is 2. You want the factor before SSE to be 1."),
        ],
        general_hint="Set the factor before SSE in (4.2), 1/(2 sigma_x^2), equal to 1.",
        goes_on_with="one half",
    ),
    Exercise(
        "log_constant",
        _log_c,
        cases=[
            ("p = 0.1, 0.3, 0.9, 0.999", (torch.tensor([0.1, 0.3, 0.9, 0.999], dtype=torch.double),)),
            ("p = 0.5", (torch.tensor([0.5, 0.2], dtype=torch.double),)),
            ("a table", (torch.tensor([[0.25, 0.75], [0.5, 0.01]], dtype=torch.double),)),
        ],
        bugs=[
            Bug(
                "0/0 at one half",
                lambda p: torch.log(torch.logit(p) / (2 * p - 1)),
                "Right everywhere but at p = 1/2, where 0/0 gives nan. The limit there is log 2: use torch.where.",
            ),
            Bug(
                "zero at one half",
                lambda p: torch.log(torch.logit(p) / (2 * p - 1)).nan_to_num(0.0),
                "At p = 1/2 the area is 1/2, so C is 2 and its logarithm log 2, not 0.",
            ),
            Bug(
                "C without its logarithm",
                lambda p: torch.exp(_log_c(p)),
                "That is C itself. The function returns log C.",
            ),
            Bug(
                "the area",
                lambda p: torch.exp(-_log_c(p)),
                "That is the area (2p-1)/logit(p). C is one divided by it, and asked is log C.",
            ),
            Bug(
                "log of the area",
                lambda p: -_log_c(p),
                "That is the logarithm of the area, which is negative. C is one over the area: turn the sign.",
            ),
            Bug(
                "summed",
                lambda p: _log_c(p).sum(-1),
                "Keep one number per pixel here; the sum over pixels comes with the likelihood.",
            ),
            Bug(
                "base 2",
                lambda p: _log_c(p) / math.log(2),
                "That is a logarithm to base 2, in bits. Use the natural one.",
            ),
            Bug(
                "p taken for a logit",
                lambda p: losses.continuous_bernoulli_log_constant(p),
                "The argument p is a probability; you treat it as a logit. torch.logit(p) turns one into the other.",
            ),
        ],
        general_hint="log C = log( logit(p) / (2p - 1) ), with the limit log 2 at p = 1/2; it is never below log 2.",
        goes_on_with="vae_helpers.losses.continuous_bernoulli_log_constant",
    ),
    Exercise(
        "best_sigma",
        best_sigma_x,
        cases=[("two images of 3 pixels", (_GUESSES, _TARGETS)), ("two images of 4 pixels", (_MEAN, _X))],
        bugs=[
            Bug(
                "the variance",
                lambda m, x: ((x - m) ** 2).mean(),
                "That is sigma_x^2. Take the square root: asked is the standard deviation.",
            ),
            Bug(
                "not divided by D",
                lambda m, x: _sse(m, x).mean().sqrt(),
                "SSE is a sum over D pixels: divide it by D before the root.",
            ),
            Bug(
                "half",
                lambda m, x: (((x - m) ** 2).mean() / 2).sqrt(),
                "There is a 2 too many. Differentiate again: D log sigma_x (from half of log sigma_x^2) gives D / sigma_x.",
            ),
            Bug(
                "twice the variance",
                lambda m, x: (2 * ((x - m) ** 2).mean()).sqrt(),
                "There is a 2 too many on top. The derivative of SSE/(2 s^2) is -SSE/s^3: the 2 cancels.",
            ),
            Bug(
                "one per image",
                lambda m, x: ((x - m) ** 2).mean(-1).sqrt(),
                "One sigma_x is shared by all images: average over images as well.",
            ),
            Bug(
                "mean of roots",
                lambda m, x: ((x - m) ** 2).mean(-1).sqrt().mean(),
                "Average first, then take the root: the NLLs of the images add up, not their sigmas.",
            ),
            Bug(
                "absolute error",
                lambda m, x: (x - m).abs().mean(),
                "The mean absolute error is the best scale of a Laplace. The Gaussian wants the root of the mean square.",
            ),
            Bug(
                "standard deviation of the residuals",
                lambda m, x: (x - m).std(),
                ".std() subtracts the mean of the residuals first. An error that all pixels share is an error, too.",
            ),
        ],
        general_hint="Set the derivative of SSE/(2 s^2) + D log s to zero and solve for s; SSE is the mean over images.",
        goes_on_with="vae_helpers.evaluation.best_sigma_x",
    ),
    Exercise(
        "learned_sigma_nll",
        _learned,
        cases=_LEARNED_CASES,
        bugs=[
            Bug(
                "constant dropped",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(2 * ls)),
                "The term that grows with sigma_x is still missing: nothing stops a larger sigma_x from lowering this.",
            ),
            Bug(
                "log sigma once",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(2 * ls)) + ls + _HALF_LOG_2PI,
                "log sigma_x enters once for every pixel: D times. Once per image, sigma_x still grows far too large.",
            ),
            Bug(
                "log sigma^2 without its 1/2",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(2 * ls)) + x.shape[-1] * (2 * ls + _HALF_LOG_2PI),
                "D log sigma_x^2 is twice too much: it is D/2 log sigma_x^2 = D log sigma_x. Your optimum has half the variance.",
            ),
            Bug(
                "log sigma taken for log variance",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(ls)) + x.shape[-1] * (0.5 * ls + _HALF_LOG_2PI),
                "The parameter is log sigma_x, so the variance is exp(2 * log_sigma_x).",
            ),
            Bug(
                "2 pi dropped",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(2 * ls)) + x.shape[-1] * ls,
                "sigma_x is now learned correctly, but D/2 log(2 pi) = 720 nats are missing, so this is no density yet.",
            ),
            Bug(
                "sign of the constant",
                lambda m, x, ls: _sse(m, x) / (2 * torch.exp(2 * ls)) - x.shape[-1] * (ls + _HALF_LOG_2PI),
                "The sign of the constant is turned round: it must grow with sigma_x.",
            ),
            Bug(
                "mean over pixels",
                lambda m, x, ls: _learned(m, x, ls) / x.shape[-1],
                "The mean over pixels weighs kl 784 times too much: sum over them.",
            ),
            Bug(
                "detached",
                lambda m, x, ls: losses.gaussian_nll(m, x, torch.tensor(math.exp(float(ls.detach())))),
                "The value is right, the slope is not: torch.tensor(...), .item() and .detach() cut the gradient. Use log_sigma_x itself.",
            ),
        ],
        judge=_judge_learned,
        general_hint="With sigma_x = exp(log_sigma_x) it is (4.2) again, all of it.",
        goes_on_with="vae_helpers.losses.gaussian_nll(mean, x, log_sigma_x.exp())",
    ),
    Exercise(
        "effective_beta",
        lambda a, b, w: w * a / b,
        cases=[
            ("sums, weight 1", (1, 1, 1.0)),
            ("rec / 784, kl summed", (784, 1, 1.0)),
            ("rec / 784, kl / 20", (784, 20, 1.0)),
            ("rec / 12288, weight 0.00025", (12288, 1, 0.00025)),
        ],
        bugs=[
            Bug(
                "upside down",
                lambda a, b, w: w * b / a,
                "Upside down: dividing rec by a makes kl weigh *more*.",
            ),
            Bug(
                "product",
                lambda a, b, w: w * a * b,
                "Dividing kl by b makes it weigh less, not more.",
            ),
            Bug("weight forgotten", lambda a, b, w: a / b, "The weight that stands before kl is missing."),
            Bug("kl's divisor forgotten", lambda a, b, w: w * a, "kl is divided, too: by kl_divided_by."),
            Bug("rec's divisor forgotten", lambda a, b, w: w / b, "rec is divided, too; pull that factor out of both terms."),
            Bug("weight as it stands", lambda a, b, w: w, "The weight in the code is beta only if both terms are sums."),
        ],
        general_hint="rec/a + w kl/b = (1/a) (rec + beta kl): which beta?",
        goes_on_with="kl_weight * rec_divided_by / kl_divided_by",
    ),
]  # fmt: skip
