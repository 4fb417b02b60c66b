"""Finding, fetching and verifying the images.

Where `load` looks, in this order: the `root` you pass, the folder in VAE_DATA_DIR, the course's own `data/`, the mirrors, and at last
scikit-learn's 1 797 real 8x8 digits, which are part of that package, so a lesson runs with no network at all.
"""

import gzip
import hashlib
import os
import shlex
import struct
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from vae_helpers import paths
from vae_helpers.images import PIXEL_CONVENTIONS, Batch, DataError, ImageSet, binarize, check_images

__all__ = [
    "PIXEL_CONVENTIONS",
    "Batch",
    "DataError",
    "ImageSet",
    "MissingData",
    "binarize",
    "check_images",
    "fetch",
    "find_mnist",
    "load",
]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CONNECT_TIMEOUT, TIMEOUT = 5.0, 30.0  # seconds to reach a mirror, and without a byte before it is given up


class DataFile(NamedTuple):
    """One file of MNIST: its name, size in bytes, SHA-256, and the shape of the array it holds."""

    name: str
    size: int
    sha256: str
    shape: tuple[int, ...]


FILES = {
    ("train", "images"): DataFile(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        (60_000, 28, 28),
    ),
    ("train", "labels"): DataFile(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        (60_000,),
    ),
    ("test", "images"): DataFile(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        (10_000, 28, 28),
    ),
    ("test", "labels"): DataFile(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        (10_000,),
    ),
}


class MissingData(DataError):
    """MNIST is nowhere to be found and could not be fetched."""


def load(name: str = "auto", split: str = "train", root: str | Path | None = None) -> ImageSet:
    """The images of one split, verified.

    name    "mnist", "digits" (scikit-learn's, brought to 28x28), or "auto": MNIST where it can be had, else the digits, and says so
    split   "train" (60 000 images; 1 500 digits) or "test" (10 000; 297)
    root    a folder that holds the four .gz files, directly or under MNIST/raw

    Raises DataError for a file that is missing, damaged or not MNIST. A damaged file is never used and never passed over in silence.
    """
    if split not in ("train", "test"):
        fix = "choose train or test (for validation images: load('auto', 'train').split_off(n))"
        raise ValueError(f"split={split!r} does not exist: {fix}")
    if name not in ("auto", "mnist", "digits"):
        raise ValueError(f"name={name!r} does not exist: choose auto, mnist or digits")
    may_fall_back = name == "auto" and root is None
    if name == "digits" or (may_fall_back and _using_digits):
        return _digits(split)
    try:
        folder = find_mnist(root)
    except MissingData as error:
        if not may_fall_back:
            raise
        _announce_digits(error)
        return _digits(split)
    images, labels = (read_idx(folder / FILES[split, part].name, FILES[split, part]) for part in ("images", "labels"))
    if len(images) != len(labels):
        raise DataError(
            f"{folder} holds {len(images):,} images but {len(labels):,} labels for {split}, expected one label an image. "
            f"Type: {fetch_command(_root_of(folder))}"
        )
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), "MNIST", split)


_using_digits = False  # set once a look-up failed: no second wait, no second announcement, one data set per process


def _announce_digits(error: MissingData) -> None:
    global _using_digits
    _using_digits = True
    print(
        f"No MNIST here, so you are working with scikit-learn's 1 797 small digits, enlarged to 28x28. Every cell runs, "
        f"but the numbers differ from those in the text.\n({error})"
    )


# ---------------------------------------------------------------- finding the files


def find_mnist(root: str | Path | None = None) -> Path:
    """The folder with the four files: the module's first lines say where it looks. Fetches them into `data/` as a last resort.

    Files in `data/` that are damaged are fetched again; those in `root` and VAE_DATA_DIR belong to somebody else and stay as they are.
    Raises MissingData when MNIST is nowhere, DataError when `root` or VAE_DATA_DIR holds only a part of it, or `data/` a damaged file.
    """
    if root is not None:
        folder = _complete(Path(root))
        if folder is None:
            raise _missing(f"{root} holds none of its files", Path(root))
        return folder
    shared = shared_folder()
    if shared and (folder := _complete(shared)):
        return folder
    own = _home(paths.DATA)
    if not damaged(own):
        return own
    try:
        if offline():
            raise _missing("VAE_OFFLINE is set, so nothing was fetched", paths.DATA)
        return fetch(paths.DATA)
    except MissingData as error:
        for file in FILES.values():  # the digits may stand in for a file that is absent, not for one that is wrong
            if file.name in _present(own):
                verified_bytes(own / file.name, file)
        if shared:
            raise MissingData(f"VAE_DATA_DIR={shared} holds none of MNIST's files. {error}") from error
        raise


