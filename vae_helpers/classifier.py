"""Bayes' rule over one conditional VAE, as a scikit-learn classifier: p(y|x) = p̂(x|y) p(y) / sum over y.

p̂(x|y) is what a scoring rule makes of the model (scoring.py). Here is the estimator, and what its probabilities are worth.
"""

import warnings
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from vae_helpers import training
from vae_helpers.images import ImageSet, check_images
from vae_helpers.models import PIXELS, VAE, _check_choice
from vae_helpers.scoring import RULES, check_conditional, check_rule, draws_noise, label_scores

__all__ = [
    "RULES",
    "Abstention",
    "GenerativeClassifier",
    "best_temperature",
    "expected_calibration_error",
    "label_scores",
]

PRIORS = ("uniform", "train")
SCALINGS = ("auto", "none", "min-max")
ROWS = 2000  # decoded at a time: images x samples x labels, so that the pixels stay in the cache
COLDEST, HOTTEST = 1e-3, 1e3  # temperatures between which `best_temperature` looks


# ---------------------------------------------------------------- what a probability is worth


def best_temperature(scores: np.ndarray, labels: np.ndarray, log_prior: np.ndarray | float = 0.0) -> float:
    """The T that minimises the mean -log softmax(scores / T + log_prior)[label]: (N, C) in nats, (N,) columns -> T in [0.001, 1000].

    The mean is convex in 1/T, so its slope E_p[score] - score of the label changes sign once: bisection. Under equal priors one number
    cannot change which score is the largest, hence no accuracy. Source: Guo et al. (2017), "On calibration of modern neural
    networks", 4.2, without a prior.
    """
    scores = scores.astype(np.float64) - scores.max(1, keepdims=True)
    of_label = scores[np.arange(len(labels)), labels].mean()
    low, high = -np.log(HOTTEST), -np.log(COLDEST)  # of log 1/T
    for _ in range(60):
        middle = (low + high) / 2
        p = np.exp(_log_softmax(scores * np.exp(middle) + log_prior))
        slope = (p * scores).sum(1).mean() - of_label
        low, high = (middle, high) if slope < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, 0 to 1: (N, C) probabilities and (N,) columns that are right.

    Images are binned by their largest probability; each bin gives |accuracy - mean confidence|, weighted by its share of the images.
    Source: Guo et al. (2017), eq. 3.

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 0, 1]))
    0.0
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"need probabilities (N, C) and one label each, got {probabilities.shape} and {labels.shape}: "
            "pass predict_proba(X) and the columns that are right"
        )
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}: 15 is usual")
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(which, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


class Abstention(NamedTuple):
    """Predicted labels (N,), and for which images (N,) the classifier is sure enough to be asked."""

    labels: np.ndarray
    answered: np.ndarray


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64) - scores.max(1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


# ---------------------------------------------------------------- the estimator


class _Rows(ImageSet):
    """Rows of floats (N, D) in [0, 1] with labels 0, 1, 2, …: as much of a set of images as `training.fit` needs."""

    def __post_init__(self) -> None:
        """Any length of row and any number of labels will do."""


class GenerativeClassifier(ClassifierMixin, BaseEstimator):
    """Classify by the label under which a conditional VAE finds the image most probable.

    model           a trained conditional VAE, used as it is; None to build and train one in `fit`
    rule, samples   how log p(x|y) is estimated, and from how many codes: see `label_scores`
    temperature     divides log p̂(x|y), not log p(y): above 1 for less confidence. `calibrate` finds the best one
    prior           log p(y): "uniform", or the frequencies among the labels given to `fit` ("train")
    latent_dim, encoder_sizes, decoder_sizes, likelihood, sigma_x, learn_sigma_x, activation, label_in      settings of `VAE`
    epochs, batch_size, learning_rate, schedule, warmup, pixels, distortion, beta, device, progress      settings of `training.fit`
    scaling         "none": X must lie in [0, 1]; "min-max": each feature's range in `fit` becomes [0, 1], what falls outside it later
                    is clipped; "auto": "none" for 784 features, which are images, "min-max" for any other number
    random_state    decides weights, order and noise

    The defaults suit MNIST: X (N, 784) in [0, 1], some minutes of training. After `fit`: classes_, model_, history_ (None for a given
    model), temperature_. `fit` with a given `model` learns only the label frequencies, and wants the labels 0, 1, 2, … that the
    model was trained with; `from_model` needs no data at all.
    """

    def __init__(
        self,
        model: VAE | None = None,
        *,
        rule: str = "plug-in",
        samples: int = 1,
        temperature: float = 1.0,
        prior: str = "uniform",
        latent_dim: int = 32,
        encoder_sizes: tuple[int, ...] = (512, 512),
        decoder_sizes: tuple[int, ...] = (512, 512),
        likelihood: str = "bernoulli",
        sigma_x: float = 1.0,
        learn_sigma_x: bool = False,
        activation: str = "silu",
        label_in: tuple[str, ...] = ("encoder", "decoder"),
        epochs: int = 30,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
        schedule: str = "cosine",
        warmup: float = 0.02,
        pixels: str = "grey",
        distortion: float = 0.0,
        beta: float = 1.0,
        device: str = "auto",
        progress: bool = True,
        scaling: str = "auto",
        random_state=0,
    ) -> None:
        self.model = model
        self.rule = rule
        self.samples = samples
        self.temperature = temperature
        self.prior = prior
        self.latent_dim = latent_dim
        self.encoder_sizes = encoder_sizes
        self.decoder_sizes = decoder_sizes
        self.likelihood = likelihood
        self.sigma_x = sigma_x
        self.learn_sigma_x = learn_sigma_x
        self.activation = activation
        self.label_in = label_in
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.warmup = warmup
        self.pixels = pixels
        self.distortion = distortion
        self.beta = beta
        self.device = device
        self.progress = progress
        self.scaling = scaling
        self.random_state = random_state

    @classmethod
    def from_model(cls, model: VAE, *, classes=None, **settings) -> "GenerativeClassifier":
        """A classifier ready for use, from a trained conditional VAE; `classes` names its labels (default: 0, 1, 2, …)."""
        made = cls(model, **settings)
        made._check_settings()
        if made.prior != "uniform":
            raise ValueError(
                f"prior={made.prior!r} needs labels to count: use GenerativeClassifier(model, ...).fit(X, y)"
            )
        classes = np.arange(model.num_classes) if classes is None else np.asarray(classes)
        if len(np.unique(classes)) != model.num_classes:
            raise ValueError(f"the model has {model.num_classes} labels: pass as many different classes, not {classes}")
        made.n_features_in_ = model.pixels
        made._use(model, classes, np.full(len(classes), -np.log(len(classes))))
        return made

    def fit(self, X, y) -> "GenerativeClassifier":
        """Train a conditional VAE on X (N, D) and labels y (N,) of any kind; with a given `model`, only count the labels.

        Raises DataError, with the line that mends it, for images outside [0, 1]; ValueError for settings and labels that do not fit.
        """
        self._check_settings()
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(y)
        if self.model is None:
            classes, columns = np.unique(y, return_inverse=True)
        else:
            classes, columns = np.arange(self.model.num_classes), self._columns_of_model(y)
        counts = np.bincount(columns, minlength=len(classes))
        if self.prior == "train" and not counts.all():
            raise ValueError(f"prior='train', but no image shows {classes[counts == 0]}: use prior='uniform'")
        uniform = np.full(len(classes), 1 / len(classes))
        self._use(self.model, classes, np.log(uniform if self.prior == "uniform" else counts / len(y)))
        if self._scales():
            self.low_ = X.min(0)
            extent = X.max(0) - self.low_
            self.extent_ = np.where(extent > 0, extent, 1)
        x = self._images(X).float()
        if self.model is None:
            self.model_, self.history_ = self._train(x, torch.from_numpy(columns))
        return self

    def log_px_y(self, X) -> np.ndarray:
        """log p̂(x|y) of every label by the scoring rule: (N, D) -> (N, C), nats per image; columns as in `classes_`.

        Computed in the precision of X: float32 takes half the time of float64, and its scores are good to about 1e-4 nats.
        """
        check_is_fitted(self)
        check_rule(self.rule, self.samples)
        x = self._images(validate_data(self, X, dtype=[np.float32, np.float64], reset=False))
        device = self.model_.log_sigma_x.device
        model = self.model_ if x.dtype == torch.float32 else deepcopy(self.model_).double()
        generator = torch.Generator(device).manual_seed(self.seed_)
        codes = self.samples if draws_noise(self.rule, self.samples) else 1
        at_once = max(1, ROWS // (codes * len(self.classes_)))
        settings = dict(rule=self.rule, samples=self.samples, generator=generator)
        return torch.cat([label_scores(model, part.to(device), **settings).cpu() for part in x.split(at_once)]).numpy()

    def predict_log_proba(self, X) -> np.ndarray:
        """log p(y|x): (N, D) -> (N, C), in nats."""
        log_joint = self._log_joint(X)
        return _log_softmax(log_joint).astype(log_joint.dtype)

    def predict_proba(self, X) -> np.ndarray:
        """p(y|x): (N, D) -> (N, C); rows sum to 1."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X) -> np.ndarray:
        """The most probable label of each image: (N, D) -> (N,), of the kind given to `fit`."""
        best = self._log_joint(X).argmax(1)
        return self.classes_[best]

    def predict_with_abstention(self, X, threshold: float) -> Abstention:
        """Labels, and `answered` where the largest p(y|x) reaches `threshold`: raise it until the answers are as good as you need."""
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"threshold is a probability, got {threshold}: choose one between 0 and 1, 0.9 for instance"
            )
        p = self.predict_proba(X)
        return Abstention(self.classes_[p.argmax(1)], p.max(1) >= threshold)

    def calibrate(self, X, y) -> "GenerativeClassifier":
        """Set temperature_ to the one that gives held-out images (never those of `fit`) their smallest label NLL.

        With the uniform prior no answer changes.
        """
        self.temperature_ = best_temperature(self.log_px_y(X), self._columns(y), self.log_prior_)
        if not 1.01 * COLDEST < self.temperature_ < HOTTEST / 1.01:
            warnings.warn(
                f"no temperature is the best one for these images (stopped at {self.temperature_:g}): their labels are all "
                "predicted right, or no better than by chance. Calibrate with more images",
                stacklevel=2,
            )
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = draws_noise(
            self.rule, self.samples
        )  # part of a batch meets other noise than the whole
        return tags

    # -------------------------------------------------------- below here nothing is meant to be called from outside

    def _check_settings(self) -> None:
        check_rule(self.rule, self.samples)
        _check_choice("prior", self.prior, PRIORS)
        _check_choice("scaling", self.scaling, SCALINGS)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}: 1 leaves the scores as they are")
        if self.model is not None:
            check_conditional(self.model)

    def _use(self, model: VAE | None, classes: np.ndarray, log_prior: np.ndarray) -> None:
        self.classes_, self.log_prior_, self.temperature_ = classes, log_prior, float(self.temperature)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 2))
        self.model_, self.history_ = model, None

    def _scales(self) -> bool:
        """Whether features are brought to [0, 1]; a given model reads what it was trained on."""
        return self.model is None and (
            self.scaling == "min-max" or (self.scaling == "auto" and self.n_features_in_ != PIXELS)
        )

    def _images(self, X: np.ndarray) -> Tensor:
        """What the network reads, (N, D) in [0, 1]."""
        if self._scales():
            X = np.clip((X - self.low_) / self.extent_, 0, 1).astype(X.dtype)
        return check_images(torch.tensor(X), self.n_features_in_ if self.model is None else self.model.pixels)

    def _train(self, x: Tensor, y: Tensor):
        architecture = (
            "latent_dim", "encoder_sizes", "decoder_sizes", "likelihood", "sigma_x", "learn_sigma_x", "activation", "label_in",
        )  # fmt: skip
        schedule = (
            "epochs", "batch_size", "learning_rate", "schedule", "warmup", "pixels", "distortion", "beta", "device", "progress",
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_)
            settings = {name: getattr(self, name) for name in architecture}
            model = VAE(**settings, num_classes=len(self.classes_), pixels=x.shape[1])
        settings = {name: getattr(self, name) for name in schedule}
        history = training.fit(model, _Rows(x, y, "rows"), seed=self.seed_, **settings)
        return model, replace(history, state=None)  # the state is three times the model, and serves only to go on

    def _columns_of_model(self, y: np.ndarray) -> np.ndarray:
        labels = self.model.num_classes
        if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= labels:
            raise ValueError(
                f"the given model has the labels 0..{labels - 1}, got {y.dtype} from {y.min()} to {y.max()}: pass y as these "
                "numbers, or name them with GenerativeClassifier.from_model(model, classes=...)"
            )
        return y

    def _columns(self, y) -> np.ndarray:
        """The column of each label (N,)."""
        check_is_fitted(self)
        hits = np.asarray(y).reshape(-1, 1) == self.classes_
        if not len(hits) or not hits.any(1).all():
            raise ValueError(f"y must hold labels among {self.classes_}: look at what else is in it")
        return hits.argmax(1)

    def _log_joint(self, X) -> np.ndarray:
        """log p̂(x|y) / T + log p(y), (N, C), in nats."""
        scores = self.log_px_y(X)
        return scores / self.temperature_ + self.log_prior_.astype(scores.dtype)
