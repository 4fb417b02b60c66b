"""Finding, fetching, verifying and batching the images, and the three ways to read a grey pixel.

Where `load` looks, in this order: the `root` you pass, the folder in VAE_DATA_DIR, the course's own `data/`, the mirrors, and at last
scikit-learn's 1 797 real 8x8 digits, which are part of that package, so a lesson runs with no network at all.
"""

import gzip
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_helpers import paths

PIXEL_CONVENTIONS = ("grey", "dynamic", "static")
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
CONNECT_TIMEOUT, TIMEOUT = 5.0, 30.0  # seconds to reach a mirror, and without a byte before it is given up


class DataFile(NamedTuple):
    """One file of MNIST: its name, size in bytes, SHA-256, and the shape it holds."""

    name: str
    size: int
    sha256: str
    shape: tuple[int, ...]


FILES = {
    ("train", "images"): DataFile(
        "train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", (60_000, 28, 28)
    ),
    ("train", "labels"): DataFile(
        "train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", (60_000,)
    ),
    ("test", "images"): DataFile(
        "t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", (10_000, 28, 28)
    ),
    ("test", "labels"): DataFile(
        "t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", (10_000,)
    ),
}


class DataError(RuntimeError):
    """The data cannot be used. The message names the file, what was expected, what was found, and what to type."""


