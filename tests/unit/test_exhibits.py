"""The museum of lesson 09: each broken function shows its symptom, the mended one does not, and a tiny test tells them apart at once."""

import math

import pytest
import torch

from vae_helpers import data, evaluation, exhibits, losses, symptoms, workbench
from vae_helpers.exhibits import MUSEUM, WINGS


@pytest.fixture(scope="module")
def bench():
    return workbench.open_bench(data.load("digits"), data.load("digits", "test"), images=1200, steps=300)


@pytest.fixture(scope="module")
def charts(bench):
    """{exhibit: (chart of the broken function, chart of the mended one)}"""
    return {name: (e.symptoms(e.broken, bench), e.symptoms(e.mended, bench)) for name, e in MUSEUM.items()}


@pytest.mark.parametrize("name", MUSEUM)
def test_the_broken_function_shows_its_symptom_and_the_mended_one_does_not(name, charts):
    broken, mended = charts[name]
    assert MUSEUM[name].shows(broken), broken.readings
    assert not MUSEUM[name].shows(mended), mended.readings


@pytest.mark.parametrize("name", MUSEUM)
def test_a_symptom_belongs_to_its_own_exhibit(name, charts):
    """Where two exhibits have charts of one kind, neither shows what the other one does."""
    own = [r.what for r in charts[name][0].readings]
    for other, (broken, _) in charts.items():
        if other != name and [r.what for r in broken.readings] == own:
            assert not MUSEUM[name].shows(broken)


@pytest.mark.parametrize("name", MUSEUM)
def test_the_tiny_test_tells_them_apart(name):
    exhibit = MUSEUM[name]
    assert exhibit.tiny_test(exhibit.mended) is True and exhibit.tiny_test(exhibit.broken) is False
    assert exhibit.tiny_test.__doc__.endswith("."), "the lesson prints it"


@pytest.mark.parametrize("shift", [-1.0, -0.01, 0.01])
def test_weights_that_are_all_alike_but_not_p_of_x_fail_their_tiny_test(shift):
    assert not MUSEUM["analytic kl"].tiny_test(lambda *given: exhibits.log_weights(*given) + shift)


def test_rec_alone_shows_that_the_draw_is_cut_off_and_the_sum_with_kl_does_not():
    x = torch.rand(20, 784, generator=torch.Generator().manual_seed(0))
    found = {}
    for cut in (False, True):
        for what in ("rec", "sum"):
            model = workbench.new_model()
            assert not workbench.reached(model), "nothing has run backward yet"
            mu, log_var = model.encode(x)
            z = workbench.sampled(mu, log_var, workbench.noise_like(mu))
            rec, kl = (t.mean() for t in workbench.bound_terms(model.decode(z.detach() if cut else z), x, mu, log_var))
            (rec if what == "rec" else rec + kl).backward()
            found[cut, what] = workbench.reached(model)
    assert found == {(False, "rec"): True, (False, "sum"): True, (True, "rec"): False, (True, "sum"): True}


def test_another_bound_catches_turned_signs_and_misses_the_analytic_kl(bench):
    """Item 11 of the lesson's list, and its warning: the row can fail, but it does not show that the weights are right."""
    model, x = bench.healthy.model, bench.held_out
    cost = sum(workbench.bound(model, x, seed) for seed in range(3)) / 3
    log_w = evaluation.log_weights(model, x, samples=5, generator=torch.Generator().manual_seed(3))
    draws = [workbench.honest_terms(model, x, seed) for seed in range(10, 15)]
    analytic = torch.stack([-rec - kl for rec, kl in draws])
    assert -losses.iw_bound(log_w).mean() < cost + 0.5
    assert losses.iw_bound(-log_w).mean() > cost + 0.5, "turned signs"
    assert -losses.iw_bound(analytic).mean() < cost + 0.5, "the bug of chart 4 passes"


def test_ten_exhibits_hang_in_three_wings_and_have_titles_that_do_not_tell():
    assert len(MUSEUM) == 10 and [name for wing in WINGS.values() for name in wing] == list(MUSEUM)
    titles = [exhibit.title for exhibit in MUSEUM.values()]
    assert len(set(titles)) == 10 and all(exhibit.found for exhibit in MUSEUM.values())
    spoilers = ("sigmoid", "kl", "mean", "sigma", "leak", "shuffle", "drop", "prior")
    assert not [t for t in titles for word in spoilers if word in t.lower()]


