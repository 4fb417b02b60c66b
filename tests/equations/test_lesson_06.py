"""The mathematics of lesson 06: equal shares of the prior, the shell, the arc, and the scale of a code."""

import math

import pytest
import torch

from vae_helpers import lesson, losses, plotting
from vae_helpers.interpolation import lerp, slerp
from vae_helpers.models import VAE


def test_share_of_the_rim_by_formula_and_by_numerical_integration():  # (6.1)
    line = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    density = torch.exp(-0.5 * line**2) / math.sqrt(2 * math.pi)
    inside = torch.trapezoid(density, line) ** 2
    formula = 1 - (2 * torch.special.ndtr(torch.tensor(2.0, dtype=torch.float64)) - 1) ** 2
    assert float(1 - inside) == pytest.approx(float(formula), abs=1e-7) and round(float(formula), 3) == 0.089


@pytest.mark.parametrize("n", [1, 2, 5, 15])
def test_quantile_cells_hold_equal_shares_of_the_prior(n):  # (6.2)
    grid = plotting.latent_grid(n, spacing="quantile").double().view(n, n, 2)
    middles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    assert torch.allclose(torch.special.ndtr(grid[0, :, 0]), middles, atol=1e-6)
    assert torch.allclose(torch.special.ndtr(grid[:, 0, 1]), middles.flip(0), atol=1e-6)
    assert torch.allclose(grid, -grid.flip(0, 1), atol=1e-6)


@pytest.mark.parametrize("spacing", ["linear", "quantile"])
def test_a_sheet_reads_like_the_scatter_plot(spacing):
    grid = plotting.latent_grid(3, reach=3.0, spacing=spacing).view(3, 3, 2)
    assert (grid[0, :, 1] > grid[2, :, 1]).all(), "the top row has the largest z2"
    assert (grid[:, 2, 0] > grid[:, 0, 0]).all(), "z1 grows to the right"
    assert grid[1, 1].abs().max() < 1e-6
    if spacing == "linear":
        assert torch.equal(grid[0, 1], torch.tensor([0.0, 3.0]))


def test_another_spacing_is_refused():
    with pytest.raises(ValueError, match="linear, quantile"):
        plotting.latent_grid(3, spacing="cosine")


@pytest.mark.parametrize(("d", "ends", "middle"), [(2, 1.25, 0.89), (10, 3.08, 2.18), (50, 7.04, 4.975)])
def test_norms_of_the_shell_by_quadrature(d, ends, middle):  # (6.3)
    r = torch.linspace(1e-6, 20, 200001, dtype=torch.float64)
    log_chi = (d - 1) * r.log() - r**2 / 2 - (d / 2 - 1) * math.log(2) - math.lgamma(d / 2)
    mean, square = (float(torch.trapezoid(r**power * log_chi.exp(), r)) for power in (1, 2))
    assert square == pytest.approx(d, abs=1e-6) and mean == pytest.approx(ends, abs=0.006)
    assert mean / math.sqrt(2) == pytest.approx(middle, abs=0.006)  # (z + z')/2 is N(0, I/2)


def test_the_arc_of_the_lesson_has_its_norm_angle_and_ends():  # (6.4)
    a, b = torch.randn(2, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    path = slerp(a, b, t)
    assert torch.allclose(path[[0, -1]], torch.stack([a, b]))
    assert torch.allclose(path.norm(dim=1), lerp(a.norm()[None], b.norm()[None], t)[:, 0])
    unit = path / path.norm(dim=1, keepdim=True)
    steps = torch.arccos((unit[1:] * unit[:-1]).sum(1))
    assert torch.allclose(steps, steps.mean().expand(10))
    assert lerp(a, b, t)[5].norm() < path[5].norm()


def scaled(model, c):
    """The same pictures from codes c times as long."""
    other = VAE(**model.config)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for part in (other.encoder.mu.weight, other.encoder.mu.bias):
            part.mul_(c if part.ndim == 1 else c[:, None])
        other.encoder.log_var.bias.add_(2 * c.log())
        other.decoder.body[0].weight.div_(c)
    return other


def test_rescaling_a_code_keeps_the_pictures_and_gains_what_the_formula_says():  # (6.5), (6.6)
    model = lesson.shipped("latent-2d").model.double()
    x = torch.rand(300, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = (x * torch.linspace(0.05, 0.6, 300, dtype=torch.float64)[:, None]).clamp(0, 1)
    with torch.no_grad():
        q = model.encode(x)
        m = (q.mu**2 + q.log_var.exp()).mean(0)
        c = m.rsqrt()
        other = scaled(model, c).double()
        p = other.encode(x)
        assert torch.allclose(other.decode(c * q.mu), model.decode(q.mu), atol=1e-4)
        gain = losses.gaussian_kl(*q).mean() - losses.gaussian_kl(*p).mean()
        assert float(gain) == pytest.approx(float(0.5 * (m - 1 - m.log()).sum()), rel=1e-4) and gain > 0.01
        for factor in (0.8, 1.25):  # any other scale gains less
            worse = losses.gaussian_kl(factor * p.mu, p.log_var + 2 * math.log(factor)).mean()
            assert worse > losses.gaussian_kl(*p).mean()
