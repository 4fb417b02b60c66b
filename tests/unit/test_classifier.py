"""The generative classifier: all labels at once against one at a time, scikit-learn's own checks, and probabilities that mean something."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Tensor

from vae_helpers import classifier, losses
from vae_helpers.classifier import GenerativeClassifier, best_temperature, expected_calibration_error
from vae_helpers.data import ImageSet
from vae_helpers.images import DataError
from vae_helpers.models import LABEL_PLACES, VAE
from vae_helpers.scoring import label_scores

SMALL = dict(
    latent_dim=2, encoder_sizes=(16,), decoder_sizes=(16,), epochs=8, batch_size=32, learning_rate=0.1, progress=False
)
PLACES = [
    ("encoder",),
    ("decoder",),
    ("prior",),
    ("encoder", "decoder"),
    ("decoder", "prior"),
    ("encoder", "prior"),
    LABEL_PLACES,
]
RULES = [("reconstruction", 1), ("reconstruction", 0), ("elbo", 3), ("plug-in", 1), ("importance-weighted", 4)]


def conditional(sizes: tuple[int, ...] = (12, 8), num_classes: int = 10, scale: float = 4.0, **settings) -> VAE:
    """A conditional VAE with weights large enough that labels, noise and priors all tell in the scores."""
    torch.manual_seed(0)
    model = VAE(3, sizes, sizes[::-1], num_classes=num_classes, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        if "prior" in model.label_in:
            model.prior_log_var.weight.normal_()
        model.encoder.log_var.weight.div_(10)
    return model.eval()


def images(n: int = 6, pixels: int = 784) -> Tensor:
    return torch.rand(n, pixels, generator=torch.Generator().manual_seed(1))


def seeded(seed: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def naive_scores(model: VAE, x: Tensor, rule: str, samples: int, generator: torch.Generator) -> Tensor:
    """One image, one label, one code at a time, through the model's own methods."""
    seen = model.num_classes if "encoder" in model.label_in else 1
    eps = torch.randn(len(x), samples, seen, model.latent_dim, generator=generator, dtype=x.dtype)
    scores = torch.empty(len(x), model.num_classes, dtype=x.dtype)
    with torch.no_grad():
        for i in range(len(x)):
            for label in range(model.num_classes):
                image, y = x[i : i + 1], torch.tensor([label])
                mu, log_var = model.encode(image, y)
                noise = list(eps[i, :, label if seen > 1 else 0, None])
                if rule == "plug-in" or not samples:
                    noise = [torch.zeros_like(mu)]
                codes = [mu + torch.exp(0.5 * log_var) * e for e in noise]
                rec = [
                    losses.reconstruction_nll(model.decode(z, y), image, model.likelihood, model.sigma_x) for z in codes
                ]
                if rule == "importance-weighted":
                    terms = [
                        losses.gaussian_log_prob(z, *model.prior(y)) - losses.gaussian_log_prob(z, mu, log_var) - r
                        for z, r in zip(codes, rec, strict=True)
                    ]
                    score = losses.iw_bound(torch.stack(terms))
                else:
                    score = -torch.stack(rec).mean(0)
                    if rule != "reconstruction":
                        score = score - losses.gaussian_kl(mu, log_var, *model.prior(y))
                scores[i, label] = score
    return scores


# ---------------------------------------------------------------- all labels in one pass