def shared_folder() -> Path | None:
    """The folder in VAE_DATA_DIR. A relative one counts from the working directory, or else from the course's own folder.

    (Notebooks run in `notebooks/`, whatever the directory was in which the variable was set.)
    """
    name = os.environ.get("VAE_DATA_DIR")
    if not name:
        return None
    folder = Path(name).expanduser()
    return folder if folder.exists() or folder.is_absolute() else paths.ROOT / folder


def offline() -> bool:
    """True where VAE_OFFLINE forbids the download."""
    return os.environ.get("VAE_OFFLINE", "") not in ("", "0")


def damaged(folder: Path) -> list[str]:
    """The names of MNIST's files that are missing in `folder` or not what they should be (11.6 MB: some 10 ms)."""
    return [file.name for file in FILES.values() if not _intact(folder / file.name, file)]


def fetch_command(root: Path) -> str:
    """What to type to (re)fetch MNIST into `root`."""
    return "python -m vae_helpers fetch" + ("" if root == paths.DATA else f" --to {shlex.quote(str(root))}")


def _present(folder: Path) -> list[str]:
    return [file.name for file in FILES.values() if (folder / file.name).is_file()]


def _home(root: Path) -> Path:
    """Where under `root` the four files lie, or would: `root`/MNIST/raw, as torchvision has it, unless `root` itself holds more."""
    return max(root / "MNIST" / "raw", root, key=lambda folder: len(_present(folder)))


def _root_of(folder: Path) -> Path:
    return folder.parent.parent if folder.parts[-2:] == ("MNIST", "raw") else folder


def _complete(root: Path) -> Path | None:
    """The folder under `root` with all four files, None where there is none of them; only some of them is an error."""
    folder = _home(root)
    there = _present(folder)
    if there and len(there) < len(FILES):
        absent = ", ".join(file.name for file in FILES.values() if file.name not in there)
        raise DataError(f"{folder} holds only a part of MNIST; missing: {absent}. Type: {fetch_command(root)}")
    return folder if there else None


def _missing(why: str, root: Path) -> MissingData:
    return MissingData(
        f"MNIST was not found: {why}. Type: {fetch_command(root)} on a machine with a network, "
        "or put the four .gz files into a folder and set VAE_DATA_DIR to it."
    )


# ---------------------------------------------------------------- reading and verifying