def test_healthy_chart_is_healthy(bench):
    chart = symptoms.healthy(bench)
    rec, kl = chart.readings
    assert rec.value < 0.95 * rec.reference and kl.value == pytest.approx(kl.reference, abs=1e-3)
    untrained = workbench.honest_terms(bench.snapshots[0], bench.held_out)[1].mean()
    assert bench.healthy.rec[-1] < bench.healthy.rec[0] and untrained < 1 < 5 < bench.healthy.kl[-1]
    assert torch.equal(chart.kl, chart.kl.sort(descending=True).values) and chart.kl.min() < 0.1
    assert {name: tuple(rows.shape) for name, rows in chart.pictures.items()} == dict.fromkeys(
        ("image", "decoded", "sample"), (6, 784)
    )


def test_a_run_repeats_itself_and_leaves_the_global_random_numbers_alone(bench):
    state = torch.get_rng_state()
    one, two = (workbench.short_run(bench.train[:200], epochs=2) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.batch_losses, two.batch_losses) and one.batch_losses.shape == (2, 4)
    assert one.rec[1] + one.kl[1] == pytest.approx(float(one.batch_losses[1].mean()))
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True))
    other = workbench.short_run(bench.train[:200], epochs=2, seed=1)
    assert not torch.equal(one.batch_losses, other.batch_losses)


def test_a_rest_is_left_out_and_a_small_set_is_one_batch(bench):
    assert workbench.short_run(bench.train[:120], epochs=1).batch_losses.shape == (1, 2)
    assert workbench.short_run(bench.train[:30], epochs=1).batch_losses.shape == (1, 1)


def test_snapshots_are_the_model_before_and_after_each_epoch(bench):
    assert len(bench.snapshots) == bench.epochs + 1
    first = bench.snapshots[0].encoder.mu.weight
    assert torch.equal(first, workbench.new_model().encoder.mu.weight)
    last = bench.snapshots[-1].encoder.mu.weight
    assert torch.equal(last, bench.healthy.model.encoder.mu.weight) and not torch.equal(first, last)


def test_the_training_of_e1_is_not_touched_only_its_report(bench, charts):
    broken, mended = (
        chart.curves["kl on held-out images, as reported"]["kl"].y for chart in charts["kl without its one"]
    )
    d = bench.healthy.model.latent_dim
    assert [a - b for a, b in zip(broken, mended, strict=True)] == pytest.approx([d / 2] * len(broken), abs=1e-3)


def test_the_report_over_the_data_set_is_off_by_one_factor(charts):
    chart = charts["dropped rest"][0]
    lines, share = chart.curves["loss on training images"], chart.value("share of the images in whole batches")
    ratios = [a / b for a, b in zip(lines["reported"].y, lines["measured again"].y, strict=True)]
    assert ratios == pytest.approx([share] * len(ratios), rel=0.03)


def test_recognition_counts_images_by_their_own_code():
    model, x = workbench.new_model(), torch.rand(40, 784, generator=torch.Generator().manual_seed(0)).round()
    assert symptoms.recognised(model, x, lambda mu, log_var, eps: mu) == 1, "a code without noise names its image"
    with torch.no_grad():
        for weights in model.encoder.parameters():
            weights.zero_()
    assert symptoms.recognised(model, x) == pytest.approx(1 / 40), "all means are alike: the first one wins"


def test_a_reading_speaks_and_a_chart_finds_it():
    reading = workbench.Reading("rec", 123.456, "floor", 45.5)
    assert str(reading) == "rec: 123 (floor: 45.5)"
    chart = workbench.Chart({}, "", None, {}, (reading,))
    assert chart.value("rec") == 123.456
    with pytest.raises(KeyError):
        chart.value("kl")


def test_the_museum_s_functions_agree_with_the_package():
    logits, x = torch.randn(2, 5, 784, generator=torch.Generator().manual_seed(0)).abs().clamp(max=1)
    mu, log_var = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1))
    rec, kl = exhibits.loss_terms(logits, x, mu, log_var)
    honest = workbench.bound_terms(logits, x, mu, log_var)
    assert math.isclose(float(rec), float(honest[0].mean()), rel_tol=1e-5)
    assert math.isclose(float(kl), float(honest[1].mean()), rel_tol=1e-5)
    assert torch.allclose(exhibits.kl_per_dim(mu, log_var).sum(1), honest[1], atol=1e-5)
    assert torch.allclose(exhibits.pixel_cost(logits, x), honest[0])
