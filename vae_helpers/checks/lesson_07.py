"""Checks of lesson 07: a label as an input, the list that grows, samples and analogies on request, log p(x) from ten labels, one prediction."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vae_helpers.checks.exercise import Bug, Exercise, Verdict
from vae_helpers.models import VAE

# ---------------------------------------------------------------- the label behind the image


def _with_label(x: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """The reference: images (batch, D), labels (batch,) or (batch, 1) -> (batch, D + num_classes), type and device of x."""
    return torch.cat([x, F.one_hot(y.flatten().long(), num_classes).to(x)], dim=1)


_X = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
_CASES_OF_LABELS = [
    ("three images, ten labels", (_X, torch.tensor([2, 0, 9]), 10)),
    ("a batch without the largest label", (_X, torch.tensor([2, 0, 1]), 4)),
    ("one image", (_X[:1], torch.tensor([3]), 4)),
    ("labels of shape (batch, 1)", (_X, torch.tensor([[2], [0], [1]]), 3)),
    ("images in float64", (_X.double(), torch.tensor([1, 1, 0]), 2)),
]


class _KeepsType(Exercise):
    """The result must also have the type of the images: torch.cat promotes silently, and a GPU would refuse two devices."""

    def _compare(self, answer: Callable) -> Verdict:
        verdict = super()._compare(answer)
        if verdict.passed:
            for dtype in (torch.float32, torch.float64, torch.float16):
                got = torch.as_tensor(answer(_X.to(dtype), torch.tensor([0, 1, 1]), 2)).dtype
                if got != dtype:
                    hint = "Make the one-hot rows like the images: F.one_hot(...).to(x) takes over type and device."
                    return Verdict(
                        "wrong",
                        f"✗ {self.name}: images of {dtype} came back as {got}.\n   Hint: {self._hint(answer) or hint}",
                    )
        return verdict


# ---------------------------------------------------------------- two models from one list


def _twice(function: Callable) -> Callable:
    """What somebody sees who builds two models from one list: both results, and the list afterwards."""

    def run(sizes: list[int], num_classes: int):
        mine = list(sizes)
        results = []
        for _ in range(2):
            result = function(mine, num_classes)
            if result is None:
                return None
            results.append(torch.tensor([float(n) for n in result]))
        return (*results, torch.tensor([float(n) for n in mine]))

    return run


class _OneListTwice(Exercise):
    """An exercise on lists: each answer is called twice with the same one."""

    def examine(self, answer: Any) -> Verdict:
        """The verdict alone, nothing printed."""
        inner = Exercise(
            self.name,
            _twice(self.reference),
            cases=self.cases,
            bugs=[Bug(bug.name, _twice(bug.wrong), bug.hint) for bug in self.bugs],
            general_hint=self.general_hint,
        )
        return inner.examine(_twice(answer) if callable(answer) else answer)


def _in_place(sizes: list[int], num_classes: int) -> list[int]:
    sizes[0] += num_classes
    return sizes


# ---------------------------------------------------------------- images on request


class _Glass(VAE):
    """A tiny conditional model that remembers what it was asked to decode."""

    def __init__(self, latent_dim: int = 3) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            super().__init__(latent_dim, (5,), (8,), num_classes=10, pixels=6)
            for weight in self.decoder.parameters():
                weight.data.mul_(3)
        self.asked: list[tuple[Tensor, Tensor]] = []
        self.eval()

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        logits = super().decode(z, y)
        self.asked.append((z.detach(), y))
        return logits


def _sample_digits(model: VAE, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model.mean_image(model.decode(torch.randn(len(y), model.latent_dim), y))


def judge_sampling(answer: Callable) -> tuple[bool, str]:
    """The first property that samples on request lack, in words without random numbers, or that they have them all."""
    model, y = _Glass(), torch.arange(10).repeat(300)
    got = answer(model, y)
    if got is None:
        return False, "your function returns None: is the `return` missing?"
    if not isinstance(got, Tensor) or got.shape != (3000, 6):
        return False, f"3000 labels must give images of shape (3000, 6) here, got {tuple(getattr(got, 'shape', ()))}."
    if not model.asked:
        return False, "the decoder was never asked."
    z, labels = (torch.cat(parts) for parts in zip(*model.asked, strict=True))
    with torch.no_grad():
        logits = VAE.decode(model, z, labels)
    if torch.allclose(got, logits, atol=1e-5):
        return False, "those are logits, not images."
    if len(z) != 3000 or not torch.allclose(got, torch.sigmoid(logits), atol=1e-5):
        return False, "the result is not the mean image of what was decoded."
    if not torch.equal(labels, y) and torch.equal(labels.sort().values, y.sort().values):
        return False, "the labels that were asked for came back in another order."
    if not torch.equal(labels, y):
        return False, "the decoder got other labels than those that were asked for."
    if len(z.unique(dim=0)) < 3000:
        return False, "several images share one code."
    if bool((z.mean(0).abs() > 0.1).any()):
        return False, "the codes have not the mean 0 of the prior."
    if bool(((z.std(0) - 1).abs() > 0.06).any()):
        return False, "the codes have not the standard deviation 1 of the prior."
    if bool((((z / z.std(0)) ** 4).mean(0) - 3).abs().max() > 0.6):
        return False, "mean and standard deviation fit, but the codes are not Gaussian."
    return True, "one fresh code from the prior for each of 3000 images, and the right label with each."


class _Judged(Exercise):
    """An answer is taken for a known bug if it gives the same results from the same random numbers, or lacks the same property."""

    def _behaves_like(self, answer: Any, wrong: Any) -> bool:
        if super()._behaves_like(answer, wrong):
            return True
        try:
            return self.judge(answer) == self.judge(wrong)
        except Exception:
            return False

    def _hint_for_error(self, answer: Any, error: Exception) -> str:
        for bug in self.bugs:
            try:
                self.judge(bug.wrong)
            except Exception as known:
                if type(known) is type(error) and str(known) == str(error):
                    return bug.hint
        return super()._hint_for_error(answer, error)


def _decoded(model: VAE, z: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return model.mean_image(model.decode(z, y))


# ---------------------------------------------------------------- one style, ten digits


def _analogies(model: VAE, x: Tensor, y: Tensor) -> Tensor:
    """The reference: images (n, D) with their labels (n,) -> (n, labels, D)."""
    with torch.no_grad():
        n, labels = len(x), model.num_classes
        z = model.encode(x, y).mu.repeat_interleave(labels, dim=0)
        return model.mean_image(model.decode(z, torch.arange(labels).repeat(n))).view(n, labels, -1)


def _rearranged(model: VAE, x: Tensor, y: Tensor, *, codes: str = "own", labels: str = "all", output: str = "image"):
    """The analogies with one thing wrong."""
    with torch.no_grad():
        n, k = len(x), model.num_classes
        targets = torch.arange(k).repeat(n)
        own = model.encode(x, y)
        z = own.mu.repeat_interleave(k, 0)
        if codes == "wrong pairs":
            z = model.encode(x.repeat_interleave(k, 0), targets).mu
        if codes == "drawn":
            z = z + torch.exp(0.5 * own.log_var).repeat_interleave(k, 0) * torch.randn(n * k, model.latent_dim)
        if codes == "from the prior":
            z = torch.randn(n * k, model.latent_dim)
        if codes == "tiled":
            z = own.mu.repeat(k, 1)
        if codes == "first label":
            z = model.encode(x, y[:1].expand(n)).mu.repeat_interleave(k, 0)
        if labels == "own":
            targets = y.repeat_interleave(k)
        logits = model.decode(z, targets)
        return (model.mean_image(logits) if output == "image" else logits).view(n, k, -1)


def _model_for_analogies() -> VAE:
    model = _Glass()
    for weight in model.encoder.parameters():
        weight.data.mul_(3)
    return model


_ANALOGY_X = torch.tensor(
    [[0.0, 0.9, 0.1, 1.0, 0.2, 0.7], [1.0, 0.3, 0.6, 0.0, 0.8, 0.1], [0.2, 0.2, 0.9, 0.4, 0.0, 1.0]]
)


# ---------------------------------------------------------------- log p(x) from log p(x|y)


_SCORES = torch.tensor([[-130.0, -131.0, -150.0], [-700.0, -690.0, -695.0]])
_UNIFORM, _UNEVEN = torch.full((3,), 1 / 3), torch.tensor([0.7, 0.2, 0.1])

EXERCISES = [
    _KeepsType(
        "with_label",
        _with_label,
        cases=_CASES_OF_LABELS,
        bugs=[
            Bug(
                "the label as one number",
                lambda x, y, n: torch.cat([x, y.reshape(-1, 1).to(x)], 1),
                "You appended the label as one number. A network would have to read 8 as twice 4: use one column for each label.",
            ),
            Bug(
                "as many columns as the batch needs",
                lambda x, y, n: torch.cat([x, F.one_hot(y.flatten()).to(x)], 1),
                "F.one_hot(y) counts the labels of this batch: without the largest one a column is missing. Pass num_classes.",
            ),
            Bug(
                "ten, hard-coded",
                lambda x, y, n: torch.cat([x, F.one_hot(y.flatten(), 10).to(x)], 1),
                "You always append ten columns. The number of labels is an argument: num_classes.",
            ),
            Bug(
                "labels of shape (batch, 1) crash",
                lambda x, y, n: torch.cat([x, F.one_hot(y, n).to(x)], 1),
                "Labels of shape (batch, 1) become one-hot of shape (batch, 1, classes). Bring them to (batch,) first: y.flatten().",
            ),
            Bug(
                "label first",
                lambda x, y, n: torch.cat([F.one_hot(y.flatten(), n).to(x), x], 1),
                "The label stands before the image. Both orders can be trained; here it is appended, so that stored weights fit.",
            ),
            Bug(
                "below each other",
                lambda x, y, n: torch.cat([x, F.one_hot(y.flatten(), n).to(x)], 0),
                "You joined along the batch. Each image gets more columns: dim=1.",
            ),
            Bug(
                "added",
                lambda x, y, n: x + F.one_hot(y.flatten(), n).to(x).sum(1, keepdim=True),
                "Adding changes the pixels. Append the columns with torch.cat.",
            ),
            Bug(
                "another type",
                lambda x, y, n: torch.cat([x, F.one_hot(y.flatten(), n).double()], 1),
                "Your one-hot rows have a type of their own, and torch.cat promotes the images to it. F.one_hot(...).to(x) takes over type and device.",
            ),
            Bug(
                "counted from 1",
                lambda x, y, n: torch.cat([x, F.one_hot((y.flatten() + 1) % n, n).to(x)], 1),
                "Your 1 stands one column too far to the right: label 0 belongs to the first column.",
            ),
        ],
        general_hint="The result has shape (batch, D + num_classes): the image first, then a row of zeros with a single 1.0 in column y.",
        goes_on_with="torch.cat([x, F.one_hot(y.flatten(), num_classes).to(x)], dim=1)",
    ),
    _OneListTwice(
        "conditional_sizes",
        lambda sizes, n: [sizes[0] + n, *sizes[1:]],
        cases=[("[784, 512, 256] and ten labels", ([784, 512, 256], 10)), ("[64, 32] and three labels", ([64, 32], 3))],
        bugs=[
            Bug(
                "changes the list",
                _in_place,
                "Print the list after the call: it is the caller's own, and it has grown. The second model would get 20 columns more. Build a new list.",
            ),
            Bug(
                "no label",
                lambda sizes, n: list(sizes),
                "The first layer does not grow, so there is no room for the label: the first number needs num_classes more.",
            ),
            Bug(
                "the last layer grows",
                lambda sizes, n: [*sizes[:-1], sizes[-1] + n],
                "The label joins the *input*, so the first number grows, not the last.",
            ),
            Bug(
                "every layer grows",
                lambda sizes, n: [size + n for size in sizes],
                "Only the first layer sees the label. The others keep their widths.",
            ),
            Bug(
                "a layer of its own",
                lambda sizes, n: [n, *sizes],
                "You put a layer of num_classes in front. The label stands beside the pixels: sizes[0] + num_classes.",
            ),
            Bug(
                "ten, hard-coded",
                lambda sizes, n: [sizes[0] + 10, *sizes[1:]],
                "Ten is hard-coded. Use num_classes.",
            ),
        ],
        general_hint="Return a new list; the first number is larger by num_classes; the list that came in stays as it was.",
        goes_on_with="[sizes[0] + num_classes, *sizes[1:]]",
    ),
    _Judged(
        "sample_digits",
        _sample_digits,
        cases=[("ten labels", (_Glass(), torch.arange(10))), ("eight labels, two dimensions", (_Glass(2), torch.arange(8)))],
        judge=judge_sampling,
        bugs=[
            Bug(
                "n taken for the latent dimension",
                lambda model, y: _decoded(model, torch.randn(len(y))[None], y),
                "torch.randn(n) is *one* vector of n numbers. n codes have shape (n, latent_dim): torch.randn(len(y), model.latent_dim).",
            ),
            Bug(
                "folded with view",
                lambda model, y: _decoded(model, torch.randn(len(y)).view(-1, model.latent_dim), y),
                "view folds n numbers into n/d codes, too few of them. Draw n * d numbers: torch.randn(len(y), model.latent_dim).",
            ),
            Bug(
                "two, hard-coded",
                lambda model, y: _decoded(model, torch.randn(len(y), 2), y),
                "Your codes always have two numbers. How many this model wants stands in model.latent_dim.",
            ),
            Bug(
                "one code for all",
                lambda model, y: _decoded(model, torch.randn(1, model.latent_dim).expand(len(y), -1), y),
                "You draw one code and use it for all images: every 8 would be the same 8. Draw one for each label.",
            ),
            Bug(
                "the prior's mean",
                lambda model, y: _decoded(model, 1e-3 * torch.randn(len(y), model.latent_dim), y),
                "Your codes all lie at the centre. A sample needs a draw from N(0, I).",
            ),
            Bug(
                "uniform codes",
                lambda model, y: _decoded(model, torch.rand(len(y), model.latent_dim), y),
                "torch.rand is uniform on [0, 1]. The prior is N(0, I): torch.randn.",
            ),
            Bug(
                "logits",
                lambda model, y: model.decode(torch.randn(len(y), model.latent_dim), y).detach(),
                "decode returns logits. model.mean_image(...) turns them into images.",
            ),
            Bug(
                "labels drawn at random",
                lambda model, y: _decoded(model, torch.randn(len(y), model.latent_dim), torch.randint(0, 10, y.shape)),
                "You draw labels of your own. The caller says which digits are wanted: pass y on.",
            ),
            Bug(
                "sorted labels",
                lambda model, y: _decoded(model, torch.randn(len(y), model.latent_dim), y.sort().values),
                "The labels come back in another order than they were asked for. Image i must show digit y[i].",
            ),
        ],
        general_hint="Draw len(y) codes of model.latent_dim numbers from N(0, I), decode them with y, and turn logits into images.",
        goes_on_with="model.sample(len(y), y)",
    ),
    Exercise(
        "analogies",
        _analogies,
        cases=[
            ("three images", (_model_for_analogies(), _ANALOGY_X, torch.tensor([4, 0, 7]))),
            ("one image", (_model_for_analogies(), _ANALOGY_X[1:2], torch.tensor([9]))),
        ],
        bugs=[
            Bug(
                "encoded with the label to be drawn",
                lambda model, x, y: _rearranged(model, x, y, codes="wrong pairs"),
                "You encode each image with labels that it does not have. The encoder was trained on pairs (x, y): give it the image's own label.",
            ),
            Bug(
                "decoded with its own label",
                lambda model, x, y: _rearranged(model, x, y, labels="own"),
                "Column k of a row must be decoded with label k, not with the label of the image.",
            ),
            Bug(
                "codes in another order than the labels",
                lambda model, x, y: _rearranged(model, x, y, codes="tiled"),
                "Codes and labels run in different orders, so styles are mixed. Repeat codes with repeat_interleave, labels with repeat.",
            ),
            Bug(
                "codes drawn from the encoder",
                lambda model, x, y: _rearranged(model, x, y, codes="drawn"),
                "You draw z, and each column gets another style. Use the mean mu, the same for the whole row.",
            ),
            Bug(
                "codes from the prior",
                lambda model, x, y: _rearranged(model, x, y, codes="from the prior"),
                "Your codes do not come from the images. Encode them first.",
            ),
            Bug(
                "all encoded with the first label",
                lambda model, x, y: _rearranged(model, x, y, codes="first label"),
                "Every image is encoded with the label of the first one. Pass all labels: model.encode(x, y).",
            ),
            Bug(
                "logits",
                lambda model, x, y: _rearranged(model, x, y, output="logits"),
                "Those are logits: model.mean_image turns them into images.",
            ),
            Bug(
                "labels first",
                lambda model, x, y: _analogies(model, x, y).transpose(0, 1).contiguous(),
                "The two first axes are exchanged: one row for each image, one column for each label.",
            ),
            Bug(
                "not reshaped",
                lambda model, x, y: _analogies(model, x, y).flatten(0, 1),
                "The images are right, their arrangement is not: .view(n, labels, -1) at the end.",
            ),
        ],
        general_hint="Row i: the code mu of image i with its own label, decoded with the labels 0, 1, ..., so (n, labels, D) in all.",
        goes_on_with="one code for each row, all labels along it",
    ),
    Exercise(
        "log_evidence",
        lambda log_px_y, py: torch.logsumexp(log_px_y + py.log(), 1),
        cases=[("equal shares", (_SCORES, _UNIFORM)), ("unequal shares", (_SCORES, _UNEVEN))],
        exact=1e-6,
        close=1e-5,
        bugs=[
            Bug(
                "exp, then log",
                lambda s, p: torch.log((torch.exp(s) * p).sum(1)),
                "exp(-130) is smaller than any 32-bit float and becomes 0, and its logarithm minus infinity. torch.logsumexp subtracts the largest first.",
            ),
            Bug(
                "the prior forgotten",
                lambda s, p: torch.logsumexp(s, 1),
                "A sum of ten densities, each whole, is ten densities too many: weigh each with p(y), that is, add log p(y).",
            ),
            Bug(
                "mean of logarithms",
                lambda s, p: (s * p).sum(1),
                "That is a mean of logarithms, far too low: one unlikely label drags it down. Average the densities, then take the logarithm.",
            ),
            Bug(
                "the best label",
                lambda s, p: s.max(1).values,
                "That is the best label's density alone. log p(x) is a logarithm of a weighted *sum* over labels.",
            ),
            Bug(
                "the best joint",
                lambda s, p: (s + p.log()).max(1).values,
                "You keep only the most probable label. The others add to p(x) as well: logsumexp in place of max.",
            ),
            Bug(
                "p(y) not as a logarithm",
                lambda s, p: torch.logsumexp(s + p, 1),
                "You add p(y) to a logarithm. Multiplying densities is adding logarithms: p(y).log().",
            ),
            Bug(
                "always log C",
                lambda s, p: torch.logsumexp(s, 1) - math.log(s.shape[1]),
                "You assume that all labels are equally frequent. Use the shares that are passed in: add log p(y) before the sum.",
            ),
            Bug(
                "over the images",
                lambda s, p: torch.logsumexp(s + p.log(), 0),
                "You sum over the images. Labels lie along axis 1.",
            ),
            Bug(
                "posterior",
                lambda s, p: torch.log_softmax(s + p.log(), 1),
                "That is log p(y|x), one number for each label. log p(x) is its denominator: one number for each image.",
            ),
        ],
        general_hint="log p(x) = log sum_y p(y) p(x|y): add log p(y) to each column, then torch.logsumexp over the labels.",
        goes_on_with="torch.logsumexp(log_px_y + py.log(), 1)",
    ),
    Exercise(
        "largest_gain",
        math.log(10),
        close=0.004,
        bugs=[
            Bug("ten", 10.0, "There are ten labels, but nats are logarithms."),
            Bug("in bits", math.log2(10), "Right in bits. In nats, take the natural logarithm."),
            Bug("one of ten", math.log(0.1), "That is log p(y), which is negative. What is gained by dropping it?"),
            Bug("the gap of the tutorial", 141.511 - 129.411, "That is what the two printed losses differ by, and they belong to two different models. Here there is one: what is left of (7.4) without nine of its terms?"),
            Bug("nothing", 0.0, "If the image shows beyond doubt which digit it is, nine terms of (7.4) vanish, and one stays: p(x) = p(y) p(x|y)."),
            Bug("nine", math.log(9), "Nine labels are ruled out, but the share that is left is one in ten."),
            Bug("a coin", math.log(2), "That would be two labels."),
        ],
        general_hint="In (7.4) all terms are positive, so p(x) is at least p(y) p(x|y), with p(y) = 1/10.",
        goes_on_with="log 10",
    ),
]  # fmt: skip
