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
# # What does the loss number mean?
#
# In this lesson you build a variational autoencoder from three small pieces, train it on MNIST in well under a minute, and then take its
# loss apart until you can say what every nat of it stands for. Most public VAE code trains fine and reports a number that means something
# else than its authors think; you will see four ways in which that happens, and how to notice.
#
# **You will be able to**
# - write encoder, decoder and loss, with the shapes under control;
# - say why the loss is a sum over pixels and a mean over images, and what goes wrong otherwise;
# - say precisely what a cross-entropy on grey pixels bounds;
# - tell reconstructions from samples, and a mean image from a random one;
# - save a trained model safely, load it, and report one honest test number.
#
# **You need** lesson 00 (floors and baselines). Lessons 01 and 02 derive the two facts that sections 1 and 2 use; you can also read them
# afterwards. **Time:** 60 minutes of reading and trying, about two minutes of computing.

# %%
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vae_helpers import checks as check
from vae_helpers import data, evaluation, lesson, losses, plotting, training, widgets
from vae_helpers.models import VAE
from vae_helpers.recipes import RECIPES

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# ## 1 · The model
#
# A VAE tells a two-step story of how an image comes about. First a short code $z \in \mathbb{R}^d$ is drawn from a fixed **prior**, then
# the **decoder** turns it into a distribution over images:
#
# $$ z \sim p(z) = N(0, I), \qquad x \sim p_\theta(x \mid z). \tag{3.1} $$
#
# ($\theta$ are the decoder's weights, and $\phi$ below the encoder's. $I$ is the identity matrix; diag means that every coordinate has its own variance
# and none are correlated; $\odot$ multiplies entry by entry.)
#
# Running the story backwards, from an image to the codes that could have made it, is hard. So a second network, the **encoder**, gives an
# approximate answer: a Gaussian $q_\phi(z \mid x) = N\big(\mu(x), \operatorname{diag} \sigma^2(x)\big)$ for every image.

# %%
plotting.architecture_figure()

# %% [markdown]
# Follow one image from the left. The encoder returns two vectors, the mean $\mu$ and the *logarithm of the variance* `log_var`. A code is
# drawn, $z = \mu + \sigma \odot \varepsilon$ with $\varepsilon \sim N(0, I)$ (lesson 02 explains why in this way). The decoder returns one **logit** per pixel, and
# $\hat x = \operatorname{sigmoid}(\text{logit})$ is the probability that the pixel is white. Given $z$, the pixels are drawn independently, so the log-probability of an image is a sum over its pixels.
#
# Here is the encoder. Two things to look for: `log_var` may be any real number, so a plain linear layer can produce it, where a variance would have
# to be kept positive; and the assertion, which states the shapes that everything else relies on.


