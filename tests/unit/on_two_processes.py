"""What test_distributed.py has torchrun run on two processes, all in one launch: `torchrun … on_two_processes.py FOLDER`.

Each scenario gets a fresh child of each of the two, because one process joins the others only once; what it prints, returns and exits with
lands in FOLDER as NAME-RANK.out, .err, .json and .code. With the name of a scenario behind FOLDER, that one alone, in the two themselves.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # what the wrapper of the objective imports at last: here once, not in each child

from vae_helpers import __main__ as command_line
from vae_helpers import checkpoints, data, distributed, steps, training
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE

NOISE = ImageSet(
    torch.randint(0, 256, (62, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(62) % 10,
)
DIGITS = data.load("digits")[:163]
FITS = {  # 50 steps each: (images, settings of fit, settings of the model)
    "last-batch-of-one": (33, dict(epochs=25, batch_size=32), {}),  # the second process gets none of it
    "dynamic": (31, dict(epochs=50, batch_size=64, pixels="dynamic", distortion=0.5), {}),
    "conditional": (62, dict(epochs=25, batch_size=31, schedule="cosine"), dict(num_classes=10)),
    "several-codes": (31, dict(epochs=50, batch_size=31, samples=3), {}),
}


def fit(name: str) -> list[list[float]]:
    """One run of FITS: [rec, kl, images seen] of each epoch."""
    images, settings, sizes = FITS[name]
    torch.manual_seed(0)
    model = VAE(latent_dim=3, encoder_sizes=(16,), decoder_sizes=(16,), **sizes)
    history = training.fit(model, NOISE[:images], progress=False, device="cpu", **settings)
    return [[row.rec, row.kl, row.images_seen] for row in history]


def raised(action: Callable[[], object]) -> str:
    """The error that `action` ends with, as text."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def in_step(number: int, rank: int, action: Callable[[tuple], tuple]) -> None:
    """Let `action` change what training computes in one step on one process."""
    real, calls = steps.loss_of, []

    def changed(*args):
        calls.append(1)
        terms = real(*args)
        return action(terms) if len(calls) == number and int(os.environ["RANK"]) == rank else terms

    steps.loss_of = changed


def spoilt(terms: tuple) -> tuple:
    return terms[0] * torch.nan, terms[1], terms[2] * torch.nan


def interrupted(terms: tuple) -> tuple:
    os.kill(os.getpid(), signal.SIGINT)
    return terms


def all_fits() -> dict:
    with distributed.started() as ranks:
        found = {name: fit(name) for name in FITS}
        free_bits = raised(lambda: training.fit(VAE(latent_dim=2), NOISE, epochs=1, free_bits=0.1, progress=False))
        in_step(3, 1, spoilt)  # of the second process alone
        return {"ranks": list(ranks), "fits": found, "free_bits": free_bits, "nan": raised(lambda: fit("dynamic"))}


def command(folder: Path, epochs: int, *more: str) -> int:
    """Train by the command line, on 163 digits; each save leaves a line in FOLDER/saves."""
    save = checkpoints.save

    def counted(*args, **kwargs):
        with (folder / "saves").open("a") as file:
            file.write(f"{os.environ.get('RANK')}\n")
        return save(*args, **kwargs)

    checkpoints.save = counted
    return command_line.main(
        ["train", "first-vae", "--json", "--epochs", str(epochs), "--out", str(folder / "run.safetensors"), *more]
    )


def full_disk(folder: Path) -> int:
    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device", "run.safetensors")

    checkpoints.save = fails
    return command_line.main(["train", "first-vae", "--data", "digits", "--epochs", "2", "--out", str(folder / "full")])


def no_data_on_one(folder: Path) -> int:
    def fails(name: str, split: str):
        raise data.DataError("a file is damaged")

    if os.environ["RANK"] == "1":
        data.load = fails
    return command_line.main(["train", "first-vae", "--data", "digits", "--epochs", "2", "--out", str(folder / "none")])


def interrupt_one(folder: Path) -> int:
    in_step(4, 1, interrupted)  # the second process, in the second epoch of two steps
    return command_line.main(["train", "first-vae", "--data", "digits", "--epochs", "5", "--out", str(folder / "int")])


SCENARIOS: dict[str, Callable[[Path], object]] = {
    "fits": lambda folder: all_fits(),
    "train": lambda folder: command(folder, 2),
    "resume": lambda folder: command(folder, 3, "--resume"),
    "recipe": lambda folder: command_line.main(["train", "S9"]),
    "typing": lambda folder: command_line.main(["train", "--epochs", "none"]),
    "doctor": lambda folder: command_line.main(["doctor"]),
    "disk": full_disk,
    "interrupt": interrupt_one,
}


ALONE = {"no-data": no_data_on_one}  # nothing tells the other one but torchrun, when it sees how this process ends


def child(name: str, folder: Path) -> int:
    """One scenario; returns the exit code."""
    stem = f"{folder / name}-{os.environ['RANK']}"
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{stem}.{kind}", os.O_WRONLY | os.O_CREAT), number)
    meet = torch.distributed.rendezvous

    def meet_apart(*args):  # each scenario has its own part of torchrun's store
        store, *mine = next(meet(*args))
        yield torch.distributed.PrefixStore(name, store), *mine

    torch.distributed.rendezvous = meet_apart
    data.load = lambda name, split: DIGITS
    try:
        result = (SCENARIOS | ALONE)[name](folder)
        Path(f"{stem}.json").write_text(json.dumps(result))
        return result if isinstance(result, int) else 0
    except SystemExit as stop:
        return stop.code
    except BaseException:
        traceback.print_exc()
        return 99
    finally:
        sys.stdout.flush()


def main(folder: Path) -> None:
    for name in SCENARIOS:
        process = os.fork()
        if process == 0:
            os._exit(child(name, folder))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        Path(f"{folder / name}-{os.environ['RANK']}.code").write_text(str(code))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        sys.exit(child(sys.argv[2], Path(sys.argv[1])))
