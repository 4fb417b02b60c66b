"""Checks of lesson 00: the test split, the best guess for a grey pixel, the floor, and bits per dimension."""

import math

import torch

from vae_helpers import data
from vae_helpers.checks.exercise import Bug, Exercise


def _judge_test_images(answer) -> tuple[bool, str]:
    if not isinstance(answer, data.ImageSet):
        return False, "this is no ImageSet. Load it with data.load(...)."
    train = data.load(split="train")
    if len(answer) == 0:
        return False, "this set is empty."
    if answer.name != train.name:
        return False, f"these images are from {answer.name}, the training images from {train.name}."
    if len(answer) == len(train) and torch.equal(answer.images, train.images):
        return False, "these are the training images: the two sets are the same."
    seen = {image.numpy().tobytes() for image in train.images}
    overlap = sum(image.numpy().tobytes() in seen for image in answer.images)
    if overlap:
        return False, f"{overlap:,} of these images are training images too."
    if len(answer) != len(data.load(split="test")):
        return False, f"the test file holds more than these {len(answer):,} images."
    return True, "none of these images stands in the training file."


class _TestImages(Exercise):
    """The reference is loaded only when it is needed."""

    def __call__(self, answer):
        kept = super().__call__(answer)
        return data.load(split="test") if kept is None else kept


_OTHER_FILE = 'Ask for the other file: data.load(split="test").'


def _entropy(x: torch.Tensor) -> torch.Tensor:
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(-1)


_GREY = torch.tensor([[0.0, 0.3, 0.5, 1.0], [0.1, 0.9, 0.25, 0.0], [0.5, 0.5, 0.5, 0.5]])

EXERCISES = [
    _TestImages(
        "test_images",
        None,
        judge=_judge_test_images,
        bugs=[
            Bug("training file", lambda: data.load(split="train"), _OTHER_FILE),
        ],
        general_hint=_OTHER_FILE,
        goes_on_with="the real test images",
    ),
    Exercise(
        "best_p",
        0.3,
        bugs=[
            Bug("coin flip", 0.5, "One half is the safest guess if you know nothing, but you know x = 0.3. Set the derivative to zero."),
            Bug("all black", 0.0, "p = 0 costs infinity as soon as the pixel is white, which happens in 3 of 10 draws."),
            Bug("all white", 1.0, "p = 1 costs infinity as soon as the pixel is black, which happens in 7 of 10 draws."),
            Bug("the logit", math.log(0.3 / 0.7), "That is the logit log(x / (1 - x)). The question asks for the probability p itself."),
            Bug("the other side", 0.7, "You swapped white and black: p is the probability of white."),
            Bug("the cost", 0.6108643020548935, "That is the lowest cost, h(0.3). The question asks where it is reached."),
        ],
        general_hint="Set the derivative to zero: x / p = (1 - x) / (1 - p).",
        goes_on_with="the p where the derivative is zero",
    ),
    Exercise(
        "pixel_entropy",
        _entropy,
        cases=[
            ("three small images", (_GREY,)),
            ("one image", (_GREY[0],)),
            ("binary pixels", (torch.tensor([[0.0, 1.0, 1.0]]),)),
        ],
        bugs=[
            Bug(
                "0 log 0 is nan",
                lambda x: -(x * x.log() + (1 - x) * (1 - x).log()).sum(-1),
                "0 * log(0) is nan on a computer, and most pixels are 0. torch.xlogy(a, b) returns 0 where a is 0.",
            ),
            Bug(
                "sum over the batch",
                lambda x: -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(),
                "You summed over the whole batch. Keep one number per image: .sum(-1).",
            ),
            Bug(
                "mean over pixels",
                lambda x: -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).mean(-1),
                "That is the mean over pixels. The floor of an image is the sum over its pixels.",
            ),
            Bug("wrong sign", lambda x: -_entropy(x), "An entropy is never negative: look at the sign."),
            Bug("bits", lambda x: _entropy(x) / math.log(2), "That is in bits: log2. The course counts in nats: log."),
            Bug("one half only", lambda x: -torch.xlogy(x, x).sum(-1), "The black side is missing: add -(1 - x) log(1 - x)."),
            Bug("no sum", lambda x: -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)), "One number per pixel came back; sum over the last axis."),
            Bug(
                "clamped hard",
                lambda x: _entropy(x.clamp(0.01, 0.99)),
                "Clamping to [0.01, 0.99] charges 0.056 nats for each pure pixel, 36 nats on an image of MNIST. Use torch.xlogy.",
            ),
        ],
        general_hint="h(x) = -x log x - (1 - x) log(1 - x), summed over the last axis, natural logarithm.",
        goes_on_with="-(xlogy(x, x) + xlogy(1 - x, 1 - x)).sum(-1)",
    ),
    Exercise(
        "bits_per_dim",
        lambda nats, dimensions=784: nats / (dimensions * math.log(2)),
        cases=[
            ("100 nats on 784 pixels", (torch.tensor(100.0),)),
            ("784 log 2 nats are 1 bit per pixel", (torch.tensor(784 * math.log(2)),)),
            ("ten pixels", (torch.tensor(3.0), 10)),
        ],
        bugs=[
            Bug("no log 2", lambda nats, dimensions=784: nats / dimensions, "That is nats per dimension. Divide by log 2 as well."),
            Bug("no D", lambda nats, dimensions=784: nats / math.log(2), "That is bits per image. Divide by the number of pixels."),
            Bug("times log 2", lambda nats, dimensions=784: nats * math.log(2) / dimensions, "One nat is 1.44 bits, so the number must grow: divide by log 2."),
            Bug("log10", lambda nats, dimensions=784: nats / (dimensions * math.log10(2)), "Use the natural logarithm of 2."),
            Bug("784 fixed", lambda nats, dimensions=784: nats / (784 * math.log(2)), "Use the argument `dimensions`, not 784."),
            Bug("28 for 784", lambda nats, dimensions=784: nats / (math.sqrt(dimensions) * math.log(2)), "Divide by the number of pixels, 28 * 28."),
        ],
        general_hint="Divide the nats by the number of pixels and by the natural logarithm of 2.",
        goes_on_with="nats / (dimensions * log 2)",
    ),
]  # fmt: skip
