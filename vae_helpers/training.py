"""The one training loop of the course: minimise -ELBO, watch its two halves, survive an interrupt, stop before a NaN spreads."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vae_helpers import losses
from vae_helpers.data import DataError, ImageSet
from vae_helpers.devices import pick_device
from vae_helpers.evaluation import evaluate
from vae_helpers.models import VAE


class TrainingError(RuntimeError):
    """Training cannot go on. The message names epoch, batch and term; the model holds its last good weights."""


@dataclass
class Epoch:
    """One row of a history. rec, kl and loss are nats per image, averaged over the images seen; val_… are held-out, or None."""

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
class TrainingState:
    """All that a run needs to go on, as plain tensors: the optimiser's moments and the state of both random generators."""

    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class History:
    """What `fit` returns: one row an epoch, how it was run, and whether it was interrupted."""

    epochs: list[Epoch] = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    interrupted: bool = False
    state: TrainingState | None = field(default=None, repr=False)

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
        return {"epochs": [asdict(row) for row in self.epochs], "settings": self.settings, "interrupted": self.interrupted}

    @classmethod
    def from_json(cls, stored: dict) -> "History":
        return cls([Epoch(**row) for row in stored["epochs"]], stored["settings"], stored["interrupted"])


def fit(
    model: VAE,
    images: ImageSet,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: str = "constant",
    warmup: float = 0.0,
    pixels: str = "grey",
    beta: float = 1.0,
    beta_warmup_epochs: int = 0,
    free_bits: float = 0.0,
    shuffle: bool = True,
    drop_last: bool = False,
    validation: ImageSet | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
    resume: History | None = None,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train `model` in place with Adam until it has seen `epochs` epochs in all, and return the history.

    The loss is the mean over the batch of rec + beta * kl, in nats per image. A conditional model gets the labels.

    schedule             "constant", or "cosine" down to zero; `warmup` is the share of all steps in which the rate rises to its full value
    beta_warmup_epochs   let beta rise linearly from 0 over so many epochs
    free_bits            count at least so many nats for each latent dimension's batch-mean KL
    validation           held-out images, evaluated after each epoch (never the test set while you still choose settings)
    resume               the History of an earlier call (or of a loaded checkpoint): N, save, load, M epochs equal N + M, bitwise
    on_epoch             called with the history after each epoch; its `state` is complete, so it may be saved

    An interrupt (Ctrl-C, or the stop button) returns the history so far with `interrupted=True`; the model keeps its last step.
    Raises TrainingError before a step whose loss is not finite, DataError for unusable images, ValueError for unusable settings.
    """
    if epochs < 0 or learning_rate <= 0 or beta < 0 or schedule not in ("constant", "cosine"):
        raise ValueError("need epochs >= 0, learning_rate > 0, beta >= 0, and schedule 'constant' or 'cosine'")
    if drop_last and len(images) < batch_size:
        raise ValueError(f"drop_last with {len(images)} images and batch_size={batch_size} leaves no batch: use a smaller batch_size")
    if not isinstance(images, ImageSet) or len(images) == 0:
        raise DataError("fit needs a non-empty ImageSet, as vae_helpers.data.load returns it")
    where = pick_device(device)
    model.to(where).train()
    images_there = ImageSet(images.images.to(where), images.labels.to(where), images.name, images.split)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=where.type in ("cpu", "cuda"))
    order, noise = torch.Generator().manual_seed(seed), torch.Generator(where).manual_seed(seed + 1)
    settings = dict(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, warmup=warmup, pixels=pixels, beta=beta,
        beta_warmup_epochs=beta_warmup_epochs, free_bits=free_bits, shuffle=shuffle, drop_last=drop_last, seed=seed,
        data=images.name, images=len(images), device=where.type,
    )  # fmt: skip
    history = History(settings=settings)
    if resume is not None:
        if resume.state is None:
            raise ValueError("this history holds no training state: save it with checkpoints.save(path, model, history=history)")
        history.epochs = list(resume.epochs)
        _restore(resume.state, optimizer, order, noise)

    steps_per_epoch = len(images) // batch_size if drop_last else math.ceil(len(images) / batch_size)
    total_steps = max(1, epochs * steps_per_epoch)
    bar = tqdm(total=epochs * steps_per_epoch, initial=len(history) * steps_per_epoch, disable=not progress, unit="step", leave=True)
    epoch = len(history)
    try:
        for epoch in range(len(history), epochs):
            history.state = _state(optimizer, order, noise)
            started = time.perf_counter()
            rec_sum, kl_sum, seen = torch.zeros((), device=where), torch.zeros((), device=where), 0
            batches = images_there.batches(
                batch_size, shuffle=shuffle, drop_last=drop_last, pixels=pixels, generator=order, noise_generator=noise, device=where
            )
            for i, (x, y) in enumerate(batches):
                step = epoch * steps_per_epoch + i
                rate = learning_rate * _share_of_rate(step, total_steps, schedule, warmup)
                weight = beta * min(1.0, (step + 1) / (beta_warmup_epochs * steps_per_epoch)) if beta_warmup_epochs else beta
                rec, kl, loss = _loss(model, x, y if model.num_classes else None, weight, free_bits, noise)
                _stop_unless_finite(loss, rec, kl, epoch, i)
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                rec_sum += rec.detach().sum()
                kl_sum += kl.detach().sum()
                seen += len(x)
                bar.update()
            row = Epoch(epoch, float(rec_sum) / seen, float(kl_sum) / seen, seen, time.perf_counter() - started)
            if validation is not None:
                held_out = evaluate(model, validation, pixels=pixels, seed=seed)
                row.val_rec, row.val_kl = held_out.rec, held_out.kl
                model.train()
            history.epochs.append(row)
            bar.set_postfix_str(_summary(row))
            if on_epoch is not None:
                history.state = _state(optimizer, order, noise)
                on_epoch(history)
        history.state = _state(optimizer, order, noise)
    except KeyboardInterrupt:
        history.interrupted = True
        print(f"Interrupted in epoch {epoch}: the model keeps what it learned; fit(..., resume=history) repeats that epoch and goes on.")
    finally:
        bar.close()
        model.eval()
    return history


def _loss(model: VAE, x: Tensor, y: Tensor | None, beta: float, minimum: float, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    if not minimum:
        rec, kl = model.negative_elbo(x, y, generator=noise)
        return rec, kl, (rec + beta * kl).mean()
    out, prior = model(x, y, generator=noise), model.prior(y)
    rec = losses.reconstruction_nll(out.logits, x, model.likelihood, model.sigma_x)
    kl_per_dim = losses.gaussian_kl_per_dim(out.mu, out.log_var, *prior)
    return rec, kl_per_dim.sum(-1), rec.mean() + beta * losses.free_bits(kl_per_dim, minimum)


def _stop_unless_finite(loss: Tensor, rec: Tensor, kl: Tensor, epoch: int, batch: int) -> None:
    if math.isfinite(loss.item()):
        return
    terms = [name for name, term in (("rec", rec), ("kl", kl)) if not torch.isfinite(term).all()]
    raise TrainingError(
        f"epoch {epoch}, batch {batch}: {' and '.join(terms) or 'the loss'} is not finite. The step was not taken, so the weights are "
        "the last good ones. Lower the learning rate, and check that the images lie in [0, 1]."
    )


def _share_of_rate(step: int, total: int, schedule: str, warmup: float) -> float:
    """The learning rate at `step` as a share of the full one."""
    rise = min(1.0, (step + 1) / (warmup * total)) if warmup else 1.0
    return rise * (0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) if schedule == "cosine" else 1.0)


def _summary(row: Epoch) -> str:
    text = f"rec {row.rec:.2f} + kl {row.kl:.2f} = {row.loss:.2f}"
    return text if row.val_loss is None else f"{text}, held out {row.val_loss:.2f}"


def _state(optimizer: torch.optim.Optimizer, order: torch.Generator, noise: torch.Generator) -> TrainingState:
    tensors = {"order": order.get_state(), "noise": noise.get_state()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value).clone() for key, value in values.items()}
    return TrainingState(tensors)


def _restore(state: TrainingState, optimizer: torch.optim.Optimizer, order: torch.Generator, noise: torch.Generator) -> None:
    order.set_state(state.tensors["order"])
    noise.set_state(state.tensors["noise"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value.clone()
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
