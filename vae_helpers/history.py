"""The record of a training run: one row an epoch, and what the run needs to go on."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from torch import Tensor


@dataclass
class Epoch:
    """One row of a history; rec, kl and loss are nats per image, averaged over the images seen; val_… are held-out, or None."""

    epoch: int
    rec: float
    kl: float
    images_seen: int
    seconds: float
    val_rec: float | None = None
    val_kl: float | None = None

    @property
    def loss(self) -> float:
        """-ELBO on the training images, in nats per image."""
        return self.rec + self.kl

    @property
    def val_loss(self) -> float | None:
        """-ELBO on the held-out images, in nats per image."""
        return None if self.val_rec is None else self.val_rec + self.val_kl


@dataclass
class History:
    """What `fit` returns: one row an epoch, how it was run, and whether it was interrupted.

    `state` is all that a run needs to go on from its last whole epoch, as plain tensors: the weights, Adam's moments, and both
    random generators. It is three times the size of the model; without it (None) a history can still be read and plotted.
    """

    epochs: list[Epoch] = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    interrupted: bool = False
    state: dict[str, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)

    def __getitem__(self, index: int) -> Epoch:
        return self.epochs[index]

    def column(self, name: str) -> list:
        """One column over the epochs: "rec", "kl", "loss", "val_loss", …"""
        return [getattr(row, name) for row in self.epochs]

    def to_json(self) -> dict:
        """Everything but `state`, as JSON can hold it."""
        rows = [asdict(row) for row in self.epochs]
        return {"epochs": rows, "settings": self.settings, "interrupted": self.interrupted}

    @classmethod
    def from_json(cls, stored: dict) -> "History":
        """The inverse of `to_json`."""
        return cls([Epoch(**row) for row in stored["epochs"]], stored["settings"], stored["interrupted"])