class Batch(NamedTuple):
    """Pixels x (batch, 784) float32 in [0, 1] and labels y (batch,) int64."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class ImageSet:
    """Images as they are stored, uint8 (N, 28, 28), with labels int64 (N,); floats exist only one batch at a time.

    Raises DataError when shapes, types or labels are not those of digit images.
    """

    images: Tensor
    labels: Tensor
    name: str = "images"
    split: str = "train"

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.shape[1:] != (28, 28):
            raise DataError(
                f"an ImageSet holds uint8 images of shape (N, 28, 28), got {self.images.dtype} {tuple(self.images.shape)}. "
                "For floats in [0, 1]: (255 * x).round().to(torch.uint8).view(-1, 28, 28)"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(f"labels must be int64 of shape ({len(self.images)},), got {self.labels.dtype} {tuple(self.labels.shape)}")
        if len(self.labels) and not (0 <= int(self.labels.min()) and int(self.labels.max()) <= 9):
            raise DataError(f"labels must lie in 0..9, found {int(self.labels.min())}..{int(self.labels.max())}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> "ImageSet":
        """A part of the set, by slice or by a tensor of positions or booleans."""
        return ImageSet(self.images[index], self.labels[index], self.name, self.split)

    @property
    def x(self) -> Tensor:
        """All images as grey floats (N, 784) in [0, 1]. Costs 3 kB an image: for all of MNIST prefer `batches`."""
        return _floats(self.images)

    @property
    def y(self) -> Tensor:
        """The labels, int64 (N,)."""
        return self.labels

    def of_digit(self, digit: int) -> "ImageSet":
        """The images that show `digit`."""
        return self[self.labels == digit]

    def random_subset(self, n: int, *, seed: int = 0) -> "ImageSet":
        """n images drawn without replacement, in random order, the same ones for the same seed."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self[order[:n]]

    def split_off(self, n: int, *, seed: int = 0) -> tuple["ImageSet", "ImageSet"]:
        """(the rest, n held-out images): a validation set taken from the training images, so that the test set stays untouched."""
        if not 0 < n < len(self):
            raise ValueError(f"cannot hold out {n} of {len(self)} images")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        held_out = self[order[-n:]]
        return self[order[:-n].sort().values], ImageSet(held_out.images, held_out.labels, self.name, "validation")

    def batches(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        pixels: str = "grey",
        generator: torch.Generator | None = None,
        noise_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> Iterator[Batch]:
        """Batches of floats: one permutation an epoch, bytes to floats one batch at a time.

        `pixels` is "grey", "dynamic" or "static" (see `binarize`). `generator` (CPU) draws the order; `noise_generator` (on the device
        of the batches) the binarisation.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        images, labels = self.images.to(device), self.labels.to(device)
        order = torch.randperm(len(self), generator=generator).to(device) if shuffle else None
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            if drop_last and stop - start < batch_size:
                return
            index = slice(start, stop) if order is None else order[start:stop]
            yield Batch(binarize(_floats(images[index]), pixels, generator=noise_generator), labels[index])


def _floats(images: Tensor) -> Tensor:
    return images.flatten(1).float().div_(255)


def binarize(x: Tensor, pixels: str = "dynamic", *, generator: torch.Generator | None = None) -> Tensor:
    """Read grey pixels x in [0, 1] by one of three conventions; any shape, same shape back.

    "grey"     leave them as they are
    "dynamic"  a fresh b ~ Bernoulli(x) at every call (Salakhutdinov & Murray 2008; Burda et al. 2016)
    "static"   1 where x > 1/2, else 0
    """
    if pixels == "grey":
        return x
    if pixels == "dynamic":
        return torch.bernoulli(x, generator=generator)
    if pixels == "static":
        return (x > 0.5).to(x.dtype)
    raise ValueError(f"pixels={pixels!r} does not exist: choose one of {', '.join(PIXEL_CONVENTIONS)}")


def check_images(x: Tensor) -> Tensor:
    """Return x if it is a float batch (N, 784) within [0, 1]; else raise DataError with the line that mends it."""
    if not isinstance(x, Tensor):
        raise DataError(f"images must be a torch tensor, got {type(x).__name__}: use torch.as_tensor(x)")
    if not x.is_floating_point():
        raise DataError(f"images must be floats in [0, 1], got {x.dtype}: use x.float() / 255")
    if x.ndim != 2 or x.shape[1] != 784:
        raise DataError(f"images must have shape (N, 784), got {tuple(x.shape)}: use x.flatten(1)")
    if len(x) == 0:
        raise DataError("there are no images: the batch has shape (0, 784)")
    if not torch.isfinite(x).all():
        raise DataError("images hold NaN or infinite values: look at what produced them")
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > 1:
        fix = "divide by 255" if 1 < high <= 255 and low >= 0 else "undo the normalisation, so that black is 0 and white is 1"
        raise DataError(f"pixels must lie in [0, 1], found {low:.3g} to {high:.3g}: {fix}")
    return x


# ---------------------------------------------------------------- finding the files


def load(name: str = "auto", split: str = "train", root: str | Path | None = None) -> ImageSet:
    """The images of one split, verified.

    name    "mnist", "digits" (scikit-learn's, brought to 28x28), or "auto": MNIST where it can be had, else the digits, and says so
    split   "train" (60 000 images; 1 500 digits) or "test" (10 000; 297)
    root    a folder that holds the four .gz files, directly or under MNIST/raw

    Raises DataError for a file that is missing, damaged or not MNIST. A damaged file is never used and never passed over in silence.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split={split!r} does not exist: choose train or test (validation images: load('auto', 'train').split_off(n))")
    if name == "digits":
        return _digits(split)
    if name not in ("auto", "mnist"):
        raise ValueError(f"name={name!r} does not exist: choose auto, mnist or digits")
    if name == "auto" and root is None and _using_digits:
        return _digits(split)
    try:
        folder = find_mnist(root)
    except MissingData as error:
        if name == "mnist" or root is not None:
            raise
        _announce_digits(error)
        return _digits(split)
    images = read_idx(folder / FILES[split, "images"].name, FILES[split, "images"])
    labels = read_idx(folder / FILES[split, "labels"].name, FILES[split, "labels"])
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), "MNIST", split)


class MissingData(DataError):
    """MNIST is nowhere to be found and could not be fetched."""


