"""A prior that is learned: an invertible map between codes and a standard Gaussian, whose density is exact."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_helpers import losses

STEEPEST = 2.0  # |log scale| of one layer stays below this, so that no direction can collapse


class Coupling(nn.Module):
    """One invertible layer: half of the numbers, by a network of the other half, are scaled and shifted; a fixed shuffle comes first."""

    def __init__(self, d: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.kept = d // 2
        self.register_buffer("order", torch.randperm(d, generator=torch.Generator().manual_seed(seed)))
        self.layers = nn.ModuleList([nn.Linear(self.kept, hidden), nn.Linear(hidden, hidden)])
        self.out = nn.Linear(hidden, 2 * (d - self.kept))
        nn.init.zeros_(self.out.weight)  # the map begins as the identity: the prior begins as N(0, I)
        nn.init.zeros_(self.out.bias)

    def _shift_and_log_scale(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        h = kept
        for layer in self.layers:
            h = F.silu(layer(h))
        shift, s = self.out(h).to(kept.dtype).chunk(2, -1)
        return shift, STEEPEST * torch.tanh(s / STEEPEST)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (..., d) -> u (..., d) and log |det du/dz| (...)."""
        kept, moved = z[..., self.order].tensor_split([self.kept], -1)
        shift, log_scale = self._shift_and_log_scale(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], -1), log_scale.sum(-1)

    def inverse(self, u: Tensor) -> Tensor:
        """u (..., d) -> the z that `forward` maps to it."""
        kept, moved = u.tensor_split([self.kept], -1)
        shift, log_scale = self._shift_and_log_scale(kept)
        return torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], -1)[..., self.order.argsort()]


class FlowPrior(nn.Module):
    """p(z) = N(f(z); 0, I) |det df/dz| with f a chain of couplings. Source: Dinh, Sohl-Dickstein & Bengio (2017), eqs. 2, 6 and 7."""

    def __init__(self, d: int, couplings: int, hidden: int = 100) -> None:
        super().__init__()
        if d < 2:
            raise ValueError(
                f"a flow needs at least two latent dimensions, got {d}: use couplings=0 for the prior N(0, I)"
            )
        self.couplings = nn.ModuleList(Coupling(d, hidden, seed) for seed in range(couplings))

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), (..., d) -> (...), in nats."""
        u, log_det = z, torch.zeros_like(z[..., 0])
        for coupling in self.couplings:
            u, more = coupling(u)
            log_det = log_det + more
        return losses.gaussian_log_prob(u) + log_det

    def transform(self, u: Tensor) -> Tensor:
        """u ~ N(0, I) -> z ~ p(z), (..., d) -> (..., d)."""
        for coupling in reversed(self.couplings):
            u = coupling.inverse(u)
        return u
