"""How probable a conditional VAE finds an image under each label: four rules, all labels in one batched pass, in nats per image.

A label enters a layer as a one-hot vector, so its share of the layer is one column of the weights, added after one matrix product that
all labels have in common. A test holds this against the loop over images and labels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_helpers import losses
from vae_helpers.evaluation import log_prob_of_images
from vae_helpers.models import VAE, Gaussian, _check_choice, _clamped

RULES = ("reconstruction", "elbo", "plug-in", "importance-weighted")


@torch.no_grad()
def label_scores(
    model: VAE, x: Tensor, *, rule: str = "plug-in", samples: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """log p̂(x|y) under every label: images (batch, D) -> (batch, num_classes), in nats per image.

    rule "reconstruction"       E[log p(x|z, y)] from `samples` codes, or at the posterior mean where that is 0. No bound on log p(x|y):
                                without the KL, a code that the prior finds absurd costs nothing (E45)
         "elbo"                 the ELBO from `samples` codes: a bound on average, and noisy
         "plug-in"              the ELBO's formula at z = mu: no bound, but no noise either, and one code only
         "importance-weighted"  L_K with K = `samples`, Burda et al. (2016), eq. 8: the tightest, at K times the work

    The noise is drawn as one tensor (batch, samples, labels, d), with one label only where the encoder does not see it: then all
    labels share their codes. Inside `torch.autocast("cpu", torch.bfloat16)` the layers take half the time and a score moves by a
    tenth of a nat or so; what is summed over pixels keeps the precision of x. Raises ValueError for another rule or number of samples, and for a model without labels.
    """
    check_rule(rule, samples)
    check_conditional(model)
    q = _posteriors(model, x)
    prior = model.prior(torch.arange(model.num_classes) if "prior" in model.label_in else None)
    mu, log_var = q.mu[:, None], q.log_var[:, None]  # (batch, 1, labels, d): codes come before labels
    z = mu
    if draws_noise(rule, samples):
        shape = (len(x), samples, *q.mu.shape[1:])
        z = mu + torch.exp(0.5 * log_var) * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
    log_px_z = _log_px_z(model, z, x)
    if rule == "importance-weighted":
        log_pz, log_qz = losses.gaussian_log_prob(z, *prior), losses.gaussian_log_prob(z, mu, log_var)
        scores = losses.iw_bound(losses.log_importance_weights(log_px_z, log_pz, log_qz).movedim(1, 0))
    else:
        scores = log_px_z.mean(1)
        if rule != "reconstruction":
            scores = scores - losses.gaussian_kl(q.mu, q.log_var, *prior)
    return scores.expand(len(x), model.num_classes)


def check_rule(rule: str, samples: int) -> None:
    """Raise ValueError for a rule that does not exist, and for a number of codes that it cannot use."""
    _check_choice("rule", rule, RULES)
    lowest = 0 if rule in ("reconstruction", "plug-in") else 1
    if isinstance(samples, bool) or int(samples) != samples or samples < lowest:
        fix = "for the ELBO at the mean use rule='plug-in'" if rule == "elbo" and samples == 0 else "try 1"
        raise ValueError(f"rule={rule!r} needs a whole number of samples of at least {lowest}, got {samples}: {fix}")


def draws_noise(rule: str, samples: int) -> bool:
    """Whether two calls of one rule differ."""
    return rule != "plug-in" and samples > 0


def check_conditional(model: VAE) -> None:
    """Raise ValueError for a model without labels."""
    if not getattr(model, "num_classes", 0):
        raise ValueError("this model knows no labels: train a conditional one, VAE(..., num_classes=10)")


def _posteriors(model: VAE, x: Tensor) -> Gaussian:
    """q(z|x, y) of every label, (batch, labels, d); one label stands for all where the encoder does not see it."""
    encoder = model.encoder
    mu, log_var = _run(encoder.body, (encoder.mu, encoder.log_var), x[:, None])
    return Gaussian(mu.to(x), _clamped(log_var.to(x)))


def _run(body: nn.Sequential, heads: tuple[nn.Linear, ...], features: Tensor) -> list[Tensor]:
    """What the heads return under every label: features (..., 1 or labels, n) -> (..., 1 or labels, outputs) each."""
    if not len(body):
        return [_first_layer(head, features) for head in heads]
    first, *others = body
    h = _first_layer(first, features)
    for layer in others:
        h = layer(h)
    return [head(h) for head in heads]


def _first_layer(layer: nn.Linear, features: Tensor) -> Tensor:
    """W [features, e_y] + b for all y: one product with the columns that read the features, plus each label's own column."""
    n = features.shape[-1]
    shared = F.linear(features, layer.weight[:, :n], layer.bias)
    return shared + layer.weight[:, n:].T if layer.in_features > n else shared


def _log_px_z(model: VAE, z: Tensor, x: Tensor) -> Tensor:
    """log p(x|z, y): codes (batch, K, 1 or labels, d), images (batch, D) -> (batch, K, 1 or labels), in nats."""
    (output,) = _run(model.decoder.body, (model.decoder.out,), z)
    with torch.autocast(x.device.type, enabled=False):
        output = output.to(x)
        means = torch.sigmoid(output) if model.sigmoid_mean else output
        return log_prob_of_images(model, means.flatten(1, 2), x).view(output.shape[:-1])
