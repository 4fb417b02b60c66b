"""What makes training fast without changing what is trained: bfloat16, compile, Muon, distortions, a start at the mean image; and L_K."""

import math
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from vae_helpers import checkpoints, distributed, losses, optimizers, steps
from vae_helpers.evaluation import evaluate
from vae_helpers.history import History
from vae_helpers.images import ImageSet, distorted
from vae_helpers.initialization import start_codes_at, start_from
from vae_helpers.models import VAE
from vae_helpers.objective import Objective
from vae_helpers.recipes import RECIPES
from vae_helpers.training import fit

BAND = 0.01  # of the loss, that bfloat16 and a compiled step may differ from float32 after ten steps; measured: 0.001


def small(**settings) -> VAE:
    torch.manual_seed(0)
    return VAE(3, (32,), (32,), **settings)


def has_compiler() -> bool:
    """What torch.compile needs on a CPU: a C++ compiler, and Python's headers."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return headers.is_file() and any(map(shutil.which, ("g++", "clang++", "c++")))


# ---------------------------------------------------------------- bfloat16 and compile


def loss_after(images: ImageSet, **settings) -> float:
    """The second epoch's loss, steps 5 to 9."""
    history = fit(
        small(), images[:250], epochs=2, batch_size=50, learning_rate=3e-3, progress=False, device="cpu", **settings
    )
    return history[-1].loss


def test_bfloat16_agrees_with_float32_and_is_not_it(digits: ImageSet):
    exact, rough = loss_after(digits), loss_after(digits, precision="bfloat16")
    assert rough == pytest.approx(exact, rel=BAND) and rough != exact


needs_compiler = pytest.mark.skipif(
    not has_compiler(), reason="torch.compile needs a C++ compiler and Python's headers"
)


@needs_compiler
def test_a_compiled_step_agrees_with_float32(digits: ImageSet):
    assert loss_after(digits, precision="bfloat16", compile=True) == pytest.approx(loss_after(digits), rel=BAND)


@needs_compiler
def test_a_rising_beta_is_compiled_once(digits: ImageSet):
    torch._dynamo.reset()
    settings = dict(precision="bfloat16", beta=2.0, beta_warmup_epochs=2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = loss_after(digits, compile=True, **settings)
    assert compiled == pytest.approx(loss_after(digits, **settings), rel=BAND)


def trained(images: ImageSet, **settings) -> tuple[VAE, History]:
    """Twelve steps, the short last batches included."""
    model = small(num_classes=10)
    return model, fit(
        model, images[:230], epochs=4, batch_size=100, learning_rate=3e-3, progress=False, device="cpu", **settings
    )


@needs_compiler
@pytest.mark.parametrize(
    "settings",
    [
        dict(schedule="cosine", warmup=0.3, beta=0.5),
        dict(optimizer="adamw", weight_decay=2.0),
        dict(free_bits=3.0),
        dict(samples=3),
    ],
    ids=["adam", "adamw", "free-bits", "samples"],
)
def test_the_compiled_step_is_pytorchs_adam(digits: ImageSet, settings: dict):
    (plain, history), (compiled, found) = trained(digits, **settings), trained(digits, compile=True, **settings)
    assert found.column("rec") == pytest.approx(history.column("rec"), rel=1e-5)
    for p, q in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=2e-4)  # of twelve steps of up to 0.003 each
    assert found.state.keys() == history.state.keys()
    steps = [value for name, value in found.state.items() if name.endswith("/step")]
    assert {int(step) for step in steps} == {12}


@needs_compiler
def test_compiled_training_resumes_bitwise_and_plain_training_can_go_on_with_it(digits: ImageSet):
    def stop(history: History) -> None:
        if len(history) == 2:
            raise KeyboardInterrupt

    _, uninterrupted = trained(digits, compile=True)
    _, stopped = trained(digits, compile=True, on_epoch=stop)
    _, history = trained(digits, compile=True, resume=stopped)
    assert len(stopped) == 2 and history.column("rec") == uninterrupted.column("rec")
    assert all(torch.equal(value, uninterrupted.state[name]) for name, value in history.state.items())
    assert trained(digits, resume=stopped)[1][-1].rec == pytest.approx(uninterrupted[-1].rec, rel=1e-5)


@needs_compiler
def test_a_compiled_step_whose_loss_is_not_finite_moves_nothing(digits: ImageSet):
    stepper = optimizers.make("adam", model := small(), 1e-2)
    step = steps.make(Objective(model), stepper, distributed.ranks(), free_bits=0.0, compiled=True)
    x, eps = digits[:50].x, torch.randn(1, 50, 3)
    assert step(x, None, 1.0, eps, 1.0).finite
    before = {name: value.clone() for name, value in model.state_dict().items()} | stepper.state()
    assert not step(x, None, 1.0, torch.full_like(eps, math.nan), 1.0).finite
    after = model.state_dict() | stepper.state()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert step(x, None, 1.0, eps, 1.0).finite and stepper.state()["decoder.out.bias/step"] == 2
    assert not torch.equal(model.decoder.out.bias, before["decoder.out.bias"])