def verified_bytes(path: Path, file: DataFile) -> bytes:
    """The compressed content of `path`, after size and SHA-256 were compared with `file`. Raises DataError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    if content[:100].lstrip()[:1] == b"<":
        raise _unusable(path, "is a web page, expected gzip data: a proxy or a login page answered in its place")
    if len(content) != file.size:
        how = "truncated" if len(content) < file.size else "too long"
        raise _unusable(path, f"is {how}: {len(content):,} bytes, expected {file.size:,}")
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        short = f"SHA-256 {found[:12]}…, expected {file.sha256[:12]}…"
        raise _unusable(path, f"has the right size but altered content: {short}")
    return content


def read_idx(path: Path, file: DataFile) -> np.ndarray:
    """The uint8 array in one gzipped IDX file, verified by size, hash, header, shape and label range. Raises DataError.

    The content is decompressed in memory, so that no unpacked copy lies about that nobody verifies.
    """
    try:
        raw = gzip.decompress(verified_bytes(path, file))
    except (OSError, EOFError, zlib.error) as error:
        raise _unusable(path, f"cannot be decompressed ({error}), expected gzip data") from error
    axes = len(file.shape)
    magic, header = 0x0800 + axes, 4 + 4 * axes  # 08 = unsigned byte, then the number of axes, then their lengths
    if len(raw) < header or int.from_bytes(raw[:4], "big") != magic:
        raise _unusable(path, f"is not an IDX file of bytes: it starts with {raw[:4].hex()}, expected {magic:08x}")
    shape = struct.unpack(f">{axes}I", raw[4:header])
    if shape != file.shape:
        raise _unusable(path, f"holds an array of shape {shape}, expected {file.shape}")
    array = np.frombuffer(raw, np.uint8, offset=header)
    if array.size != np.prod(shape):
        raise _unusable(path, f"holds {array.size:,} values, expected {np.prod(shape):,} by its own header")
    if axes == 1 and array.size and array.max() > 9:
        raise _unusable(path, f"holds labels up to {array.max()}, expected 0..9")
    return array.reshape(shape).copy()  # torch wants memory it may write to


def _intact(path: Path, file: DataFile) -> bool:
    try:
        verified_bytes(path, file)
    except DataError:
        return False
    return True


def _unusable(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}. Type: {fetch_command(_root_of(path.parent))}")


# ---------------------------------------------------------------- fetching


def fetch(
    to: str | Path | None = None,
    *,
    mirrors: tuple[str, ...] | None = None,
    timeout: float = TIMEOUT,
    progress: bool = True,
) -> Path:
    """Bring the four files into `to`/MNIST/raw (default: the course's `data/`) and return that folder.

    Files already there and intact are kept; damaged ones are replaced. Each file is verified aside and moved into place in one step, so
    several processes may fetch at once. `timeout` is in seconds without a byte. Raises MissingData, naming what each mirror answered,
    when no mirror delivers or the folder cannot be written.
    """
    root = paths.DATA if to is None else Path(to)
    folder = _home(root)
    absent = damaged(folder)
    if not absent:
        return folder

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES.values():
            if file.name in absent:
                _fetch_file(file, folder, MIRRORS if mirrors is None else mirrors, timeout, progress)
    except OSError as error:
        fix = "free some space there, or choose another folder with --to DIR"
        raise _missing(f"{folder} cannot be written ({error.strerror}): {fix}", root) from error
    return folder


def _fetch_file(file: DataFile, folder: Path, mirrors: tuple[str, ...], timeout: float, progress: bool) -> None:
    """Bring one file from the first mirror that delivers it. Raises MissingData, or OSError where the folder cannot be written."""
    import pooch  # imported here: pooch and requests cost 0.15 s, and most runs fetch nothing
    import requests

    pooch.get_logger().setLevel("ERROR")  # what goes wrong is told below, once
    download = pooch.HTTPDownloader(timeout=(min(CONNECT_TIMEOUT, timeout), timeout), progressbar=progress)
    answers = []
    for mirror in mirrors:
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as aside:
                url, known = mirror + file.name, f"sha256:{file.sha256}"
                fetched = pooch.retrieve(url, known, fname=file.name, path=aside, downloader=download)
                os.chmod(fetched, 0o644)  # temporary files are for their owner alone, a shared folder is for everybody
                os.replace(fetched, folder / file.name)
            return
        except requests.HTTPError as error:
            answers.append(f"{mirror} answered {error.response.status_code}")
        except requests.RequestException as error:  # a stall in the middle of a file is not a requests.Timeout
            silent = isinstance(error, requests.Timeout) or "timed out" in str(error)
            answers.append(
                f"{mirror} " + (f"was silent for {timeout:g} s" if silent else "could not be reached, or broke off")
            )
        except ValueError:
            answers.append(f"{mirror} sent something else (its SHA-256 differs)")
    raise _missing(f"{file.name} could not be fetched ({'; '.join(answers)})", _root_of(folder))


# ---------------------------------------------------------------- the embedded digits


def _digits(split: str) -> ImageSet:
    """scikit-learn's 8x8 digits, enlarged to 20x20 and centred on 28x28 as MNIST is; a fixed 1 500 / 297 split.

    Bilinear interpolation in whole numbers, so that every machine makes the same bytes.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    centre = np.clip(4 * np.arange(20) - 3, 0, 70)  # of each new pixel, in tenths of an old one
    row, left = np.arange(20), centre // 10
    weight = np.zeros((20, 8), np.int64)
    weight[row, left] = 10 - centre % 10
    weight[row, np.minimum(left + 1, 7)] += centre % 10
    big = weight @ bunch.images.astype(np.int64) @ weight.T  # 0..1600, from 16 levels and twice ten tenths
    images = np.pad((255 * big + 800) // 1600, ((0, 0), (4, 4), (4, 4))).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    index = order[:1500] if split == "train" else order[1500:]
    return ImageSet(torch.from_numpy(images[index]), torch.from_numpy(bunch.target[index]).long(), "digits", split)
