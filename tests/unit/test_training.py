"""The training loop: counts, schedules, exact resuming, interrupts, NaN, and what it leaves alone."""

import math
import signal
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from vae_helpers import checkpoints, steps, training
from vae_helpers.history import History
from vae_helpers.images import DataError, ImageSet
from vae_helpers.models import VAE
from vae_helpers.objective import Objective
from vae_helpers.training import TrainingError, fit

EVERYTHING = dict(  # all that could make a resumed run differ from one that was not stopped
    batch_size=5, learning_rate=3e-3, schedule="cosine", warmup=0.2, pixels="dynamic", beta=0.7, beta_warmup_epochs=2, seed=3
)  # fmt: skip


def small(**settings) -> VAE:
    torch.manual_seed(0)
    return VAE(2, (8,), (8,), **settings)


def run(model: VAE, images: ImageSet, epochs: int, **settings) -> History:
    return fit(model, images, epochs=epochs, progress=False, device="cpu", **settings)


def figures(history: History) -> list[tuple]:
    return [replace(row, seconds=0.0) for row in history]


def assert_same_weights(a: VAE, b: VAE) -> None:
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name


def weights_of(model: VAE) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def stop_after(epochs: int):
    """An `on_epoch` that presses the stop button."""

    def on_epoch(history: History) -> None:
        if len(history) == epochs:
            raise KeyboardInterrupt

    return on_epoch


