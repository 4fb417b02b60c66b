"""The figures of lesson 01: a model that can be solved, estimates of its evidence, and bounds with their gaps."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Ellipse, Polygon
from torch import Tensor

from vae_helpers import exact, losses
from vae_helpers.plotting.base import DIGIT_COLORS, show
from vae_helpers.plotting.images import as_picture

BLUE, ORANGE, RED, GREY, PURPLE = (DIGIT_COLORS[i] for i in (0, 1, 2, 8, 4))
REACH = 12.0  # nats below log p(x) that the stacked bar shows


class CurvePicture:
    """Left: p(x) of the curve model and the blob p(x|z) of one z. Right: the prior and p(z|x) for the x at the blob's centre."""

    def __init__(self, left: Axes, right: Axes, curve: exact.Curve) -> None:
        self.curve = curve
        self.codes, self.dz = exact.grid(-4, 4, 801)
        x1, x2 = torch.linspace(-3.2, 3.2, 96), torch.linspace(-1.9, 1.9, 57)
        plane = torch.cartesian_prod(x2, x1).flip(-1)
        coarse, dz = exact.grid(-4, 4, 201)
        density = exact.log_marginal_grid(curve.log_joint(plane[:, None], coarse), dz).exp().reshape(57, 96)
        left.imshow(
            density.numpy(), origin="lower", extent=(-3.2, 3.2, -1.9, 1.9), cmap="Blues", interpolation="bilinear"
        )
        left.plot(*curve.decode(self.codes).T, color=GREY, linewidth=0.8)
        left.set(xlim=(-3.2, 3.2), ylim=(-1.9, 1.9), xlabel="$x_1$", ylabel="$x_2$", title="p(x), and p(x|z) in red")
        right.plot(self.codes[:, 0], curve.log_prior(self.codes).exp(), "--", color=GREY, label="prior p(z)")
        right.set(xlim=(-3, 3), ylim=(0, 3.8), xlabel="$z$", ylabel="density", title="p(z|x) for x = f(z)")
        self.blobs = [Circle((0, 0), k * curve.sigma_x, fill=False, color=RED, linewidth=1.4) for k in (1, 2)]
        for blob in self.blobs:
            left.add_patch(blob)
        self.posterior = right.add_patch(Polygon([(0, 0)], color=BLUE, alpha=0.5, label="p(z|x)"))
        self.place = right.axvline(0, color=RED, linewidth=1.4, label="z")
        right.legend(loc="upper left", fontsize=8)
        self.moving = [*self.blobs, self.posterior, self.place]

    def density(self, z: float) -> Tensor:
        """p(z|x) on the grid, for the x that z is decoded to: (801,)."""
        log_joint = self.curve.log_joint(self.curve.decode([z]), self.codes)
        return torch.exp(log_joint - exact.log_marginal_grid(log_joint, self.dz))

    def move(self, z: float) -> None:
        for blob in self.blobs:
            blob.center = tuple(self.curve.decode([z]).tolist())
        ends = [(-4.0, 0.0), *zip(self.codes[:, 0].tolist(), self.density(z).tolist(), strict=True), (4.0, 0.0)]
        self.posterior.set_xy(ends)
        self.place.set_xdata([z, z])


def curve_figure(codes: Sequence[float], alt: str, *, curve: exact.Curve | None = None) -> None:
    """The two pictures of the first explorer for a few values of z, one column each."""
    figure, axes = plt.subplots(2, len(codes), figsize=(3.1 * len(codes), 4.8), squeeze=False)
    for i, (column, z) in enumerate(zip(axes.T, codes, strict=True)):
        CurvePicture(*column, curve or exact.Curve()).move(z)
        column[0].set_title(f"p(x), and p(x|z) of z = {z:.2f}", fontsize=10)
        column[1].set_title("p(z|x) for x at the centre", fontsize=10)
        if i:
            column[1].get_legend().remove()
    show(figure, alt)


