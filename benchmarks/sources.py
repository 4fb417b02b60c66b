"""The five source tutorials' own training steps, written anew from their description, so that our speed has something to be held against.

Data by torchvision, one image at a time through PIL and ToTensor; probabilities and `F.binary_cross_entropy`, or the squared error; Adam
at 1e-3; `loss.item()` after each step. Their mistakes stay in: each `loss` is what the source minimises. A test holds each against ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST, VisionDataset
from torchvision.transforms import ToTensor

from vae_helpers.images import ImageSet


class PilMnist(MNIST):
    """torchvision's MNIST over images that are here already: `__getitem__`, PIL and ToTensor are its own, looking for files is not."""

    def __init__(self, images: ImageSet) -> None:
        VisionDataset.__init__(self, root="", transform=ToTensor())
        self.train, self.data, self.targets = images.split == "train", images.images, images.labels


def _mlp(*sizes: int) -> list[nn.Module]:
    """Linear layers with a ReLU after each."""
    return [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]


class SplitVAE(nn.Module):
    """S0: one last layer whose first half is mu and whose second half is log sigma²."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*_mlp(784, 64, 32), nn.Linear(32, 8))
        self.decoder = nn.Sequential(*_mlp(4, 32, 64), nn.Linear(64, 784), nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return self.decoder(z), mu, log_var


class HeadsVAE(nn.Module):
    """S1, S2, S4: a layer for mu and one for log sigma²; with labels, these go one-hot into both networks."""

    def __init__(self, widths: tuple[int, ...], latent: int, *, labels: int = 0, sigmoid: bool = True) -> None:
        super().__init__()
        self.labels = labels
        self.encoder = nn.Sequential(*_mlp(784 + labels, *widths))
        self.mu, self.log_var = nn.Linear(widths[-1], latent), nn.Linear(widths[-1], latent)
        last = [nn.Linear(widths[0], 784), *([nn.Sigmoid()] if sigmoid else [])]
        self.decoder = nn.Sequential(*_mlp(latent + labels, *widths[::-1]), *last)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        one_hot = F.one_hot(y, self.labels).float() if self.labels else None
        h = self.encoder(x if one_hot is None else torch.cat((x, one_hot), dim=1))
        mu, log_var = self.mu(h), self.log_var(h)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(log_var)
        return self.decoder(z if one_hot is None else torch.cat((z, one_hot), dim=1)), mu, log_var


def squared_error_loss(x_hat: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """S4, summed over the batch."""
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return F.mse_loss(x_hat, x, reduction="sum") + kl


def squared_error_loss_without_one(x_hat: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """S0, summed over the batch; its KL lacks the "1 +", which adds two nats an image (E1)."""
    kl = -0.5 * torch.sum(log_var - mu.pow(2) - log_var.exp())
    return F.mse_loss(x_hat, x, reduction="sum") + kl


def cross_entropy_loss(x_hat: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """S2, summed over the batch: probabilities in, so each pixel costs two logarithms."""
    kl = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
    return F.binary_cross_entropy(x_hat, x, reduction="sum") + kl


def mean_cross_entropy_loss(x_hat: Tensor, x: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """S1: the same, per image."""
    return cross_entropy_loss(x_hat, x, mu, log_var) / x.shape[0]


@dataclass(frozen=True)
class Source:
    """One source: its network, its loss (x_hat, x, mu, log_var) -> scalar, and how its loader makes batches."""

    build: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    batch_size: int
    epochs: int
    shuffle: bool = True
    drop_last: bool = False

    def loader(self, images: ImageSet) -> DataLoader:
        """Batches as the source gets them: floats (batch, 1, 28, 28), made one image at a time."""
        return DataLoader(PilMnist(images), self.batch_size, shuffle=self.shuffle, drop_last=self.drop_last)

    def batch_loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The loss of one batch, with noise from the global generator, as the source draws it."""
        x = x.view(-1, 784)
        x_hat, mu, log_var = model(x, y) if getattr(model, "labels", 0) else model(x)
        return self.loss(x_hat, x, mu, log_var)

    def epoch(self, model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> Iterator[float]:
        """The loss of each step, as the source reads it off."""
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = self.batch_loss(model, x, y)
            loss.backward()
            optimizer.step()
            yield loss.item()


SOURCES = {
    "S0": Source(SplitVAE, squared_error_loss_without_one, batch_size=200, epochs=50),
    "S1": Source(lambda: HeadsVAE((256,), 10), mean_cross_entropy_loss, batch_size=128, epochs=150, drop_last=True),
    "S2-VAE": Source(lambda: HeadsVAE((512, 256), 2), cross_entropy_loss, batch_size=128, epochs=15, shuffle=False),
    "S2-CVAE": Source(
        lambda: HeadsVAE((512, 256), 2, labels=10), cross_entropy_loss, batch_size=128, epochs=14, shuffle=False
    ),
    "S4": Source(
        lambda: HeadsVAE((256, 128, 32), 10, sigmoid=False),
        squared_error_loss,
        batch_size=64,
        epochs=10,
        drop_last=True,
    ),
}


def optimizer_of(model: nn.Module) -> torch.optim.Adam:
    """Every source's: Adam at 1e-3 with PyTorch's defaults."""
    return torch.optim.Adam(model.parameters(), lr=1e-3)