@pytest.mark.parametrize("places", PLACES, ids="+".join)
@pytest.mark.parametrize(("rule", "samples"), RULES)
def test_one_pass_equals_the_loop_over_labels(places, rule, samples):
    model, x = conditional(label_in=places, num_classes=4), images(3)
    fast = label_scores(model, x, rule=rule, samples=samples, generator=seeded())
    slow = naive_scores(model, x, rule, samples, seeded())
    assert fast.shape == (3, 4)
    torch.testing.assert_close(fast, slow, rtol=1e-6, atol=1e-4)
    if not (rule == "reconstruction" and places == ("prior",)):  # or equality would be cheap
        assert fast.std(1).min() > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        dict(likelihood="continuous_bernoulli"),
        dict(likelihood="gaussian", sigma_x=0.4, learn_sigma_x=True, sigmoid_mean=True),
        dict(likelihood="laplace", sigma_x=0.7),
        dict(sizes=()),
        dict(sizes=(7,), activation="silu", pixels=20),
    ],
    ids=str,
)
def test_one_pass_equals_the_loop_for_every_kind_of_network(settings):
    model = conditional(scale=1.5, **settings).double()
    x = images(2, model.pixels).double()
    for rule, samples in RULES:
        fast = label_scores(model, x, rule=rule, samples=samples, generator=seeded())
        torch.testing.assert_close(fast, naive_scores(model, x, rule, samples, seeded()), rtol=0, atol=1e-8)


def test_single_precision_is_good_to_a_ten_thousandth_of_a_nat():
    model, x = conditional((64,)), images(20)
    exact = label_scores(conditional((64,)).double(), x.double())
    assert exact.abs().min() > 100  # nats
    torch.testing.assert_close(label_scores(model, x).double(), exact, rtol=2e-6, atol=1e-4)