def press_stop_in_call(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Raise KeyboardInterrupt in the n-th computation of the loss, counted from 0."""
    real, calls = steps.loss_of, iter(range(10**6))

    def loss(*args):
        if next(calls) == n:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(steps, "loss_of", loss)


# ---------------------------------------------------------------- what an epoch is


def test_an_epoch_is_the_mean_over_images_seen_with_a_short_last_batch(few: ImageSet):  # E42, E61
    model = small()
    before = weights_of(model)
    row = run(model, few, 1, batch_size=5, learning_rate=1e-30, shuffle=False)[0]  # too small a step to change anything
    rec, kl, noise = [], [], torch.Generator().manual_seed(1)
    model.load_state_dict(before)
    for x, _ in few.batches(5):
        terms = model.negative_elbo(x, generator=noise)
        rec.append(terms.rec.detach())
        kl.append(terms.kl.detach())
    assert [len(part) for part in rec] == [5, 5, 2] and row.images_seen == 12
    assert row.rec == pytest.approx(float(torch.cat(rec).mean()), rel=1e-6)
    assert row.kl == pytest.approx(float(torch.cat(kl).mean()), rel=1e-6)
    assert row.loss == row.rec + row.kl
    mean_of_means = sum(float(part.mean()) for part in rec) / 3
    assert abs(mean_of_means - row.rec) > 1e-3  # the two differ, and the test could tell


def test_drop_last_counts_only_what_it_saw(few: ImageSet):
    history = run(small(), few, 2, batch_size=5, drop_last=True)
    assert history.column("images_seen") == [10, 10]
    assert history.state["optimizer.decoder.out.bias/step"] == 4
    with pytest.raises(ValueError, match="drop_last with 12 images and batch_size=13 leaves no batch"):
        run(small(), few, 1, batch_size=13, drop_last=True)


def test_training_learns(digits: ImageSet):
    history = run(VAE(4, (64,), (64,)), digits[:500], 4, batch_size=50, learning_rate=5e-3)
    assert history[-1].loss < history[0].loss - 50
    assert history.column("epoch") == [0, 1, 2, 3]


def test_a_fresh_run_with_the_same_seed_is_the_same_run(few: ImageSet):
    models, histories = [], []
    for seed in (3, 3, 4):
        models.append(small())
        torch.rand(7)  # what else was drawn in the notebook does not matter
        histories.append(run(models[-1], few, 2, **EVERYTHING | dict(seed=seed)))
    assert figures(histories[0]) == figures(histories[1]) != figures(histories[2])
    assert_same_weights(models[0], models[1])


def test_fit_leaves_the_global_random_state_alone(few: ImageSet):
    model = small()
    before = torch.get_rng_state()
    run(model, few, 1, validation=few, **EVERYTHING)
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_is_measured_and_never_trains(few: ImageSet):
    held_out = ImageSet(255 - few.images, few.labels, split="validation")
    with_validation, without = small(), small()
    history = run(with_validation, few, 2, validation=held_out, **EVERYTHING)
    plain = run(without, few, 2, **EVERYTHING)
    assert_same_weights(with_validation, without)
    assert [row.rec for row in history] == [row.rec for row in plain]
    assert history[-1].val_loss == history[-1].val_rec + history[-1].val_kl != history[-1].loss
    assert plain[-1].val_loss is None


def test_a_conditional_model_is_given_the_labels(few: ImageSet):
    models = [small(num_classes=10), small(num_classes=10)]
    run(models[0], few, 1)
    run(models[1], ImageSet(few.images, few.labels.flip(0)), 1)
    assert not torch.equal(models[0].decoder.body[0].weight, models[1].decoder.body[0].weight)


def test_pixels_never_leave_the_unit_interval(few: ImageSet, monkeypatch: pytest.MonkeyPatch):
    seen = []
    real = steps.loss_of
    monkeypatch.setattr(steps, "loss_of", lambda model, x, *rest: seen.append(x.clone()) or real(model, x, *rest))
    for pixels in ("grey", "dynamic", "static"):
        seen.clear()
        run(small(), few, 2, pixels=pixels)
        x = torch.stack(seen)
        assert x.min() == 0 and x.max() == 1
        assert (pixels == "grey") == bool(((x > 0) & (x < 1)).any())
        assert (pixels == "dynamic") == (not torch.equal(x[0].sum(0), x[1].sum(0)) and pixels != "grey")


def test_the_model_is_left_in_eval_mode(few: ImageSet):
    model = small()
    run(model, few, 1)
    assert not model.training


# ---------------------------------------------------------------- schedules and weights of the KL


def test_the_cosine_falls_from_the_full_rate_to_nearly_zero():
    shares = [training._share_of_rate(step, 100, "cosine", 0.0) for step in range(100)]
    assert shares[0] == 1 and shares[50] == pytest.approx(0.5) and 0 < shares[99] < 1e-3
    assert all(a > b for a, b in pairwise(shares))
    assert {training._share_of_rate(step, 100, "constant", 0.0) for step in range(100)} == {1.0}


def test_the_warmup_rises_over_its_share_of_the_steps():
    shares = [training._share_of_rate(step, 100, "constant", 0.1) for step in range(100)]
    assert shares[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and set(shares[10:]) == {1.0}
    cosine = [training._share_of_rate(step, 100, "cosine", 0.1) for step in range(100)]
    assert max(range(100), key=cosine.__getitem__) == 9


def test_the_rate_reaches_the_optimizer(few: ImageSet, monkeypatch: pytest.MonkeyPatch):
    rates = []
    real = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or real(self))
    run(small(), few, 2, batch_size=6, schedule="cosine", learning_rate=0.01)
    assert rates == pytest.approx([0.01 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)])


def test_beta_rises_linearly_over_its_epochs(few: ImageSet, monkeypatch: pytest.MonkeyPatch):
    betas = []
    real = steps.loss_of
    monkeypatch.setattr(steps, "loss_of", lambda m, x, y, beta, *rest: betas.append(beta) or real(m, x, y, beta, *rest))
    run(small(), few, 3, batch_size=6, beta=4.0, beta_warmup_epochs=2)
    assert betas == pytest.approx([1.0, 2.0, 3.0, 4.0, 4.0, 4.0])


def test_the_loss_weighs_the_kl_and_counts_free_bits(few: ImageSet):
    model, noise = small(), torch.Generator()
    x = few.x
    model, eps = Objective(model), torch.randn((1, len(x), 2), generator=noise.manual_seed(0))
    rec, kl, loss = steps.loss_of(model, x, None, 3.0, 0.0, eps)
    torch.testing.assert_close(loss, (rec + 3 * kl).mean())
    again, kl_again, free = steps.loss_of(model, x, None, 3.0, 5.0, eps)
    torch.testing.assert_close((again, kl_again), (rec, kl))
    torch.testing.assert_close(free, rec.mean() + 3 * 2 * 5.0)  # both dimensions are far below five nats
    _, _, barely = steps.loss_of(model, x, None, 3.0, 1e-9, eps)
    torch.testing.assert_close(barely, loss)


def test_beta_changes_what_is_learned(digits: ImageSet):
    kls = [run(small(), digits[:300], 6, batch_size=30, learning_rate=1e-2, beta=beta)[-1].kl for beta in (0.1, 10.0)]
    assert kls[0] > 2 * kls[1]


# ---------------------------------------------------------------- resuming


def test_n_epochs_save_load_m_epochs_equal_n_plus_m(few: ImageSet, tmp_path):
    whole, parts = small(), small()
    uninterrupted = run(whole, few, 5, validation=few, **EVERYTHING)
    first = run(parts, few, 5, validation=few, on_epoch=stop_after(2), **EVERYTHING)
    assert first.interrupted and len(first) == 2
    loaded = checkpoints.load(checkpoints.save(tmp_path / "run.safetensors", parts, history=first))
    torch.rand(3)
    history = run(loaded.model, few, 5, validation=few, resume=loaded.history, **EVERYTHING)
    assert figures(history) == figures(uninterrupted) and not history.interrupted
    assert_same_weights(loaded.model, whole)
    assert history.state.keys() == uninterrupted.state.keys()  # the optimiser, the generators, the number of epochs
    assert all(torch.equal(value, uninterrupted.state[name]) for name, value in history.state.items())
    assert history.settings == uninterrupted.settings


def test_with_a_constant_rate_a_finished_run_goes_on(few: ImageSet):
    whole, parts = small(), small()
    settings = dict(batch_size=5, pixels="dynamic")
    uninterrupted = run(whole, few, 4, **settings)
    history = run(parts, few, 4, resume=run(parts, few, 1, **settings), **settings)
    assert figures(history) == figures(uninterrupted)
    assert_same_weights(parts, whole)


def test_on_epoch_may_save_and_the_file_is_complete(few: ImageSet, tmp_path):
    whole, model = small(), small()
    uninterrupted = run(whole, few, 3, **EVERYTHING)

    def keep(history: History) -> None:
        checkpoints.save(tmp_path / f"{len(history)}.safetensors", model, history=history)

    run(model, few, 3, on_epoch=keep, **EVERYTHING)
    for n in (1, 2, 3):
        loaded = checkpoints.load(tmp_path / f"{n}.safetensors")
        assert len(loaded.history) == n
        assert figures(run(loaded.model, few, 3, resume=loaded.history, **EVERYTHING)) == figures(uninterrupted)
        assert_same_weights(loaded.model, whole)


@pytest.mark.parametrize(
    "call", [0, 1, 4, 5, 8]
)  # in the first epoch, at and after the start of the second, in the last
def test_an_interrupt_in_an_epoch_loses_nothing_but_that_epoch(few: ImageSet, monkeypatch, capsys, call: int):
    whole, parts = small(), small()
    uninterrupted = run(whole, few, 3, **EVERYTHING)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        press_stop_in_call(patch, call)
        stopped = run(parts, few, 3, **EVERYTHING)
    assert stopped.interrupted and figures(stopped) == figures(uninterrupted)[: call // 3]
    assert f"Interrupted in epoch {call // 3}" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler
    assert not parts.training and all(p.isfinite().all() for p in parts.parameters())
    parts.sample(2)
    history = run(parts, few, 3, resume=stopped, **EVERYTHING)
    assert figures(history) == figures(uninterrupted)
    assert_same_weights(parts, whole)


def test_the_stop_button_is_a_signal(few: ImageSet):
    def on_epoch(history: History) -> None:
        if len(history) == 2:
            signal.raise_signal(signal.SIGINT)  # what a kernel's interrupt sends

    handler = signal.getsignal(signal.SIGINT)
    history = run(small(), few, 50, on_epoch=on_epoch)
    assert history.interrupted and len(history) == 2 and signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_model_keeps_its_last_step(few: ImageSet, monkeypatch):
    model = small()
    before = weights_of(model)
    press_stop_in_call(monkeypatch, 2)
    history = run(model, few, 1, batch_size=5)
    assert not torch.equal(model.decoder.out.weight, before["decoder.out.weight"])
    assert torch.equal(history.state["model.decoder.out.weight"], before["decoder.out.weight"])  # where it would go on


def test_a_row_without_its_state_is_measured_again(few: ImageSet):
    """The interrupt may come between the two: then the state decides where the run goes on."""
    whole, parts = small(), small()
    uninterrupted = run(whole, few, 3, **EVERYTHING)
    one = run(parts, few, 3, on_epoch=stop_after(1), **EVERYTHING)
    torn = replace(one, epochs=uninterrupted.epochs[:2])
    assert figures(run(parts, few, 3, resume=torn, **EVERYTHING)) == figures(uninterrupted)
    assert_same_weights(parts, whole)


def test_resuming_refuses_or_names_what_does_not_fit(few: ImageSet):
    history = run(small(), few, 1, batch_size=5)
    with pytest.raises(ValueError, match="holds no training state: save it with"):
        run(small(), few, 2, resume=replace(history, state=None))
    with pytest.raises(ValueError, match="another architecture"):
        run(VAE(3, (8,), (8,)), few, 2, batch_size=5, resume=history)
    on_gpu = replace(history, settings=history.settings | {"device": "cuda"})
    with pytest.raises(ValueError, match="began on cuda: pass device='cuda'"):
        run(small(), few, 2, resume=on_gpu)
    with pytest.warns(UserWarning, match="began with batch_size=5: it will not end where"):
        run(small(), few, 2, batch_size=4, resume=history)
    with pytest.warns(UserWarning, match="began with epochs=1, schedule='constant': it"):
        run(small(), few, 2, batch_size=5, schedule="cosine", resume=history)


def test_a_history_survives_json(few: ImageSet):
    history = run(small(), few, 2, validation=few)
    again = History.from_json(history.to_json())
    assert again == replace(history, state=None)
    assert again.column("val_loss") == [row.val_loss for row in history]


# ---------------------------------------------------------------- NaN


@pytest.mark.parametrize("term", ["rec", "kl"])
def test_nan_stops_before_the_step_and_names_epoch_batch_and_term(few: ImageSet, monkeypatch, term: str):
    model, calls, before = small(), iter(range(100)), {}
    real = Objective.forward

    def spoilt(self, x, y, eps):
        terms = real(self, x, y, eps)
        if next(calls) != 4:  # the second epoch's second batch
            return terms
        before.update(weights_of(model))
        return terms._replace(**{term: getattr(terms, term) * torch.tensor([math.nan] + [1.0] * (len(x) - 1))})

    monkeypatch.setattr(Objective, "forward", spoilt)
    with pytest.raises(TrainingError, match=f"epoch 1, batch 1: {term} is not finite. The step was not taken"):
        run(model, few, 3, batch_size=5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_an_infinite_loss_stops_too(few: ImageSet):
    model = small(likelihood="gaussian")
    torch.nn.init.constant_(model.decoder.out.bias, 1e30)
    with pytest.raises(TrainingError, match="epoch 0, batch 0: rec is not finite"):
        run(model, few, 1)


@pytest.mark.parametrize("call", [4, 5])  # in the middle of an epoch, and in its last batch
def test_a_bad_gradient_behind_a_good_loss_does_not_cost_the_weights(few: ImageSet, monkeypatch, call: int):
    model, calls, good = small(), iter(range(100)), {}
    real = steps.loss_of

    def loss(*args):
        rec, kl, loss = real(*args)
        if next(calls) == call:
            loss = loss + 0 * torch.sqrt(model.decoder.out.bias[0] * 0)  # finite, but its gradient is 0 / 0
        return rec, kl, loss

    monkeypatch.setattr(steps, "loss_of", loss)
    with pytest.raises(TrainingError, match="spoilt the weights: they are again those of the last whole epoch"):
        run(model, few, 3, batch_size=5, on_epoch=lambda history: good.update(weights_of(model)))
    assert good and all(torch.equal(value, good[name]) for name, value in model.state_dict().items())


# ---------------------------------------------------------------- what fit refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(epochs=-1), "epochs >= 0"),
        (dict(batch_size=0), "batch_size >= 1"),
        (dict(learning_rate=0.0), "learning_rate > 0"),
        (dict(warmup=1.5), r"warmup in \[0, 1\]"),
        (dict(beta=-1.0), "beta"),
        (dict(free_bits=-1.0), "free_bits"),
        (dict(schedule="linear"), "schedule='linear' does not exist: choose one of constant, cosine"),
        (dict(pixels="binary"), "pixels='binary' does not exist: choose one of grey, dynamic, static"),
        (dict(device="gpu"), "gpu"),
    ],
)
def test_unusable_settings_are_refused_before_anything_is_touched(few: ImageSet, settings: dict, message: str):
    model = small()
    before = weights_of(model)
    with pytest.raises((ValueError, RuntimeError), match=message):
        fit(model, few, **dict(epochs=1, progress=False) | settings)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_gives_a_clear_error(few: ImageSet):
    with pytest.raises(ValueError, match="'cuda' is not available here: use device='cpu'"):
        fit(small(), few, epochs=1, device="cuda", progress=False)


def test_images_of_another_kind_are_refused(few: ImageSet):
    for wrong in (few.x, few[:0], None):
        with pytest.raises(DataError, match="fit needs a non-empty ImageSet"):
            run(small(), wrong, 1)


def test_no_epochs_train_nothing(few: ImageSet):
    model = small()
    before = weights_of(model)
    assert len(run(model, few, 0, schedule="cosine")) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_progress_shows_both_terms(few: ImageSet, capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    fit(small(), few, epochs=1, validation=few)
    shown = capsys.readouterr().err
    assert "rec " in shown and " + kl " in shown and "held out " in shown
    run(small(), few, 1)
    assert capsys.readouterr().err == ""
