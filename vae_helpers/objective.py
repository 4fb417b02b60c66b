"""What one training step minimises: -ELBO of a batch, or the tighter -L_K, in float32 or with bfloat16 matrix products."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae_helpers import losses
from vae_helpers.models import VAE, reparameterize

PRECISIONS = ("float32", "bfloat16")


class Terms(NamedTuple):
    """rec and kl, the halves of -ELBO, each (batch,), in nats.

    kl_per_dim   kl of each latent dimension, (batch, d); None for a learned prior, whose KL does not divide up
    iw           L_K, (batch,); None for K = 1
    """

    rec: Tensor
    kl: Tensor
    kl_per_dim: Tensor | None
    iw: Tensor | None


class Objective(nn.Module):
    """The bound of a batch for given noise: x (batch, 784), labels or None, eps (K, batch, d) -> Terms.

    One code per image (K = 1) gives the ELBO. With more, `rec` is their mean and `iw` is L_K of Burda et al. (2016), eq. 8, which
    training then maximises. "bfloat16" multiplies matrices in bfloat16 and does everything else, sums and logarithms above all, in
    float32: on processors and GPUs that have it, the products take half the time or less.
    """

    def __init__(self, model: VAE, precision: str = "float32") -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, x: Tensor, y: Tensor | None, eps: Tensor) -> Terms:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self._terms(x, y, eps)

    def _terms(self, x: Tensor, y: Tensor | None, eps: Tensor) -> Terms:
        model, draws = self.model, len(eps)
        mu, log_var = model.encode(x, y)
        z = reparameterize(mu, log_var, eps=eps)
        labels = None if y is None else y.repeat(draws)
        output = model.decode(z.flatten(0, 1), labels).unflatten(0, (draws, len(x)))
        rec = losses.reconstruction_nll(output if draws > 1 else output[0], x, model.likelihood, model.sigma_x)
        kl_per_dim = None if model.flow else losses.gaussian_kl_per_dim(mu, log_var, *model.prior(y))
        if draws == 1 and kl_per_dim is not None:
            return Terms(rec, kl_per_dim.sum(-1), kl_per_dim, None)
        log_pz, log_qz = model.log_prior(z, y), losses.gaussian_log_prob(z, mu, log_var)
        kl = (log_qz - log_pz).mean(0) if kl_per_dim is None else kl_per_dim.sum(-1)
        if draws == 1:
            return Terms(rec, kl, None, None)
        return Terms(rec.mean(0), kl, kl_per_dim, losses.iw_bound(losses.log_importance_weights(-rec, log_pz, log_qz)))