def test_half_precision_layers_keep_the_sum_over_pixels_exact():
    model, x = conditional((64,), scale=1.0), images(20)
    exact = label_scores(model, x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = label_scores(model, x)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1  # summed in bfloat16, scores near 500 come in steps of 2


def test_elbo_is_the_mean_over_codes_and_the_importance_weighted_bound_of_one_code_agrees_on_average():
    model, x = conditional(scale=2.0), images(2)
    many = dict(samples=3000, generator=seeded())
    elbo = label_scores(model, x, rule="elbo", **many)
    reconstruction = label_scores(model, x, rule="reconstruction", samples=3000, generator=seeded())
    q = [model.encode(x, torch.full((2,), y)) for y in range(10)]
    kl = torch.stack([losses.gaussian_kl(*each) for each in q], 1)
    torch.testing.assert_close(reconstruction - elbo, kl.detach(), rtol=1e-3, atol=1e-3)
    assert (label_scores(model, x, rule="importance-weighted", **many) > elbo).all()  # Jensen


def test_no_rule_touches_the_global_generator_or_keeps_a_graph():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    scores = label_scores(conditional_quietly(), images(2), rule="elbo", samples=2, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before) and not scores.requires_grad


def conditional_quietly() -> VAE:
    with torch.random.fork_rng(devices=[]):
        return conditional()


@pytest.mark.parametrize(
    ("rule", "samples", "message"),
    [
        ("likelihood", 1, "rule='likelihood' does not exist: choose one of reconstruction, elbo, plug-in"),
        ("elbo", 0, "at least 1, got 0: for the ELBO at the mean use rule='plug-in'"),
        ("importance-weighted", 0, "needs a whole number of samples of at least 1, got 0: try 1"),
        ("reconstruction", -1, "at least 0, got -1"),
        ("elbo", 2.5, "got 2.5"),
    ],
)
def test_rules_and_samples_that_do_not_exist_are_refused(rule, samples, message):
    with pytest.raises(ValueError, match=message):
        label_scores(conditional(), images(1), rule=rule, samples=samples)
    with pytest.raises(ValueError, match=message):
        GenerativeClassifier(rule=rule, samples=samples).fit([[0.0], [1.0]], [0, 1])


# ---------------------------------------------------------------- networks for rows of another length


def test_the_number_of_pixels_is_a_setting_of_the_network():
    model = VAE(2, (5,), (5,), pixels=12, num_classes=3)
    assert VAE(**model.config).config == model.config and model.config["pixels"] == 12
    assert VAE(2).config["pixels"] == 784
    out = model(images(4, 12), torch.tensor([0, 1, 2, 0]))
    assert out.logits.shape == (4, 12) and model.sample(2, torch.tensor([1, 2])).shape == (2, 12)
    with pytest.raises(DataError, match=r"shape \(N, 12\), got \(5, 7\): this model reads 12 pixels"):
        model.encode(images(5, 7), torch.zeros(5).long())
    with pytest.raises(DataError, match=r"shape \(N, 12\), got \(1, 784\)"):
        model.encode(images(1), torch.zeros(1).long())
    with pytest.raises(DataError, match="divide by 255"):
        model.encode(255 * images(4, 12), torch.zeros(4).long())
    with pytest.raises(ValueError, match="pixels >= 1"):
        VAE(2, pixels=0)


# ---------------------------------------------------------------- scikit-learn's own checks


@parametrize_with_checks([GenerativeClassifier(**SMALL)])  # none is expected to fail
def test_scikit_learn_accepts_it(estimator, check):
    check(estimator)


def test_only_a_noisy_rule_says_that_it_is_noisy():
    noisy = {
        (rule, samples): GenerativeClassifier(rule=rule, samples=samples).__sklearn_tags__().non_deterministic
        for rule, samples in RULES
    }
    assert [pair for pair, is_noisy in noisy.items() if is_noisy] == [
        ("reconstruction", 1), ("elbo", 3), ("importance-weighted", 4)
    ]  # fmt: skip


# ---------------------------------------------------------------- fit and predict


@pytest.fixture(scope="module")
def fitted(digits: ImageSet) -> GenerativeClassifier:
    """Trained on 1 000 of the digits in a second or two."""
    settings = dict(latent_dim=8, encoder_sizes=(64,), decoder_sizes=(64,), epochs=15, learning_rate=5e-3)
    return GenerativeClassifier(**settings, progress=False).fit(digits[:1000].x, digits[:1000].y)


@pytest.fixture(scope="module")
def held_out(digits: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    return digits[1000:].x.numpy(), digits[1000:].y.numpy()


def test_it_learns_the_digits(fitted, held_out):
    x, y = held_out
    assert fitted.score(x, y) > 0.7  # 0.79 to 0.86 over six seeds
    assert fitted.history_[-1].loss < fitted.history_[0].loss and fitted.history_.state is None
    assert fitted.classes_.tolist() == list(range(10)) and not hasattr(fitted, "low_")  # images are not scaled


def test_settings_of_the_training_reach_it(digits):
    settings = dict(
        epochs=1,
        batch_size=50,
        learning_rate=1e-3,
        schedule="constant",
        warmup=0.5,
        pixels="dynamic",
        distortion=0.5,
        beta=0.7,
    )
    small = GenerativeClassifier(
        latent_dim=2, encoder_sizes=(8,), decoder_sizes=(8,), progress=False, random_state=0, **settings
    )
    history = small.fit(digits[:100].x, digits[:100].y).history_
    assert {name: history.settings[name] for name in settings} == settings


def test_probabilities_are_bayes_rule_over_the_scores(fitted, held_out):
    x = held_out[0][:50].astype(np.float64)
    weights = np.exp(fitted.log_px_y(x) - fitted.log_px_y(x).max(1, keepdims=True))
    np.testing.assert_allclose(fitted.predict_proba(x), weights / weights.sum(1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x)), fitted.predict_proba(x), rtol=1e-9)
    assert (fitted.predict(x) == fitted.predict_proba(x).argmax(1)).all()


def test_scores_do_not_depend_on_how_the_images_are_batched(fitted, held_out, monkeypatch):
    x = held_out[0][:70]
    whole = fitted.log_px_y(x)
    monkeypatch.setattr(classifier, "ROWS", 30)
    np.testing.assert_allclose(fitted.log_px_y(x), whole, atol=1e-3)
    assert whole.shape == (70, 10) and whole.dtype == np.float32 and (np.ptp(whole, 1) > 1).all()


@pytest.mark.parametrize("rule", ["elbo", "importance-weighted"])
def test_random_state_decides_the_noise(fitted, held_out, rule):
    x = held_out[0][:20]
    one, again, other = (
        GenerativeClassifier.from_model(fitted.model_, rule=rule, samples=2, random_state=seed).log_px_y(x)
        for seed in (3, 3, 4)
    )
    assert np.array_equal(one, again) and not np.allclose(one, other, atol=1e-3)


def test_the_same_random_state_trains_the_same_network(held_out):
    x, y = held_out[0][:60], held_out[1][:60]
    fits = []
    for seed in (1, 1, 2):
        torch.rand(3)  # what else is drawn does not matter
        fits.append(GenerativeClassifier(**SMALL | dict(epochs=1), random_state=seed).fit(x, y))
    first, again, other = (each.log_px_y(x) for each in fits)
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_labels_may_be_of_any_kind(held_out):
    x, y = held_out[0][:200], np.array(["zero", "one", "two", "three"])[held_out[1][:200] % 4]
    named = GenerativeClassifier(**SMALL | dict(learning_rate=0.01)).fit(x, y)
    assert named.classes_.tolist() == ["one", "three", "two", "zero"]
    assert set(named.predict(x)) <= set(y) and named.predict_proba(x).shape == (200, 4)


def test_other_features_are_scaled_and_clipped():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.normal(size=(90, 4)) * [1, 50, 0.01, 0] + np.outer(y, [3, 200, 0, 0]) + 7
    scaled = GenerativeClassifier(**SMALL).fit(X, y)
    assert scaled.score(X, y) > 0.9
    far = X.copy()
    far[:, 1] = 1e6
    np.testing.assert_array_equal(scaled.log_px_y(far), scaled.log_px_y(np.where(far > 1e5, X[:, 1].max(), far)))
    with pytest.raises(DataError, match=r"pixels must lie in \[0, 1\]"):
        GenerativeClassifier(**SMALL, scaling="none").fit(X, y)


def test_images_in_the_wrong_range_are_told_how_to_mend_it(fitted, held_out):
    x, y = held_out
    with pytest.raises(DataError, match="divide by 255"):
        GenerativeClassifier(**SMALL).fit(255 * x, y)
    with pytest.raises(DataError, match="divide by 255"):
        fitted.predict((255 * x).astype(np.uint8))
    with pytest.raises(DataError, match="undo the normalisation"):
        fitted.predict((x - 0.13) / 0.31)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(prior="flat"), "prior='flat' does not exist: choose one of uniform, train"),
        (dict(scaling="standard"), "scaling='standard' does not exist: choose one of auto"),
        (dict(temperature=0), "temperature must be above 0, got 0"),
        (dict(model=VAE(2, (4,), (4,))), "this model knows no labels: train a conditional one"),
        (dict(epochs=-1), "epochs >= 0"),
        (dict(activation="gelu"), "activation='gelu' does not exist"),
    ],
)
def test_settings_that_do_not_exist_are_refused_in_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        GenerativeClassifier(**SMALL | settings).fit(images(4).numpy(), [0, 1, 0, 1])


