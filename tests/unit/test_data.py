"""vae_helpers.data: where the images come from, and that nothing damaged ever gets in."""

import gzip
import hashlib
import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_helpers import data

REAL = os.environ.get("VAE_DATA_DIR", "")
NAMES = [file.name for file in data.FILES.values()]
needs_mnist = pytest.mark.skipif(
    not (REAL and any((Path(REAL) / sub / NAMES[0]).is_file() for sub in ("", "MNIST/raw"))),
    reason="needs MNIST in VAE_DATA_DIR",
)


def snapshot(folder: Path) -> dict:
    """Every path below `folder` with its size, mode and times."""
    found = {p: p.stat() for p in [folder, *folder.rglob("*")]}
    return {p: (s.st_size, s.st_mode, s.st_mtime_ns, s.st_ctime_ns) for p, s in found.items()}


def spoil(path: Path, how: str) -> None:
    """Damage a file in one of the ways that were met in practice."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "truncated": content[:-5],
            "empty": b"",
            "too long": content + b"\0",
            "web page": b"\n<!DOCTYPE html><html><body>Please log in</body></html>".ljust(len(content)),
        }[how]
    )


# ---------------------------------------------------------------- the order of look-up


def test_an_explicit_root_wins_over_everything(tiny, places, tmp_path, monkeypatch):
    tiny.write(places / "MNIST" / "raw")
    monkeypatch.setenv("VAE_DATA_DIR", str(tiny.write(tmp_path / "shared")))
    root = tiny.write(tmp_path / "mine")
    assert data.find_mnist(root) == root
    assert data.find_mnist(str(root)) == root


def test_the_shared_folder_wins_over_the_own_one(tiny, places, tmp_path, monkeypatch):
    tiny.write(places / "MNIST" / "raw")
    shared = tiny.write(tmp_path / "shared" / "MNIST" / "raw")
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "shared"))
    assert data.find_mnist() == shared


def test_the_shared_folder_may_start_with_a_tilde(tiny, places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VAE_DATA_DIR", "~/shared")
    shared = tiny.write(tmp_path / "shared")
    assert data.find_mnist() == shared


@pytest.mark.parametrize("sub", ["", "MNIST/raw"])
def test_the_own_folder_is_used_without_asking_the_network(tiny, places, monkeypatch, sub):
    monkeypatch.setattr(data, "fetch", lambda *args: pytest.fail("nothing to fetch"))
    folder = tiny.write(places / sub)
    assert data.find_mnist() == folder


def test_an_empty_shared_folder_is_passed_over(tiny, places, tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path))
    own = tiny.write(places / "MNIST" / "raw")
    assert data.find_mnist() == own


def test_then_the_mirrors_are_asked(tiny, places, monkeypatch):
    monkeypatch.setattr(data, "fetch", lambda to: tiny.write(Path(to) / "MNIST" / "raw"))
    assert data.load("auto").name == "MNIST"
    assert data.find_mnist() == places / "MNIST" / "raw"


def test_offline_means_that_nothing_is_fetched(tiny, places, monkeypatch):
    monkeypatch.setattr(data, "fetch", lambda to: pytest.fail("VAE_OFFLINE is set"))
    monkeypatch.setenv("VAE_OFFLINE", "1")
    with pytest.raises(data.MissingData, match=r"VAE_OFFLINE is set.*python -m vae_helpers fetch"):
        data.load("mnist")


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_what_counts_as_offline(monkeypatch, value, expected):
    monkeypatch.delenv("VAE_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("VAE_OFFLINE", value)
    assert data.offline() is expected


def test_at_last_the_digits_and_one_announcement(tiny, places, monkeypatch, capsys):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    assert data.load().name == "digits"
    first = capsys.readouterr().out
    assert "1 797 small digits" in first
    assert "VAE_OFFLINE" in first
    assert data.load(split="test").name == "digits"
    assert data.load().name == "digits"
    assert capsys.readouterr().out == ""


def test_one_process_never_mixes_two_data_sets(tiny, places, monkeypatch):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    assert data.load(split="train").name == "digits"
    tiny.write(places / "MNIST" / "raw")  # a download that ends in between
    assert data.load(split="test").name == "digits"
    assert data.load("mnist", "test").name == "MNIST"  # asked for by name


def test_asking_for_the_digits_announces_nothing(places, capsys):
    assert data.load("digits").name == "digits"
    assert capsys.readouterr().out == ""


def test_mnist_by_name_or_root_never_becomes_digits(tiny, places, tmp_path):
    with pytest.raises(data.MissingData, match="vae_helpers fetch"):
        data.load("mnist")
    with pytest.raises(data.MissingData, match=r"holds none of its files.*fetch --to"):
        data.load("auto", root=tmp_path)


def test_a_missing_shared_folder_is_named(tiny, places, tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(data.MissingData, match=r"VAE_DATA_DIR=\S*typo holds none"):
        data.load("mnist")


@pytest.mark.parametrize("by", ["root", "VAE_DATA_DIR"])
def test_a_part_of_mnist_is_an_error(tiny, places, tmp_path, monkeypatch, by):
    absent = tiny.name("test", "labels")
    tiny.write(tmp_path / "part", without=(absent,))
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "part"))
    with pytest.raises(
        data.DataError, match=f"only a part of MNIST; missing: {absent}. Type: python -m vae_helpers fetch --to"
    ):
        data.find_mnist(tmp_path / "part" if by == "root" else None)


@pytest.mark.parametrize(("kind", "argument"), [("name", "cifar"), ("split", "validation")])
def test_unknown_names_say_which_exist(kind, argument):
    with pytest.raises(ValueError, match=f"{argument}.*choose"):
        data.load(**{kind: argument})


def test_a_read_only_shared_folder_stays_as_it_is(tiny, places, tmp_path, monkeypatch):
    shared = tiny.write(tmp_path / "shared" / "MNIST" / "raw")
    for path in (*shared.iterdir(), shared, shared.parent, tmp_path / "shared"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setenv("VAE_DATA_DIR", str(tmp_path / "shared"))
    before = snapshot(tmp_path / "shared")
    try:
        assert len(data.load("mnist", "train")) == 30
        assert len(data.load("mnist", "test")) == 10
        assert snapshot(tmp_path / "shared") == before
        assert list(places.iterdir()) == []
    finally:
        for path in (tmp_path / "shared", shared.parent, shared):
            path.chmod(0o755)


# ---------------------------------------------------------------- what is in a file


def test_what_was_written_is_what_is_loaded(tiny, tmp_path):
    for split in ("train", "test"):
        loaded = data.load(split=split, root=tiny.write(tmp_path))
        assert (loaded.name, loaded.split) == ("MNIST", split)
        assert loaded.images.dtype == torch.uint8
        assert loaded.labels.dtype == torch.int64
        assert np.array_equal(loaded.images.numpy(), tiny.arrays[split, "images"])
        assert np.array_equal(loaded.labels.numpy(), tiny.arrays[split, "labels"])


DAMAGE = {
    "altered": "has the right size but altered content: SHA-256 [0-9a-f]{12}…, expected [0-9a-f]{12}…",
    "truncated": r"is truncated: [\d,]+ bytes, expected [\d,]+",
    "empty": r"is truncated: 0 bytes, expected [\d,]+",
    "too long": r"is too long: [\d,]+ bytes, expected [\d,]+",
    "web page": "is a web page, expected gzip data",
}


@pytest.mark.parametrize("part", ["images", "labels"])
@pytest.mark.parametrize("how", DAMAGE)
def test_each_damage_has_its_own_message(tiny, tmp_path, how, part):
    folder = tiny.write(tmp_path / "MNIST" / "raw")
    spoil(folder / tiny.name("train", part), how)
    command = f"Type: python -m vae_helpers fetch --to {tmp_path}$"
    with pytest.raises(data.DataError, match=f"{tiny.name('train', part)} {DAMAGE[how]}.*{command}"):
        data.load(root=tmp_path)
    assert len(data.load(split="test", root=tmp_path)) == 10
    assert data.damaged(folder) == [tiny.name("train", part)]


def test_the_hash_is_compared_at_every_load(tiny, tmp_path):
    tiny.write(tmp_path)
    data.load(root=tmp_path)
    spoil(tmp_path / tiny.name(), "altered")
    with pytest.raises(data.DataError, match="altered"):
        data.load(root=tmp_path)


def test_a_file_that_cannot_be_read_says_so(tiny, tmp_path, monkeypatch):
    tiny.write(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(data.DataError, match=r"cannot be read \(Permission denied\)"):
        data.load(root=tmp_path)


def test_the_command_survives_a_folder_with_a_space(tmp_path):
    assert data.fetch_command(Path("my data")) == "python -m vae_helpers fetch --to 'my data'"
    assert data.fetch_command(data.paths.DATA) == "python -m vae_helpers fetch"


def idx(magic: int, shape: tuple[int, ...], values: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(shape)}I", magic, *shape) + values)


WRONG_INSIDE = {  # file content behind a hash that fits, and what is said about it
    "labels out of range": ("labels", idx(0x801, (30,), bytes([199] + 29 * [1])), "labels up to 199, expected 0..9"),
    "magic of floats": (
        "labels",
        idx(0xD01, (30,), bytes(30)),
        "not an IDX file of bytes.*00000d01, expected 00000801",
    ),
    "images for labels": (
        "labels",
        idx(0x803, (30, 28, 28), bytes(30 * 784)),
        "starts with 00000803, expected 00000801",
    ),
    "other length": ("labels", idx(0x801, (29,), bytes(29)), r"array of shape \(29,\), expected \(30,\)"),
    "other image size": (
        "images",
        idx(0x803, (30, 8, 8), bytes(30 * 64)),
        r"shape \(30, 8, 8\), expected \(30, 28, 28\)",
    ),
    "too few values": (
        "images",
        idx(0x803, (30, 28, 28), bytes(99)),
        "holds 99 values, expected 23,520 by its own header",
    ),
    "too many values": ("labels", idx(0x801, (30,), bytes(31)), "holds 31 values, expected 30"),
    "header cut off": ("images", gzip.compress(b"\0\0\x08\x03\0\0"), "not an IDX file of bytes"),
    "empty inside": ("images", gzip.compress(b""), "not an IDX file of bytes"),
    "no gzip": ("images", b"plain bytes", "cannot be decompressed.*expected gzip data"),
    "gzip cut off": ("images", idx(0x803, (30, 28, 28), os.urandom(23520))[:-900], "cannot be decompressed"),
    "broken deflate": ("labels", gzip.compress(bytes(500))[:10] + b"\xff" * 20, "cannot be decompressed"),
}


@pytest.mark.parametrize("case", WRONG_INSIDE)
def test_the_hash_is_not_the_only_check(tiny, tmp_path, case):
    part, content, message = WRONG_INSIDE[case]
    tiny.redefine("train", part, content)
    name = tiny.name("train", part)
    with pytest.raises(data.DataError, match=f"{name} .*{message}.*Type: python -m vae_helpers fetch"):
        data.load(root=tiny.write(tmp_path))


def test_images_and_labels_of_unequal_length(tiny, tmp_path):
    tiny.redefine("train", "labels", idx(0x801, (29,), bytes(29)), (29,))
    with pytest.raises(data.DataError, match=f"{tmp_path} holds 30 images but 29 labels for train.*Type: python"):
        data.load(root=tiny.write(tmp_path))


def test_no_unpacked_copy_is_written_and_none_is_read(tiny, tmp_path):
    tiny.write(tmp_path)
    (tmp_path / tiny.name().removesuffix(".gz")).write_bytes(b"somebody's wrong copy")
    before = snapshot(tmp_path)
    assert np.array_equal(data.load(root=tmp_path).images.numpy(), tiny.arrays["train", "images"])
    assert snapshot(tmp_path) == before


# ---------------------------------------------------------------- damage in the course's own folder


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_in_the_own_folder_is_mended_by_the_next_run(tiny, places, monkeypatch, how):
    folder = tiny.write(places / "MNIST" / "raw")
    spoil(folder / tiny.name(), how)
    monkeypatch.setattr(data, "fetch", lambda to: tiny.write(folder))
    assert data.load("auto").name == "MNIST"
    assert data.damaged(folder) == []


@pytest.mark.parametrize("absent", [(), ("labels",)])
@pytest.mark.parametrize("offline", ["0", "1"])
@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_damage_that_cannot_be_mended_is_raised(tiny, places, monkeypatch, name, offline, absent):
    """Whether or not another file is missing too: digits in place of a damaged file would be silent."""
    monkeypatch.setenv("VAE_OFFLINE", offline)
    folder = tiny.write(places / "MNIST" / "raw", without=tuple(tiny.name("test", part) for part in absent))
    spoil(folder / tiny.name(), "altered")
    with pytest.raises(
        data.DataError, match=f"{tiny.name()} has the right size but altered content.*vae_helpers fetch$"
    ):
        data.load(name)


def test_an_interrupted_download_offline_is_no_damage(tiny, places, monkeypatch):
    monkeypatch.setenv("VAE_OFFLINE", "1")
    tiny.write(places / "MNIST" / "raw", without=(tiny.name("test", "images"),))
    assert data.load("auto").name == "digits"


# ---------------------------------------------------------------- the digits


@pytest.mark.parametrize(
    ("split", "n", "sha256"),
    [
        ("train", 1500, "6d4ea6307d70ca413ec57786e2916c0d9082d814d3abafcf0894bc350249a79d"),
        ("test", 297, "351752d11c9426fa2f8d1c08573ad4cfa9002cfd0119cececb38300782cbcb67"),
    ],
)
def test_the_digits_are_the_same_bytes_everywhere(split, n, sha256):
    loaded = data.load("digits", split)
    assert (len(loaded), loaded.name, loaded.split) == (n, "digits", split)
    assert hashlib.sha256(loaded.images.numpy().tobytes() + loaded.labels.numpy().tobytes()).hexdigest() == sha256


def test_the_digits_are_laid_out_as_mnist_is(digits):
    """Ink in the middle 20x20, a black frame of 4 pixels, black to white in full."""
    inside = digits.images[:, 4:-4, 4:-4]
    assert int(digits.images.sum(dtype=torch.int64)) == int(inside.sum(dtype=torch.int64))
    assert int(inside.max()) == 255
    assert digits.labels.bincount().min() >= 130


def test_the_digits_are_the_bilinear_enlargement(digits):
    """torch's interpolation agrees to within the rounding of one grey level."""
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images)[:, None] / 16
    big = torch.nn.functional.interpolate(small, size=(20, 20), mode="bilinear", align_corners=False)[:, 0]
    order = np.random.default_rng(0).permutation(len(big))[:1500]
    assert (255 * big[order] - digits.images[:, 4:-4, 4:-4]).abs().max() <= 0.5 + 1e-6


