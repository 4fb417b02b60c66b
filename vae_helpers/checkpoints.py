"""Safe saving and loading: safetensors, the model's settings, its metrics, and a SHA-256 over all of it. Nothing is unpickled.

The same file can hold the state of a training run, so that an interrupted run goes on where it stopped.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from vae_helpers.history import History
from vae_helpers.models import VAE

FORMAT = "vae-course-1"
PICKLES = (b"\x80", b"PK\x03\x04")  # how a pickle and a torch.save archive begin


class CheckpointError(RuntimeError):
    """The checkpoint cannot be used. The message says what was found and what to do."""


@dataclass
class Checkpoint:
    """A loaded checkpoint: the model in eval mode, and what was stored beside it."""

    model: VAE
    metrics: dict = field(default_factory=dict)
    recipe: str = ""
    history: History | None = None


def save(
    path: str | Path,
    model: VAE,
    *,
    history: History | None = None,
    metrics: dict | None = None,
    recipe: str = "",
    dtype: torch.dtype | None = None,
) -> Path:
    """Write the model and, with `history`, the state of its training; the old file stays until the new one is complete.

    `dtype=torch.float16` halves the weights on disk (`load` widens them again). Raises OSError, and leaves no temporary
    file, when the disk is full; TypeError for metrics that JSON cannot hold.
    """
    path = Path(path)
    tensors = {f"model.{name}": t.detach().to("cpu", dtype or t.dtype) for name, t in model.state_dict().items()}
    stored = {"format": FORMAT, "config": model.config, "metrics": metrics or {}, "recipe": recipe}
    if history is not None:
        stored["history"] = history.to_json()
        tensors |= {f"training.{name}": t.detach().cpu() for name, t in (history.state or {}).items()}
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    text = json.dumps(stored, sort_keys=True)
    _write_atomically(path, to_bytes(tensors, {"course": text, "sha256": _digest(text, tensors)}))
    return path


def load(path: str | Path, model: VAE | None = None) -> Checkpoint:
    """Read a checkpoint, check every byte of it, and build its model (without touching torch's random numbers).

    With `model`, load into that one; its settings must be the stored ones. Raises CheckpointError for a missing, truncated,
    altered or pickled file, for another architecture, and for tensors that do not fit, and leaves `model` alone then.
    """
    path = Path(path)
    stored, tensors = _read(path)
    built = _build(stored["config"], path)  # also gives settings that are younger than the file their defaults
    if model is None:
        model = built
    elif model.config != built.config:
        pairs = [(name, saved, model.config[name]) for name, saved in built.config.items()]
        differ = "; ".join(
            f"saved with {name}={saved!r}, yours is {yours!r}" for name, saved, yours in pairs if saved != yours
        )
        raise CheckpointError(
            f"{path.name} belongs to another architecture: {differ}. Leave out `model` to build the stored one."
        )
    weights = _part(tensors, "model.")
    shapes = {name: tuple(t.shape) for name, t in weights.items()}
    expected = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if shapes != expected:
        name = min(n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n))
        raise CheckpointError(
            f"{path.name} does not fit its own settings: {name} has shape {shapes.get(name)}, expected {expected.get(name)}. "
            "It was not written by vae_helpers.checkpoints.save: save the model again."
        )
    model.load_state_dict(weights)  # into float32, whatever was stored
    history = History.from_json(stored["history"]) if "history" in stored else None
    if history is not None:
        history.state = _part(tensors, "training.") or None
    return Checkpoint(model.eval(), stored["metrics"], stored["recipe"], history)


def _build(config: dict, path: Path) -> VAE:
    try:
        with torch.random.fork_rng(devices=[]):
            return VAE(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} holds settings that this version cannot build: {error}") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """The stored JSON and the tensors of a file whose SHA-256 fits its content. Raises CheckpointError."""
    again = "Fetch or save it again."
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist. Look at what is in {path.parent}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    try:
        tensors = from_bytes(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        if content.startswith(PICKLES):
            raise CheckpointError(
                f"{path.name} is a pickle (a torch.save file). Unpickling can run any program, so this course does not: "
                "save the model with vae_helpers.checkpoints.save."
            ) from None
        raise CheckpointError(f"{path.name} is truncated or is no safetensors file ({error}). {again}") from error
    metadata = header.get("__metadata__", {})
    if "course" not in metadata:
        raise CheckpointError(f"{path.name} is a safetensors file, but not one of this course: it holds no settings.")
    if metadata.get("sha256") != _digest(metadata["course"], tensors):
        raise CheckpointError(
            f"{path.name} was altered after it was saved: its SHA-256 does not fit its content. {again}"
        )
    stored = json.loads(metadata["course"])
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{path.name} has format {stored.get('format')!r}, this version reads {FORMAT!r}. {again}"
        )
    return stored, tensors


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the stored JSON and of every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name, t in sorted(tensors.items()):
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _write_atomically(path: Path, content: bytes) -> None:
    """Write aside, force it to the disk, then move it into place: at any moment `path` is whole, the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