# ---------------------------------------------------------------- priors


def test_the_prior_counts_the_training_labels():  # E46
    x, y = images(40, 5).numpy(), np.array([0] * 30 + [1] * 10)
    flat, counted = (GenerativeClassifier(**SMALL, prior=prior).fit(x, y) for prior in ("uniform", "train"))
    np.testing.assert_array_equal(flat.log_px_y(x), counted.log_px_y(x))  # the prior is no part of the scores
    log_odds = [each.predict_log_proba(x)[:, 0] - each.predict_log_proba(x)[:, 1] for each in (counted, flat)]
    np.testing.assert_allclose(log_odds[0] - log_odds[1], math.log(3), atol=1e-5)


def test_a_temperature_leaves_the_prior_alone():  # else T = 10 would make a prior of 1 : 10 000 one of 1 : 2.5
    x, y = images(40, 5).numpy(), np.array([0] * 30 + [1] * 10)
    mild = GenerativeClassifier(**SMALL, prior="train", temperature=20.0).fit(x, y)
    odds, scores = mild.predict_log_proba(x), mild.log_px_y(x)
    np.testing.assert_allclose(odds[:, 0] - odds[:, 1], (scores[:, 0] - scores[:, 1]) / 20 + math.log(3), atol=1e-4)
    np.testing.assert_array_equal(mild.predict(x), mild.classes_[odds.argmax(1)])


