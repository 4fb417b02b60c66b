"""Checks of lesson 08: Bayes' rule with a prior, the source's rule in one pass, a rule that does better, a mixture, and what a label is worth."""

import math
from functools import lru_cache

import torch
from torch import Tensor

from vae_helpers import losses, paths
from vae_helpers.checkpoints import load
from vae_helpers.checks.exercise import Bug, Exercise
from vae_helpers.models import VAE

# images that the model drew itself, ten labels in turn; what a better rule must gain on them
HIDDEN, GAIN = 500, 0.02


# ---------------------------------------------------------------- all labels in one pass


def _repeated(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Each image once for every label: (N, D) -> (N * C, D), (N * C,)."""
    return x.repeat_interleave(model.num_classes, 0), torch.arange(model.num_classes).repeat(len(x))


def _costs(model, x, eps=None, *, scale=0.5, labels=None, decoder_label=None, logits=lambda a: a):
    """(rec, kl) under every label, each (N, C); eps (N, C, d), none for the posterior mean."""
    many, y = _repeated(model, x)
    y = y if labels is None else labels
    q = model.encode(many, y)
    z = (
        q.mu
        if eps is None
        else q.mu + torch.exp(scale * q.log_var) * eps.expand(len(x), model.num_classes, -1).flatten(0, 1)
    )
    rec = losses.bernoulli_nll(logits(model.decode(z, y if decoder_label is None else decoder_label(y))), many)
    shape = (len(x), model.num_classes)
    return rec.view(shape), losses.gaussian_kl(*q).view(shape)


def reconstruction_scores(model: VAE, x: Tensor, eps: Tensor) -> Tensor:
    """log p(x|z, y) at z = mu + sigma * eps under every label: (N, D), (N, C, d) -> (N, C)."""
    return -_costs(model, x, eps)[0]


def plug_in_scores(model: VAE, x: Tensor) -> Tensor:
    """-(rec + kl) at z = mu under every label, with gradients: (N, D) -> (N, C)."""
    rec, kl = _costs(model, x)
    return -(rec + kl)


def _draws(model: VAE, x: Tensor, count: int = 1) -> list[Tensor]:
    return [torch.randn(len(x), model.num_classes, model.latent_dim) for _ in range(count)]


def _one_draw_of_the_elbo(model, x):
    rec, kl = _costs(model, x, _draws(model, x)[0])
    return -(rec + kl)


def _signed(a, b):
    """-(a rec + b kl) at the mean."""

    def scores(model, x):
        rec, kl = _costs(model, x)
        return -(a(rec, model) + b(kl, model))

    return scores


def _whole(cost, model):
    return cost


# ---------------------------------------------------------------- the judge of `better_scores`


@lru_cache(1)
def _hidden() -> tuple[VAE, Tensor, Tensor]:
    """The shipped model with 20 latent dimensions, mean images that it decodes from its prior, and the labels it was given."""
    model = load(paths.CHECKPOINTS / "cvae-20d.safetensors").model.eval()
    y = torch.arange(HIDDEN) % 10
    return model, model.sample(HIDDEN, y, generator=torch.Generator().manual_seed(3)), y


def _judge(answer) -> tuple[bool, str]:
    model, x, y = _hidden()
    with torch.no_grad():
        given = float((_costs(model, x)[0].argmin(1) == y).double().mean())
        scores = torch.as_tensor(answer(model, x.clone()))
    if scores.shape != (HIDDEN, 10):
        return (
            False,
            f"the result has shape {tuple(scores.shape)}, expected ({HIDDEN}, 10): one score for each image and label",
        )
    if scores.isnan().any():
        return False, "some scores are NaN"
    yours = float((scores.argmax(1) == y).double().mean())
    if yours >= given + GAIN - 1e-9:
        return True, f"at least {round(100 * GAIN)} points better than the given rule on {HIDDEN} hidden images."
    return False, f"{yours:.1%} of {HIDDEN} hidden images are right, by the given rule {given:.1%}."


# ---------------------------------------------------------------- fixtures


def _network(seed: int) -> VAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VAE(2, (5,), (5,), num_classes=3, pixels=6).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2)
    return model


_TINY = _network(0)
_X = torch.tensor([[0.0, 1.0, 0.3, 0.0, 1.0, 0.6], [1.0, 0.0, 0.8, 0.2, 0.0, 0.9]])
_EPS = torch.tensor([[[0.5, -1.0], [1.5, 0.2], [-0.7, 0.4]], [[-1.2, 0.1], [0.3, 2.0], [0.9, -0.6]]])

_LIKELIHOODS = torch.tensor([[-100.0, -101.0, -103.0], [-90.0, -89.5, -95.0]])
_UNEVEN = torch.tensor([0.7, 0.1, 0.2]).log()
_EVEN = torch.full((3,), 1 / 3).log()
_FAR = torch.tensor([[-1000.0, -1001.0, -1400.0], [-2000.0, -2000.0, -2000.0]])


def _log_posterior(log_px_y, log_prior):
    return (log_px_y + log_prior).log_softmax(1)


def _log_marginal(log_px_y, log_prior):
    return torch.logsumexp(log_px_y + log_prior, 1)


_BAYES_CASES = [
    ("three labels, unequal priors", (_LIKELIHOODS, _UNEVEN)),
    ("three labels, equal priors", (_LIKELIHOODS, _EVEN)),
    ("log-likelihoods of -1000", (_FAR, _UNEVEN)),
]

EXERCISES = [
    Exercise(
        "log_posterior",
        _log_posterior,
        cases=_BAYES_CASES,
        bugs=[
            Bug(
                "no prior",
                lambda s, p: s.log_softmax(1),
                "Your answer does not depend on log p(y). Add it before you normalise.",
            ),
            Bug(
                "prior not a logarithm",
                lambda s, p: (s + p.exp()).log_softmax(1),
                "You add p(y) to a logarithm. log_prior holds the logarithms already: add it as it is.",
            ),
            Bug(
                "times the prior",
                lambda s, p: (s * p.exp()).log_softmax(1),
                "A product of probabilities is a sum of logarithms: do not multiply log p(x|y) by p(y).",
            ),
            Bug(
                "prior subtracted",
                lambda s, p: (s - p).log_softmax(1),
                "The sign of the prior is wrong: as it stands a rare label gains by being rare.",
            ),
            Bug(
                "the joint",
                lambda s, p: s + p,
                "That is log p(x, y): right for an argmax, but its exp does not sum to 1 over the labels. Divide by p(x).",
            ),
            Bug(
                "normalised over images",
                lambda s, p: (s + p).log_softmax(0),
                "You normalise over the images. The labels lie along axis 1.",
            ),
            Bug(
                "exponentials underflow",
                lambda s, p: torch.log((s + p).exp() / (s + p).exp().sum(1, keepdim=True)),
                "exp(-1000) is 0 in a float, so you divide 0 by 0. Stay with logarithms: torch.logsumexp or log_softmax.",
            ),
            Bug(
                "probabilities",
                lambda s, p: (s + p).softmax(1),
                "Those are the probabilities. The lesson wants their logarithms, which stay exact where a probability rounds to 0.",
            ),
            Bug(
                "prior added afterwards",
                lambda s, p: s.log_softmax(1) + p,
                "You normalise first and add the prior afterwards, so the rows no longer sum to 1. Turn the two steps round.",
            ),
        ],
        general_hint="log p(y|x) = log p(x|y) + log p(y) - log p(x), and the exponentials of a row sum to 1.",
        exact=1e-4,  # float32 at -1000
        goes_on_with="(log_px_y + log_prior).log_softmax(1)",
    ),
    Exercise(
        "reconstruction_scores",
        reconstruction_scores,
        cases=[
            ("two images, three labels", (_TINY, _X, _EPS)),
            ("no noise", (_TINY, _X, torch.zeros(2, 3, 2))),
            ("one image", (_network(1), _X[1:], _EPS[:1])),
        ],
        bugs=[
            Bug(
                "cost in place of score",
                lambda m, x, e: _costs(m, x, e)[0],
                "You return the cost. A score is larger where the image is more probable: turn the sign.",
            ),
            Bug(
                "noise left out",
                lambda m, x, e: -_costs(m, x)[0],
                "Your codes are the means. The source draws them: z = mu + sigma * eps.",
            ),
            Bug(
                "variance for standard deviation",
                lambda m, x, e: -_costs(m, x, e, scale=1.0)[0],
                "exp(log_var) is the variance. The noise is scaled by the standard deviation, exp(log_var / 2).",
            ),
            Bug(
                "kl included",
                lambda m, x, e: -sum(_costs(m, x, e)),
                "You subtract kl as well. That is the better rule, and the next exercise; here the source's own rule is wanted.",
            ),
            Bug(
                "mean over pixels",
                lambda m, x, e: -_costs(m, x, e)[0] / x.shape[1],
                "You average over the pixels. log p(x|z, y) is their sum.",
            ),
            Bug(
                "both repeated alike",
                lambda m, x, e: -_costs(m, x, e, labels=torch.arange(m.num_classes).repeat_interleave(len(x)))[0],
                "Images and labels are paired up wrongly: with x.repeat_interleave(C, 0) the labels must go 0, 1, 2, 0, 1, 2, ….",
            ),
            Bug(
                "label missing in the decoder",
                lambda m, x, e: -_costs(m, x, e, decoder_label=torch.zeros_like)[0],
                "Your decoder gets the same label for all columns. Pass it the y that the encoder got.",
            ),
            Bug(
                "one noise for all labels",
                lambda m, x, e: -_costs(m, x, e[:, :1])[0],
                "Each label has noise of its own, eps[n, y]. You use that of the first label for all of them.",
            ),
            Bug(
                "sigmoid twice",
                lambda m, x, e: -_costs(m, x, e, logits=torch.sigmoid)[0],
                "model.decode returns logits, and losses.bernoulli_nll wants logits: no sigmoid between them.",
            ),
            Bug(
                "transposed",
                lambda m, x, e: -_costs(m, x, e)[0].T,
                "Rows are images and columns are labels: your table is transposed.",
            ),
            Bug(
                "the answers",
                lambda m, x, e: _costs(m, x, e)[0].argmin(1),
                "Return the scores themselves, (N, C); the argmax comes later.",
            ),
        ],
        general_hint="Row n, column y must be -losses.bernoulli_nll(model.decode(z, y), x[n]) for z = mu + sigma * eps[n, y].",
        goes_on_with="the package's answer",
    ),
    Exercise(
        "better_scores",
        plug_in_scores,
        cases=[("two images, three labels", (_TINY, _X)), ("one image", (_network(1), _X[1:]))],
        judge=_judge,
        bugs=[
            Bug(
                "the given rule",
                _signed(_whole, lambda kl, m: 0 * kl),
                "That is the given rule: it looks at rec alone. What did the code cost under each label?",
            ),
            Bug(
                "kl rewarded",
                _signed(_whole, lambda kl, m: -kl),
                "Your score grows with kl. Both rec and kl are costs, and the score is minus their sum.",
            ),
            Bug(
                "cost in place of score",
                _signed(lambda rec, m: -rec, lambda kl, m: -kl),
                "You return a cost, so the argmax takes the least probable label: turn the sign.",
            ),
            Bug(
                "kl averaged over dimensions",
                _signed(_whole, lambda kl, m: kl / m.latent_dim),
                "kl is a sum over the latent dimensions. As their mean it weighs twenty times too little.",
            ),
            Bug(
                "rec averaged over pixels",
                _signed(lambda rec, m: rec / m.pixels, _whole),
                "rec is a sum over the pixels. As their mean it says next to nothing beside kl.",
            ),
            Bug(
                "kl alone",
                _signed(lambda rec, m: 0 * rec, _whole),
                "You look at kl alone. A code that is cheap and redraws the image badly is no good either.",
            ),
            Bug(
                "one draw of the ELBO",
                _one_draw_of_the_elbo,
                "The right formula, from one draw of z: its noise is as large as the differences between labels. Lower the noise.",
            ),
            Bug(
                "reconstruction, ten draws",
                lambda m, x: -torch.stack([_costs(m, x, e)[0] for e in _draws(m, x, 10)]).mean(0),
                "More draws of rec make a noisier rule better, not the rule itself: the cost of the code is still missing.",
            ),
        ],
        general_hint="Under each label y: rec + kl at z = mu, with kl = losses.gaussian_kl(mu, log_var); the score is minus that.",
        goes_on_with="minus (rec + kl) at the posterior mean",
    ),
    Exercise(
        "log_marginal",
        _log_marginal,
        cases=[*_BAYES_CASES, ("all labels equally likely", (torch.full((1, 3), -50.0), _UNEVEN))],
        bugs=[
            Bug(
                "no prior",
                lambda s, p: torch.logsumexp(s, 1),
                "Where every label gives the image probability 0.001, the mixture must give 0.001 as well. Where are the shares p(y)?",
            ),
            Bug(
                "mean of the logarithms",
                lambda s, p: (s * p.exp()).sum(1),
                "That is the mean of log p(x|y), a lower bound by Jensen's inequality. The mean belongs inside the logarithm.",
            ),
            Bug(
                "the best label alone",
                lambda s, p: s.max(1).values,
                "That is the best label alone, as if its prior were 1. A mixture adds up all labels, each with its share.",
            ),
            Bug(
                "always equal priors",
                lambda s, p: torch.logsumexp(s, 1) - math.log(s.shape[1]),
                "Right for equal priors only: use log_prior, which may be uneven.",
            ),
            Bug(
                "over the images",
                lambda s, p: torch.logsumexp(s + p, 0),
                "You sum over the images. One number for each image: sum over the labels, axis 1.",
            ),
            Bug(
                "prior not a logarithm",
                lambda s, p: torch.logsumexp(s + p.exp(), 1),
                "Inside the logsumexp stands the logarithm of p(x|y) p(y): add log_prior, not the prior.",
            ),
            Bug(
                "prior subtracted",
                lambda s, p: torch.logsumexp(s - p, 1),
                "You divide by the prior. A mixture weights each label *with* its share.",
            ),
            Bug(
                "exponentials underflow",
                lambda s, p: torch.log((s + p).exp().sum(1)),
                "exp(-1000) is 0 in a float, and its logarithm minus infinity. torch.logsumexp avoids that.",
            ),
        ],
        general_hint="(8.5): a sum over labels of p(y) p(x|y), computed as a logsumexp of logarithms.",
        exact=1e-4,
        goes_on_with="torch.logsumexp(log_px_y + log_prior, dim=1)",
    ),
    Exercise(
        "most_a_label_tells",
        math.log(10),
        bugs=[
            Bug("bits", math.log2(10), "That is in bits. In nats the logarithm is the natural one."),
            Bug("ten", 10.0, "10 is by how much the *probability* can grow. A gain in log p is its logarithm."),
            Bug(
                "one tenth",
                0.1,
                "That is the prior of a label. By which factor can p(x|y) exceed the mixture, and what is its log?",
            ),
            Bug(
                "negative", -math.log(10), "That is log p(y). The gain is how far log p(x|y) can lie *above* log p(x)."
            ),
            Bug("a coin", math.log(2), "There are ten labels, not two."),
            Bug(
                "hundreds",
                100.0,
                "log p(x) itself is about -100, but how far can one part of a mixture of ten lie above the mixture?",
            ),
            Bug("decades", 1.0, "In decimal logarithms, yes. The course counts in nats."),
        ],
        general_hint="p(x) is at least its largest term, p(x|y)/10. Take logarithms.",
        goes_on_with="log 10",
    ),
]
