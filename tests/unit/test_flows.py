"""The learned prior: an exact density, an exact inverse, N(0, I) at the start, and a bound that stays a bound."""

import math

import pytest
import torch

from vae_helpers import checkpoints, evaluation, losses
from vae_helpers.flows import FlowPrior
from vae_helpers.images import ImageSet
from vae_helpers.models import VAE
from vae_helpers.objective import Objective
from vae_helpers.training import fit


def bent(d: int, couplings: int = 3) -> FlowPrior:
    """A flow far from the identity, in float64."""
    torch.manual_seed(0)
    flow = FlowPrior(d, couplings, hidden=16).double()
    for coupling in flow.couplings:
        torch.nn.init.normal_(coupling.out.weight, std=0.5)
        torch.nn.init.normal_(coupling.out.bias, std=0.5)
    return flow


def test_it_begins_as_the_standard_normal():
    z = torch.randn(5, 7)
    torch.testing.assert_close(FlowPrior(7, 4).log_prob(z), losses.gaussian_log_prob(z))


def test_its_density_integrates_to_one():
    axis = torch.linspace(-25, 25, 1501, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = bent(2).log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3


def test_its_volume_factor_is_the_determinant_of_its_jacobian():
    flow, z = bent(5), torch.randn(5, dtype=torch.float64)
    for coupling in flow.couplings:
        jacobian = torch.autograd.functional.jacobian(lambda z, c=coupling: c(z)[0], z)
        torch.testing.assert_close(coupling(z)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_transform_undoes_the_map():
    flow, z = bent(6), torch.randn(4, 6, dtype=torch.float64)
    u = z
    for coupling in flow.couplings:
        u, _ = coupling(u)
    torch.testing.assert_close(flow.transform(u), z)
    assert not torch.allclose(u, z, atol=0.1)


def model_with_flow(**settings) -> VAE:
    torch.manual_seed(1)
    return VAE(3, (16,), (16,), prior_couplings=2, **settings)


def test_the_bound_stays_below_the_importance_weighted_one(digits: ImageSet):
    model = model_with_flow()
    fit(model, digits[:200], epochs=3, batch_size=50, learning_rate=5e-3, progress=False, device="cpu")
    bound = evaluation.evaluate(model, digits[:200], pixels="dynamic", samples=50)
    estimate = evaluation.log_likelihood(model, digits[:200], samples=50)
    assert -bound.negative_elbo < estimate.log_likelihood + 3 * estimate.standard_error


def test_objective_and_model_agree_on_the_same_noise(few: ImageSet):
    model, x = model_with_flow(), few.x
    eps = torch.randn((1, len(x), 3), generator=torch.Generator().manual_seed(4))
    terms = Objective(model)(x, None, eps)
    rec, kl = model.negative_elbo(x, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close((terms.rec, terms.kl), (rec, kl))
    many = Objective(model)(x, None, eps.expand(4, -1, -1))
    torch.testing.assert_close(many.iw, -(rec + kl))  # the same code four times: L_4 is the ELBO's one-sample value


def test_a_sample_needs_no_gaussian_and_a_checkpoint_brings_the_flow_along(tmp_path):
    model = model_with_flow()
    assert model.sample(4, generator=torch.Generator().manual_seed(0)).shape == (4, 784)
    with pytest.raises(ValueError, match=r"use model\.log_prior"):
        model.prior()
    loaded = checkpoints.load(checkpoints.save(tmp_path / "flow.safetensors", model)).model
    z = torch.randn(2, 3)
    torch.testing.assert_close(loaded.log_prior(z), model.log_prior(z))


def test_what_cannot_be_is_refused(few: ImageSet):
    with pytest.raises(ValueError, match="at least two latent dimensions"):
        VAE(1, (4,), (4,), prior_couplings=2)
    with pytest.raises(ValueError, match='leave "prior" out'):
        VAE(2, (4,), (4,), num_classes=10, label_in=("prior",), prior_couplings=2)
    with pytest.raises(ValueError, match="free_bits needs the KL of each dimension"):
        fit(model_with_flow(), few, epochs=1, free_bits=0.1, progress=False)
    assert math.isfinite(fit(model_with_flow(), few, epochs=1, samples=3, progress=False, device="cpu")[-1].loss)
