"""First weights that save a network its first epochs: a decoder that begins at the mean image, and layers that keep the signal's size."""

import torch
from torch import nn

from vae_helpers.images import ImageSet
from vae_helpers.models import VAE


@torch.no_grad()
def start_from(model: VAE, images: ImageSet, *, seed: int = 0) -> VAE:
    """Draw the first weights of `model` anew, in place, and start its output at the mean of the training images; returns the model.

    Hidden layers are drawn by He et al. (2015), "Delving deep into rectifiers", eq. 10: N(0, 2 / inputs); the three layers that end a
    network, mu, log_var and the output, are smaller; biases are 0. The output's bias is the pixel's mean, as a logit where the decoder
    returns logits: before the first step the model knows what "mean image" scores (lesson 00).
    """
    generator = torch.Generator().manual_seed(seed)
    ends = {model.encoder.mu: 1.0, model.encoder.log_var: 0.01, model.decoder.out: 1.0}
    for layer in [*model.encoder.modules(), *model.decoder.modules()]:
        if isinstance(layer, nn.Linear):
            width = ends.get(layer, 2**0.5)
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * width / layer.in_features**0.5)
            layer.bias.zero_()
    mean = images.images.flatten(1).double().mean(0).float()
    mean = mean if images.images.is_floating_point() else mean / 255
    if model.likelihood in ("bernoulli", "continuous_bernoulli") or model.sigmoid_mean:
        mean = torch.logit(mean, eps=1e-3)
    model.decoder.out.bias.copy_(mean)
    return model


@torch.no_grad()
def start_codes_at(model: VAE, log_var: float) -> VAE:
    """Let every code begin with about this log-variance, in place: narrow ones keep images apart from the first step on; returns the model."""
    model.encoder.log_var.bias.fill_(log_var)
    return model