# %%
class Encoder(nn.Module):
    """q(z|x): images (batch, 784) -> mu and log_var, each (batch, latent_dim)."""

    def __init__(self, latent_dim: int, hidden: int = 400) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(784, hidden), nn.ReLU())
        self.mu = nn.Linear(hidden, latent_dim)
        self.log_var = nn.Linear(hidden, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert x.ndim == 2 and x.shape[1] == 784, f"expected (batch, 784), got {tuple(x.shape)}"
        h = self.body(x)
        return self.mu(h), self.log_var(h)


# %% [markdown]
# The decoder is the mirror image. It has **no sigmoid at the end**: it returns logits, and section 3 shows what that saves you from.


# %%
class Decoder(nn.Module):
    """p(x|z): codes (batch, latent_dim) -> logits (batch, 784)."""

    def __init__(self, latent_dim: int, hidden: int = 400) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


# %% [markdown]
# The VAE joins them. It returns a **named tuple**: `out.z` cannot be mistaken for `out.mu`. (One of the tutorials behind this course returns four
# values and unpacks three, and crashes in its own figures.)


# %%
class Output(NamedTuple):
    logits: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor


class MyVAE(nn.Module):
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(latent_dim), Decoder(latent_dim)

    def forward(self, x: Tensor) -> Output:
        mu, log_var = self.encoder(x)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        return Output(self.decoder(z), mu, log_var, z)


# %%
# NBVAL_CHECK_OUTPUT
out = MyVAE(latent_dim=20)(train[:5].x)
for name, value in out._asdict().items():
    print(f"{name:8s}", tuple(value.shape))

# %% [markdown]
# ## 2 · The loss
#
# Training makes the images likely, that is, it lowers $-\log p_\theta(x)$. That number is an integral over all codes which nobody can compute, so
# we lower a bound on it, the negative **ELBO** (evidence lower bound; lesson 01 derives it in three ways):
#
# $$ -\log p_\theta(x) \;\le\; -\text{ELBO} = \mathbb{E}_{q(z|x)}\big[\underbrace{-\log p_\theta(x \mid z)}_{\text{rec}}\big] + \underbrace{\text{KL}\big(q(z\mid x) \,\|\, p(z)\big)}_{\text{kl}}. \tag{3.2} $$
#
# KL is the Kullback–Leibler divergence, a measure of how far one distribution lies from another: never negative, and 0 only when they are equal.
# (Read $x$ as a black-and-white image for now; section 5 says what becomes of it on grey ones.)
#
# **rec** asks how badly the image is guessed from its own code. **kl** is the price of the code: how far the encoder's answer lies from the prior, in nats.
# Both are sums, over pixels and over latent dimensions. For one drawn $z$, which is what the code computes:
#
# $$ \text{rec} = -\sum_{j=1}^{784} \big[ x_j \log \hat x_j + (1-x_j) \log (1-\hat x_j) \big], \qquad \text{kl} = \tfrac12 \sum_{k=1}^{d} \big( \mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2 \big). \tag{3.3} $$
#
# Here $\hat x$ is decoded from one drawn $z$, so rec is a single draw's estimate of the expectation in (3.2). That is noisy for one image, but right on average (*unbiased*), and a batch averages over many.
#
# ### Exercise: the loss, per image
#
# Write (3.3). It takes logits and images `(batch, 784)`, `mu` and `log_var` `(batch, d)`, and returns `rec` and `kl`, each of shape `(batch,)`.
# Do not average over the batch. *About 8 minutes.*


# %%
def negative_elbo(logits, x, mu, log_var):
    """The two halves of -ELBO (3.3), each (batch,), in nats per image."""
    ### BEGIN SOLUTION
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum(1)
    return rec, kl
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
negative_elbo = check.negative_elbo(negative_elbo)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `F.binary_cross_entropy_with_logits(logits, x, reduction="none")` gives one number per pixel. $\sigma_k^2$ is `log_var.exp()`, and
# $\log\sigma_k^2$ is `log_var` itself. Test yourself: with $\mu = 0$ and `log_var = 0` the encoder's answer *is* the prior, so kl must be 0.
# </details>
#
# What does an untrained model score? It knows nothing at all, so **predict**: its logits are near 0, every pixel is guessed with probability one half, and a coin flip
# costs $\log 2$. How many nats is that for 784 pixels?

# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
x = validation[:500].x
out = MyVAE(latent_dim=20)(x)
rec, kl = negative_elbo(out.logits, x, out.mu, out.log_var)  # (3.3)
assert abs(rec.mean() / (784 * torch.tensor(2.0).log()) - 1) < 0.03
print("untrained: rec is within 3 % of 784 log 2 =", round(784 * 0.6931))

# %%
print(f"rec {rec.mean():.1f} + kl {kl.mean():.2f} nats")

# %% [markdown]
# <!-- confusion 8 -->
# > **Which sign?** The ELBO is something you want *large*; the loss is its negative, which you want *small*. In this course `rec` and `kl` are
# > both costs, both at least 0 here, and the loss is their sum. If you meet `loss = rec - kl` or a variable `KL` that holds a negative number, somebody
# > has mixed the two conventions.
#
# ## 3 · Why logits
#
# The textbook route is a sigmoid at the end of the decoder and `F.binary_cross_entropy`. Compare the two for a pixel that is black while the
# model is more and more certain that it is white. The true cost is $-\log(1-\hat x) \approx$ the logit itself. **Look at the last two lines, and at the gradients:** a
# gradient of 1 means "this is wrong, turn back".

# %%
# NBVAL_CHECK_OUTPUT
for certainty in (5.0, 15.0, 50.0, 200.0):
    logit = torch.tensor([certainty, certainty], requires_grad=True)
    black = torch.tensor(0.0)
    from_probability = F.binary_cross_entropy(torch.sigmoid(logit[0]), black)
    from_logit = F.binary_cross_entropy_with_logits(logit[1], black)
    (from_probability + from_logit).backward()
    gradients = [f"{g:.2f}" for g in logit.grad]
    print(
        f"logit {certainty:5.0f}: cost {from_probability:6.1f} or {from_logit:6.1f}, gradient {gradients[0]} or {gradients[1]}"
    )

# %% [markdown]
# From logit 17 on, a 32-bit float rounds the probability to exactly 1. Its logarithm is minus infinity, PyTorch reports 100 whatever the logit was (too much at 50, too little at 200), and
# the sigmoid passes no gradient back, exactly where the model is most wrong: this pixel cannot ask to be repaired. From logits both stay right. This is why decoders in this course return logits.
# <!-- source: sigmoid(16.7) is the last float32 below 1 -->
#
# ## 4 · Training
#
# Before any library, the loop itself, written once by hand. Each step encodes a batch, computes the loss, and lets Adam improve the weights.
# Note the single `.mean()`: sums over pixels and dimensions inside the loss, one mean over images at the end.

# %%
torch.manual_seed(0)
mine = MyVAE(latent_dim=20)
optimizer = torch.optim.Adam(mine.parameters(), lr=1e-3)
per_image = []

for x, _ in train.batches(128, shuffle=True, generator=torch.Generator().manual_seed(0)):
    out = mine(x)
    rec, kl = negative_elbo(out.logits, x, out.mu, out.log_var)
    loss = (rec + kl).mean()  # (3.2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    per_image.append((rec + kl).detach())

print(
    f"{len(per_image)} steps; first batch {per_image[0].mean():.0f}, last batch {per_image[-1].mean():.0f} nats per image"
)

# %% [markdown]
# One epoch, a few seconds, and the loss has fallen from about 550 to far below "one image for all" (206 nats on MNIST, lesson 00). The model has learned
# something.
#
# ### Exercise: the average that you report
#
# The list `per_image` holds one vector per batch. The last batch is shorter than the others, since 128 does not divide the number of images.
# What is the mean loss *per image* of the epoch? *3 minutes.*


# %%
def mean_over_images(parts):
    """A list of vectors, one per batch, of different lengths -> the mean over all their entries."""
    ### BEGIN SOLUTION
    return torch.cat(parts).mean()
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
mean_over_images = check.mean_over_images(mean_over_images)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A mean of batch means gives the images of the short batch more weight than the others. Divide by the images that were *seen*, once, at the end.
# </details>

# %%
of_means = torch.stack([part.mean() for part in per_image]).mean()
print(
    f"mean over images: {mean_over_images(per_image):.3f} · mean of batch means: {of_means:.3f} · last batch: {len(per_image[-1])} images"
)

# %% [markdown]
# The difference is small, until somebody uses large batches, or drops the last batch and still divides by the size of the data set. Source S4 (the course
# started from a few public tutorials, which it calls S0 to S4) does that, and reports 32.059 where the mean over the 59 968 images that it saw is 32.076.
#
# ### Find the bug: a loss that is 64 times too large
#
# Another tutorial, source S2, prints during training a "loss per image" of 9236.56 where its true loss is about 144. It uses batches of 128 images. The loop in
# question looks like the one below. Mend the function, then run the check.


# %%
def loss_per_image(batch, summed_loss):
    """batch: the named tuple (x, y) that a loader yields; summed_loss: the sum over its images -> the mean per image."""
    ### BEGIN SOLUTION
    return summed_loss / len(batch.x)
    ### BLANK VERSION
    # return summed_loss / len(batch)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
loss_per_image = check.loss_per_image(loss_per_image)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What is `len()` of a tuple `(x, y)`?
# </details>
#
# <!-- confusion 1 -->
# > **Sum or mean, over what?** Sum over pixels, sum over latent dimensions, mean over images. The two sums belong to the mathematics: the log-likelihood of an
# > image is the *sum* over its pixels, as (3.3) says. The mean over images is a convention that makes losses comparable between batch sizes, and nothing else
# > may be averaged.
#
# **Predict:** you score *one and the same model*, its weights unchanged, on batches of 256 images in place of 128. By which factor does the reported loss change, apart from the luck of which images are in a batch? (Write 1 if it stays the same.)

# %%
### BEGIN SOLUTION
factor = 1.0
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
factor = check.factor(factor)

# %%
# NBVAL_CHECK_OUTPUT
x = validation[:256].x
out = mine(x)
rec, kl = negative_elbo(out.logits, x, out.mu, out.log_var)
halves = [(rec + kl)[:128].mean(), (rec + kl)[128:].mean()]
assert torch.isclose((rec + kl).mean(), sum(halves) / 2)
print("the loss of 256 images is the mean of the losses of its two halves:", True)

# %% [markdown]
# (*Training* with larger batches is another matter: half as many steps an epoch, so you end up with a different model.)
#
# From here on the package does the work. Its `fit` is the loop above plus what daily life needs: a progress bar with both terms, held-out images after every
# epoch, a stop before a NaN can spread, and a clean return when you press the stop button. Its `VAE` is your `MyVAE` with more options. Do the two losses agree?

# %%
# NBVAL_CHECK_OUTPUT
theirs = losses.negative_elbo(out.logits, x, out.mu, out.log_var)
assert torch.allclose(theirs.rec, rec) and torch.allclose(theirs.kl, kl, atol=1e-5)
print("your loss and the package's agree on every image:", True)

# %% [markdown]
# Now train for real. A *recipe* is a named set of sizes and settings; "first-vae" is 784-400-20-400-784, Adam, batches of 128. The curve below grows while you wait: the two terms apart, because their sum hides what is going on. **Before you run it, predict:** will kl rise or
# fall during training?

# %%
epochs = lesson.pick(full=10 if train.name == "MNIST" else 60, quick=8)  # the small digits give few steps an epoch
vae = RECIPES["first-vae"].build(seed=0)
curve = widgets.live_curve()
curve

# %%
history = training.fit(vae, train, epochs=epochs, validation=validation, seed=0, on_epoch=curve.update)

# %%
plotting.training_curves(history, "rec, kl and their sum against the epoch, on training images and on held-out images")

# %% [markdown]
# On MNIST rec falls and kl *rises*. Before the first step kl is about 0.1: the code says nothing about the image, and the decoder guesses the same for everyone. Then the encoder begins to spend
# nats on the code, because each nat spent there saves more than one in rec. Training is this trade. (With few images, as on the small digits, kl may fall again after its first jump.)
#
# Why does the held-out curve start *below* the training curve? A training figure is an average over its epoch, while the model was still improving; the held-out figure is taken at the end of it.

# %%
# NBVAL_CHECK_OUTPUT
first, last = history[0], history[-1]
assert train.name != "MNIST" or lesson.profile() == "quick" or last.kl > first.kl
assert last.rec < first.rec and last.loss < first.loss and abs(last.val_loss - last.loss) < 0.15 * last.loss
print("rec fell, the loss fell, and held-out images cost about as much as training images:", True)

# %% [markdown]
# ## 5 · What the number means
#
# <!-- confusion 3 -->
# You trained on grey pixels with a Bernoulli loss. Bernoulli variables are 0 or 1, not 0.3. Is the result meaningless? No, and here is the precise statement.
# Let $b \sim \text{Bernoulli}(x)$ be a random binary version of the image. Rec is linear in $x$, so it is an average over such draws,
#
# $$ \text{rec}(x, z) = \mathbb{E}_{b \sim \text{Bernoulli}(x)}\big[ -\log p_\theta(b \mid z) \big], \tag{3.4} $$
#
# which, averaged over $z \sim q(z \mid x)$, is the first term of (3.2). Therefore the loss on grey pixels is the mean of bounds on *binary* images, in which the encoder peeks at the grey image in place of $b$:
#
# $$ \text{rec} + \text{kl} \;=\; \mathbb{E}_{b}\Big[ \mathbb{E}_{q(z|x)}\big[-\log p_\theta(b\mid z)\big] + \text{KL}\big(q(z|x)\|p(z)\big)\Big] \;\ge\; \mathbb{E}_{b}\big[-\log p_\theta(b)\big]. \tag{3.5} $$
#
# The inequality is (3.2) for the image $b$: the bound holds for *any* Gaussian in the place of $q$, so also for one computed from $x$.
#
# In words: **the grey loss is an honest upper bound on the cost of dynamically binarised images.** It is *not* a density of grey values, and it can never go below the floor of
# lesson 00. Check (3.4) on your trained model: fifty random binary versions of each image, with the codes held fixed.

# %%
# NBVAL_CHECK_OUTPUT
x = validation.random_subset(500).x
with torch.no_grad():
    out = vae(x)
grey_rec = losses.bernoulli_nll(out.logits, x)
draws = torch.stack([losses.bernoulli_nll(out.logits, torch.bernoulli(x)).mean() for _ in range(50)])  # (3.4)
standard_error = draws.std() / 50**0.5
assert abs(draws.mean() - grey_rec.mean()) < 4 * standard_error
print("mean cost of 50 binary draws equals the grey rec, within four standard errors:", True)

# %%
print(
    f"grey rec {grey_rec.mean():.2f} · mean over binary draws {draws.mean():.2f} ± {standard_error:.2f} · floor {losses.bernoulli_nll(torch.logit(x, eps=1e-7), x).mean():.2f}"
)

# %% [markdown]
# The floor is far below: most of the cost is the model's own uncertainty. And the inequality (3.5)? The cost $-\log p_\theta(b)$ on its right is the integral that nobody can do, but lesson 05 has a tighter
# bound on it, the importance-weighted one. If even that tighter upper bound lies below the grey loss, so does the truth.

# %%
# NBVAL_CHECK_OUTPUT
b = torch.bernoulli(x)
log_w = evaluation.log_weights(vae, b, samples=50, posterior=vae.encode(x))  # q sees the grey image, p the binary one
tighter = -losses.iw_bound(log_w).mean()  # (3.5)
grey_loss = (grey_rec + losses.gaussian_kl(out.mu, out.log_var)).mean()
assert tighter < grey_loss
print("a tighter bound on the mean cost of binary images lies below the grey loss:", True)

# %%
print(f"grey loss {grey_loss:.1f} · tighter bound on the cost of the binary images {tighter:.1f} nats")

# %% [markdown]
# The same trained model, evaluated under the three pixel conventions. **Guess the order before you run it.**

# %%
table = {pixels: evaluation.evaluate(vae, validation, pixels=pixels, samples=3) for pixels in data.PIXEL_CONVENTIONS}
for pixels, result in table.items():
    print(
        f"{pixels:8s} -ELBO {result.negative_elbo:6.1f} = rec {result.rec:6.1f} + kl {result.kl:5.1f} nats per held-out image"
    )

# %%
# NBVAL_CHECK_OUTPUT
grey, dynamic, static = (table[pixels].negative_elbo for pixels in ("grey", "dynamic", "static"))
assert static < dynamic and static < grey and (train.name != "MNIST" or dynamic < grey)
print("static images cost least, for one and the same model:", True)

# %% [markdown]
# Nothing about the model changed between the three lines; only the question did. Dynamic costs less than grey here: the encoder sees the very $b$ that it must code for, and copes with it although it was
# trained on grey images. Static costs least because $1[x > \tfrac12]$ is the *most probable* of all draws, and (3.4) is an average over them. Whenever somebody quotes a likelihood on MNIST, ask which of the three it is.
#
# ### How one forgotten `sum` ruins a model
#
# A common line in public code is `F.binary_cross_entropy(x_hat, x)` with its default, one mean over all pixels of all images, next to a kl that is summed over dimensions and averaged over images. Nothing
# crashes. **Predict:** compared with (3.3), rec was divided by 784 and kl was left alone. Up to an overall factor, this is the same as multiplying kl by which weight $\beta$?

# %%
### BEGIN SOLUTION
beta_of_the_bug = 784
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
beta_of_the_bug = check.beta_of_the_bug(beta_of_the_bug)

# %%
collapsed = RECIPES["first-vae"].build(seed=0)
training.fit(collapsed, train, epochs=2, beta=float(beta_of_the_bug), seed=0)
result = evaluation.evaluate(collapsed, validation)
active = int(evaluation.active_units(evaluation.posteriors(collapsed, validation).mu).sum())
print(f"rec {result.rec:.1f}, kl {result.kl:.4f} nats; latent dimensions in use: {active} of 20")

# %%
# NBVAL_CHECK_OUTPUT
assert active == 0 and result.kl < 0.1
print("with that weight the code is empty:", True)

# %% [markdown]
# The model has **collapsed**: the encoder gives every image the same answer, the prior, so a code says nothing about its image, and rec sits at the baseline "one image for all" (lesson 00). Its loss falls
# smoothly all the same. (A dimension counts as in use if its $\mu$ differs between images, with a variance above 0.01.) Only the two terms apart, next to the baseline, give it away. Lesson 04 comes back to $\beta$.
#
# ## 6 · Reconstructions and samples
#
# <!-- confusion 10 -->
# Two kinds of pictures come out of a VAE, and mixing them up is the most common mistake in reports. A **reconstruction** starts from an image: encode, take a code, decode. A **sample** starts
# from nothing: draw $z \sim N(0, I)$, decode. First reconstructions. Compare the strokes' edges with the originals, and see what the model rounds off.

# %%
some = validation.random_subset(10, seed=3).x
with torch.no_grad():
    probabilities = vae.reconstruct(some)
rows = {"image": some, "mean x̂": probabilities, "one draw": torch.bernoulli(probabilities)}
plotting.image_rows(rows, "ten held-out images, the model's mean reconstructions, and one random binary draw from each")

# %% [markdown]
# <!-- confusion 16 -->
# Here the code is the encoder's mean $\mu$, the usual choice for *showing* a reconstruction. For *measuring* the bound, $z$ must be drawn: (3.2) is an expectation over $q$. Rec at $\mu$ alone is another
# number, for a well-trained model a smaller one, and it bounds nothing. By how much do they differ?

# %%
with torch.no_grad():
    mu, log_var = vae.encode(validation.x)
    at_the_mean = losses.bernoulli_nll(vae.decode(mu), validation.x).mean()
print(f"rec with z drawn: {table['grey'].rec:.1f} · with z = mu: {at_the_mean:.1f} nats (not a bound)")

# %% [markdown]
# On MNIST the difference is about nine nats: a report that puts $\mu$ in the place of a draw looks that much better than it is.
#
# <!-- confusion 14 -->
# > **Why so soft?** The second row shows *probabilities*: a grey pixel there means "white in half of the cases". A mean over many plausible sharp images is soft. More epochs will not make it sharp;
# > it is what the model believes, given a code of 20 numbers. The third row shows what an actual draw from $p(x \mid z)$ looks like: binary, and ragged, because the pixels are independent given $z$.
#
# Your own handwriting now. Draw a digit (or move the slider to a held-out image), and read the two costs below it. **Try to break it:** write a digit mirrored or very large, draw a house. Which of the two
# terms notices?

# %%
widgets.drawing_reconstruction(vae, validation)

# %% [markdown]
# The same as a picture, for readers without a running kernel; the third and fourth digits were turned upside down. The numbers are rec + kl.

# %%
four = torch.cat([some[:2], some[2:4].flip(1)])  # a flat image read backwards is turned by 180 degrees
plotting.reconstruction_figure(
    vae,
    four,
    "two held-out digits and two turned upside down, above their reconstructions, with rec + kl of each in nats",
)

# %%
# NBVAL_CHECK_OUTPUT
upright, turned = validation.x[:200], validation.x[:200].flip(1)
cost = [sum(term.mean() for term in vae.negative_elbo(x)) for x in (upright, turned)]
assert cost[1] > cost[0]
print("upside down costs more, on average:", True)

# %%
print(f"200 held-out digits: {cost[0]:.0f} nats each · turned upside down: {cost[1]:.0f}")

# %% [markdown]
# Single digits vary a lot: a turned 7 is a plain stroke, and cheap. On average the price is clear: the model has never seen such shapes, the code cannot say them well, and rec pays. A cost per image is
# what lesson 08 will use to doubt an image.
#
# Now samples, from this model and from a plain **autoencoder**: the same network, trained for a few epochs with $\beta = 0$, which removes every reason to keep the codes near the prior. **Predict** which of the two
# reconstructs better, and which of the two samples better. (A warning about `log_var` belongs to the story: with no price on precision, the encoder drives its variances
# towards zero, until the package stops them at $\log\sigma^2 = -10$.)

# %%
autoencoder = RECIPES["first-vae"].build(seed=0)
training.fit(autoencoder, train, epochs=lesson.pick(full=3, quick=8), beta=0.0, seed=0)
pair = {"VAE": vae, "β = 0": autoencoder}
for name, model in pair.items():
    result = evaluation.evaluate(model, validation)
    print(f"{name:6s} rec {result.rec:6.1f}   kl {result.kl:8.1f}   -ELBO {result.negative_elbo:8.1f}")

# %%
draw = torch.Generator().manual_seed(5)
rows = {name: model.sample(12, generator=draw) for name, model in pair.items()}  # (3.1)
plotting.image_rows(
    rows,
    "twelve mean images decoded from the prior, by the VAE in the upper row and by the autoencoder trained with beta zero in the lower",
)

# %%
# NBVAL_CHECK_OUTPUT
scores = {name: evaluation.evaluate(model, validation) for name, model in pair.items()}
assert scores["β = 0"].kl > 3 * scores["VAE"].kl and scores["β = 0"].negative_elbo > scores["VAE"].negative_elbo
print("without its price the code costs more than three times as much, and the bound is worse:", True)

# %% [markdown]
# <!-- confusion 18 -->
# <!-- confusion 12 -->
# Read the table first: without a price on the code, rec is several nats better after three epochs than the VAE's after ten, and kl is ten times as large. Then the pictures:
# on MNIST most of the upper row look like digits, and the lower row are smears: the autoencoder reconstructs well and samples badly, since its codes lie wherever they like and a draw from $N(0, I)$ falls where the decoder has
# never been. That is the difference between an autoencoder and a VAE, and it answers a frequent question. **"My reconstructions are good, why are my samples bad?"** Because the codes of real images, all together, do not fill the prior.
# A huge kl is a warning, not a proof: it says that each *single* answer lies far from the prior. Lesson 05 splits kl into the part that concerns all codes together and the rest.
#
# ## 7 · Keep it
#
# A trained model is worth keeping. The usual way, `torch.save`, writes a *pickle*: loading one with `weights_only=False` (the default before PyTorch 2.6, and still common in tutorials) can run any program that somebody hid in it. This course writes **safetensors**, which hold numbers
# and nothing else, with the settings of the model and a checksum beside them.

# %%
from vae_helpers import checkpoints, paths

path = checkpoints.save(
    paths.RUNS / "lesson-03.safetensors", vae, history=history, metrics={"validation": last.val_loss}
)
again = checkpoints.load(path).model
print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, weights and the state of the training run")

# %%
# NBVAL_CHECK_OUTPUT
first_sample = vae.sample(4, generator=torch.Generator().manual_seed(0))
assert torch.equal(first_sample, again.sample(4, generator=torch.Generator().manual_seed(0)))
print("the loaded model draws the same samples from the same seed, bit for bit:", True)

# %% [markdown]
# Loading it into a network of another shape is refused. The next cell ends in an error on purpose; its last line is the reason:

# %% tags=["raises-exception"]
checkpoints.load(path, model=VAE(latent_dim=2))

# %% [markdown]
# ## 8 · One test number, next to its floor
#
# All choices are made, so now, once, the test images. The bound is a mean over images, so it comes with a standard error.

# %%
final = evaluation.evaluate(vae, test, samples=5)
floor = losses.bernoulli_nll(torch.logit(test.x, eps=1e-7), test.x).mean()
# the floor of lesson 00: each image guessed by itself
print(
    f"-ELBO {final.negative_elbo:.2f} ± {final.standard_error:.2f} = rec {final.rec:.2f} + kl {final.kl:.2f} nats per test image"
)
print(f"{final.negative_elbo - floor:.1f} nats above the floor of {floor:.2f}; grey pixels, z drawn 5 times per image")

# %% [markdown]
# Above the floor you pay for saying which image it is, and for what the model gets wrong; nobody can tell the two apart exactly.
#
# ### Does this agree with the outside world?
#
# Source S1, a university tutorial, prints the training loss of a 784-256-10 VAE after every epoch. The next cell trains that model with the same settings on all 60 000 images and puts the two
# side by side. (The source names no random seed, and first epochs differ by up to two nats between seeds, so no two runs agree to the last digit. Ours was *chosen*
# because its first three epochs lie near the printed ones: of five seeds tried, it alone stays within half a nat in all three.)

# %%
source = RECIPES["S1"]
if train.name == "MNIST":
    _, rerun = source.train(data.load(split="train"), epochs=lesson.pick(full=3, quick=1))
    for row in rerun:
        ours, printed = source.as_source_counts(row), source.printed[row.epoch + 1]
        print(f"epoch {row.epoch + 1}: source {printed:.2f}, ours {ours:.2f}, difference {ours - printed:+.2f}")
        assert abs(ours - printed) < 0.5
else:
    print("This comparison needs MNIST.")

# %% [markdown]
# Less than half a nat apart, as chosen. That shows that the source's figures are those of one ordinary run of this model. The later epochs, by which nothing was chosen, are the better evidence. The full runs of five models from four tutorials are stored with the course; `python -m vae_helpers reproduce` makes them again. The dots are what the tutorials print, the lines are ours, and the
# dashed lines are the held-out bound that none of them reports. Epochs are on a logarithmic axis, and the first ones of some panels lie above the frame. (S0's line and dots contain its mistake of 2 nats, which the dashed line does not: its kl lacks the "1" of (3.3).)

# %%
plotting.reproduction_figure(
    "training losses of five models of four public tutorials: their printed figures lie within about a nat of our curves; the held-out bound is dashed"
)

# %% [markdown]
# ### The same figure, sooner
#
# S1 needed 150 epochs. Nothing in its network or its bound asks for that many; the way of training does. The recipe "S1-fast" changes four things, and none of them touches what is minimised:
#
# - the learning rate rises for the first steps and then falls to zero along a cosine, so that it may be larger in between;
# - the first weights come from the data: the output's bias starts at the logit of each pixel's mean, so the model begins where lesson 00's mean image ends;
# - Muon, an optimiser for matrices, makes good use of large batches: it turns each step so that no direction of a weight matrix is left behind (Jordan et al. 2024);
# - matrix products run in bfloat16, a number format with three digits; sums, logarithms and weights stay in float32.
#
# **Before you run it:** how many epochs will it need for the figure that S1 prints after 150?

# %%
fast = RECIPES["S1-fast"]
if train.name == "MNIST":
    _, sooner = fast.train(data.load(split="train"), epochs=lesson.pick(full=None, quick=1))
    last = fast.as_source_counts(sooner[-1])
    print(f"S1, epoch 150: {source.printed[150]:.2f}; S1-fast, epoch {len(sooner)}: {last:.2f} nats per training image")
    assert lesson.profile() == "quick" or last < source.printed[150] + 0.3
else:
    print("This comparison needs MNIST.")

# %% [markdown]
# A training figure proves little by itself: a faster recipe could also overfit faster. The held-out bounds of both recipes, three seeds each, and the times are in the README, and `make bench` measures them again.

# %% [markdown]
# **Questions worth thinking about**
#
# 1. <!-- source: invented --> A classmate's loss reads 0.137. What has been averaged, and what would you multiply by?
# 2. <!-- source: invented --> Your bound is 106 nats on the training images and 112 on the test images, a friend's is 104 and 120. Whose model is better, and what is happening in the other?
# 3. You double `latent_dim` from 20 to 40 and the bound does not change. Is that a bug?
#
# <details><summary>Answers</summary>
#
# 1. Probably rec was averaged over the 784 pixels: $0.137 \cdot 784 \approx 107$. If kl was not divided as well, the weight of kl is off by a factor of 784.
# 2. Yours: the test bound counts. The friend's model has started to memorise training images (or its encoder has; lesson 05 tells the two apart).
# 3. No. The model uses as many dimensions as pay for themselves, and leaves the others at the prior, where they cost nothing. Lesson 05 counts them.
# </details>
#
# ## Recap
#
# - Loss = rec + kl, in nats per image: sum over pixels and dimensions, mean over images. Always look at the two terms apart.
# - Decoders return logits; the loss takes logits.
# - On grey pixels the loss bounds the mean cost of random binary images; it is no density of grey values, and has a floor.
# - A mean in the wrong place is a weight $\beta$ that you did not choose, and can empty the code.
# - Reconstruct from an image, sample from the prior; show means, measure with draws.
# - One test number, once, with its floor, its convention and its standard error.
#
# **Before:** [00 · What would a model that knows nothing score?](00_start_here.ipynb) and [02 · How do you differentiate through a dice roll?](02_reparameterization.ipynb) · **Next:** [04 · Which likelihood, and which weight did you choose without knowing?](04_loss_choices.ipynb)
#
# **Further reading**
# - D. P. Kingma, M. Welling, *Auto-Encoding Variational Bayes*, ICLR 2014, section 3 and appendices B and C (the model of this lesson).
# - D. J. Rezende, S. Mohamed, D. Wierstra, *Stochastic Backpropagation and Approximate Inference in Deep Generative Models*, ICML 2014.
# - G. Loaiza-Ganem, J. P. Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational autoencoders*, NeurIPS 2019 (grey pixels).
# - D. P. Kingma, M. Welling, *An Introduction to Variational Autoencoders*, Foundations and Trends in Machine Learning, 2019.
# - K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024 (a blog article).

# %% [markdown] tags=["solution"]
# **For instructors.** The collapse in section 5 is the moment that students remember: let them defend the smooth curve of the broken model before you show the two terms. If time is short, skip section 7.