# ---------------------------------------------------------------- a model that is already trained


def test_a_given_model_is_used_as_it_is(fitted, held_out):
    x, y = held_out[0][:100], held_out[1][:100]
    before = {name: value.clone() for name, value in fitted.model_.state_dict().items()}
    ready = GenerativeClassifier.from_model(fitted.model_)
    np.testing.assert_array_equal(ready.log_px_y(x), fitted.log_px_y(x))
    counted = GenerativeClassifier(fitted.model_, prior="train").fit(x, y)
    assert counted.model_ is fitted.model_ and counted.history_ is None
    np.testing.assert_allclose(np.exp(counted.log_prior_), np.bincount(y) / 100)
    assert all(torch.equal(before[name], value) for name, value in fitted.model_.state_dict().items())
    names = [f"digit {d}" for d in range(10)]
    assert (
        GenerativeClassifier.from_model(fitted.model_, classes=names).predict(x[:1])[0]
        == names[ready.predict(x[:1])[0]]
    )


def test_a_given_model_says_what_it_cannot_use(fitted, held_out):
    x, y = held_out[0][:100], held_out[1][:100]
    with pytest.raises(ValueError, match=r"labels 0\.\.9, got int64 from 1 to 10"):
        GenerativeClassifier(fitted.model_).fit(x, y + 1)
    with pytest.raises(ValueError, match=r"no image shows \[7 8 9\]: use prior='uniform'"):
        GenerativeClassifier(fitted.model_, prior="train").fit(x[y < 7], y[y < 7])
    with pytest.raises(ValueError, match="prior='train' needs labels to count"):
        GenerativeClassifier.from_model(fitted.model_, prior="train")
    with pytest.raises(ValueError, match="10 labels: pass as many different classes"):
        GenerativeClassifier.from_model(fitted.model_, classes=["a", "b"])
    with pytest.raises(DataError, match=r"shape \(N, 784\), got \(3, 64\)"):
        GenerativeClassifier(fitted.model_).fit(images(3, 64).numpy(), [0, 1, 2])
    with pytest.raises(NotFittedError):
        GenerativeClassifier(fitted.model_).predict(x)


def test_a_copy_has_a_model_of_its_own(fitted):
    copy = clone(GenerativeClassifier(fitted.model_, rule="elbo", samples=3))
    assert copy.model is not fitted.model_ and (copy.rule, copy.samples) == ("elbo", 3)


# ---------------------------------------------------------------- confidence


