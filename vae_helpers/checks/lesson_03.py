"""Checks of lesson 03: the loss per image, the average over images, the printout that is 64 times too large, and two predictions."""

import torch
from torch.nn import functional as F

from vae_helpers import losses
from vae_helpers.checks.exercise import Bug, Exercise
from vae_helpers.data import Batch


def _reference(logits, x, mu, log_var):
    return tuple(losses.negative_elbo(logits, x, mu, log_var))


def _rec(logits, x):
    return losses.bernoulli_nll(logits, x)


def _kl(mu, log_var):
    return losses.gaussian_kl(mu, log_var)


_X = torch.tensor([[0.0, 1.0, 0.3], [1.0, 0.0, 0.8]])
_LOGITS = torch.tensor([[-2.0, 1.5, 0.1], [3.0, -0.5, 0.7]])
_MU, _LOG_VAR = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[-1.0, 0.3], [0.0, -2.0]])

_PARTS = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0]), torch.tensor([13.0])]
_BATCH = Batch(torch.zeros(128, 784), torch.zeros(128, dtype=torch.long))

EXERCISES = [
    Exercise(
        "negative_elbo",
        _reference,
        cases=[
            ("two images", (_LOGITS, _X, _MU, _LOG_VAR)),
            ("a code equal to the prior", (_LOGITS, _X, torch.zeros(2, 2), torch.zeros(2, 2))),
            (
                "logits of 200",
                (torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 0.0]]), torch.zeros(1, 1), torch.zeros(1, 1)),
            ),
        ],
        bugs=[
            Bug(
                "kl without its 1",
                lambda o, x, m, v: (_rec(o, x), _kl(m, v) + 0.5 * m.shape[1]),
                "kl must be 0 when mu = 0 and log_var = 0. Yours is d/2 too large: the -1 inside the sum is missing.",
            ),
            Bug(
                "mean over pixels",
                lambda o, x, m, v: (_rec(o, x) / x.shape[1], _kl(m, v)),
                'rec is a mean over pixels. Use reduction="none" and .sum(1): log-likelihoods of independent pixels add up.',
            ),
            Bug(
                "mean over latent dimensions",
                lambda o, x, m, v: (_rec(o, x), _kl(m, v) / m.shape[1]),
                "kl is a mean over latent dimensions. It must be their sum: .sum(1).",
            ),
            Bug(
                "summed over the batch",
                lambda o, x, m, v: (_rec(o, x).sum(), _kl(m, v).sum()),
                "One number for the whole batch came back. Keep one per image: sum over axis 1 only.",
            ),
            Bug(
                "averaged over the batch",
                lambda o, x, m, v: (_rec(o, x).mean(), _kl(m, v).mean()),
                "You averaged over the batch. Keep one number per image; the training loop takes the mean.",
            ),
            Bug(
                "kl negative",
                lambda o, x, m, v: (_rec(o, x), -_kl(m, v)),
                "Your kl is negative. kl is a cost: turn its sign.",
            ),
            Bug(
                "rec negative",
                lambda o, x, m, v: (-_rec(o, x), _kl(m, v)),
                "rec is minus the log-likelihood, a cost: turn its sign.",
            ),
            Bug(
                "log_var taken for the variance",
                lambda o, x, m, v: (_rec(o, x), 0.5 * (m**2 + v - 1 - v.abs().log().nan_to_num(neginf=0)).sum(1)),
                "log_var is the logarithm of the variance: sigma^2 is log_var.exp(), and log sigma^2 is log_var itself.",
            ),
            Bug(
                "log_var taken for log sigma",
                lambda o, x, m, v: (_rec(o, x), 0.5 * (m**2 + (2 * v).exp() - 1 - 2 * v).sum(1)),
                "You treat log_var as log sigma. It is log sigma^2, so sigma^2 is log_var.exp().",
            ),
            Bug(
                "kl without 1/2",
                lambda o, x, m, v: (_rec(o, x), 2 * _kl(m, v)),
                "kl is twice too large: the factor 1/2 in (3.3) is missing.",
            ),
            Bug(
                "mu not squared",
                lambda o, x, m, v: (_rec(o, x), 0.5 * (m + v.exp() - 1 - v).sum(1)),
                "mu enters squared: mu**2.",
            ),
            Bug(
                "swapped",
                lambda o, x, m, v: (_kl(m, v), _rec(o, x)),
                "The two halves are swapped: return rec first, then kl.",
            ),
            Bug(
                "images taken for logits",
                lambda o, x, m, v: (F.binary_cross_entropy_with_logits(x, o, reduction="none").sum(1), _kl(m, v)),
                "The arguments of the cross-entropy are swapped: logits first, then the images.",
            ),
            Bug(
                "sigmoid twice",
                lambda o, x, m, v: (_rec(torch.sigmoid(o), x), _kl(m, v)),
                "You applied a sigmoid and then a loss that takes logits: the sigmoid is in there already.",
            ),
            Bug(
                "probabilities, clamped",
                lambda o, x, m, v: (F.binary_cross_entropy(torch.sigmoid(o), x, reduction="none").sum(1), _kl(m, v)),
                "Right in theory, clipped at 100 in practice: use F.binary_cross_entropy_with_logits on the logits (section 3).",
            ),
            Bug(
                "squared error",
                lambda o, x, m, v: (((torch.sigmoid(o) - x) ** 2).sum(1), _kl(m, v)),
                "That is a squared error, the loss of another likelihood (lesson 04). Rec in (3.3) is a cross-entropy.",
            ),
        ],
        general_hint="Compare with (3.3) term by term; kl must be 0 for mu = 0, log_var = 0; both results have shape (batch,).",
        goes_on_with="vae_helpers.losses.negative_elbo",
    ),
    Exercise(
        "mean_over_images",
        lambda parts: torch.cat(parts).mean(),
        cases=[("batches of 3, 3 and 1", (_PARTS,)), ("one batch", ([torch.tensor([1.0, 5.0])],))],
        bugs=[
            Bug(
                "mean of means",
                lambda parts: torch.stack([p.mean() for p in parts]).mean(),
                "That is the mean of batch means: the one image of the short batch counts three times. Put all images together first.",
            ),
            Bug("sum", lambda parts: torch.cat(parts).sum(), "That is the sum. Divide by the number of images."),
            Bug(
                "divided by batches",
                lambda parts: torch.cat(parts).sum() / len(parts),
                "You divided by the number of batches, not of images.",
            ),
            Bug(
                "full batches assumed",
                lambda parts: torch.cat(parts).sum() / (len(parts) * len(parts[0])),
                "You assumed that all batches are full. The last one is shorter: count the images.",
            ),
            Bug("last batch", lambda parts: parts[-1].mean(), "That is the loss of the last batch alone."),
            Bug("first batch", lambda parts: parts[0].mean(), "That is the loss of the first batch alone."),
            Bug(
                "last batch dropped",
                lambda parts: torch.cat(parts[:-1] or parts).mean(),
                "The last, shorter batch is missing. Every image counts once.",
            ),
        ],
        general_hint="Every image counts once: torch.cat(parts).mean().",
        goes_on_with="torch.cat(parts).mean()",
    ),
    Exercise(
        "loss_per_image",
        lambda batch, summed_loss: summed_loss / len(batch.x),
        cases=[
            ("a batch of 128", (_BATCH, torch.tensor(18473.12))),
            ("a batch of 2", (Batch(_BATCH.x[:2], _BATCH.y[:2]), torch.tensor(300.0))),
        ],
        bugs=[
            Bug(
                "length of the tuple",
                lambda batch, summed_loss: summed_loss / len(batch),
                "len(batch) is 2, since a batch is a pair (x, y). Divide by the number of images, len(batch.x).",
            ),
            Bug(
                "by 784",
                lambda batch, summed_loss: summed_loss / batch.x.shape[1],
                "That divides by the number of pixels. Divide by the images.",
            ),
            Bug(
                "by all numbers",
                lambda batch, summed_loss: summed_loss / batch.x.numel(),
                "That divides by images times pixels.",
            ),
            Bug(
                "128 fixed",
                lambda batch, summed_loss: summed_loss / 128,
                "Not every batch holds 128 images: use len(batch.x).",
            ),
            Bug(
                "not divided",
                lambda batch, summed_loss: summed_loss,
                "The sum over the batch is not yet a loss per image.",
            ),
        ],
        general_hint="Divide by the number of images in the batch, len(batch.x).",
        goes_on_with="summed_loss / len(batch.x)",
    ),
    Exercise(
        "factor",
        1.0,
        bugs=[
            Bug("no change", 0.0, "No change is the factor 1."),
            Bug("doubles", 2.0, "The loss is a mean over images: twice as many images, the same mean."),
            Bug("halves", 0.5, "Both the sum and the number of images double, so their ratio stays."),
            Bug("root", 2**0.5, "The noise of the mean shrinks by that factor; the mean itself stays."),
        ],
        general_hint="The reported loss is a mean over images.",
        goes_on_with="the factor 1",
    ),
    Exercise(
        "beta_of_the_bug",
        784,
        bugs=[
            Bug("the other way", 1 / 784, "Dividing rec by 784 makes kl weigh more, not less."),
            Bug("no change", 1, "Something did change: only one of the two terms was divided."),
            Bug("by the dimensions", 784 / 20, "kl is still a sum over the 20 dimensions here; only rec was averaged."),
            Bug("28", 28, "An image has 28 times 28 pixels."),
            Bug("batch too", 784 * 128, "kl is averaged over the images too; only the mean over pixels is left."),
            Bug(
                "batch size",
                128,
                "The mean over the batch applies to both terms alike; the mean over pixels only to rec.",
            ),
        ],
        general_hint="rec/784 + kl = (rec + 784 kl)/784.",
        goes_on_with="784",
    ),
]