@needs_compiler
def test_a_compiled_step_leaves_frozen_parameters_alone(digits: ImageSet):
    before, model = small(), small()
    model.encoder.requires_grad_(False)
    history = fit(model, digits[:100], epochs=1, batch_size=50, progress=False, device="cpu", compile=True)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before.get_parameter(name))}
    assert moved == {name for name, _ in model.named_parameters() if name.startswith("decoder.")}
    assert not any(name.startswith("optimizer.encoder.") for name in history.state)


@needs_compiler
def test_muon_is_compiled_as_far_as_its_bound(digits: ImageSet):
    settings = dict(optimizer="muon", matrix_rate=0.05)
    (_, history), (_, found) = trained(digits, **settings), trained(digits, compile=True, **settings)
    assert found.column("rec") == pytest.approx(history.column("rec"), rel=BAND)


def test_bfloat16_keeps_sums_and_weights_in_float32(few: ImageSet):
    model = small()
    terms = Objective(model, "bfloat16")(few.x, None, torch.randn(1, len(few), 3))
    terms.rec.mean().backward()
    assert terms.rec.dtype == terms.kl.dtype == torch.float32
    assert (
        {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.decoder.parameters()} == {torch.float32}
    )


# ---------------------------------------------------------------- the bound with K codes


@pytest.mark.parametrize("conditional", [False, True])
def test_more_samples_train_on_the_importance_weighted_bound(few: ImageSet, conditional: bool):
    """(Burda et al. 2016, eq. 8) from one code at a time, with losses alone."""
    model = small(num_classes=10) if conditional else small()
    x, y, eps = few.x, few.y if conditional else None, torch.randn(4, len(few), 3)
    terms = Objective(model)(x, y, eps)
    mu, log_var = model.encode(x, y)
    rec, log_w = [], []
    for noise in eps:
        z = mu + torch.exp(0.5 * log_var) * noise
        rec.append(losses.bernoulli_nll(model.decode(z, y), x))
        log_w.append(-rec[-1] + losses.gaussian_log_prob(z) - losses.gaussian_log_prob(z, mu, log_var))
    torch.testing.assert_close(terms.iw, losses.iw_bound(torch.stack(log_w)))
    torch.testing.assert_close(terms.rec, torch.stack(rec).mean(0))
    torch.testing.assert_close(terms.kl, losses.gaussian_kl(mu, log_var))
    assert Objective(model)(x, y, eps[:1]).iw is None


# ---------------------------------------------------------------- optimisers


def test_muon_takes_each_layers_matrix_and_adamw_the_rest():
    model = small(num_classes=10, label_in=("encoder", "decoder", "prior"))
    muon, adamw = optimizers.make("muon", model, 1e-3).parts
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert [id(p) for p in muon.param_groups[0]["params"]] == [id(layer.weight) for layer in layers]
    assert sum(len(part.param_groups[0]["params"]) for part in (muon, adamw)) == len(list(model.parameters()))


