"""The one training loop of the course: minimise -ELBO, watch its two halves, survive an interrupt, stop before a NaN spreads."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from tqdm.auto import tqdm

from vae_helpers import losses
from vae_helpers.devices import pick_device
from vae_helpers.evaluation import evaluate
from vae_helpers.history import Epoch, History
from vae_helpers.images import PIXEL_CONVENTIONS, DataError, ImageSet
from vae_helpers.models import VAE


class TrainingError(RuntimeError):
    """Training cannot go on. The message names epoch, batch and term; the model holds its last good weights."""


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

    schedule             "constant", or "cosine" down to zero
    warmup               the share of all steps in which the learning rate rises to its full value
    beta_warmup_epochs   let beta rise linearly from 0 over so many epochs
    free_bits            count at least so many nats for each latent dimension's batch-mean KL
    validation           held-out images, evaluated after each epoch (never the test set while you still choose settings)
    resume               the History of an earlier call, or of a loaded checkpoint: goes on after its last whole epoch, with
                         the weights of that moment. N epochs, save, load, M epochs equal N + M bitwise; "cosine" and `warmup`
                         divide up the whole run, so there both calls need the same `epochs`, and the first one is stopped
    on_epoch             called with the history after each epoch; its `state` is complete, so it may be saved

    An interrupt (Ctrl-C, or the stop button) returns the history so far with `interrupted=True`; the model keeps its last step.
    Raises TrainingError before a step whose loss is not finite, DataError for unusable images, ValueError for unusable settings.
    """
    if not isinstance(images, ImageSet) or len(images) == 0:
        raise DataError("fit needs a non-empty ImageSet, as vae_helpers.data.load returns it")
    where = pick_device(device)
    settings = dict(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, schedule=schedule, warmup=warmup, pixels=pixels, beta=beta,
        beta_warmup_epochs=beta_warmup_epochs, free_bits=free_bits, shuffle=shuffle, drop_last=drop_last, seed=seed,
        data=images.name, images=len(images), device=where.type,
    )  # fmt: skip
    _check_settings(settings)

    model.to(where).train()
    images_there = replace(images, images=images.images.to(where), labels=images.labels.to(where))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=where.type in ("cpu", "cuda"))
    order, noise = torch.Generator().manual_seed(seed), torch.Generator(where).manual_seed(seed + 1)
    history = History(settings=settings)
    if resume is not None:
        history.epochs = _resume(resume, settings, model, optimizer, order, noise)
    history.state = _state(model, optimizer, order, noise, len(history))

    steps_per_epoch = len(images) // batch_size if drop_last else math.ceil(len(images) / batch_size)
    total_steps = epochs * steps_per_epoch
    quiet = {} if progress else {"disable": True}
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
                generator=order,
                noise_generator=noise,
                device=where,
            )
            for i, (x, y) in enumerate(batches):
                step = epoch * steps_per_epoch + i
                weight = beta * _share_of_beta(step, beta_warmup_epochs * steps_per_epoch)
                rec, kl, loss = _loss(model, x, y if model.num_classes else None, weight, free_bits, noise)
                if not math.isfinite(loss.item()):
                    raise _not_finite(rec, kl, model, history, epoch, i)
                optimizer.param_groups[0]["lr"] = learning_rate * _share_of_rate(step, total_steps, schedule, warmup)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                recs.append(rec.detach())
                kls.append(kl.detach())
                bar.update()
            if not _has_finite_weights(model):
                raise _not_finite(rec, kl, model, history, epoch, i)
            row = Epoch(epoch, _mean(recs), _mean(kls), sum(map(len, recs)), time.perf_counter() - started)
            if validation is not None:
                held_out = evaluate(model, validation, pixels=pixels, seed=seed)
                row.val_rec, row.val_kl = held_out.rec, held_out.kl
                model.train()
            state = _state(model, optimizer, order, noise, epoch + 1)
            history.epochs.append(row)
            history.state = state
            bar.set_postfix_str(_summary(row))
            if on_epoch is not None:
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