class BoundPicture:
    """Left: q = N(mu, sigma^2) over the true posterior. Right: log p(x) stacked from the ELBO of q and its gap."""

    def __init__(self, left: Axes, right: Axes, model: exact.Curve, x: Tensor) -> None:
        self.codes, self.dz = exact.grid(-14, 14, 2801)  # the widest q, at the end of its slider, still fits
        self.log_joint = model.log_joint(x, self.codes)
        self.log_p = float(exact.log_marginal_grid(self.log_joint, self.dz))
        posterior = torch.exp(self.log_joint - self.log_p)
        z, top = self.codes[:, 0], float(posterior.max())
        left.fill_between(z, posterior, color=BLUE, alpha=0.4, label="posterior p(z|x)", linewidth=0)
        left.set(xlim=(-2.6, 2.6), ylim=(0, 2.3 * top), xlabel="$z$", ylabel="density")
        (self.line,) = left.plot(z, 0 * z, color=RED, label="q(z)")
        left.legend(loc="upper left", fontsize=8)
        self.floor = self.log_p - REACH
        right.axhline(self.log_p, color="k", linestyle="--", linewidth=1)
        right.text(0.98, self.log_p + 0.2, f"log p(x) = {self.log_p:.2f}", ha="right", fontsize=9)
        right.set(xlim=(-1, 1), ylim=(self.floor, self.log_p + 1.5), xticks=[], ylabel="nats")
        self.bound = right.bar(-0.35, 0, 0.8, bottom=self.floor, color=GREY)[0]
        self.gap = right.bar(-0.35, 0, 0.8, bottom=self.floor, color=ORANGE)[0]
        lines = ((2.1, "0.3"), (1.0, "#a86d00"))  # below log p(x), ELBO and gap
        self.words = [right.text(0.12, self.log_p - d, "", fontsize=9, color=c, va="center") for d, c in lines]
        self.moving = [self.line, self.bound, self.gap, *self.words]

    def terms(self, mu: float, sigma: float) -> tuple[float, float]:
        """ELBO and gap of q = N(mu, sigma^2), two integrals that know nothing of each other, in nats."""
        log_q = losses.gaussian_log_prob(self.codes, mu, 2 * torch.log(torch.tensor(sigma, dtype=torch.float64)))
        gap = exact.kl_grid(log_q, self.log_joint - self.log_p, self.dz)
        return float(exact.elbo_grid(self.log_joint, log_q, self.dz)), float(gap)

    def move(self, mu: float, sigma: float) -> None:
        log_var = 2 * torch.log(torch.tensor(sigma, dtype=torch.float64))
        self.line.set_ydata(losses.gaussian_log_prob(self.codes, mu, log_var).exp())
        elbo, gap = self.terms(mu, sigma)
        level = max(elbo, self.floor)
        self.bound.set_height(level - self.floor)
        self.gap.set_y(level)
        self.gap.set_height(self.log_p - level)
        for text, words in zip(self.words, (f"ELBO {elbo:.2f}", f"gap {gap:.2f}"), strict=True):
            text.set_text(words)


def bound_figure(model: exact.Curve, x: Tensor, settings: Sequence[tuple[float, float]], alt: str) -> None:
    """The two pictures of the second explorer for a few pairs (mu, sigma), one column each."""
    figure, axes = plt.subplots(2, len(settings), figsize=(2.5 * len(settings), 4.6), squeeze=False)
    for i, (column, (mu, sigma)) in enumerate(zip(axes.T, settings, strict=True)):
        BoundPicture(*column, model, x).move(mu, sigma)
        column[0].set_title(f"μ = {mu:.2f}, σ = {sigma:.2f}")
        if i:
            column[0].get_legend().remove()
            column[0].set_ylabel("")
            column[1].set_ylabel("")
    show(figure, alt)


def naive_histograms(log_estimates: Mapping[str, Tensor], log_p: float, alt: str) -> None:
    """Histograms of repeated estimates of log p(x), one panel for each number of draws, on one scale; the truth is dashed.

    The scale starts 20 nats below the truth; what lies further left is counted in the first bar.
    """
    figure, all_axes = plt.subplots(1, len(log_estimates), figsize=(9, 2.7), sharex=True)
    low = log_p - 20
    bins = torch.linspace(low, log_p + 4, 49).tolist()
    for axes, (name, values) in zip(all_axes, log_estimates.items(), strict=True):
        axes.hist(values.clamp(min=low), bins=bins, color=BLUE, alpha=0.7, density=True)
        axes.axvline(log_p, color="k", linestyle="--", linewidth=1, label="log p(x)")
        axes.axvline(float(values.mean()), color=RED, label="mean")
        axes.set(title=name, xlabel="estimate of log p(x), nats", yticks=[])
    all_axes[0].legend(fontsize=8, loc="upper left")
    show(figure, alt)


def elbo_map(mu: Tensor, sigma: Tensor, elbo: Tensor, best: tuple[float, float], alt: str) -> None:
    """Contours of the ELBO over mu (columns) and sigma (rows), each line a few nats below the best; a star marks `best`."""
    figure, axes = plt.subplots(figsize=(6, 3.8))
    top = float(elbo.max())
    levels = [top - drop for drop in (20, 10, 5, 2, 1, 0.5, 0.1)]
    lines = axes.contour(mu, sigma, elbo, levels=levels, colors=BLUE, linestyles="-", linewidths=1.2)
    axes.clabel(lines, fmt=lambda level: f"−{top - level:g}", fontsize=8, colors="k")
    axes.plot(*best, "*", color=RED, markersize=12, linestyle="none", label="the posterior")
    axes.legend(loc="lower right", fontsize=9)
    axes.set(xlabel="mean $\\mu$ of q", ylabel="standard deviation $\\sigma$ of q", title="ELBO, nats below its best")
    show(figure, alt)