def overconfident(n: int = 4000, factor: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are `factor` times those from which the labels were drawn."""
    rng = np.random.default_rng(0)
    scores = 2 * rng.normal(size=(n, 3))
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    labels = (rng.random((n, 1)) > p.cumsum(1)).sum(1).clip(max=2)
    return factor * scores, labels


def label_nll(scores: np.ndarray, labels: np.ndarray, temperature: float, log_prior: np.ndarray | float = 0.0) -> float:
    log_p = torch.log_softmax(torch.as_tensor(scores / temperature + log_prior), 1)
    return float(torch.nn.functional.nll_loss(log_p, torch.as_tensor(labels)))


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0, 30.0])
def test_the_best_temperature_undoes_overconfidence_and_is_a_minimum(factor):
    scores, labels = overconfident(factor=factor)
    best = best_temperature(scores, labels)
    assert best == pytest.approx(factor, rel=0.1)
    assert label_nll(scores, labels, best) < min(label_nll(scores, labels, best * by) for by in (0.98, 1.02))


def test_the_best_temperature_is_a_minimum_beside_an_uneven_prior_too():
    scores, labels = overconfident(factor=4.0)
    log_prior = np.log(np.linspace(1, 30, scores.shape[1]) / np.linspace(1, 30, scores.shape[1]).sum())
    best = best_temperature(scores, labels, log_prior)
    around = [label_nll(scores, labels, best * by, log_prior) for by in (0.98, 1.0, 1.02)]
    assert around[1] < min(around[0], around[2]) and abs(best / best_temperature(scores, labels) - 1) > 0.01


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    sure = np.tile([0.9, 0.1], (10, 1))
    for right, gap in ((10, 0.1), (9, 0.0), (0, 0.9)):
        labels = np.array([0] * right + [1] * (10 - right))
        assert expected_calibration_error(sure, labels) == pytest.approx(gap, abs=1e-12)
    halves = np.array([[0.6, 0.4]] * 4 + [[0.95, 0.05]] * 4)  # gaps of opposite sign do not cancel across bins
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert expected_calibration_error(halves, labels) == pytest.approx((0.4 + 0.45) / 2)
    assert expected_calibration_error(halves, labels, bins=1) == pytest.approx(abs(0.75 - 0.775))
    certain = np.array([[1.0, 0.0], [0.97, 0.03]])  # 1.0 has no bin of its own
    assert expected_calibration_error(certain, np.array([1, 0])) == pytest.approx((1 - 0.03) / 2)


def test_temperature_mends_calibration_error():
    scores, labels = overconfident()
    before, after = (
        expected_calibration_error(torch.softmax(torch.as_tensor(scores / T), 1).numpy(), labels)
        for T in (1, best_temperature(scores, labels))
    )
    assert after < 0.03 < 0.15 < before


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [([0.5, 0.5], [0], "need probabilities"), ([[0.5, 0.5]], [0, 1], "one label each"), (np.empty((0, 2)), [], "need")],
)
def test_calibration_error_says_what_it_needs(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(probabilities, labels)


def test_calibrate_lowers_the_label_nll_and_leaves_every_answer(fitted, held_out):
    x, y = held_out
    mine = GenerativeClassifier.from_model(fitted.model_, temperature=8.0)  # far too modest
    answers, before = mine.predict(x), -mine.predict_log_proba(x)[np.arange(len(y)), y].mean()
    assert mine.calibrate(x, y) is mine and mine.temperature == 8.0
    after = -mine.predict_log_proba(x)[np.arange(len(y)), y].mean()
    assert mine.temperature_ < 4 and after < 0.9 * before
    assert np.array_equal(mine.predict(x), answers) and np.array_equal(mine.predict_proba(x).argmax(1), answers)
    with pytest.raises(ValueError, match="y must hold labels among"):
        mine.calibrate(x[:2], [3, 10])


def test_calibrate_warns_where_nothing_was_wrong(fitted, held_out):
    x = held_out[0][:5]
    mine = GenerativeClassifier.from_model(fitted.model_)
    with pytest.warns(UserWarning, match="no temperature is the best one"):
        mine.calibrate(x, mine.predict(x))


def test_abstaining_buys_accuracy(fitted, held_out):
    x, y = held_out
    mine = GenerativeClassifier.from_model(fitted.model_).calibrate(x, y)
    labels, answered = mine.predict_with_abstention(x, 0.9)
    assert np.array_equal(labels, mine.predict(x)) and np.array_equal(answered, mine.predict_proba(x).max(1) >= 0.9)
    assert 0.3 < answered.mean() < 1
    assert (labels == y)[answered].mean() > (labels == y).mean() + 0.01
    with pytest.raises(ValueError, match="threshold is a probability, got 90"):
        mine.predict_with_abstention(x, 90)
