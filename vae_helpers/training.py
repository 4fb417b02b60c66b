"""The one training loop of the course: minimise -ELBO, watch its two halves, survive an interrupt, stop before a NaN spreads."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vae_helpers import distributed, optimizers, resuming, steps
from vae_helpers.devices import pick_device
from vae_helpers.evaluation import evaluate
from vae_helpers.history import Epoch, History
from vae_helpers.images import PIXEL_CONVENTIONS, DataError, ImageSet
from vae_helpers.models import VAE
from vae_helpers.objective import PRECISIONS, Objective

SCHEDULES = ("constant", "cosine")


class TrainingError(RuntimeError):
    """Training cannot go on. The message names epoch, batch and term; the model holds its last good weights."""


def fit(
    model: VAE,
    images: ImageSet,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    optimizer: str = "adam",
    matrix_rate: float = 0.02,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    warmup: float = 0.0,
    pixels: str = "grey",
    distortion: float = 0.0,
    beta: float = 1.0,
    beta_warmup_epochs: int = 0,
    free_bits: float = 0.0,
    samples: int = 1,
    shuffle: bool = True,
    drop_last: bool = False,
    validation: ImageSet | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "float32",
    compile: bool = False,
    progress: bool = True,
    resume: History | None = None,
    on_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train `model` in place until it has seen `epochs` epochs in all, and return the history.

    The loss is the mean over the batch of rec + beta * kl, in nats per image. A conditional model gets the labels.

    optimizer            "adam", "adamw" (with `weight_decay`) or "muon" (matrices at `matrix_rate`): see `optimizers.make`
    schedule             "constant", or "cosine" down to zero
    warmup               the share of all steps in which the learning rate rises to its full value
    distortion           turn, stretch, shear and move each image a little, anew in each epoch: `images.distorted` by this amount
    beta_warmup_epochs   let beta rise linearly from 0 over so many epochs
    free_bits            count at least so many nats for each latent dimension's batch-mean KL
    samples              K codes per image; above 1 the loss is -L_K (Burda et al. 2016), while rec and kl stay those of -ELBO
    validation           held-out images, evaluated after each epoch (never the test set while you still choose settings)
    precision            "float32", or "bfloat16" for the matrix products alone: see `Objective`
    compile              let torch.compile fuse the step (`steps`): ten seconds or so first, then faster; needs a C++ compiler
    resume               the History of an earlier call, or of a loaded checkpoint: goes on after its last whole epoch, with
                         the weights of that moment. N epochs, save, load, M epochs equal N + M bitwise; "cosine" and `warmup`
                         divide up the whole run, so there both calls need the same `epochs`, and the first one is stopped
    on_epoch             called with the history after each epoch; its `state` is complete, so it may be saved

    Under torchrun each process computes its share of every batch (`distributed`); `on_epoch` is then called by the first one alone.

    An interrupt (Ctrl-C, or the stop button) returns the history so far with `interrupted=True`; the model keeps its last step.
    Raises TrainingError before a step whose loss is not finite (on a GPU, where looking costs time: after the epoch, with the weights of
    the epoch before), DataError for unusable images, ValueError for unusable settings.
    """
    if not isinstance(images, ImageSet) or len(images) == 0:
        raise DataError("fit needs a non-empty ImageSet, as vae_helpers.data.load returns it")
    where, ranks = pick_device(device), distributed.ranks()
    settings = dict(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, warmup=warmup, pixels=pixels, beta=beta,
        beta_warmup_epochs=beta_warmup_epochs, free_bits=free_bits, shuffle=shuffle, drop_last=drop_last, seed=seed,
        data=images.name, images=len(images), device=where.type, **_LATER | dict(
            optimizer=optimizer, matrix_rate=matrix_rate, weight_decay=weight_decay, distortion=distortion, samples=samples, precision=precision,
        ),
    )  # fmt: skip
    _check_settings(settings, ranks.world)
    if free_bits and model.flow is not None:
        raise ValueError("free_bits needs the KL of each dimension, which a learned prior has not: leave it out")

    model.to(where).train()
    images_there = replace(images, images=images.images.to(where), labels=images.labels.to(where))
    stepper = optimizers.make(
        optimizer,
        model,
        learning_rate,
        matrix_rate=matrix_rate,
        weight_decay=weight_decay,
        fused=where.type in ("cpu", "cuda"),
    )
    order, noise = torch.Generator().manual_seed(seed), torch.Generator(where).manual_seed(seed + 1)
    history = History(settings=settings)
    if resume is not None:
        history.epochs = resuming.restore(resume, settings, _LATER, model, stepper, order, noise)
    history.state = resuming.state_of(model, stepper, order, noise, len(history))
    take_step = steps.make(Objective(model, precision), stepper, ranks, free_bits=free_bits, compiled=compile)

    steps_per_epoch = len(images) // batch_size if drop_last else math.ceil(len(images) / batch_size)
    total_steps = epochs * steps_per_epoch
    quiet = {} if progress and ranks.rank == 0 else {"disable": True}
    bar = tqdm(total=total_steps, initial=len(history) * steps_per_epoch, unit="step", **quiet)
    epoch = len(history)
    try:
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            recs, kls = [], []
            batches = images_there.batches(
                batch_size,
                shuffle=shuffle,
                drop_last=drop_last,
                pixels=pixels,
                distortion=distortion,
                generator=order,
                noise_generator=noise,
                device=where,
            )
            for i, (x, y) in enumerate(batches):
                step = epoch * steps_per_epoch + i
                weight = beta * _share_of_beta(step, beta_warmup_epochs * steps_per_epoch)
                eps = torch.randn((samples, len(x), model.latent_dim), generator=noise, device=where)
                labels = y if model.num_classes else None
                rec, kl, finite = take_step(x, labels, weight, eps, _share_of_rate(step, total_steps, schedule, warmup))
                if not finite:
                    raise _not_finite(rec, kl, model, history, epoch, i, ranks)
                recs.append(rec)
                kls.append(kl)
                bar.update()
            row = Epoch(epoch, *_means(recs, kls, ranks), time.perf_counter() - started)
            if not (math.isfinite(row.loss) and _has_finite_weights(model)):
                raise _not_finite(rec, kl, model, history, epoch, i, ranks)
            if validation is not None:
                held_out = evaluate(model, validation, pixels=pixels, seed=seed)
                row.val_rec, row.val_kl = held_out.rec, held_out.kl
                model.train()
            state = resuming.state_of(model, stepper, order, noise, epoch + 1)
            history.epochs.append(row)
            history.state = state
            bar.set_postfix_str(_summary(row))
            if on_epoch is not None and ranks.rank == 0:
                on_epoch(history)
    except KeyboardInterrupt:
        history.interrupted = True
        print(
            f"Interrupted in epoch {epoch}. The model keeps what it learned; "
            f"fit(..., resume=history) goes on after the {len(history)} whole epochs in the history."
        )
    finally:
        bar.close()
        model.eval()
    return history