def find_mnist(root: str | Path | None = None) -> Path:
    """The folder with the four files: see the module's first lines for where it looks. Fetches them into `data/` as a last resort.

    Raises MissingData when they are nowhere, DataError when VAE_DATA_DIR or `root` holds only some of them.
    """
    if root is not None:
        return _folder_in(Path(root)) or _missing(f"{root} holds no MNIST", Path(root))
    shared = os.environ.get("VAE_DATA_DIR")
    if shared and (folder := _folder_in(Path(shared))):
        return folder
    own = _folder_in(paths.DATA)
    if own and not damaged(own):
        return own
    try:
        if offline():
            _missing("VAE_OFFLINE is set, so nothing was fetched", paths.DATA)
        return fetch(paths.DATA)
    except MissingData:
        if own:
            _raise_damaged(own)
        raise


def offline() -> bool:
    """True where VAE_OFFLINE forbids the download."""
    return os.environ.get("VAE_OFFLINE", "") not in ("", "0")


def _folder_in(root: Path) -> Path | None:
    """The folder under `root` that holds MNIST's files: all four, or it is an error to have only some."""
    for folder in (root / "MNIST" / "raw", root):
        there = [f.name for f in FILES.values() if (folder / f.name).is_file()]
        if len(there) == len(FILES):
            return folder
        if there and root != paths.DATA:
            absent = ", ".join(sorted({f.name for f in FILES.values()} - set(there)))
            raise DataError(f"{folder} holds only a part of MNIST; {absent} is missing. Type: {fetch_command(root)}")
    return None


def _missing(why: str, root: Path) -> Path:
    raise MissingData(
        f"MNIST was not found: {why}. Type: {fetch_command(root)} on a machine with a network, "
        f"or put the four .gz files into a folder and set VAE_DATA_DIR to it."
    )


def fetch_command(root: Path) -> str:
    """What to type to (re)fetch MNIST into `root`."""
    return "python -m vae_helpers fetch" + ("" if root == paths.DATA else f" --to {root}")


def damaged(folder: Path) -> list[str]:
    """The names of MNIST's files in `folder` that are missing or whose SHA-256 is wrong (11.6 MB: some 10 ms)."""
    return [f.name for f in FILES.values() if not (folder / f.name).is_file() or _sha256((folder / f.name).read_bytes()) != f.sha256]


def _raise_damaged(folder: Path) -> None:
    for file in FILES.values():
        verified_bytes(folder / file.name, file)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_using_digits = False  # set once a look-up failed: no second wait, no second announcement, one data set per process


def _announce_digits(error: MissingData) -> None:
    global _using_digits
    _using_digits = True
    print(
        f"No MNIST here, so you are working with scikit-learn's 1 797 small digits, enlarged to 28x28. Every cell runs, "
        f"but the numbers differ from those in the text.\n({error})"
    )


# ---------------------------------------------------------------- reading and verifying


def verified_bytes(path: Path, file: DataFile) -> bytes:
    """The compressed content of `path`, after size and SHA-256 were compared with `file`. Raises DataError."""
    mend = f"Delete it and type: {fetch_command(_root_of(path.parent))}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). {mend}") from error
    if content[:1] == b"<":
        raise DataError(f"{path} is a web page, not data: a proxy or a login page answered in its place. {mend}")
    if len(content) < file.size:
        raise DataError(f"{path} is truncated: {len(content):,} bytes, expected {file.size:,}. {mend}")
    if len(content) > file.size:
        raise DataError(f"{path} is too long: {len(content):,} bytes, expected {file.size:,}. {mend}")
    found = _sha256(content)
    if found != file.sha256:
        raise DataError(
            f"{path} has the right size but altered content: SHA-256 {found[:12]}…, expected {file.sha256[:12]}…. {mend}"
        )
    return content


def read_idx(path: Path, file: DataFile) -> np.ndarray:
    """The uint8 array in one gzipped IDX file, verified by hash, header, shape and label range. Raises DataError."""
    return parse_idx(verified_bytes(path, file), file, path)


