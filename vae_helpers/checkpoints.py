"""Safe saving and loading: safetensors, the model's configuration, its metrics, and a SHA-256 over all of it. Nothing is unpickled.

The same file can hold the state of a training run, so that an interrupted run goes on where it stopped.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from vae_helpers.models import VAE
from vae_helpers.training import History, TrainingState

FORMAT = "vae-course-1"


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
    """Write model (and, with `history`, the state of its training) to `path`; the old file stays until the new one is complete.

    `dtype=torch.float16` halves the weights on disk (`load` widens them again). Raises OSError, and leaves no temporary file, when the
    disk is full.
    """
    path = Path(path)
    tensors = {f"model.{name}": t.detach().to("cpu", dtype or t.dtype).contiguous() for name, t in model.state_dict().items()}
    stored = {"format": FORMAT, "config": model.config, "metrics": metrics or {}, "recipe": recipe}
    if history is not None:
        stored["history"] = history.to_json()
        tensors |= {f"training.{name}": t.detach().cpu().contiguous() for name, t in history.state.tensors.items()} if history.state else {}
    text = json.dumps(stored, sort_keys=True)
    content = to_bytes(tensors, {"course": text, "sha256": _digest(text, tensors)})
    _write_atomically(path, content)
    return path


def load(path: str | Path, model: VAE | None = None) -> Checkpoint:
    """Read a checkpoint, and check every byte of it.

    With `model`, load into that model instead of building one; its configuration must be the stored one. Raises CheckpointError for a
    missing, truncated, altered or pickled file and for another architecture, each with its own message.
    """
    path = Path(path)
    stored, tensors = _read(path)
    if model is None:
        model = VAE(**stored["config"])
    elif model.config != stored["config"]:
        differ = [k for k in model.config if model.config[k] != stored["config"].get(k)]
        pairs = "; ".join(f"saved with {k}={stored['config'].get(k)!r}, yours is {model.config[k]!r}" for k in differ)
        raise CheckpointError(f"{path.name} belongs to another architecture: {pairs}. Leave out `model` to build the stored one.")
    weights = {name.removeprefix("model."): t.float() for name, t in tensors.items() if name.startswith("model.")}
    model.load_state_dict(weights)
    history = None
    if "history" in stored:
        history = History.from_json(stored["history"])
        training = {name.removeprefix("training."): t for name, t in tensors.items() if name.startswith("training.")}
        history.state = TrainingState(training) if training else None
    return Checkpoint(model.eval(), stored["metrics"], stored["recipe"], history)


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    again = "Fetch or save it again."
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist. Look at what is in {path.parent}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    if head[:1] == b"\x80" or head[:4] == b"PK\x03\x04":
        raise CheckpointError(
            f"{path.name} is a pickle (a torch.save file). Unpickling can run any program, so this course does not: "
            "save the model with vae_helpers.checkpoints.save."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, ValueError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path.name} is truncated or is no safetensors file ({error}). {again}") from error
    if "course" not in metadata:
        raise CheckpointError(f"{path.name} is a safetensors file, but not one of this course: it holds no configuration.")
    if metadata.get("sha256") != _digest(metadata["course"], tensors):
        raise CheckpointError(f"{path.name} was altered after it was saved: its SHA-256 does not fit its content. {again}")
    stored = json.loads(metadata["course"])
    if stored.get("format") != FORMAT:
        raise CheckpointError(f"{path.name} has format {stored.get('format')!r}, this version reads {FORMAT!r}. {again}")
    return stored, tensors


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return digest.hexdigest()


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