def test_the_two_splits_share_no_image():
    train, test = (data.load("digits", split).images for split in ("train", "test"))
    assert not {i.numpy().tobytes() for i in train} & {i.numpy().tobytes() for i in test}


# ---------------------------------------------------------------- the real MNIST, where it is to be had


def test_the_registry_is_that_of_mnist():
    assert sum(file.size for file in data.FILES.values()) == 11_594_722
    assert all(len(file.sha256) == 64 for file in data.FILES.values())
    assert len(set(NAMES)) == 4


def test_the_read_me_names_the_same_files():
    text = (data.paths.DATA / "README.md").read_text(encoding="utf-8")
    for file in data.FILES.values():
        assert f"| `{file.name}` | {file.size:,} | `{file.sha256}` |".replace(",", " ") in text


@needs_mnist
def test_mnist_is_mnist():
    train, test = data.load("mnist", "train", REAL), data.load("mnist", "test", REAL)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.images.nbytes == 47_040_000  # as bytes: 47 MB, a quarter of what floats would cost
    pixels = train.images.float().div_(255)
    assert round(float(pixels.mean()), 4) == 0.1307
    assert round(float(pixels.std()), 4) == 0.3081
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert train.labels.bincount().tolist() == counts
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]


@needs_mnist
def test_no_training_image_of_mnist_is_in_the_test_set():
    train, test = data.load("mnist", "train", REAL), data.load("mnist", "test", REAL)
    seen = Counter(bytes(row) for row in train.images.numpy().reshape(-1, 784))
    assert not [i for i, row in enumerate(test.images.numpy().reshape(-1, 784)) if bytes(row) in seen]


def test_a_relative_shared_folder_counts_from_the_course_too(places, tmp_path, monkeypatch):
    """make course runs its kernels in notebooks/, wherever VAE_DATA_DIR=../shared/data was typed."""
    (tmp_path / "course" / "notebooks").mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(data.paths, "ROOT", tmp_path / "course")
    monkeypatch.setenv("VAE_DATA_DIR", "../shared")
    for working_directory in (tmp_path / "course", tmp_path / "course" / "notebooks"):
        monkeypatch.chdir(working_directory)
        assert data.shared_folder().resolve() == shared
    monkeypatch.delenv("VAE_DATA_DIR")
    assert data.shared_folder() is None