def parse_idx(content: bytes, file: DataFile, path: Path | str = "") -> np.ndarray:
    """Decompress (in memory) and parse verified bytes; raises DataError when what is inside is not what `file` describes."""
    path = path or file.name
    try:
        raw = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise DataError(f"{path} is not a complete gzip file ({error})") from error
    header = 4 + 4 * len(file.shape)
    magic = 0x0800 + len(file.shape)  # 08 = unsigned byte, then the number of axes
    if len(raw) < header or struct.unpack(">i", raw[:4])[0] != magic:
        raise DataError(f"{path} is not an IDX file of bytes: it starts with {raw[:4].hex()}, expected {magic:08x}")
    shape = struct.unpack(f">{len(file.shape)}i", raw[4:header])
    if shape != file.shape:
        raise DataError(f"{path} holds an array of shape {shape}, expected {file.shape}")
    if len(raw) - header != np.prod(shape):
        raise DataError(f"{path} holds {len(raw) - header:,} values, its header promises {np.prod(shape):,}")
    array = np.frombuffer(raw, np.uint8, offset=header).reshape(shape).copy()
    if len(shape) == 1 and array.size and array.max() > 9:
        raise DataError(f"{path} holds labels up to {array.max()}, expected 0..9")
    return array


def _root_of(folder: Path) -> Path:
    return folder.parent.parent if folder.parts[-2:] == ("MNIST", "raw") else folder


# ---------------------------------------------------------------- fetching


def fetch(to: str | Path | None = None, *, mirrors: tuple[str, ...] = MIRRORS, timeout: float = TIMEOUT, progress: bool = True) -> Path:
    """Bring the four files into `to`/MNIST/raw (default: the course's `data/`) and return that folder.

    Files already there and intact are kept; damaged ones are replaced. Each file is written aside and moved into place, so several
    processes may fetch at once. Raises MissingData, naming what each mirror answered, when no mirror delivers.
    """
    import pooch  # imported here: pooch and requests cost 0.15 s, and most runs fetch nothing
    import requests

    pooch.get_logger().setLevel("ERROR")
    root = paths.DATA if to is None else Path(to)
    folder = root if _any_file(root) else root / "MNIST" / "raw"
    missing = damaged(folder)
    if not missing:
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made ({error.strerror}): choose a folder you can write to with --to DIR") from error
    download = pooch.HTTPDownloader(timeout=(min(CONNECT_TIMEOUT, timeout), timeout), progressbar=progress)
    hashes = {f.name: f"sha256:{f.sha256}" for f in FILES.values()}
    for name in missing:
        answers = []
        for mirror in mirrors:
            try:
                pooch.retrieve(mirror + name, hashes[name], fname=name, path=folder, downloader=download)
                break
            except requests.HTTPError as error:
                answers.append(f"{mirror} answered {error.response.status_code}")
            except requests.Timeout:
                answers.append(f"{mirror} stopped answering for {timeout:g} s")
            except requests.RequestException:
                answers.append(f"{mirror} could not be reached, or broke off")
            except ValueError:
                answers.append(f"{mirror} sent something that is not {name} (its SHA-256 differs)")
            except OSError as error:
                raise DataError(f"{folder / name} cannot be written ({error.strerror}): free some space, or choose --to DIR") from error
        else:
            _missing(f"{name} could not be fetched ({'; '.join(answers)})", root)
    return folder


def _any_file(folder: Path) -> bool:
    return any((folder / f.name).is_file() for f in FILES.values())


# ---------------------------------------------------------------- the embedded digits


def _digits(split: str) -> ImageSet:
    """scikit-learn's 8x8 digits, enlarged to 20x20 and centred on 28x28 as MNIST is; a fixed 1 500 / 297 split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    big = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)
    images = torch.nn.functional.pad(big[:, 0], (4, 4, 4, 4)).mul(255).round().to(torch.uint8)
    labels = torch.from_numpy(bunch.target).long()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    index = order[:1500] if split == "train" else order[1500:]
    return ImageSet(images[index], labels[index], "digits", split)
