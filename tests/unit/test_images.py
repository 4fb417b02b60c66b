"""vae_helpers.images: the image set, its batches, the three pixel conventions, and the check at the door."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_helpers.images import Batch, DataError, ImageSet, binarize, check_images


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int) -> ImageSet:
    """n images that can be told apart: the first two pixels count them."""
    images = torch.zeros(n, 28, 28, dtype=torch.uint8)
    images[:, 0, 0], images[:, 0, 1] = torch.arange(n) % 256, torch.arange(n) // 256
    return ImageSet(images, torch.arange(n) % 10, "numbered")


def numbers(part: ImageSet | torch.Tensor) -> list[int]:
    """Which images of `numbered` these are."""
    pixels = (part.x if isinstance(part, ImageSet) else part).mul(255).round().long()
    return (pixels[:, 0] + 256 * pixels[:, 1]).tolist()


# ---------------------------------------------------------------- the set


def test_images_stay_bytes_until_they_are_asked_for(few):
    assert few.images.dtype == torch.uint8
    assert few.images.nbytes == 12 * 784
    assert few.x.shape == (12, 784)
    assert few.x.dtype == torch.float32
    assert few.x.is_contiguous()
    assert torch.equal(few.x, few.images.flatten(1) / 255)
    assert few.y is few.labels


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(3, 28, 28), torch.zeros(3).long(), r"got torch.float32 \(3, 28, 28\).*ImageSet.from_floats"),
        (torch.zeros(3, 784).byte(), torch.zeros(3).long(), r"shape \(N, 28, 28\), got torch.uint8 \(3, 784\)"),
        (torch.zeros(28, 28).byte(), torch.zeros(28).long(), r"got torch.uint8 \(28, 28\)"),
        (
            torch.zeros(3, 28, 28).byte(),
            torch.zeros(2).long(),
            r"labels must be int64 of shape \(3,\).*got torch.int64 \(2,\)",
        ),
        (
            torch.zeros(3, 28, 28).byte(),
            torch.zeros(3, 1).long(),
            r"got torch.int64 \(3, 1\): use labels.long\(\).flatten\(\)",
        ),
        (torch.zeros(3, 28, 28).byte(), torch.zeros(3), "labels must be int64.*got torch.float32"),
        (torch.zeros(3, 28, 28).byte(), torch.tensor([0, 10, 3]), r"labels must lie in 0..9, found 0 to 10"),
        (torch.zeros(3, 28, 28).byte(), torch.tensor([-1, 1, 3]), r"labels must lie in 0..9, found -1 to 3"),
    ],
)
def test_what_is_no_set_of_digits_is_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels)


@pytest.mark.parametrize("index", [slice(2, 9, 3), torch.tensor([8, 2, 2]), torch.arange(12) > 7, -1, 0])
def test_a_part_is_a_set_with_matching_labels(few, index):
    part = few[index]
    assert isinstance(part, ImageSet)
    assert torch.equal(part.images, few.images[index].reshape(-1, 28, 28))
    assert torch.equal(part.labels, few.labels[index].reshape(-1))
    assert (part.name, part.split) == (few.name, few.split)


def test_a_set_can_be_looped_over(few):
    assert [int(one.labels) for one in few] == few.labels.tolist()


def test_of_digit(few):
    assert few.of_digit(1).labels.tolist() == [1, 1]
    assert torch.equal(few.of_digit(1).images, few.images[[1, 11]])


# ---------------------------------------------------------------- subsets


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 400), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_split_off_parts_the_set_in_two(n, share, seed):
    every = numbered(n)
    k = min(max(1, round(share * n)), n - 1)
    rest, held_out = every.split_off(k, seed=seed)
    assert (len(rest), len(held_out)) == (n - k, k)
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(n))
    assert numbers(rest) == sorted(numbers(rest))
    assert (rest.split, held_out.split) == ("train", "validation")
    assert rest.name == held_out.name == "numbered"
    assert numbers(every.split_off(k, seed=seed)[1]) == numbers(held_out)
    for part in (rest, held_out):
        assert part.labels.tolist() == [i % 10 for i in numbers(part)]


def test_split_off_depends_on_its_seed_and_on_nothing_else():
    every = numbered(300)
    first = numbers(every.split_off(50)[1])
    torch.manual_seed(1234)
    assert numbers(every.split_off(50, seed=0)[1]) == first
    assert numbers(every.split_off(50, seed=1)[1]) != first


@pytest.mark.parametrize("n", [0, -3, 12, 13])
def test_split_off_leaves_something_on_both_sides(few, n):
    with pytest.raises(ValueError, match=f"cannot hold out {n} of 12 images"):
        few.split_off(n)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 300), k=st.integers(1, 400), seed=st.integers(0, 2**31))
def test_random_subset_draws_without_replacement(n, k, seed):
    part = numbered(n).random_subset(k, seed=seed)
    assert len(part) == min(n, k)
    assert len(set(numbers(part))) == len(part)
    assert part.labels.tolist() == [i % 10 for i in numbers(part)]
    assert numbers(numbered(n).random_subset(k, seed=seed)) == numbers(part)


def test_random_subsets_grow_and_are_mixed():
    every = numbered(300)
    assert numbers(every.random_subset(100))[:20] == numbers(every.random_subset(20))
    assert numbers(every.random_subset(300)) != list(range(300))
    assert numbers(every.random_subset(20, seed=1)) != numbers(every.random_subset(20))


@pytest.mark.parametrize("n", [0, -1])
def test_random_subset_of_nothing(few, n):
    with pytest.raises(ValueError, match="choose at least 1"):
        few.random_subset(n)


# ---------------------------------------------------------------- batches


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 130), size=st.integers(1, 140), shuffle=st.booleans(), drop_last=st.booleans())
def test_an_epoch_shows_every_image_once(n, size, shuffle, drop_last):
    batches = list(numbered(n).batches(size, shuffle=shuffle, drop_last=drop_last, generator=seeded(3)))
    sizes = [len(batch.x) for batch in batches]
    seen = [i for batch in batches for i in numbers(batch.x)]
    whole, left = divmod(n, size)
    assert sizes == [size] * whole + [left] * (left > 0 and not drop_last)
    assert len(set(seen)) == len(seen)
    if not drop_last:
        assert sorted(seen) == list(range(n))
    assert [y for batch in batches for y in batch.y.tolist()] == [i % 10 for i in seen]
    if not shuffle:
        assert seen == list(range(len(seen)))


def test_batches_are_float_pixels_and_int64_labels(few):
    batch = next(few.batches(5))
    assert isinstance(batch, Batch)
    assert (batch.x.shape, batch.x.dtype) == ((5, 784), torch.float32)
    assert (batch.y.shape, batch.y.dtype) == ((5,), torch.int64)
    assert check_images(batch.x) is batch.x
    assert torch.equal(batch.x, few.x[:5])


def test_an_epoch_draws_one_permutation():
    """The order is that of one randperm, and the next epoch of the same generator has another."""
    every, generator, twin = numbered(100), seeded(5), seeded(5)
    for _ in range(2):
        seen = [i for batch in every.batches(7, shuffle=True, generator=generator) for i in numbers(batch.x)]
        assert seen == torch.randperm(100, generator=twin).tolist()
    assert torch.equal(generator.get_state(), twin.get_state())


def test_without_shuffling_nothing_is_drawn(few):
    generator = seeded(5)
    list(few.batches(5, generator=generator))
    assert torch.equal(generator.get_state(), seeded(5).get_state())


def test_without_a_generator_the_global_seed_decides():
    def epoch():
        torch.manual_seed(11)
        return [i for batch in numbered(50).batches(8, shuffle=True) for i in numbers(batch.x)]

    assert epoch() == epoch() != list(range(50))


def test_pixel_conventions_in_batches(few):
    grey, static = (torch.cat([b.x for b in few.batches(5, pixels=p)]) for p in ("grey", "static"))
    dynamic = [torch.cat([b.x for b in few.batches(5, pixels="dynamic", noise_generator=seeded(s))]) for s in (1, 1, 2)]
    assert torch.equal(grey, few.x)
    assert torch.equal(static, (few.x > 0.5).float())
    assert torch.equal(dynamic[0], dynamic[1])
    assert not torch.equal(dynamic[0], dynamic[2])
    assert set(dynamic[0].unique().tolist()) == {0.0, 1.0}


def test_the_noise_does_not_disturb_the_order():
    """Two generators: the same order whatever the pixels are."""
    labels = [
        [
            b.y.tolist()
            for b in numbered(40).batches(6, shuffle=True, pixels=p, generator=seeded(2), noise_generator=seeded(9))
        ]
        for p in ("grey", "dynamic")
    ]
    assert labels[0] == labels[1]


def test_batches_leave_the_stored_images_alone(few):
    before = few.images.clone()
    for batch in few.batches(5):
        batch.x.zero_()
    assert torch.equal(few.images, before)


def test_batches_arrive_on_the_device_asked_for(few):
    batch = next(few.batches(5, shuffle=True, device="meta"))
    assert batch.x.device.type == batch.y.device.type == "meta"
    assert batch.x.shape == (5, 784)


@pytest.mark.parametrize("size", [0, -2])
def test_batch_size_must_be_positive(few, size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {size}"):
        next(few.batches(size))


# ---------------------------------------------------------------- the three conventions


@pytest.mark.parametrize("shape", [(784,), (3, 784), (2, 1, 28, 28)])
@pytest.mark.parametrize("pixels", ["grey", "dynamic", "static"])
def test_binarize_keeps_shape_and_type(shape, pixels):
    x = torch.rand(shape, generator=seeded(0), dtype=torch.float64)
    b = binarize(x, pixels)
    assert (b.shape, b.dtype) == (x.shape, x.dtype)
    assert torch.equal(b, x) if pixels == "grey" else set(b.unique().tolist()) <= {0.0, 1.0}


def test_static_turns_at_one_half():
    assert binarize(torch.tensor([0.0, 0.5, 0.50001, 1.0]), "static").tolist() == [0, 0, 1, 1]


def test_dynamic_is_a_coin_with_the_grey_as_its_probability():
    x = torch.tensor([0.0, 0.2, 0.7, 1.0]).repeat(20_000, 1)
    share = binarize(x, "dynamic", generator=seeded(0)).mean(0)
    assert share[0] == 0
    assert share[3] == 1
    assert (share - x[0]).abs().max() < 0.015  # 4 standard errors at 20 000 draws
    assert not torch.equal(binarize(x), binarize(x))


def test_an_unknown_convention_names_the_three(few):
    with pytest.raises(ValueError, match="pixels='gray' does not exist: choose one of grey, dynamic, static"):
        next(few.batches(5, pixels="gray"))


# ---------------------------------------------------------------- the check at the door


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 784)), r"torch tensor, got ndarray: use torch.as_tensor\(x\)"),
        ([[0.0] * 784], "torch tensor, got list"),
        (torch.zeros(2, 784).byte(), r"must be floats in \[0, 1\], got torch.uint8: use x.float\(\) / 255"),
        (torch.zeros(2, 784).long(), "got torch.int64"),
        (torch.zeros(2, 28, 28), r"shape \(N, 784\), got \(2, 28, 28\): use x.reshape\(-1, 784\)"),
        (torch.zeros(2, 1, 28, 28), r"use x.reshape\(-1, 784\)"),
        (torch.zeros(784), r"use x.reshape\(-1, 784\)"),
        (torch.zeros(2, 64), r"got \(2, 64\): this course reads images of 28x28 = 784 pixels"),
        (torch.zeros(()), r"got \(\): this course"),
        (torch.zeros(0, 784), "no images: the batch has shape"),
        (torch.full((2, 784), torch.nan), "NaN or infinite"),
        (torch.full((2, 784), torch.inf), "NaN or infinite"),
        (torch.full((2, 784), 255.0), "found 255 to 255: divide by 255"),
        (torch.full((2, 784), 2.0), "found 2 to 2: divide by 255"),
        (torch.full((2, 784), -0.4242), "found -0.4242 to -0.4242: undo the normalisation"),
        (torch.full((2, 784), 300.0), "found 300 to 300: undo the normalisation"),
        (torch.full((2, 784), 1.00001), r"found 1.00001 to 1.00001: use x.clamp\(0, 1\)"),
        (torch.full((2, 784), -0.001), r"use x.clamp\(0, 1\)"),
    ],
)
def test_each_misuse_is_told_how_to_mend_it(x, message):
    with pytest.raises(DataError, match=message):
        check_images(x)


def test_the_remedies_work():
    for x, mended in [
        (torch.full((2, 784), 255.0), lambda x: x / 255),
        (torch.full((2, 784), 255).byte(), lambda x: x.float() / 255),
        (torch.full((2, 1, 28, 28), 0.5), lambda x: x.reshape(-1, 784)),
        (torch.full((2, 784), 1.00001), lambda x: x.clamp(0, 1)),
        (np.full((2, 784), 0.5), torch.as_tensor),
    ]:
        with pytest.raises(DataError):
            check_images(x)
        check_images(mended(x))


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(0, 4),
    width=st.sampled_from([783, 784, 785]),
    low=st.floats(-300, 300, width=32),
    high=st.floats(-300, 300, width=32),
    kind=st.sampled_from([torch.float16, torch.float32, torch.float64, torch.uint8]),
    hole=st.sampled_from([None, torch.nan, torch.inf, -torch.inf]),
)
def test_the_contract_is_exactly_float_images_in_range(n, width, low, high, kind, hole):
    """Accepted if and only if: floats, (N >= 1, 784), every value in [0, 1]; and then it is the same object."""
    if kind is torch.uint8:
        low, high, hole = abs(low) % 256, abs(high) % 256, None
    x = torch.full((n, width), low).to(kind)
    if n:
        x[-1, -1] = high
        if hole is not None:
            x[n // 2, 400] = hole
    # NaN compares false with everything, so the rule needs no word for it
    lawful = x.is_floating_point() and width == 784 and n > 0 and bool(((x >= 0) & (x <= 1)).all())
    if lawful:
        assert check_images(x) is x
    else:
        with pytest.raises(DataError):
            check_images(x)


@settings(max_examples=60, deadline=None)
@given(low=st.floats(0, 1, width=32), high=st.floats(0, 1, width=32), n=st.integers(1, 3))
def test_the_contract_accepts_every_lawful_batch(low, high, n):
    x = torch.full((n, 784), low)
    x[:, 0] = high
    assert check_images(x) is x


# ---------------------------------------------------------------- from floats


def test_from_floats_undoes_x(digits):
    again = ImageSet.from_floats(digits.x, digits.y, name="digits")
    assert torch.equal(again.images, digits.images)
    assert torch.equal(again.labels, digits.labels)
    assert (again.name, again.split) == ("digits", "train")


@settings(max_examples=40, deadline=None)
@given(grey=st.floats(0, 1, width=32))
def test_from_floats_takes_the_nearest_grey(grey):
    kept = ImageSet.from_floats(torch.full((1, 784), grey), torch.tensor([3]))
    assert (kept.x - grey).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.filterwarnings("error")
def test_from_floats_takes_what_a_model_returns(few):
    x = few.x.double().requires_grad_()
    made = ImageSet.from_floats(x, few.labels.int(), split="test")
    assert torch.equal(made.images, few.images)
    assert not made.images.requires_grad
    assert made.labels.dtype == torch.int64
    assert made.split == "test"
    assert ImageSet.from_floats(few.x, few.labels.tolist()).labels.tolist() == few.labels.tolist()


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.full((2, 784), 255.0), torch.zeros(2).long(), "divide by 255"),
        (torch.zeros(2, 28, 28), torch.zeros(2).long(), "reshape"),
        (torch.zeros(2, 784), torch.zeros(3).long(), r"shape \(2,\)"),
        (torch.zeros(2, 784), torch.zeros(2), "got torch.float32"),
        (torch.zeros(2, 784), torch.zeros(2).bool(), "got torch.bool"),
        (torch.zeros(2, 784), torch.tensor([1, 11]), "found 1 to 11"),
    ],
)
def test_from_floats_is_as_strict_as_everything_else(x, labels, message):
    with pytest.raises(DataError, match=message):
        ImageSet.from_floats(x, labels)
