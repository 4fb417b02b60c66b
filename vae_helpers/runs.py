"""Training from the command line: one recipe, one checkpoint, kept after each epoch, so that a run can stop and go on."""

from pathlib import Path

from vae_helpers import checkpoints, data, paths
from vae_helpers.checkpoints import CheckpointError
from vae_helpers.devices import pick_device
from vae_helpers.history import Epoch, History
from vae_helpers.models import VAE
from vae_helpers.recipes import Recipe

HELD_OUT = 5000  # of MNIST's training images, the same ones as in the lessons


def path_of(recipe: Recipe) -> Path:
    """Where a run of `recipe` keeps its checkpoint unless told otherwise."""
    return paths.RUNS / f"{recipe.name}.safetensors"


def train(
    recipe: Recipe,
    path: Path,
    *,
    epochs: int | None = None,
    images: str | None = None,
    seed: int | None = None,
    resume: bool = False,
) -> tuple[VAE, History]:
    """Train `recipe` on the images named ("auto", "mnist", "digits") less a validation set, and keep the run in `path`.

    With `resume`, go on from `path` as it was started: what is left as None is taken from there, so an interrupted run ends bitwise
    where an uninterrupted one would. Raises CheckpointError when `path` holds no run of this recipe, images and seed.
    """
    model, history = _stored(recipe, path) if resume else (None, None)
    device = "auto"
    if history is not None:
        stored = history.settings
        for option, asked, kept in (("data", images, stored["data"].lower()), ("seed", seed, stored["seed"])):
            if asked not in (None, "auto", kept):
                raise CheckpointError(
                    f"{path} was started with --{option} {kept}: leave out --{option} {asked} to go on with it"
                )
        epochs, images, seed = epochs or stored["epochs"], stored["data"].lower(), stored["seed"]
        device = stored["device"]
        try:
            pick_device(device)
        except ValueError as error:
            raise CheckpointError(f"{path} was started on {device}, which is not here: leave out --resume") from error
    everything = data.load(images or "auto", "train")
    training, validation = everything.split_off(min(HELD_OUT, len(everything) // 5))
    model = recipe.build(seed or 0, images=training) if model is None else model

    def keep(history: History) -> None:
        checkpoints.save(path, model, history=history, metrics=metrics(history), recipe=recipe.name)

    return recipe.train(
        training,
        model=model,
        epochs=epochs,
        seed=seed or 0,
        device=device,
        validation=validation,
        resume=history,
        on_epoch=keep,
    )


def _stored(recipe: Recipe, path: Path) -> tuple[VAE, History]:
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist, so there is nothing to resume: leave out --resume to start a run"
        )
    stored = checkpoints.load(path)
    if stored.recipe != recipe.name:
        raise CheckpointError(
            f"{path} holds a run of {stored.recipe or 'no recipe'}, not of {recipe.name}: choose another --out"
        )
    if stored.history is None or stored.history.state is None:
        raise CheckpointError(
            f"{path} holds a model without the state of its training: leave out --resume to start a run"
        )
    model = recipe.build()
    if model.config != stored.model.config:
        checkpoints.load(path, model)  # raises, and names the setting that differs
    return stored.model, stored.history


def metrics(history: History) -> dict:
    """The last epoch in nats per image: {"train" and "validation": {"rec", "kl", "bound"}}; None where there is none."""
    if not len(history):
        return {"train": None, "validation": None}
    last: Epoch = history[-1]
    held_out = None if last.val_rec is None else _terms(last.val_rec, last.val_kl)
    return {"train": _terms(last.rec, last.kl), "validation": held_out}


def _terms(rec: float, kl: float) -> dict[str, float]:
    return {"rec": round(rec, 4), "kl": round(kl, 4), "bound": round(rec + kl, 4)}
