# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What did it learn, and where does the picture mislead?
#
# Pictures of latent space are the most quoted figures of every VAE article, and the easiest to misread: grids that are upside down, corners that the model almost never visits, two of twenty
# dimensions sold as "the" representation, distances that mean nothing. In this lesson you make all of these pictures, and beside each one a number that says how far to trust it.
#
# **You will be able to**
# - draw a map of codes and a sheet of decoded codes that agree, and in which every cell stands for the same share of the prior;
# - walk from one digit to another, straight or on an arc, with both ends in place;
# - say which share of the code a two-dimensional picture shows;
# - read a t-SNE picture without believing its distances;
# - compare the codes of real images with the prior, and find the places where no image lives;
# - check whether samples are copies of training images, and say what such a check cannot see.
#
# **You need** lesson 03 (the model) and lesson 05 (KL per dimension, aggregate posterior). **Time:** 70 minutes of reading and trying, about one minute of computing.

# %%
import math

import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.neural_network import MLPClassifier
from torch import Tensor

from vae_helpers import checks as check
from vae_helpers import evaluation, lesson, losses, plotting, widgets
from vae_helpers.interpolation import lerp

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# Two shipped models accompany you: `flat` has a code of two numbers and can be drawn as it is; `vae`, the model of lesson 03, has twenty. Both were trained without labels. You look at
# held-out images (the validation set) and leave the test images alone: exploring is a way of choosing.

# %%
stored = {"flat": lesson.shipped("latent-2d"), "vae": lesson.shipped("first-vae")}
flat, vae = stored["flat"].model, stored["vae"].model
known = train.random_subset(min(5000, len(train)))  # encoded below, and the examples of a small classifier
for name, checkpoint in stored.items():
    print(
        f"{name}: {checkpoint.model.latent_dim} dimensions, -ELBO {checkpoint.metrics['test']} nats per MNIST test image"
    )

# %% [markdown]
# ## 1 · The map
#
# Each dot is a held-out image at its posterior mean $\mu(x)$, coloured and marked by its label $y$, which the model has never seen. **Before you run it:** which digits do you
# expect to overlap?
#
# Then go the other way: drag the point through the map (or click it and use the arrow keys), and watch the decoder's mean image.

# %%
mapped = validation.random_subset(min(2000, len(validation)))
widgets.latent_map(flat, mapped, name="map of lesson 06")

# %%
stops = [(-0.9, 0.4), (2.0, 0.3), (0.0, 2.0), (-2.0, 0.0), (0.0, -2.0), (1.7, 1.6)]
plotting.latent_map_figure(
    flat,
    mapped,
    stops,
    "codes of held-out images in two dimensions: some digits have regions of their own, others overlap; six lettered stops, and what the decoder makes of each",
)

# %% [markdown]
# Nobody asked for clusters. The decoder has to redraw the pixels from two numbers, so images with much ink in common get codes close to each other, and most digits share ink with
# their own kind. Where two digits share a region, do not conclude that the model "confuses" them: it was never asked to tell them apart.
#
# If you found an 8 with the point, you found it by looking. **The model cannot be asked for an 8.** One of the tutorials behind this course, source S0, promises "a handwritten
# digit with a specified label" and then encodes images of 8s and decodes them: that is reconstruction. Generation means $z \sim N(0, I)$, and the label is whatever comes out.
# Asking for a label takes a conditional VAE (lesson 07).
#
# The same tutorial draws its digits in two loops, `range(10)` and then the digits "on top" with `range(0, 10, -1)`. What does the second loop draw?

# %%
# NBVAL_CHECK_OUTPUT
print("range(0, 10, -1):", list(range(0, 10, -1)), "· what was meant:", list(range(9, -1, -1)))
assert not list(range(0, 10, -1))

# %% [markdown]
# Nothing, and no error. A scatter plot with half of its points missing looks like a scatter plot, so count what you draw.
#
# ## 2 · The sheet, with equal shares
#
# Turn the map round: choose codes on a grid, and decode them. Equal steps from −3 to 3 are the usual choice. How much of the prior lies
# at its rim, outside the square from −2 to 2? A code is *inside* when both coordinates are, and they are independent. With $\Phi(a) = P(z \le a)$, the distribution function of
# $N(0,1)$,
#
# $$ P\big(\max(|z_1|, |z_2|) > 2\big) = 1 - \big(2\,\Phi(2) - 1\big)^2. \tag{6.1} $$
#
# **Predict:** which share of the cells of a 15 × 15 grid lies there, and which share of the prior?