def bounds_over_theta(
    theta: Tensor, log_p: Tensor, bounds: Mapping[str, tuple[float, Tensor]], xlabel: str, alt: str
) -> None:
    """log p(x) against a model parameter, and bounds with q held fixed: {name: (theta where the bound touches, its values)}."""
    figure, axes = plt.subplots(figsize=(7, 3.4))
    axes.plot(theta, log_p, color="k", linewidth=2.2, label="log p(x)")
    for color, (name, (touch, values)) in zip((ORANGE, BLUE, PURPLE), bounds.items(), strict=False):
        axes.plot(theta, values, color=color, label=name)
        axes.plot(touch, _at(touch, theta, log_p), "o", color=color)
    axes.set(xlabel=xlabel, ylabel="nats", ylim=(float(log_p.max()) - 3, float(log_p.max()) + 0.2))
    axes.legend(fontsize=9, loc="lower left")
    show(figure, alt)


def _at(place: float, theta: Tensor, values: Tensor) -> float:
    return float(values[(theta - place).abs().argmin()])


def _ellipses(axes: Axes, mean: Tensor, covariance: Tensor, color: str, style: str, name: str) -> None:
    """The lines of 1 and 2 standard deviations of a two-dimensional Gaussian."""
    values, vectors = torch.linalg.eigh(covariance)
    angle = float(torch.rad2deg(torch.atan2(vectors[1, 1], vectors[0, 1])))
    for k in (1, 2):
        width, height = (2 * k * values.sqrt()).flip(0).tolist()
        kind = dict(fill=False, edgecolor=color, linestyle=style, linewidth=1.8, label=name if k == 1 else None)
        axes.add_patch(Ellipse(tuple(mean.tolist()), width, height, angle=angle, **kind))


def mean_field_figure(posterior: exact.Posterior, mu: Tensor, log_var: Tensor, alt: str) -> None:
    """A correlated two-dimensional posterior, and the diagonal Gaussian q, as lines of 1 and 2 standard deviations."""
    figure, axes = plt.subplots(figsize=(4.8, 4.2))
    _ellipses(axes, *posterior, BLUE, "-", "posterior p(z|x)")
    _ellipses(axes, mu, torch.diag(log_var.exp()), RED, "--", "best diagonal q")
    reach = 2.6 * float(posterior.covariance.diagonal().max().sqrt())
    (m1, m2), axis = mu.tolist(), dict(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
    axes.set(xlim=(m1 - reach, m1 + reach), ylim=(m2 - reach, m2 + reach), **axis)
    axes.legend(loc="upper right", fontsize=9)
    show(figure, alt)


def density_lines(z: Tensor, posterior: Tensor, lines: Mapping[str, Tensor], alt: str) -> None:
    """A posterior as an area, and approximations of it as lines, over one latent dimension."""
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.fill_between(z, posterior, color=BLUE, alpha=0.4, linewidth=0, label="posterior p(z|x)")
    for color, style, (name, values) in zip((RED, PURPLE), ("-", "--"), lines.items(), strict=False):
        axes.plot(z, values, style, color=color, label=name)
    axes.set(xlim=(-2.6, 2.6), ylim=(0, None), xlabel="$z$", ylabel="density")
    axes.legend(fontsize=9)
    show(figure, alt)


def image_posterior(
    x: Tensor, decoded: Tensor, points: Tensor, log_posterior: Tensor, mu: Tensor, std: Tensor, alt: str
) -> None:
    """An image, its reconstruction, and the exact posterior over its two-dimensional code with the encoder's q drawn in.

    points (G * G, 2) is a square grid, log_posterior (G * G,) belongs to it; the picture shows the part where the mass is.
    """
    figure, (first, second, axes) = plt.subplots(1, 3, figsize=(9, 3.4), width_ratios=[1, 1, 1.9])
    for panel, picture, title in ((first, x, "image x"), (second, decoded, "decoded from μ(x)")):
        panel.imshow(as_picture(picture), vmin=0, vmax=1, cmap="gray")
        panel.set_title(title)
        panel.axis("off")
    n = round(len(points) ** 0.5)
    density = torch.exp(log_posterior - log_posterior.max()).reshape(n, n).T  # rows become z2
    low, high = float(points.min()), float(points.max())
    axes.imshow(density.numpy(), origin="lower", extent=(low, high, low, high), cmap="Blues", interpolation="bilinear")
    _ellipses(axes, mu, torch.diag(std**2), RED, "-", "encoder's q(z|x)")
    seen = torch.cat([points[log_posterior > log_posterior.max() - 7], mu - 2.5 * std[None], mu + 2.5 * std[None]])
    centre, reach = (
        (seen.max(0).values + seen.min(0).values) / 2,
        float((seen.max(0).values - seen.min(0).values).max()),
    )
    (c1, c2), half = centre.tolist(), 0.6 * reach
    axes.set(xlim=(c1 - half, c1 + half), ylim=(c2 - half, c2 + half), xlabel="$z_1$", ylabel="$z_2$", title="p(z|x)")
    axes.legend(fontsize=8, loc="upper right")
    show(figure, alt)