# settings that runs of earlier versions do not name, and what they amounted to
_LATER = dict(optimizer="adam", matrix_rate=0.02, weight_decay=0.0, distortion=0.0, samples=1, precision="float32")


def _check_settings(s: dict, world: int) -> None:
    fine = s["epochs"] >= 0 and s["batch_size"] >= 1 and s["learning_rate"] > 0 and 0 <= s["warmup"] <= 1
    if not (fine and s["beta"] >= 0 and s["beta_warmup_epochs"] >= 0 and s["free_bits"] >= 0):
        raise ValueError(
            "need epochs >= 0, batch_size >= 1, learning_rate > 0, warmup in [0, 1], and beta, beta_warmup_epochs, free_bits >= 0"
        )
    if not (s["matrix_rate"] > 0 and s["weight_decay"] >= 0 and 0 <= s["distortion"] <= 5 and s["samples"] >= 1):
        raise ValueError("need matrix_rate > 0, weight_decay >= 0, distortion in [0, 5] and samples >= 1")
    choices = (
        ("schedule", SCHEDULES),
        ("pixels", PIXEL_CONVENTIONS),
        ("optimizer", optimizers.OPTIMIZERS),
        ("precision", PRECISIONS),
    )
    for name, names in choices:
        if s[name] not in names:
            raise ValueError(f"{name}={s[name]!r} does not exist: choose one of {', '.join(names)}")
    if s["weight_decay"] and s["optimizer"] == "adam":
        raise ValueError("optimizer='adam' takes no weight_decay: use optimizer='adamw'")
    if s["samples"] > 1 and (s["beta"] != 1 or s["beta_warmup_epochs"] or s["free_bits"]):
        raise ValueError("samples > 1 trains on -L_K, which has no KL term to weigh: leave out beta and free_bits")
    if s["free_bits"] and world > 1:
        raise ValueError("free_bits needs the mean over the whole batch: train on one process, without torchrun")
    if s["drop_last"] and s["images"] < s["batch_size"]:
        raise ValueError(
            f"drop_last with {s['images']} images and batch_size={s['batch_size']} leaves no batch: use a smaller batch_size"
        )


def _not_finite(
    rec: Tensor, kl: Tensor, model: VAE, history: History, epoch: int, batch: int, ranks: distributed.Ranks
) -> TrainingError:
    """The error for a loss that is not finite, after making sure that the weights are good ones."""
    bad = ranks.anywhere(*(not bool(torch.isfinite(term).all()) for term in (rec, kl)))
    terms = [name for name, is_bad in zip(("rec", "kl"), bad, strict=True) if is_bad]
    weights = "The step was not taken, so the weights are the last good ones."
    if not _has_finite_weights(model):  # an earlier loss was finite, its gradient was not
        resuming.load_weights(model, history.state)
        weights = "A gradient before it had spoilt the weights: they are again those of the last whole epoch."
    return TrainingError(
        f"epoch {epoch}, batch {batch}: {' and '.join(terms) or 'the loss or its gradient'} is not finite. {weights} "
        "Lower the learning rate, and check that the images lie in [0, 1]."
    )


def _has_finite_weights(model: VAE) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in model.parameters())


def _share_of_rate(step: int, total: int, schedule: str, warmup: float) -> float:
    """The learning rate at `step` as a share of the full one."""
    rise = min(1.0, (step + 1) / (warmup * total)) if warmup else 1.0
    return rise * (0.5 * (1 + math.cos(math.pi * step / total)) if schedule == "cosine" else 1.0)


def _share_of_beta(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def _means(recs: list[Tensor], kls: list[Tensor], ranks: distributed.Ranks) -> tuple[float, float, int]:
    """(rec, kl, number) of all images seen in an epoch, whatever the sizes of the batches and whoever held them."""
    sums = ranks.total(torch.stack([torch.cat(parts).double().sum() for parts in (recs, kls)]))
    seen = ranks.total(torch.tensor(sum(map(len, recs)), device=sums.device))
    return *(sums / seen).tolist(), int(seen)


def _summary(row: Epoch) -> str:
    text = f"rec {row.rec:.2f} + kl {row.kl:.2f} = {row.loss:.2f}"
    return text if row.val_loss is None else f"{text}, held out {row.val_loss:.2f}"