# %%
# NBVAL_CHECK_OUTPUT
steps = plotting.latent_grid(15, reach=3.0)
of_cells = (steps.abs().amax(1) > 2).double().mean()
of_prior = 1 - (2 * torch.special.ndtr(torch.tensor(2.0)) - 1) ** 2  # (6.1)
print(f"outside the inner square: {of_cells:.0%} of the cells, {of_prior:.1%} of the prior")
assert abs(of_cells - 0.64) < 1e-9 and abs(of_prior - 0.089) < 1e-3

# %% [markdown]
# Two thirds of such a picture show what one draw in eleven shows. If you want to know what the model *generates*, give each cell the same share of the prior:
# cut the probabilities from 0 to 1 into $n$ equal cells, take their middles, and ask which code has that probability to its left,
#
# $$ z^{(i)} = \Phi^{-1}\Big(\frac{i + \frac12}{n}\Big), \qquad i = 0, \dots, n-1. \tag{6.2} $$
#
# ### Exercise: the grid
#
# Return the $n^2$ codes in reading order of the picture, shape `(n * n, 2)`: along a row $z_1$ grows to the right, and the **top row has the largest** $z_2$, as in every scatter plot.
# Column 0 is $z_1$. *About 8 minutes.*


# %%
def quantile_grid(n):
    """n x n codes of equal prior share (6.2), top row first, z1 growing along a row: (n * n, 2)."""
    ### BEGIN SOLUTION
    line = torch.special.ndtri((torch.arange(n) + 0.5) / n)  # (6.2)
    z2, z1 = torch.meshgrid(line.flip(0), line, indexing="ij")
    return torch.stack([z1.flatten(), z2.flatten()], dim=1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
quantile_grid = check.quantile_grid(quantile_grid)

# %% [markdown]
# <details><summary>Hint</summary>
#
# $\Phi^{-1}$ is `torch.special.ndtri`. `torch.meshgrid(rows, columns, indexing="ij")` returns two $n \times n$ tables: the first changes down the rows, the second along them. To have the
# largest $z_2$ on top, pass `line.flip(0)` for the rows.
# </details>
#
# Both sheets of the same model, first with equal steps, then with equal shares. Look at the rim, and at how much room the ambiguous shapes of the middle take.

# %%
plotting.decoder_sheet(
    flat,
    "decoded images on a grid with equal steps from -3 to 3: at the rim the shapes are extreme: hair-thin 1s, bold and broken 3s and 7s",
    n=15,
    reach=3.0,
    size=4.6,
)
plotting.decoder_sheet(
    flat,
    "decoded images on a grid of equal prior shares: steps are small in the middle, so ambiguous shapes take more room",
    n=15,
    spacing="quantile",
    size=4.6,
)

# %% [markdown]
# Does the equal-steps sheet flatter the model? A small classifier, trained on pixels and labels, gives each image ten probabilities; their entropy is near 0 when it is sure, and
# $\log 10 = 2.3$ nats when it has no idea.

# %%
judge = MLPClassifier((100,), tol=1e-2, n_iter_no_change=3, random_state=0).fit(known.x.numpy(), known.y.numpy())


@torch.no_grad()
def doubt(z: Tensor) -> float:
    """Mean entropy of the classifier on decoded codes, in nats."""
    p = torch.tensor(judge.predict_proba(flat.mean_image(flat.decode(z.float())).numpy()))
    return float(torch.special.entr(p).sum(1).mean())


draws = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
rim, shares = steps.abs().amax(1) > 2, torch.as_tensor(quantile_grid(15)).float()
print(
    f"entropy: rim of the steps {doubt(steps[rim]):.2f}, all steps {doubt(steps):.2f}, equal shares {doubt(shares):.2f}, prior draws {doubt(draws):.2f}"
)
assert doubt(steps[rim]) < doubt(draws) and abs(doubt(shares) - doubt(draws)) < 0.1

# %% [markdown]
# It does: at the rim, far from the borders between digits, the classifier is *surer* than on the model's own samples, while equal shares come within a tenth of a nat of them.
# ("Sure" is not "good": the classifier never saw such shapes and cannot say that it does not know them.)
#
# **Which way is up?** Source S2 iterates its rows from $z_2 = -3$ at the top to $+3$ at the bottom: a mirror image of the scatter plot, unnoticed because digits stand upright in every
# cell. One assertion settles it.

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    sheet = flat.mean_image(flat.decode(plotting.latent_grid(3, reach=3.0)))
    top, bottom = (flat.mean_image(flat.decode(torch.tensor([[0.0, z2]])))[0] for z2 in (3.0, -3.0))
assert torch.allclose(sheet[1], top, atol=1e-5) and torch.allclose(sheet[7], bottom, atol=1e-5)
assert not torch.allclose(top, bottom, atol=0.1)
print("z = (0, +3) is decoded in the middle of the top row, (0, -3) in the bottom row:", True)

# %% [markdown]
# **And the grey scale?** `imshow` without `vmin=0, vmax=1` stretches each picture from its own darkest to its own lightest pixel. One digit, shown at full, at half and at 15 % of
# its brightness:

# %%
fading = torch.tensor([[1.0], [0.5], [0.15]])
plotting.contrast_figure(
    fading * validation.x[:1],
    "one digit at three brightnesses: different on the fixed scale, equal with automatic contrast",
)

# %% [markdown]
# With automatic contrast a decoder that has learned next to nothing looks as crisp as one that is certain. Every image in this course is drawn on the scale from 0 to 1.
#
# ## 3 · Walking between two digits
#
# The straight walk from code $a$ to code $b$ is `lerp`, for *linear interpolation*: $(1-t)\,a + t\,b$. In two dimensions nothing speaks against it. In many, geometry does. If $z$ and $z'$
# are independent draws from $N(0, I_d)$,
#
# $$ \mathbb{E}\,\|z\|^2 = d, \qquad \mathbb{E}\,\Big\|\frac{z + z'}{2}\Big\|^2 = \frac d2. \tag{6.3} $$
#
# The squared norm of a draw is a sum of $d$ independent terms, so for large $d$ its *relative* spread is small: nearly all draws lie in a thin shell of radius about $\sqrt d$, and none
# near the centre, although the density is highest there.
#
# **Predict:** two independent codes with $d = 50$, each of norm about 1 (in units of $\sqrt d$). How long is their mean, in the same unit? *About 1 minute.*

# %%
### BEGIN SOLUTION
midpoint_ratio = 1 / math.sqrt(2)
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
midpoint_ratio = check.midpoint_ratio(midpoint_ratio)

# %% [markdown]
# <details><summary>Hint</summary>
#
# (6.3) is about squared lengths.
# </details>
#
# The ratio holds for the whole distribution of norms, since $(z + z')/2$ is $N(0, \frac12 I)$. The mean norm itself has a closed form,
# $\sqrt2\,\Gamma(\frac{d+1}2)/\Gamma(\frac d2)$, a little below $\sqrt d$. The next cell compares it with 20 000 pairs of draws.

# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
for d in (2, 10, 50):
    a, b = torch.randn(2, 20000, d)
    exact = math.sqrt(2) * math.exp(math.lgamma((d + 1) / 2) - math.lgamma(d / 2))
    middle = ((a + b) / 2).norm(dim=1)
    square = (a**2).sum(1)
    assert abs(square.mean() - d) < 5 * square.std() / math.sqrt(20000)  # (6.3), left
    assert abs(middle.mean() - exact / math.sqrt(2)) < 5 * middle.std() / math.sqrt(20000)
    assert abs((middle**2).mean() / d - 0.5) < 5 * (middle**2).std() / d / math.sqrt(20000)  # (6.3), right
    print(f"d = {d:2d}: mean norm {exact:.2f}, half-way {exact / math.sqrt(2):.2f}, root of d {math.sqrt(d):.2f}")

# %% [markdown]
# So half-way, a straight walk passes through a region where the prior puts almost no draws, and where the decoder has little practice. An arc avoids it. Let $u = a/\|a\|$, $v = b/\|b\|$
# be the directions and $\omega$ the angle between them, $\cos\omega = u \cdot v$. Turn the direction at an even pace and let the norm go evenly from one to the other:
#
# $$ \operatorname{slerp}(a, b, t) = \big((1-t)\|a\| + t\|b\|\big)\; \frac{\sin((1-t)\,\omega)\,u + \sin(t\,\omega)\,v}{\sin \omega}. \tag{6.4} $$
#
# For two codes of equal norm this is the formula of Shoemake (1985), and the norm stays what it is. For unequal norms it goes from one to the other.
#
# ### Exercise: the arc
#
# Write (6.4): `a` and `b` have shape `(d,)`, the times `t` have shape `(T,)`, the result `(T, d)`. You may assume that $a$ and $b$ are neither zero nor parallel. *About 8 minutes.*


# %%
def slerp(a, b, t):
    """The arc from a to b at times t (6.4): (d,), (d,), (T,) -> (T, d)."""
    ### BEGIN SOLUTION
    u, v, t = a / a.norm(), b / b.norm(), t[:, None]
    omega = torch.arccos(u @ v)
    direction = (torch.sin((1 - t) * omega) * u + torch.sin(t * omega) * v) / torch.sin(omega)
    return ((1 - t) * a.norm() + t * b.norm()) * direction  # (6.4)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
slerp = check.slerp(slerp)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `t = t[:, None]` makes a column, so that `t * u` has shape `(T, d)`. The angle is `torch.arccos(u @ v)`, of the *directions*. Test yourself: `slerp(a, b, torch.tensor([0.0, 1.0]))` must
# return `a` and `b`.
# </details>
#
# ### Find the bug: a strip without its beginning
#
# Source S1 shows ten pictures between two digits. The reconstruction of the digit where the strip begins is not among them, and no reader can see that. Here is how it picks its weights.
# Mend the function so that it returns `n` evenly spaced weights with **both** ends. *About 2 minutes.*


# %%
def strip_weights(n):
    """The n weights of a strip of n pictures, both ends included: (n,)."""
    ### BEGIN SOLUTION
    return torch.linspace(0, 1, n)
    ### BLANK VERSION
    # return torch.linspace(0.1, 1, n)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
strip_weights = check.strip_weights(strip_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which weight gives back the first code unchanged?
# </details>
#
# The same strip has a second fault: it interpolates *sampled* codes, so it begins and ends elsewhere at each run. Walk between the means $\mu(x)$. How far do the ends jitter otherwise?
# Eight draws of $z$ for one image, decoded, and the decoded mean:

# %%
torch.manual_seed(0)
with torch.no_grad():
    mu, log_var = vae.encode(validation.x[:1])
    jitter = mu + torch.exp(0.5 * log_var) * torch.randn(8, vae.latent_dim)
    ends = vae.mean_image(vae.decode(torch.cat([jitter, mu])))
plotting.image_rows(
    {"decoded": ends},
    "eight decoded draws of one image's code, which differ in details, and at the right its decoded mean",
    column_titles=[*(f"draw {i}" for i in range(1, 9)), "mean"],
)
print(
    f"a draw lies {(jitter - mu).norm(dim=1).mean():.2f} from the mean, on average; the mean's own norm is {mu.norm():.2f}"
)

# %% [markdown]
# The jitter is small beside the norm, and shows in details: enough to make two runs of one strip differ.
#
# Now the walk itself, in the model with twenty dimensions. Choose two digits, and a path.

# %%
widgets.pair_explorer(vae, validation, name="pairs of lesson 06")

# %%
first, second = 0, int((validation.y[:40] != validation.y[0]).nonzero()[0])
plotting.interpolation_figure(
    vae,
    validation,
    first,
    second,
    "three ways from one digit to another: straight between the codes, on an arc, and a mere cross-fade of the pixels, which shows both at once",
)

# %%
# NBVAL_CHECK_OUTPUT
means = evaluation.posteriors(vae, validation[:200]).mu
t = torch.as_tensor(strip_weights(9)).float()
straight, arc = (torch.stack([way(a, b, t).norm(dim=1) for a, b in means.view(100, 2, -1)]) for way in (lerp, slerp))
assert torch.allclose(straight[:, [0, -1]], arc[:, [0, -1]], atol=1e-3)
assert torch.allclose(arc[:, 4], (arc[:, 0] + arc[:, -1]) / 2, rtol=1e-3) and (straight[:, 4] < arc[:, 4]).all()
print("100 pairs, half-way: the arc has the mean of the two norms, the straight line is always shorter:", True)

# %% [markdown]
# Compare the first two rows of the strip before you believe in the arc: the pictures are much alike. The argument from the shell is right, and at $d = 20$ the decoder forgives the
# shortcut. Neither path is "the" path on the surface of images: that would have to follow the decoder (Arvanitidis et al. below), not the prior. The bottom row shows what the code
# is for: a cross-fade shows two digits at once, a walk between codes bends one shape into the other, and half-way it may be no digit at all.
#
# ## 4 · Twenty dimensions on flat paper
#
# Source S0 trains a code of *four* numbers, plots the first two, and calls the plot the latent representation. What does such a plot leave out? Lesson 05 gave the measure: the KL of each
# dimension, in nats.

# %%
posterior = evaluation.posteriors(vae, validation)
kl = evaluation.kl_per_dimension(posterior)
order = kl.argsort(descending=True)
print(
    f"kl {kl.sum():.1f} nats; the first two dimensions carry {kl[:2].sum() / kl.sum():.0%}, the two largest {kl[order[:2]].sum() / kl.sum():.0%}"
)

# %%
# NBVAL_CHECK_OUTPUT
carried = kl[order].cumsum(0) / kl.sum()
assert carried[1] < 0.25 and carried[-1] > 0.999
print("even the best two of twenty dimensions carry less than a quarter of the code:", True)

# %% [markdown]
# A scatter of two of twenty dimensions is a picture of a small part of the code. (Collapsed dimensions are the exception: where a model uses two of its twenty, the plot of those
# two is whole.)
#
# What do single dimensions do? A **traversal** moves one of them and holds the rest. Below: the five with the largest KL, each from −3 to 3, from one image's code.

# %%
start, reach = posterior.mu[0], torch.linspace(-3, 3, 7)


def traverse(j: int) -> Tensor:
    """Seven images: dimension j from -3 to 3, all others as in `start`."""
    z = start.repeat(len(reach), 1)
    z[:, j] = reach
    return vae.mean_image(vae.decode(z)).detach()


rows = {f"$z_{{{j + 1}}}$": traverse(j) for j in order[:5].tolist()}
plotting.image_rows(
    rows,
    "five rows, each moves one latent dimension from -3 to 3: slant, width, strokes and even the digit change, several at once",
    column_titles=[f"{v:.2g}" for v in reach.tolist()],
)

# %%
widgets.traversal_explorer(vae, start, order[:5].tolist(), name="traversal of lesson 06")

# %% [markdown]
# No row is "slant" and nothing else. Nothing in the ELBO asks for named axes, and the prior $N(0, I)$ looks the same after a rotation. Names under such rows are chosen by the author: look
# at three start images before you print one.
#
# ## 5 · PCA and t-SNE
#
# To see twenty dimensions at once people squeeze them into two. **PCA** looks from the side on which the codes spread most; it is linear, and its share of the variance can be stated.
# **t-SNE** moves points about until neighbours are neighbours; its *perplexity* says about how many. Encode (source S1's comment says "decode"), take the means, take images that were
# not trained on, and fix `random_state`. Here t-SNE starts from random places; a start from PCA, scikit-learn's default, would make the seeds look more alike than the method is.

# %%
few = validation.random_subset(lesson.pick(full=700, quick=250))
codes = evaluation.posteriors(vae, few).mu.numpy()
maps = {"PCA": PCA(2, random_state=0).fit_transform(codes)}
for seed, perplexity in ((0, 30), (1, 30), (0, 5)):
    tsne = TSNE(perplexity=perplexity, random_state=seed, init="random")
    maps[f"t-SNE, seed {seed}, perplexity {perplexity}"] = tsne.fit_transform(codes)
plotting.embedding_figure(
    maps,
    few.y,
    "four maps of the same codes: PCA mixes the digits; three t-SNE maps separate many of them, each with the groups in other places and of other shapes",
)

# %% [markdown]
# One set of codes, four pictures. Two numbers for each: the **overlap**, the mean share of a code's ten nearest neighbours in twenty dimensions that are among its ten nearest on the map;
# and the correlation of the distances *between the ten digits' centres* on the map with those in twenty dimensions.


# %%
def neighbours(points, k=10):
    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)


def overlap(points, others, k=10):
    """Mean share of k nearest neighbours that two arrangements of the same points have in common."""
    pairs = zip(neighbours(points, k), neighbours(others, k), strict=True)
    return sum(len(set(one) & set(other)) for one, other in pairs) / (k * len(points))


def centre_distances(points):
    centres = torch.stack([torch.as_tensor(points[(few.y == y).numpy()]).mean(0) for y in few.y.unique()])
    return torch.pdist(centres.double())


kept = [overlap(codes, points) for points in maps.values()]
for share, (name, points) in zip(kept, maps.items(), strict=True):
    far = torch.corrcoef(torch.stack([centre_distances(points), centre_distances(codes)]))[0, 1]
    print(f"{name:28s} neighbours kept {share:.2f}   distances between digits: correlation {far:.2f}")
assert max(kept[1:]) - min(kept[1:]) < 0.1 and min(kept[1:]) > kept[0] + 0.1  # t-SNE alike, and better than PCA

# %% [markdown]
# That is how to read t-SNE. Whatever the seed and the perplexity, each map keeps about half of the true neighbours, where PCA keeps one in ten. The place, the size and the shape of a
# group depend on the settings; and the distances *between* groups follow the true ones only loosely, about as well as PCA's do. Any claim about groups should be made in the space
# itself. For instance: how well do five nearest neighbours tell the digit?


# %%
def knn_accuracy(of_known, of_held_out, k=5):
    return KNeighborsClassifier(k).fit(of_known, known.y).score(of_held_out, held_out.y)


held_out = validation.random_subset(min(1000, len(validation)))
accuracy = {"pixels": knn_accuracy(known.x, held_out.x)}
for name, model in {"2 dimensions": flat, "20 dimensions": vae}.items():
    accuracy[name] = knn_accuracy(evaluation.posteriors(model, known).mu, evaluation.posteriors(model, held_out).mu)
mu_known, mu_held_out = (evaluation.posteriors(vae, s).mu[:, order[:2]] for s in (known, held_out))
accuracy["the best 2 of 20"] = knn_accuracy(mu_known, mu_held_out)
print(" · ".join(f"{name} {share:.1%}" for name, share in accuracy.items()))

# %%
# NBVAL_CHECK_OUTPUT
assert accuracy["20 dimensions"] > accuracy["2 dimensions"] + 0.05 > accuracy["the best 2 of 20"] + 0.1
print("20 dimensions tell digits better than a model with 2, and that better than 2 of the 20:", True)

# %% [markdown]
# Twenty unlabelled numbers tell the digit about as well as 784 pixels. Two of these twenty tell very little. The two numbers of `flat` do much better, because that model had to put all it
# knows into two.
#
# ## 6 · Do the codes fill the prior?
#
# Lesson 05 met the aggregate posterior $q(z) = \frac1N \sum_n q(z \mid x_n)$. Samples are drawn from $p(z)$, so they are good where $q(z)$ and $p(z)$ agree. The simplest comparison is the
# second moment of each dimension,
#
# $$ m_j = \mathbb{E}_{q(z)}[z_j^2] = \frac1N \sum_n \big(\mu_j^2(x_n) + \sigma_j^2(x_n)\big). \tag{6.5} $$
#
# For the prior it is 1. **A trained model should have 1, too**, for a reason that needs no statistics. Multiply all codes of dimension $j$ by $c$ (means and standard deviations), and let
# the decoder divide by $c$ first. The pictures do not change, so rec stays. The mean KL becomes
# $\frac12(c^2 m_j - 1 - \log c^2 - \overline{\log \sigma_j^2})$ (the bar is a mean over images), smallest at $c^2 = 1/m_j$. So any $m_j \ne 1$ is money left on the table, namely
#
# $$ \text{gain} = \frac12 \sum_j \big(m_j - 1 - \log m_j\big). \tag{6.6} $$


# %%
def moments(q):
    return (q.mu**2 + q.log_var.exp()).mean(0)  # (6.5)


for name, model in {"flat": flat, "vae": vae}.items():
    m = moments(evaluation.posteriors(model, known))
    gain = 0.5 * (m - 1 - m.log()).sum()  # (6.6)
    print(f"{name}: second moments from {m.min():.2f} to {m.max():.2f}; rescaling would gain {gain:.3f} nats")

# %%
# NBVAL_CHECK_OUTPUT
q = evaluation.posteriors(flat, known)
m = moments(q)
rescaled = losses.gaussian_kl(q.mu / m.sqrt(), q.log_var - m.log())
found = (losses.gaussian_kl(*q) - rescaled).mean()
assert abs(found - 0.5 * (m - 1 - m.log()).sum()) < 1e-4  # (6.6)
print("rescaling the codes lowers the mean KL by exactly the gain (6.6):", True)

# %% [markdown]
# The twenty-dimensional model is near 1. The flat one is off by a third, and it hardly matters: the slope is so gentle that its training did not level it, and the whole prize is a
# twentieth of a nat. The argument holds for any VAE whose encoder ends and whose decoder begins with a linear layer: these can take up $c$ and its inverse.
#
# Equal moments are not equal distributions. Here is the flat model, rescaled, beside its prior. In the grid of equal shares each of 225 cells should hold 1/225 of the codes. How uneven is
# it, against as many draws from the prior itself? The letters mark three of the least visited cells within radius 1.5, apart from each other.

# %%
z = (q.mu + torch.exp(0.5 * q.log_var) * torch.randn(q.mu.shape, generator=torch.Generator().manual_seed(0))) / m.sqrt()


def per_cell(z: Tensor) -> Tensor:
    """How many codes (N, 2) lie in each of the 225 cells, in reading order of the sheet; 1 is the fair share."""
    cell = (torch.special.ndtr(z) * 15).long().clamp(0, 14)
    return torch.bincount((14 - cell[:, 1]) * 15 + cell[:, 0], minlength=225) / len(z) * 225


chance = torch.randn(z.shape, generator=torch.Generator().manual_seed(1))
counts = per_cell(z)
for name, c in {"codes": counts, "prior": per_cell(chance)}.items():
    print(
        f"{name}: emptiest cell {c.min():.2f}, fullest {c.max():.2f}; {(c < 0.5).double().mean():.0%} of the cells have less than half of their share"
    )

# %%
central = (shares.norm(dim=1) < 1.5).nonzero().flatten()
holes = shares[central[counts[central].argsort()]]  # emptiest first
for _ in range(3):  # keep those that are not beside an emptier one
    holes = torch.stack([h for i, h in enumerate(holes) if i == 0 or (holes[:i] - h).norm(dim=1).min() > 0.6])
holes = holes[:3]
plotting.prior_and_codes_figure(
    chance[:3000],
    z[:3000],
    "draws from the prior fill a round cloud; the codes of images fill it unevenly, with thin lanes between groups; three thin places are lettered",
    holes=holes,
)
with torch.no_grad():
    in_holes = flat.mean_image(flat.decode(holes * m.sqrt()))
plotting.image_rows(
    {"decoded": in_holes}, "what the decoder makes of the three lettered places", column_titles=["A", "B", "C"]
)
print(f"entropy of the classifier: holes {doubt(holes * m.sqrt()):.2f}, prior draws {doubt(draws):.2f} nats")

# %%
# NBVAL_CHECK_OUTPUT
assert counts.std() > 2 * per_cell(chance).std()
print("the codes are at least twice as uneven as as many draws from the prior:", True)

# %% [markdown]
# The holes are lanes between the digits. What is decoded there is a mixture of its neighbours, and the classifier is at a loss: the decoder is continuous, and must get from one
# digit to the other somewhere. So an empty place does *not* mean "impossible image", nor "noise": it means that this model needs no code there. Samples that fall into lanes are
# the odd shapes among the samples, and a VAE with twenty dimensions has more lanes than you can draw.
#
# ## 7 · Are samples copies?
#
# A generative model could score well by storing its training images. The audit: for each sample (a mean image) find the nearest training image in pixels, and compare the distance with that of *held-out*
# images, which cannot be copies.

# %%
samples = vae.sample(100, generator=torch.Generator().manual_seed(0))
library = train.random_subset(min(20000, len(train))).x


def nearest(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest image of the library, and that image: (n, 784) -> (n,), (n, 784)."""
    distance, index = torch.cdist(x, library).min(1)
    return distance, library[index]


distance, twins = nearest(samples)
plotting.image_rows(
    {"sample": samples[:10], "nearest": twins[:10]},
    "ten samples above the training image nearest to each: similar in place and slant, some of another digit, none a copy",
)

# %% [markdown]
# An audit needs controls: one that must pass, and one that must be caught. Held-out images must pass. A thief that hands out stored images with a little noise must be caught. And a
# cleverer thief shifts each stored image by one pixel.

# %%
noise = 0.02 * torch.randn(100, 784, generator=torch.Generator().manual_seed(0))
shifted = library[:100].view(-1, 28, 28).roll(1, dims=2).view(-1, 784)
audit = {"samples": samples, "held-out": validation.x[:100], "thief": library[:100] + noise, "shifting thief": shifted}
audit = {name: nearest(x)[0].median() for name, x in audit.items()}
print(" · ".join(f"{name} {d:.2f}" for name, d in audit.items()))

# %%
# NBVAL_CHECK_OUTPUT
assert audit["samples"] > 0.9 * audit["held-out"]
assert audit["thief"] < 0.5 * audit["held-out"] and audit["shifting thief"] > 3 * audit["thief"]
print("samples are about as far as held-out images or farther; the thief is caught, but not when he shifts:", True)

# %% [markdown]
# The samples lie as far from the training images as new digits do, so they are no copies of pixels. The last control says how far that goes: a copy moved by one pixel lies as far away as an
# honest image. Pixel distance does not see copies of ideas. (The gap between training and held-out bound, lesson 03, sees more: a model that memorises has a large one.)
#
# ## 8 · Arithmetic with codes
#
# "King − man + woman", for digits: take a property, subtract the mean code of images without it from that of images with it, and add the difference to a new code. The property here needs
# no labels: the amount of ink.

# %%
ink = known.x.mean(1)
mu_known = evaluation.posteriors(vae, known).mu
bold, light = ink > ink.quantile(0.8), ink < ink.quantile(0.2)
direction = mu_known[bold].mean(0) - mu_known[light].mean(0)
anywhere = torch.randn(20, generator=torch.Generator().manual_seed(0))
anywhere *= direction.norm() / anywhere.norm()  # the control: another direction, as long
mu_new = evaluation.posteriors(vae, held_out).mu
with torch.no_grad():
    for step in (-0.5, 0.0, 0.5, 1.0):
        moved = [vae.mean_image(vae.decode(mu_new + step * way)) for way in (direction, anywhere)]
        same = [float((torch.tensor(judge.predict(x.numpy())) == held_out.y).double().mean()) for x in moved]
        print(
            f"step {step:4.1f}: ink {moved[0].mean():.3f}, digit kept {same[0]:.0%}   control: ink {moved[1].mean():.3f}, digit kept {same[1]:.0%}"
        )

# %%
weights = torch.tensor([-0.6, -0.3, 0.0, 0.3, 0.6, 1.0])
with torch.no_grad():
    strips = {f"image {i}": vae.mean_image(vae.decode(mu_new[i] + weights[:, None] * direction)) for i in range(4)}
plotting.image_rows(
    strips,
    "digits along the direction of ink, from thin to bold strokes",
    column_titles=[f"{w:+.1f}" for w in weights.tolist()],
)

# %%
# NBVAL_CHECK_OUTPUT
with torch.no_grad():
    thin, bolder = (vae.mean_image(vae.decode(mu_new + step * direction)).mean(1) for step in (-0.5, 0.5))
assert (bolder > thin).double().mean() > 0.9
print("along the direction the ink grows for more than nine images in ten:", True)

# %% [markdown]
# It works for ink, on average, for small steps. The honest lines are the control (a direction drawn at random changes the ink as well, about a third as much) and the digits lost
# on the way at a full step, more than the control loses: a direction is not a knob, because ink goes together with the digit (a 0 has more of it than a 1), and the mean difference
# carries some of that along. Figures of latent arithmetic in articles show chosen successes unless they say how many were tried.
#
# **Questions worth thinking about**
#
# 1. <!-- source: invented --> A poster shows a 4-dimensional VAE's codes as a scatter of $z_1, z_2$ and says "classes overlap, so the model has not learned the classes". Two objections?
# 2. In a t-SNE picture the 1s form a tight group and the 0s a wide one. Are the codes of 1s less spread out?
# 3. Why do the codes of `flat` reach radius 4 on the map, if the prior hardly does?
# 4. Your slerp between two images looks the same as the lerp. Is one of them broken?
# 5. A sheet of samples shows no odd shapes at all. What do you ask its author?
#
# <details><summary>Answers</summary>
#
# 1. Two of four dimensions are shown: how much of the KL do they carry? And overlap on a projection is not overlap in the space; the nearest-neighbour accuracy in all four would say.
# 2. The picture cannot say: t-SNE adapts its scale to the density around each point, so it tends to make groups equally dense. Measure in the space.
# 3. Each image pays for its own distance ($\mu^2/2$ nats), and buys reconstruction with it; for some images that is worth it. And its second moment is above 1 (section 6).
# 4. No. If the angle between the codes is small, or the decoder forgives the shorter norm, they look alike. Compare the norms, not the pictures.
# 5. How many samples were drawn for each one shown; from $N(0, I)$ or from a narrower distribution; or around the codes of real images?
# </details>
#
# ## Recap
#
# - Map and sheet belong together: top row = largest $z_2$; equal shares of the prior, or say that the rim is over-drawn.
# - Interpolate between means, with both ends. Straight walks lose norm by up to $1/\sqrt2$ between unrelated codes; an arc does not.
# - State the share of the KL that a picture of two dimensions shows.
# - t-SNE: trust neighbours (and count them), not places, sizes or distances. Make claims in the space itself.
# - At an optimum each dimension of $q(z)$ has second moment 1. Equal moments still leave lanes between the digits.
# - Audit samples against held-out images, with a control that must be caught.
#
# **Before:** [05 · What is log p(x) really, and how much of the code is used?](05_how_good_is_it.ipynb) · **Next:** [07 · What does a label buy?](07_cvae.ipynb)
#
# **Further reading**
# - D. P. Kingma, M. Welling, *Auto-Encoding Variational Bayes*, ICLR 2014, figure 4 (the sheet with inverse-CDF spacing).
# - T. White, *Sampling Generative Networks*, 2016 (slerp for generative models); K. Shoemake, *Animating Rotation with Quaternion Curves*, SIGGRAPH 1985.
# - L. van der Maaten, G. Hinton, *Visualizing Data using t-SNE*, JMLR 2008; M. Wattenberg, F. Viégas, I. Johnson, *How to Use t-SNE Effectively*, Distill 2016.
# - G. Arvanitidis, L. K. Hansen, S. Hauberg, *Latent Space Oddity: on the Curvature of Deep Generative Models*, ICLR 2018 (paths that follow the decoder).
# - M. D. Hoffman, M. J. Johnson, *ELBO surgery*, NIPS 2016 workshop on Advances in Approximate Bayesian Inference.
# - M. Rolinek, D. Zietlow, G. Martius, *Variational Autoencoders Pursue PCA Directions (by Accident)*, CVPR 2019 (why axes are not quite arbitrary).

# %% [markdown] tags=["solution"]
# **For instructors.** Show the t-SNE maps with seeds 0 and 1 as "two models" before you reveal that they are one. Sections 7 and 8 can be left out; section 6 is the one that
# lesson 07 builds on.
