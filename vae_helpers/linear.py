"""The best linear VAE in closed form: what a VAE without hidden layers learns, read off the spectrum of the images' covariance.

With a Gaussian decoder x = Wz + b and fixed sigma_x the optimum is probabilistic PCA (Tipping & Bishop, 1999; Lucas et al., 2019): one
latent dimension for each eigenvalue e_j above sigma_x^2, all others at the prior. (5.10) in lesson 05.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_helpers.images import check_images
from vae_helpers.models import VAE


class Spectrum(NamedTuple):
    """Mean image (D,), eigenvalues (D,) of the covariance from the largest down, eigenvectors (D, D) in columns; float64."""

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor


def spectrum(x: Tensor) -> Spectrum:
    """Principal components of images (N, 784) in [0, 1]; the covariance divides by N, as maximum likelihood does."""
    check_images(x)
    eigenvalues, eigenvectors = torch.linalg.eigh(torch.cov(x.T, correction=0).double())
    return Spectrum(x.mean(0).double(), eigenvalues.flip(0).clamp(min=0), eigenvectors.flip(1))


def posterior_variances(eigenvalues: Tensor, sigma_x: float) -> Tensor:
    """Var_x mu_j = (e_j - sigma_x^2) / e_j of the best linear VAE, 0 where e_j <= sigma_x^2: (d,) -> (d,)."""
    return torch.where(eigenvalues > sigma_x**2, 1 - sigma_x**2 / eigenvalues.clamp(min=1e-300), 0.0)


def rate(eigenvalues: Tensor, sigma_x: float) -> Tensor:
    """KL of each dimension of the best linear VAE: 1/2 log(e_j / sigma_x^2), 0 where that is negative; (d,) -> (d,), nats per image."""
    return (0.5 * torch.log(eigenvalues / sigma_x**2)).clamp(min=0)


def negative_log_likelihood(eigenvalues: Tensor, latent_dim: int, sigma_x: float) -> float:
    """-log p(x) of the best linear VAE, mean over the images whose spectrum this is, nats of density per image. No bound: exact."""
    modelled = eigenvalues.clone()
    modelled[latent_dim:] = 0
    modelled = modelled.clamp(min=sigma_x**2)
    return float(0.5 * (math.log(2 * math.pi) + modelled.log() + eigenvalues / modelled).sum())


@torch.no_grad()
def best_linear_vae(components: Spectrum, latent_dim: int, sigma_x: float) -> VAE:
    """A VAE without hidden layers whose weights are the optimum of -ELBO; its q(z|x) is the exact posterior, so ELBO = log p(x)."""
    model = VAE(latent_dim, (), (), likelihood="gaussian", sigma_x=sigma_x)
    # below sigma_x^2 a dimension is not worth its price: its weights become 0, its q the prior
    kept = components.eigenvalues[:latent_dim].clamp(min=sigma_x**2)
    W = components.eigenvectors[:, :latent_dim] * (kept - sigma_x**2).sqrt()
    towards_code = W.T / kept[:, None]  # M^-1 W' / sigma_x^2, for this W
    model.decoder.out.weight.copy_(W)
    model.decoder.out.bias.copy_(components.mean)
    model.encoder.mu.weight.copy_(towards_code)
    model.encoder.mu.bias.copy_(-towards_code @ components.mean)
    model.encoder.log_var.weight.zero_()
    model.encoder.log_var.bias.copy_(torch.log(sigma_x**2 / kept))
    return model.eval()