def test_the_matrix_rate_is_muons_and_the_rest_keeps_the_other(few: ImageSet):
    model = small()
    stepper = optimizers.make("muon", model, 1e-9, matrix_rate=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.negative_elbo(few.x).rec.mean().backward()
    stepper.step(0.5)
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    assert moved["decoder.out.bias"].abs().max() < 1e-8
    values = torch.linalg.svdvals(moved["decoder.out.weight"])[:8]  # twelve images: a gradient of rank twelve at most
    values = values / (0.5 * 0.1 * math.sqrt(784 / 32))  # half the rate, and Muon's own factor for tall matrices
    raw = torch.linalg.svdvals(model.decoder.out.weight.grad)[:8]
    assert values.min() > 0.4 and values.max() < 1.4 and raw.max() > 20 * raw.min()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_the_optimizers_state_resumes_bitwise(few: ImageSet, tmp_path: Path, optimizer: str):
    settings = dict(
        epochs=3, batch_size=5, optimizer=optimizer, weight_decay=0.1, schedule="cosine", warmup=0.2, distortion=0.5,
        precision="bfloat16", progress=False, device="cpu",
    )  # fmt: skip

    def stop(history: History) -> None:
        raise KeyboardInterrupt

    whole, part = small(), small()
    uninterrupted = fit(whole, few, **settings)
    path = checkpoints.save(tmp_path / "run.safetensors", part, history=fit(part, few, on_epoch=stop, **settings))
    loaded = checkpoints.load(path)
    history = fit(loaded.model, few, resume=loaded.history, **settings)
    assert len(loaded.history) == 1 and history.column("rec") == uninterrupted.column("rec")
    assert history.state.keys() == uninterrupted.state.keys()
    assert all(torch.equal(value, uninterrupted.state[name]) for name, value in history.state.items())


# ---------------------------------------------------------------- distortions


def bar(size: int = 400) -> torch.Tensor:
    """Copies of one image: an upright bar, four pixels wide and twelve high, in the middle."""
    x = torch.zeros(size, 28, 28)
    x[:, 8:20, 12:16] = 1
    return x.flatten(1)


def shape_of(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Centre, height, width and lean of what is white in each image, from its moments."""
    images = x.view(-1, 28, 28)
    i = torch.arange(28.0) - 13.5
    mass = images.sum((1, 2))
    row, column = (images.sum(2) @ i) / mass, (images.sum(1) @ i) / mass
    across, down = i - column[:, None], i - row[:, None]
    var_down, var_across = (images.sum(2) * down**2).sum(1) / mass, (images.sum(1) * across**2).sum(1) / mass
    lean = torch.einsum("nij,ni,nj->n", images, down, across) / mass / var_down
    return dict(row=row, column=column, height=var_down.sqrt(), width=var_across.sqrt(), lean=lean, mass=mass)


def test_a_distortion_of_nothing_changes_nothing_and_a_large_one_keeps_within_its_limits():
    x = bar()
    torch.testing.assert_close(distorted(x, 0.0), x, rtol=0, atol=1e-5)
    before, after = shape_of(x), shape_of(distorted(x, 1.0, generator=torch.Generator().manual_seed(0)))
    farthest = 1.5 * 1.15  # moved, and stretched
    assert all((after[place] - before[place]).abs().max() <= farthest for place in ("row", "column"))
    for place in ("row", "column"):  # uniform in both directions: mean 0, standard deviation 1.5 / sqrt(3)
        assert after[place].mean().abs() < 0.2 and after[place].std() == pytest.approx(1.5 / math.sqrt(3), rel=0.12)
    size = after["height"] / before["height"]
    assert 0.85 < size.min() < 0.93 and 1.07 < size.max() < 1.2
    lean = after["lean"]  # tan(10 degrees) = 0.18, and a shear of 0.1
    assert 0.15 < lean.max() < 0.34 and -0.34 < lean.min() < -0.15 and lean.mean().abs() < 0.03


def test_distorted_digits_stay_images_and_mostly_themselves(digits: ImageSet):
    x = digits[:200].x
    moved = distorted(x, 0.5, generator=torch.Generator().manual_seed(0))
    assert moved.shape == x.shape and moved.dtype == x.dtype and moved.min() >= 0 and moved.max() <= 1
    own = ((moved - x) ** 2).sum(1)
    another = ((moved - x.roll(1, 0)) ** 2).sum(1)
    assert (own > 0).all() and (own < another).double().mean() > 0.95
    again, other = (distorted(x, 0.5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(moved, again) and not torch.equal(moved, other)


def test_black_comes_in_at_the_edges():
    moved = distorted(torch.ones(300, 784), 1.0, generator=torch.Generator().manual_seed(0)).view(-1, 28, 28)
    assert moved[:, 7:21, 7:21].min() > 1 - 1e-5 and moved[:, 0, 0].min() == 0


@pytest.mark.parametrize(("shape", "amount"), [((3, 783), 0.5), ((3, 784), -0.1), ((3, 784), 6)])
def test_what_cannot_be_distorted_is_named(shape, amount):
    with pytest.raises(ValueError, match="square images, and an amount from 0 to 5"):
        distorted(torch.zeros(shape), amount)


# ---------------------------------------------------------------- first weights


@pytest.mark.parametrize("settings", [{}, dict(likelihood="gaussian"), dict(likelihood="gaussian", sigmoid_mean=True)])
def test_the_first_output_is_the_mean_image(digits: ImageSet, settings: dict):
    model = start_from(small(**settings), digits)
    nn.init.zeros_(model.decoder.out.weight)  # what is left is the bias
    first = model.mean_image(model.decode(torch.randn(2, 3)))
    torch.testing.assert_close(first, digits.x.mean(0).expand(2, -1), rtol=0, atol=1.1e-3)


def test_the_start_is_worth_nats_and_comes_from_the_seed(digits: ImageSet):
    images = digits[:200]
    default, start, again, other = small(), small(), small(), small()
    start_from(start, images), start_from(again, images), start_from(other, images, seed=1)
    assert evaluate(start, images).negative_elbo < evaluate(default, images).negative_elbo - 100
    assert evaluate(start, images).kl < 10  # sigma starts at one
    assert all(torch.equal(a, b) for a, b in zip(start.parameters(), again.parameters(), strict=True))
    assert not torch.equal(start.decoder.out.weight, other.decoder.out.weight)


def test_the_first_codes_are_as_narrow_as_asked(digits: ImageSet):
    for log_var in (0.0, -3.0):
        model = start_codes_at(start_from(small(), digits[:200]), log_var)
        assert model.encode(digits[:50].x).log_var.mean().item() == pytest.approx(log_var, abs=0.1)
    for name, narrow in {"S2-VAE-fast": True, "S4-fast": True, "S1-fast": False}.items():
        log_var = RECIPES[name].build(images=digits[:200]).encode(digits[:50].x).log_var
        assert (log_var.mean().item() < -2.5) == narrow, name