def _check_settings(s: dict) -> None:
    fine = s["epochs"] >= 0 and s["batch_size"] >= 1 and s["learning_rate"] > 0 and 0 <= s["warmup"] <= 1
    if not (fine and s["beta"] >= 0 and s["beta_warmup_epochs"] >= 0 and s["free_bits"] >= 0):
        raise ValueError(
            "need epochs >= 0, batch_size >= 1, learning_rate > 0, warmup in [0, 1], and beta, beta_warmup_epochs, free_bits >= 0"
        )
    for name, choices in (("schedule", ("constant", "cosine")), ("pixels", PIXEL_CONVENTIONS)):
        if s[name] not in choices:
            raise ValueError(f"{name}={s[name]!r} does not exist: choose one of {', '.join(choices)}")
    if s["drop_last"] and s["images"] < s["batch_size"]:
        raise ValueError(
            f"drop_last with {s['images']} images and batch_size={s['batch_size']} leaves no batch: use a smaller batch_size"
        )


def _loss(
    model: VAE, x: Tensor, y: Tensor | None, beta: float, minimum: float, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(rec, kl, loss): (batch,), (batch,) and the scalar to minimise, in nats per image."""
    if not minimum:
        rec, kl = model.negative_elbo(x, y, generator=noise)
        return rec, kl, (rec + beta * kl).mean()
    out = model(x, y, generator=noise)
    rec = losses.reconstruction_nll(out.logits, x, model.likelihood, model.sigma_x)
    kl_per_dim = losses.gaussian_kl_per_dim(out.mu, out.log_var, *model.prior(y))
    return rec, kl_per_dim.sum(-1), rec.mean() + beta * losses.free_bits(kl_per_dim, minimum)


def _not_finite(rec: Tensor, kl: Tensor, model: VAE, history: History, epoch: int, batch: int) -> TrainingError:
    """The error for a loss that is not finite, after making sure that the weights are good ones."""
    terms = [name for name, term in (("rec", rec), ("kl", kl)) if not torch.isfinite(term).all()]
    weights = "The step was not taken, so the weights are the last good ones."
    if not _has_finite_weights(model):  # an earlier loss was finite, its gradient was not
        _load_weights(model, history.state)
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


def _mean(parts: list[Tensor]) -> float:
    """The average over all images seen, whatever the sizes of the batches."""
    return float(torch.cat(parts).cpu().double().mean())


def _summary(row: Epoch) -> str:
    text = f"rec {row.rec:.2f} + kl {row.kl:.2f} = {row.loss:.2f}"
    return text if row.val_loss is None else f"{text}, held out {row.val_loss:.2f}"


# ---------------------------------------------------------------- going on where a run stopped


def _state(
    model: VAE, optimizer: torch.optim.Optimizer, order: torch.Generator, noise: torch.Generator, epochs: int
) -> dict[str, Tensor]:
    """A copy of all that the next epoch depends on."""
    state = {"epochs": torch.tensor(epochs), "order": order.get_state(), "noise": noise.get_state()}
    state |= {f"model.{name}": value.detach().clone() for name, value in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    return state


def _resume(
    run: History,
    settings: dict,
    model: VAE,
    optimizer: torch.optim.Optimizer,
    order: torch.Generator,
    noise: torch.Generator,
) -> list[Epoch]:
    """Put everything back to the end of the run's last whole epoch; returns the rows up to there. Raises ValueError."""
    if run.state is None:
        raise ValueError(
            "this history holds no training state: save it with checkpoints.save(path, model, history=history)"
        )
    divides_up_the_run = settings["schedule"] == "cosine" or settings["warmup"] > 0
    changed = [k for k, v in settings.items() if run.settings.get(k) != v and (k != "epochs" or divides_up_the_run)]
    if "device" in changed:
        raise ValueError(f"this run began on {run.settings['device']}: pass device={run.settings['device']!r} to go on")
    if changed:
        was = ", ".join(f"{k}={run.settings.get(k)!r}" for k in changed)
        warnings.warn(f"this run began with {was}: it will not end where one uninterrupted run would", stacklevel=3)
    _load_weights(model, run.state)
    order.set_state(run.state["order"].cpu())
    noise.set_state(run.state["noise"].cpu())
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in run.state.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value.clone()
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return run.epochs[: int(run.state["epochs"])]


def _load_weights(model: VAE, state: dict[str, Tensor]) -> None:
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"this run belongs to another architecture than the model: {error}") from None
