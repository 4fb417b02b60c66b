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
# # Can you tell a broken VAE from its symptoms?
#
# Welcome to the museum of broken VAEs. It has ten exhibits: ten bugs, each found in public code or one small edit away from it. All of them run, none raises an error, and no loss curve
# gives an alarm. You will not see the code at first. You see what a student sees: curves, bars, pictures, a few numbers. From these you say what is wrong, then you get the code and mend it,
# and then you hear how a test of one line would have found it in a millisecond.
#
# At the end you find the course on one page, an order in which to look when *your* next VAE misbehaves, and where to go from here.
#
# **You will be able to**
# - read rec, kl, KL per dimension, samples and reconstructions together, and say which faults they rule out;
# - tell a broken training from a broken report, and both from broken data;
# - mend ten bugs, each found in public code or one small edit away from it;
# - write a test that fails for a wrong formula, and know how good your test is;
# - check a new VAE in an order that finds the common faults first.
#
# **You need** lessons 00 to 03 and 05; lesson 06 helps in the third wing. **Time:** 75 minutes of reading and trying, under a minute of computing.

# %%
import math
import time

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from vae_helpers import checks as check
from vae_helpers import evaluation, exact, exhibits, lesson, losses, plotting, symptoms, widgets, workbench
from vae_helpers.exhibits import MUSEUM, WINGS

lesson.start()
train, validation, test = lesson.images()

# %% [markdown]
# ## 1 · First a healthy one
#
# A doctor who has never seen a healthy patient finds something in everybody. So train a VAE that nothing is wrong with: 32 latent dimensions, one hidden layer of 128 units, a few hundred
# steps. It is small and not yet finished, so that the whole museum computes in under a minute; it is the control for all that follows.

# %%
bench = workbench.open_bench(
    train, validation, images=lesson.pick(full=5000, quick=1500), steps=lesson.pick(full=700, quick=300)
)
control = symptoms.healthy(bench)
print(f"{len(bench.train):,} training images, {bench.epochs} epochs")

# %% [markdown]
# A **chart** in this museum has up to four panels:
#
# - rec and kl as the training code printed them, averaged over the training batches of each epoch;
# - KL of each latent dimension, the largest first (the dotted line at half a nat is only a ruler);
# - a sheet with three rows: images, what is decoded from one drawn code of each, and samples.
#
# Above the panels stand numbers, measured on 300 held-out images where they do not say otherwise, and in brackets something to hold each of them against. The 202 below, for instance, is the
# baseline of rec: the cost of guessing every held-out image by the pixel means of the training images. A dimension is *in use* if its mean $\mu_j$ varies over the images (variance above
# 0.01, lesson 05).
#
# **Look for four things:** rec falls below the baseline; kl *rises* while rec falls; the bars run from a nat or two down to nearly 0; samples look somewhat worse than reconstructions.

# %%
plotting.chart_sheet(
    {"the healthy run": control},
    "rec falls and kl rises over the epochs; bars of KL per dimension, sorted, go down from above one nat to almost nothing; decoded images resemble the images, samples resemble digits less",
)

# %%
# NBVAL_CHECK_OUTPUT
rec, baseline = control.readings[0].value, control.readings[0].reference
assert rec < 0.95 * baseline and control.kl.min() < 0.2 and control.kl.max() > 1
untrained = workbench.honest_terms(bench.snapshots[0], bench.held_out)[1].mean()
assert untrained < 1 < 5 < bench.healthy.kl[-1] and bench.healthy.rec[-1] < bench.healthy.rec[0]
print("rec below its baseline, kl risen from almost 0, bars from above 1 nat to nearly 0:", True)

# %% [markdown]
# Why does kl rise? An untrained encoder gives every image nearly the same answer, close to the prior, which costs nothing and says nothing. Learning means to say something, and that costs.
# (In a short run, and on the small digits, the first point may stand high: the first, clumsy steps make the encoder say a lot that nobody needs.)
#
# ## 2 · First wing: something is wrong with the training
#
# Three runs, the same network, the same images, the same number of steps. In each, one line of the *training code* is wrong. Choose a chart, and tick the box to see the healthy run below
# it.

# %%
first = {
    f"chart {i} · {MUSEUM[n].title}": MUSEUM[n].symptoms(MUSEUM[n].broken, bench)
    for i, n in enumerate(WINGS["first"], 1)
}
widgets.chart_explorer(first, healthy=control, name="first wing")

# %% [markdown]
# All three on one sheet, for readers without a running kernel. Mind the numbers on the vertical axes. In chart 3, an image is *recognised* if, of the means $\mu$ of all 300 held-out images,
# its own lies nearest to the code that was drawn for it.

# %%
plotting.chart_sheet(
    first,
    "chart 1: rec and kl hardly change after the second epoch, no bar can be seen, and all decoded images and samples are one grey blur; chart 2: rec stops above 540, no bar can be seen, and decoded images and samples are black but for a few dots; chart 3: rec falls, kl falls and stays small, all bars are low, decoded images are good and many samples are bold shapes that are no digits",
)

# %% [markdown]
# Seven suspects. Which of them is behind which chart?
#
# | | suspect |
# |---|---|
# | a | the training was stopped too early |
# | b | the encoder's log-variance is used where a standard deviation belongs |
# | c | the pixels were normalised to mean 0 and standard deviation 1 |
# | d | rec is averaged over pixels, kl is not |
# | e | kl is not in the loss at all |
# | f | a sigmoid is applied before a loss that applies one itself |
# | g | the learning rate is far too high |
#
# **Before you answer,** go through the list and cross out: what would each of them do to rec, to kl, to the pictures? Write three letters, for charts 1, 2, 3, as in `"abc"`. *About 8
# minutes.* A wrong answer gets you one reason against it, not the solution.

# %%
### BEGIN SOLUTION
first_wing = "dfb"
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
first_wing = check.first_wing(first_wing)

# %% [markdown]
# <details><summary>What gives each of them away</summary>
#
# - **Chart 1.** The printed rec is below 1: no sum over 784 pixels reads like that. Measured again in nats per image it is at the baseline "every image guessed by the pixel means", and no
#   dimension is in use: the code is empty. Something makes kl too dear.
# - **Chart 2.** Also (nearly) empty, but rec is far *above* that baseline, at the price of 784 coin flips. A collapsed VAE still learns the mean image. This one draws nearly all black and
#   pays as if every pixel were a toss: what the sheet shows and what the loss charges for are not the same.
# - **Chart 3.** The most dangerous chart of the museum, because it looks like a success: decoded images are good, and kl is tiny. Too tiny, as you will see; and many samples are odd.
# </details>
#
# ### Find the bug: every digit the same
#
# The code behind chart 1. It returns two scalars, which the training adds. Mend it. *3 minutes.*


# %%
def loss_terms(logits, x, mu, log_var):
    """rec and kl of a batch, two scalars, in nats per image; logits and x (batch, D), mu and log_var (batch, d)."""
    ### BEGIN SOLUTION
    rec = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()
    ### BLANK VERSION
    # rec = F.binary_cross_entropy_with_logits(logits, x)
    ### END SOLUTION
    kl = (0.5 * (mu**2 + log_var.exp() - 1 - log_var)).sum(1).mean()
    return rec, kl


# %%
# NBVAL_CHECK_OUTPUT
loss_terms = check.loss_terms(loss_terms)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What does the cross-entropy average over when you do not say? And what does kl sum over?
# </details>
#
# *Why was it silent?* Both terms fall, the loss is small, nothing crashes. *Which test would have caught it?* With logits 0 every pixel is a coin flip, so 784 of them must cost
# $784 \log 2 \approx 543$ nats. The broken line says 0.69. *Where?* In Keras's example of a VAE, in July 2016: a mean over pixels beside a summed kl, and so
# $\beta = 784$. A user saw the same output everywhere in latent space (issue 3373); the mend multiplies rec by the number of pixels (pull request 3383).
#
# And sometimes the report of a bug is the bug. Until 2018, PyTorch's example of a VAE had the mean of the cross-entropy **and** kl divided by (batch · 784), which is right up to the factor
# 784 (except in the last, short batch). Issue 290 called kl's 784 a bug: the code has 20 dimensions, so divide by 20. Who was right? The example was: that mend would have made
# $\beta = 784/20$.
# <!-- source: keras-team/keras, issue 3373 and pull request 3383; pytorch/examples, issue 290 and pull request 296 -->
#
# ### Find the bug: no better than a coin
#
# The code behind chart 2. *2 minutes.*


# %%
def pixel_cost(logits, x):
    """-log p(x|z) of each image: decoder output (batch, D), images (batch, D) -> (batch,), in nats."""
    ### BEGIN SOLUTION
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    ### BLANK VERSION
    # x_hat = torch.sigmoid(logits)
    # return F.binary_cross_entropy_with_logits(x_hat, x, reduction="none").sum(1)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
pixel_cost = check.pixel_cost(pixel_cost)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read the name of the function again: "with logits". What does it do to its first argument?
# </details>
#
# *Why silent?* Any two tensors of one shape will do for the loss. What happens: the inner sigmoid gives a number between 0 and 1; the loss takes it for a logit and squashes once more, to a
# probability between one half and 0.73. The sheet shows $\operatorname{sigmoid}(\ell)$, so its black is a 0; but the loss reads each 0 as one half. An all-black picture costs
# $784 \log 2 \approx 543$ nats, whatever the image. The next cell asks for the cheapest black and the cheapest white pixel.

# %%
# NBVAL_CHECK_OUTPUT
sure = torch.tensor([[-50.0], [50.0]])  # certainly black, certainly white
black, white = exhibits.squashed_twice(sure, torch.tensor([[0.0], [1.0]]))
print(f"cheapest black pixel: {black:.2f} nats, cheapest white pixel: {white:.2f} nats; both should be 0")
print(f"the most that can be said for white: a probability of {torch.exp(-white).item():.2f}")
assert abs(black - math.log(2)) < 1e-6 and abs(white - math.log(1 + math.exp(-1))) < 1e-6
assert (pixel_cost(sure, torch.tensor([[0.0], [1.0]])) < 1e-6).all()

# %% [markdown]
# How low can rec go, then? The cell gives each pixel of the held-out images the best probability that two sigmoids leave: first to a decoder that knows the pixel, then to one that must draw
# the same picture for all images.

# %%
most = float(torch.sigmoid(torch.tensor(1.0)))
for what, guess in {"each pixel known": bench.held_out, "one picture for all": bench.train.mean(0)}.items():
    p = guess.clamp(0.5, most).expand_as(bench.held_out)  # the cost is convex: the nearest is best
    print(f"{what:19s} {F.binary_cross_entropy(p, bench.held_out, reduction='none').sum(1).mean():.1f} nats")
print(f"784 coin flips      {784 * math.log(2):.1f} nats")

# %% [markdown]
# So 543 is not what the second sigmoid forces. Without a code nothing better than a coin is left; with one, at most 27 nats can be saved, less its kl. This short run has not found such a code,
# because saying "white" gains so little: at most $0.69 - 0.31 = 0.38$ nats a pixel, where an honest loss gives 0.69.
#
# *Which test?* The one above: a certain and right guess costs nothing. *Where?* In many a forum; and in libraries: a recommender called daisyRec took its second sigmoid out in 2023 (pull
# request 15). Either the decoder ends in a sigmoid or the loss begins with one, and the course's rule, "decoders return logits", settles which.
#
# ### Find the bug: too good to be true
#
# Chart 3 has a better rec than the healthy run, and a kl that is several times smaller. Both at once would be great luck; and that kl is impossible, as you can prove from the chart. If the
# right one of $N$ images can be told from a drawn code, the code must hold enough information to do so. With an error rate $e$ of any way of guessing (the chart's way: the image whose
# mean $\mu$ lies nearest to the code),
#
# $$ \overline{\text{KL}} \;\ge\; I_q(x; z) \;\ge\; (1 - e) \log N - \log 2. \tag{9.1} $$
#
# The left side is lesson 05 (mean KL = information + something not negative), the right side is Fano's inequality from information theory. In chart 3
# every one of $N = 300$ held-out images is recognised, so $e = 0$, and kl must be at least $\log 300 - \log 2$, that is 5.0 nats. The chart reports 3.4.


# %%
def least_kl(error_rate, N):
    """The kl without which no code can name one of N images with that error rate (9.1), in nats."""
    return (1 - error_rate) * math.log(N) - math.log(2)  # (9.1)


chart = list(first.values())[2]
shares = {"chart 3": chart.readings[1].value, "healthy": symptoms.recognised(bench.healthy.model, bench.held_out)}
reported = {"chart 3": chart.readings[0].value, "healthy": control.readings[1].value}
needed = {name: least_kl(1 - share, len(bench.held_out)) for name, share in shares.items()}
for name, share in shares.items():
    print(f"{name}: recognised {share:.1%}, so kl needs {needed[name]:.1f} nats; reported: {reported[name]:.1f}")

# %%
# NBVAL_CHECK_OUTPUT
for name, kl in reported.items():
    print(f"{name}: kl is large enough for what its code achieves:", kl >= needed[name])
assert reported["chart 3"] < needed["chart 3"] and needed["healthy"] < reported["healthy"]

# %% [markdown]
# A kl that is too small for what the code achieves is no kl: some other distribution must have been drawn from than the one in the formula. Here is the draw. Mend it. *3 minutes.*


# %%
def draw_code(output, eps):
    """Codes from the encoder's raw output, both heads side by side: (batch, 2d), noise (batch, d) -> z (batch, d)."""
    ### BEGIN SOLUTION
    mu, log_var = output.chunk(2, dim=1)
    return mu + torch.exp(0.5 * log_var) * eps
    ### BLANK VERSION
    # mu, sigma = output.chunk(2, dim=1)
    # return mu + sigma * eps
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
draw_code = check.draw_code(draw_code)

# %% [markdown]
# <details><summary>Hint</summary>
#
# In this code, as everywhere in the course, the encoder's second head is $\log\sigma^2$. What does a *name* prove?
# </details>
#
# *Why silent?* The formula for kl is untouched, and it charges nothing for $\log\sigma^2 = 0$. But there the broken draw has no noise at all. So the encoder gets an exact code free of
# charge, and squeezes all means into a small ball around 0: that costs 3.4 nats in place of 19. The decoder never meets a draw from the prior in training: hence the samples. *Which test?* An
# encoder that answers $N(0, I)$ (both heads 0) must pass the noise on unchanged. *Where?* Source S0 writes `μ, σ = encode(x)`, where the second result is $\log\sigma^2$. Its own sampler
# knows and exponentiates, so S0 is right, until somebody believes the name. A VAE example of NumPyro has the opposite trap: a variable `z_var` that holds a standard deviation.
#
# Now train once more, with *your* three functions in the place of ours. The first two both compute rec, so they must agree on it. If all three are right, the run must be the healthy one of
# section 1, number for number (to rounding).


# %%
def my_terms(logits, x, mu, log_var):
    rec, kl = loss_terms(logits, x, mu, log_var)
    assert torch.allclose(rec, pixel_cost(logits, x).mean(), rtol=1e-4)  # two functions, one rec
    return rec, kl


def my_code(mu, log_var, eps):
    return draw_code(torch.cat([mu, log_var], dim=1), eps)


again = workbench.short_run(bench.train, epochs=bench.epochs, terms=my_terms, code=my_code)
ends = {title: [c.curves[f"{part}, as printed"][part].y[-1] for part in ("rec", "kl")] for title, c in first.items()}
for title, run in {"the healthy run": bench.healthy, "with your functions": again}.items():
    ends[title] = [run.rec[-1], run.kl[-1]]
print("as printed in the last epoch:")
for title, (a, b) in ends.items():
    print(f"{title:31s} rec {a:6.2f}   kl {b:5.2f}   sum {a + b:6.2f}")

# %%
# NBVAL_CHECK_OUTPUT
assert all(MUSEUM[name].shows(chart) for name, chart in zip(WINGS["first"], first.values(), strict=True))
assert all(
    abs(a / b - 1) < 0.02 for a, b in zip(again.rec + again.kl, bench.healthy.rec + bench.healthy.kl, strict=True)
)
print("three sick runs, and with your functions the healthy one again:", True)

# %% [markdown]
# ## 3 · Second wing: the model is healthy, the report is not
#
# All charts of this wing show the healthy run of section 1 (the last one shows the small exact model of lesson 05, whose $\log p(x)$ is known). No weight is wrong. But each chart reports a
# number that cannot be true, and each for another reason. That is worse than a failed training: nobody looks for a bug in a success.

# %%
second = {
    f"chart {i} · {MUSEUM[n].title}": MUSEUM[n].symptoms(MUSEUM[n].broken, bench)
    for i, n in enumerate(WINGS["second"], 1)
}
widgets.chart_explorer(second, healthy=control, name="second wing")

# %%
plotting.chart_sheet(
    second,
    "chart 1: reported kl starts at 16 and no bar is below one half; chart 2: the reported loss runs below the loss measured again, from epoch 0 on; chart 3: the reported cost ends below −L_K with K = 5; chart 4: the mean of L_K starts at the exact log p(x) and rises above it as K grows",
)

# %% [markdown]
# Eight suspects:
#
# | | suspect |
# |---|---|
# | a | free bits of 0.5 nat per dimension were left in the report |
# | b | the last batch is dropped, but the sum is divided by the whole data set |
# | c | a mean of batch means was reported |
# | d | the code's mean was scored in place of a drawn code |
# | e | the KL formula lacks its "1" |
# | f | thresholded, black-and-white images were scored in place of grey ones |
# | g | the KL *formula* stands inside the importance weights |
# | h | there were too few importance samples |
#
# Four letters, for charts 1 to 4. *About 8 minutes.* Charts 1 and 3 have two good suspects each: which reading tells them apart?

# %%
### BEGIN SOLUTION
second_wing = "ebdg"
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
second_wing = check.second_wing(second_wing)

# %% [markdown]
# <details><summary>What gives each of them away</summary>
#
# - **Chart 1.** A constant. Half a nat too much in each of 32 dimensions makes 16, before the first step. Free bits (a) would report 16 there, too, but they raise only the bars below one
#   half, to exactly one half. Here the *tall* bars are lifted as well: the tallest is 2.43 nats, and 1.93 in the healthy run.
# - **Chart 2.** A factor. The two lines have the same ratio (on the logarithmic axis: the same distance) in every epoch, even before training, when every honest report is near 784 coin flips.
# - **Chart 3.** An order that cannot be. The chart shows costs, so the looser bound must be the *higher* one, and on average one draw is looser than five. And a Monte-Carlo estimate that
#   does not change with the seed draws nothing. Other pixels (f) would not stop the noise.
# - **Chart 4.** Here $L_K$ itself is drawn, so the looser bound is the *lower* one, and $\log p(x)$ a ceiling. Right at $K = 1$, wrong beyond. Too few samples (h) would err to the other side.
# </details>
#
# ### Find the bug: the bars that never reach the floor
#
# *2 minutes.*


# %%
def kl_per_dim(mu, log_var):
    """KL of each latent dimension to N(0, 1), in nats: (batch, d) -> (batch, d)."""
    ### BEGIN SOLUTION
    return -0.5 * (1 + log_var - mu**2 - log_var.exp())
    ### BLANK VERSION
    # return -0.5 * (log_var - mu**2 - log_var.exp())
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
kl_per_dim = check.kl_per_dim(kl_per_dim)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What must come out for $\mu = 0$ and $\log\sigma^2 = 0$, and what does come out?
# </details>
#
# *Why silent?* A constant has no gradient, so the training is the very same, bit for bit. Only the report is wrong, by $d/2$, so that models with different $d$ cannot be compared: each
# further dimension seems to cost half a nat. *Which test?* $\text{KL}(N(0,1) \,\|\, N(0,1)) = 0$. *Where?* In source S0; it is the first public bug you met in lesson 01. With
# its four dimensions, every loss that it prints is 2 nats too high.
#
# ### Find the bug: better than its own model
#
# The loop hands over the summed loss and the number of images of every batch, and the size of the data set. *2 minutes.*


# %%
def epoch_report(summed, counts, dataset):
    """Loss per image of one epoch: lists with one entry per batch, and the size of the data set -> one number."""
    ### BEGIN SOLUTION
    return sum(summed) / sum(counts)
    ### BLANK VERSION
    # return sum(summed) / dataset
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
epoch_report = check.epoch_report(epoch_report)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `drop_last=True` leaves out a rest. How many images are in the sum?
# </details>
#
# *Why silent?* With the usual sizes the factor is nearly 1. Source S4 sees 59 968 of 60 000 images and reports 32.059 where 32.076 is right. Large batches of few images, as in chart 2, make
# the same line lie by nearly a fifth. *Which test?* Four images that cost 2 nats each, and a fifth that was dropped: the mean is 2.
#
# ### Find the bug: a loose bound below a tight one
#
# *3 minutes.*


# %%
def drawn_bound(decode, x, mu, log_var, eps):
    """-ELBO of each image from one code: decode maps (batch, d) to logits (batch, D), eps is noise (batch, d) -> (batch,)."""
    ### BEGIN SOLUTION
    z = mu + torch.exp(0.5 * log_var) * eps
    ### BLANK VERSION
    # z = mu
    ### END SOLUTION
    return losses.bernoulli_nll(decode(z), x) + losses.gaussian_kl(mu, log_var)


# %%
# NBVAL_CHECK_OUTPUT
drawn_bound = check.drawn_bound(drawn_bound)

# %% [markdown]
# <details><summary>Hint</summary>
#
# rec is an *expectation*, over what?
# </details>
#
# *Why silent?* For pictures the mean is the right choice, and the number looks better, not worse. But it bounds nothing: kl pays for a Gaussian, and rec is scored as if the Gaussian were a
# point. *Which test?* Two draws of the noise must give two numbers. *Where?* In a script of Pyro that compares two ways to write one VAE: at test time its PyTorch branch scores the mean, its
# Pyro branch scores a draw, and both are printed as "Test set loss". <!-- source: pyro-ppl/pyro, examples/vae/vae_comparison.py -->
#
# ### Find the bug: past the truth
#
# The importance weights of lesson 05, one for each draw $z_k$:
# $\log w_k = \log p(x \mid z_k) + \log p(z_k) - \log q(z_k \mid x)$, as in (5.1). Below they stand as a widely used collection of VAEs computes them, except that the signs are
# right: you mended those in lesson 05. One fault is left. *4 minutes.*


# %%
def log_weights(rec, z, mu, log_var):
    """log w of every draw: rec = -log p(x|z), (K, batch); z, (K, batch, d); mu and log_var of q, (batch, d) -> (K, batch)."""
    ### BEGIN SOLUTION
    log_pz, log_qz = losses.gaussian_log_prob(z), losses.gaussian_log_prob(z, mu, log_var)
    return -rec + log_pz - log_qz
    ### BLANK VERSION
    # return -rec - losses.gaussian_kl(mu, log_var)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
log_weights = check.log_weights(log_weights)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The KL formula is the mean of $\log q(z|x) - \log p(z)$ over all draws. A weight belongs to *one* draw. `losses.gaussian_log_prob(z)` is $\log p(z)$, and
# `losses.gaussian_log_prob(z, mu, log_var)` is $\log q(z|x)$.
# </details>
#
# *Why silent?* At $K = 1$ the mean is right, so every test with one sample passes. Beyond it, the formula averages *inside* what should be exponentiated first. Here $q$ is the best diagonal
# Gaussian there is, and the "bound" still passes the truth. *Which test?* If $q$ is the exact posterior, every weight equals $p(x)$, whatever $z$. That needs one number per image and no
# training. *Where?* In `iwae.py` of the collection PyTorch-VAE (issue 34; a pull request that mends it was open when we looked).
#
# The four reports once more, by your functions:

# %%
mine = {
    "kl without its one": kl_per_dim,
    "dropped rest": epoch_report,
    "mean for a draw": drawn_bound,
    "analytic kl": log_weights,
}
after = {
    f"chart {i}, mended": MUSEUM[name].symptoms(function, bench) for i, (name, function) in enumerate(mine.items(), 1)
}
for title, chart in after.items():
    print(f"{title} · {' · '.join(map(str, chart.readings))}")

# %%
# NBVAL_CHECK_OUTPUT
assert all(MUSEUM[name].shows(chart) for name, chart in zip(mine, second.values(), strict=True))
assert not any(MUSEUM[name].shows(chart) for name, chart in zip(mine, after.values(), strict=True))
print("all four reports lied, and all four are mended:", True)

# %% [markdown]
# ## 4 · Third wing: data and pictures
#
# Here neither the loss nor the report is wrong. Something is wrong with what goes into them. For chart 1 somebody had only 60 images, of which 20 are held out, and trained for long; charts
# 2 and 3 use the images of section 1. "Next week" stands for 300 images that no part of the code has touched.

# %%
third = {
    f"chart {i} · {MUSEUM[n].title}": MUSEUM[n].symptoms(MUSEUM[n].broken, bench)
    for i, n in enumerate(WINGS["third"], 1)
}
widgets.chart_explorer(third, healthy=control, name="third wing")

# %%
plotting.chart_sheet(
    third,
    "chart 1: training and held-out bounds fall together through 500 epochs; chart 2: the batch losses of two epochs rise and fall at the same batches; chart 3: two rows of samples from two seeds show the same digits in the same places",
)

# %% [markdown]
# | | suspect |
# |---|---|
# | a | the images come in the same order in every epoch |
# | b | nothing but overfitting: the model learns by heart, and the held-out images show it |
# | c | the held-out images are trained on, too |
# | d | the learning rate is too high |
# | e | the "samples" are decoded from codes of stored images |
# | f | the decoder ignores its code |
# | g | the seed is set anew before each sheet |
#
# Three letters. *About 4 minutes.*

# %%
### BEGIN SOLUTION
third_wing = "cae"
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
third_wing = check.third_wing(third_wing)

# %% [markdown]
# <details><summary>What gives each of them away</summary>
#
# - **Chart 1.** So few images, in 500 epochs, *are* learned by heart: 86 nats in training, 191 next week. Were that all (b), there would be a gap between the curves. No gap means that the
#   held-out images are learned by heart, too.
# - **Chart 2.** The noise repeats. Batch losses differ because batches do; if epoch after epoch has the same tune, it has the same batches.
# - **Chart 3.** Not identical, so the seed is not stuck (g), and not all alike, so the code is used (f). But sample $k$ of one seed is always a
#   variant of sample $k$ of the other.
# </details>
#
# ### Find the bug: no gap at all
#
# `order` holds the positions of all images, shuffled. Hold out the last `held_out` of them. *2 minutes.*


# %%
def hold_out(order, held_out):
    """Positions (n,) in random order, and how many to hold out -> (positions to train on, positions held out)."""
    ### BEGIN SOLUTION
    return order[:-held_out], order[-held_out:]
    ### BLANK VERSION
    # return order, order[-held_out:]
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
hold_out = check.hold_out(hold_out)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which positions stand in both results?
# </details>
#
# *Why silent?* A leak makes every number better. The reward is a chart that you would love to believe. *Which test?* The two sets share nothing, and nothing is lost. *Where?* The VAE
# tutorial of Keras joins the training and the test file and trains on both. It reports no held-out number, so nothing it says is wrong; but whoever adds one, gets chart 1. (Lesson 00 had a
# cousin of this bug: a test set that is the training set.)
#
# ### Find the bug: the same tune every epoch
#
# *2 minutes.*


# %%
def epoch_order(n, generator):
    """A new random order of n images for one epoch, drawn with `generator`: positions (n,)."""
    ### BEGIN SOLUTION
    return torch.randperm(n, generator=generator)
    ### BLANK VERSION
    # return torch.arange(n)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
epoch_order = check.epoch_order(epoch_order)

# %% [markdown]
# <details><summary>Hint</summary>
#
# A random permutation of $n$ numbers is one function of PyTorch. Pass it the generator.
# </details>
#
# *Why silent?* On MNIST, whose file is well mixed, it costs little: the two training losses in the chart are nearly equal, and for the network of source S2 we measured a gain of 0.6 to 0.8
# nat from shuffling.
# <!-- source: two long runs of S2's network, with and without shuffling -->
# On a folder sorted by class the same line ruins a training. *Which test?* Two epochs, two orders, each image once. *Where?* In source S2. Its code is not even shown; the printed batch
# losses give it away: they rise and fall at the same batches in nearly every epoch, as in chart 2.
#
# ### Find the bug: press again, and the same come back
#
# *3 minutes.*


# %%
def new_images(encode, decode, images, eps):
    """Logits of n new images from noise eps (n, d); encode: images -> (mu, log_var), decode: codes -> logits; images (n, D)."""
    ### BEGIN SOLUTION
    return decode(eps)
    ### BLANK VERSION
    # mu, log_var = encode(images)
    # return decode(mu + torch.exp(0.5 * log_var) * eps)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
new_images = check.new_images(new_images)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Where do new images come from? Not from images.
# </details>
#
# *Why silent?* The sheet looks *better* than honest samples. *Which test?* New images must not change when the old ones do. *Where?* Source S0 promises generated digits "with a specified
# label", and encodes digits of that label; source S4 makes the opposite slip, and calls honest samples "reconstructed". Ask of every sheet of samples what went into the network.

# %%
mine = {"leak": hold_out, "same order": epoch_order, "disguised reconstructions": new_images}
after = {
    f"chart {i}, mended": MUSEUM[name].symptoms(function, bench) for i, (name, function) in enumerate(mine.items(), 1)
}
plotting.chart_sheet(
    after,
    "after mending: the held-out bound parts from the training bound and ends above it; the batch losses of two epochs have nothing in common; two rows of samples show different digits",
)

# %%
# NBVAL_CHECK_OUTPUT
assert all(MUSEUM[name].shows(chart) for name, chart in zip(mine, third.values(), strict=True))
assert not any(MUSEUM[name].shows(chart) for name, chart in zip(mine, after.values(), strict=True))
print("all three symptoms were there, and all three are gone:", True)

# %% [markdown]
# An honest chart often looks worse. The first one has a gap now; it was there before, unseen. Read it with care, too. The held-out images cost 259 nats and those of next week 214: twenty
# images are a poor ruler. And 214 is more than the 191 of the leaking run, because 40 images teach less than 60.
#
# ## 5 · Ten tests that take no time
#
# For every exhibit you read which test would have caught it. The museum keeps them. Each is one comparison on tensors of a few numbers, with an answer that is known beforehand; none trains
# anything.

# %%
started = time.perf_counter()
verdicts = {name: (e.tiny_test(e.mended), e.tiny_test(e.broken)) for name, e in MUSEUM.items()}
took = time.perf_counter() - started
for exhibit in MUSEUM.values():
    print(f"{exhibit.title:38s} {exhibit.tiny_test.__doc__}")
print(f"twenty verdicts in {1000 * took:.0f} ms")

# %%
# NBVAL_CHECK_OUTPUT
assert all(verdict == (True, False) for verdict in verdicts.values()) and took < 5
print("each test passes for the mended function and fails for the broken one:", True)

# %% [markdown]
# That is the point of this lesson, and of the checks in all the others: **test the pieces on tiny tensors, not the training by its outcome.** A training forgives most bugs. It takes minutes
# and ends in a number that you have never seen before, so you cannot know that it is wrong. A test on two numbers takes no time, and you know the answer.
#
# ### Exercise: write the test
#
# Your turn on the other side. Write a test for a function `kl(mu, log_var)` that should return $\text{KL}(q \,\|\, N(0, I))$ of each image, `(batch, d) -> (batch,)`. Your test returns
# `True` for a right function and `False` for a wrong one. The check hands it three right functions (written in different ways, so do not ask for equality to the last bit) and eight broken
# ones: the 1 is missing; the ½ is missing; the sign is turned; a mean over dimensions; `log_var` read as $\log\sigma$; $\mu$ not squared; one number for the whole batch; and
# $\text{KL}(N(0, I) \,\|\, q)$, the other way round. *About 8 minutes.*
#
# **Predict:** how many of the eight give something else than 0 at $\mu = 0$, $\log\sigma^2 = 0$, and so are caught by "KL is 0 at the prior" on its own?


# %%
def kl_test(kl):
    """True if kl(mu, log_var) is right: KL to N(0, I), (batch, d) -> (batch,)."""
    ### BEGIN SOLUTION
    mu, log_var = torch.randn(2, 5, 3)
    right = kl_divergence(Normal(mu, torch.exp(0.5 * log_var)), Normal(0.0, 1.0)).sum(1)
    found = kl(mu, log_var)
    return found.shape == right.shape and torch.allclose(found, right, atol=1e-5)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
kl_test = check.kl_test(kl_test)

# %% [markdown]
# <details><summary>Hint</summary>
#
# You need one point at which you know the value from somewhere else. `torch.distributions.kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0))` gives one value per dimension. Use several
# images and several dimensions, or you cannot tell a sum from a mean. Compare with `torch.allclose`, and compare the shapes.
# </details>
#
# A test is as good as the bugs it catches, and the only way to know is to break the code on purpose. Here is the answer to the prediction:

# %%
# NBVAL_CHECK_OUTPUT
from vae_helpers.checks.lesson_09 import BROKEN_KLS, try_test

at_prior = [name for name, kl in BROKEN_KLS.items() if (kl(torch.zeros(4, 2), torch.zeros(4, 2)) != 0).any()]
print(f"caught by the prior alone: {len(at_prior)} of {len(BROKEN_KLS)}: {', '.join(at_prior)}")
assert "yes" not in try_test(kl_test)[-len(BROKEN_KLS) :]  # a test made of asserts counts, too

# %% [markdown]
# The nice round test catches the nice round bug. (It is still worth having: it is the one you can do in your head.) A value at a random point, from an independent source, catches all eight.
#
# ## 6 · What to check first
#
# When a VAE misbehaves, look in this order. Each step is cheap, and a fault in it would make all later ones meaningless.
#
# 1. **The pixels.** Range [0, 1], shape `(batch, 784)`, and look at ten of them (lesson 00).
# 2. **The splits.** Training, validation and test share no image (lesson 00, this lesson).
# 3. **kl at the prior.** Exactly 0 for $\mu = 0$, $\log\sigma^2 = 0$; near 0 for an untrained network (lessons 01 and 03).
# 4. **rec at logits 0.** $784 \log 2 \approx 543$: this one number checks the sum over pixels, the mean over images and the sigmoid (lesson 03).
# 5. **The draw.** With both heads 0, $z$ is the noise; different noise, different loss (lesson 02).
# 6. **The gradients.** rec *alone* must reach every weight matrix and bias, the encoder's too; kl reaches the encoder without the draw, and would hide that the draw is cut off (lesson 02).
# 7. **A handful of images.** The network must be able to learn them by heart. If it cannot, do not train longer.
# 8. **rec and kl apart,** beside the floor, the pixel-mean baseline, and each other: kl must rise from 0 (lessons 00 and 03).
# 9. **The bars.** How many dimensions are used, and is any number suspiciously round (lesson 05)?
# 10. **Samples from the prior,** beside reconstructions and the nearest training images (lessons 03 and 06).
# 11. **Another bound.** $-L_K$, from draws of its own, must not lie above $-$ELBO by more than noise; an estimate must change with its seed, a little (lesson 05). This does not show that
#     the weights are right: for that, try them where $\log p(x)$ is known, as in chart 4 of the second wing.
# 12. **Only then** architecture, learning rate, $\beta$, longer training.
#
# Most of the list fits into one cell. Rewrite it for your next project; each row needs a line or two.

# %%
# NBVAL_CHECK_OUTPUT
model, x = bench.healthy.model, bench.held_out
fresh = workbench.new_model()
fresh_rec, fresh_kl = (term.mean() for term in fresh.negative_elbo(x))
fresh_rec.backward()  # without kl
bounds = torch.tensor([workbench.bound(model, x, seed) for seed in range(3)])
log_w = evaluation.log_weights(model, x, samples=5, generator=torch.Generator().manual_seed(3))  # fresh draws
checkup = {
    "pixels in [0, 1], rows of 784": bool(x.min() >= 0 and x.max() <= 1 and x.shape[1] == 784),
    "no held-out image is trained on": not {r.numpy().tobytes() for r in x}
    & {r.numpy().tobytes() for r in bench.train},
    "kl is 0 at the prior": float(losses.gaussian_kl(torch.zeros(1, 32), torch.zeros(1, 32))) == 0,
    "an untrained network: rec near 784 log 2, kl near 0": bool(
        abs(fresh_rec - 784 * math.log(2)) < 20 and fresh_kl < 1
    ),
    "rec alone reaches every weight matrix and bias": workbench.reached(fresh),
    "rec lies between floor and baseline": rec < baseline
    and rec > losses.bernoulli_nll(torch.logit(x, eps=1e-6), x).mean(),
    "kl rose, and bars sum to it": bool(
        fresh_kl + 1 < control.kl.sum() and abs(control.kl.sum() - control.readings[1].value) < 0.1
    ),
    "-L_K with K = 5 is at most half a nat above -ELBO": bool(-losses.iw_bound(log_w).mean() < bounds.mean() + 0.5),
    "the estimate changes with the seed, a little": bool(0 < bounds.std() < 5),
}
for what, fine in checkup.items():
    print("✓" if fine else "✗", what)
assert all(checkup.values())

# %% [markdown]
# A row that cannot fail is worth nothing, so break one. Cut the draw off from the encoder, and ask for the gradients twice:

# %%
# NBVAL_CHECK_OUTPUT
mu, log_var = fresh.encode(x)
z = workbench.sampled(mu, log_var, workbench.noise_like(mu)).detach()  # the bug
cut_rec, cut_kl = (term.mean() for term in workbench.bound_terms(fresh.decode(z), x, mu, log_var))
for what, loss in {"rec + kl": cut_rec + cut_kl, "rec alone": cut_rec}.items():
    fresh.zero_grad()
    loss.backward(retain_graph=True)
    print(f"{what} reaches every weight matrix and bias:", workbench.reached(fresh))
assert not workbench.reached(fresh)

# %% [markdown]
# With kl in the sum, the broken network passes.
#
# ## 7 · The course on one page
#
# Symbols: $x$ an image of $D = 784$ pixels, $b$ its black-and-white version, $y$ a label; $z \in \mathbb{R}^d$ a code, $p(z) = N(0, I)$ the prior; $p_\theta(x \mid z)$ the decoder with
# weights $\theta$, its output $\ell$ are logits and $\hat x = \operatorname{sigmoid}(\ell)$ if it is a Bernoulli decoder, and $\hat x$ itself if it is Gaussian;
# $q_\phi(z \mid x) = N(\mu, \operatorname{diag}\sigma^2)$ the encoder with weights $\phi$, $\varepsilon$ standard normal noise; $\sigma_x$ the standard deviation of a Gaussian decoder's noise,
# per pixel; $K$ importance samples, $N$ images, $\beta$ the weight of kl. All logarithms are natural, all costs in nats per image. The second argument of $N(\cdot, \cdot)$ is a variance.
#
# **What is wanted, and the bound on it** (lesson 01):
#
# $$ p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz, \qquad \log p_\theta(x) = \text{ELBO} + \text{KL}\big(q_\phi(z \mid x) \,\|\, p_\theta(z \mid x)\big). \tag{9.2} $$
#
# $$ -\text{ELBO} = \underbrace{\mathbb{E}_q[-\log p_\theta(x \mid z)]}_{\text{rec}} + \underbrace{\text{KL}\big(q_\phi(z \mid x) \,\|\, p(z)\big)}_{\text{kl}}. \tag{9.3} $$

# %%
# NBVAL_CHECK_OUTPUT
linear, x4 = symptoms.small_exact_model()
mu, log_var = torch.tensor([0.4, 0.2], dtype=torch.float64), torch.tensor([-1.0, -0.5], dtype=torch.float64)
points, dz = exact.grid(-9, 9, 361, d=2)
log_p = exact.log_marginal_grid(linear.log_joint(x4, points), dz)  # (9.2), left
assert abs(log_p - linear.log_marginal(x4)) < 1e-6
elbo = linear.elbo(x4, mu, log_var)
assert abs(elbo + linear.kl_to_posterior(x4, mu, log_var) - log_p) < 1e-6  # (9.2), right
rec4, kl4 = -linear.expected_log_likelihood(x4, mu, log_var), losses.gaussian_kl(mu, log_var)
assert abs(rec4 + kl4 + elbo) < 1e-9  # (9.3)
print("evidence, bound and gap agree on the exact model:", True)

# %% [markdown]
# **kl and the draw** (lessons 01 and 02):
#
# $$ \text{kl} = \tfrac12 \sum_{j=1}^{d} \big(\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2\big), \qquad z = \mu + \sigma \odot \varepsilon, \quad \sigma = e^{\frac12 \log\sigma^2}. \tag{9.4} $$
#
# **rec** (lessons 03 and 04), for a Bernoulli and for a Gaussian decoder:
#
# $$ -\log p(x \mid z) = \sum_{j=1}^{D} \big[\log(1 + e^{\ell_j}) - x_j \ell_j\big] \quad\text{or}\quad \frac{\|x - \hat x\|^2}{2\sigma_x^2} + \frac D2 \log(2\pi\sigma_x^2). \tag{9.5} $$
#
# On grey pixels the first is a mean over $b \sim \text{Bernoulli}(x)$, with the floor $\sum_j h(x_j)$, $h$ the entropy of a coin (lesson 00).

# %%
# NBVAL_CHECK_OUTPUT
formula = 0.5 * (mu**2 + log_var.exp() - 1 - log_var).sum()  # (9.4), left
assert torch.allclose(formula, kl_divergence(Normal(mu, torch.exp(0.5 * log_var)), Normal(0.0, 1.0)).sum())
z = mu + torch.exp(0.5 * log_var) * torch.randn(100_000, 2, dtype=torch.float64)  # (9.4), right
assert torch.allclose(z.var(0), log_var.exp(), rtol=0.03) and torch.allclose(z.mean(0), mu, atol=0.02)
logits, grey = torch.randn(2, 784).double(), test.x[:2].double()
bernoulli = (F.softplus(logits) - grey * logits).sum(1)  # (9.5), left
assert torch.allclose(bernoulli, losses.bernoulli_nll(logits, grey))
mean = torch.rand(2, 784).double()  # the output of a Gaussian decoder
gaussian = ((grey - mean) ** 2).sum(1) / (2 * 0.3**2) + 784 / 2 * math.log(2 * math.pi * 0.3**2)  # (9.5), right
assert torch.allclose(gaussian, -Normal(mean, 0.3).log_prob(grey).sum(1))
print("kl, draw and both likelihoods agree with torch.distributions:", True)

# %% [markdown]
# **A tighter bound, and what kl is made of** (lesson 05); with $z_k \sim q(z \mid x)$ independently, and $q(z)$ the mean of all $q(z \mid x_n)$:
#
# $$ L_K = \log \frac1K \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k \mid x)}, \quad \mathbb{E}[L_1] = \text{ELBO}, \quad \mathbb{E}[L_K] \le \mathbb{E}[L_{K+1}] \le \log p(x). \tag{9.6} $$
#
# $$ \overline{\text{KL}} = I_q(x; z) + \text{KL}\big(q(z) \,\|\, p(z)\big), \qquad I_q(x; z) \le \log N. \tag{9.7} $$
#
# **Weights and units** (lessons 00 and 04): the loss is $\text{rec} + \beta\,\text{kl}$; a mean over pixels beside a sum over dimensions is $\beta = D$; and
#
# $$ \text{bits per pixel} = \frac{\text{nats per image}}{D \log 2}. \tag{9.8} $$
#
# **With labels** (lessons 07 and 08):
#
# $$ p(y \mid x) = \frac{p(x \mid y)\, p(y)}{\sum_{y'} p(x \mid y')\, p(y')}, \qquad \log p(x \mid y) \ge \mathbb{E}_{q(z|x,y)}[\log p(x \mid z, y)] - \text{KL}\big(q(z \mid x, y) \,\|\, p(z)\big). \tag{9.9} $$

# %%
# NBVAL_CHECK_OUTPUT
z = mu + torch.exp(0.5 * log_var) * torch.randn(20, 4000, 2, dtype=torch.float64)
log_w = linear.log_joint(x4, z) - losses.gaussian_log_prob(z, mu, log_var)
means = {K: losses.iw_bound(log_w[:K]).mean() for K in (1, 5, 20)}  # (9.6)
noise = log_w[0].std() / 4000**0.5
assert abs(means[1] - elbo) < 4 * noise and means[1] < means[5] < means[20] < log_p + 4 * noise
centres, line = (
    torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64),
    torch.linspace(-12, 12, 24_001, dtype=torch.float64),
)
each = Normal(centres, 0.5).log_prob(line)
mixture = torch.logsumexp(each, 0) - math.log(3)
information = (each.exp() * (each - mixture)).sum(1).mean() * 24 / 24_000
marginal = (mixture.exp() * (mixture - Normal(0.0, 1.0).log_prob(line))).sum() * 24 / 24_000
mean_kl = losses.gaussian_kl(centres, torch.full((3, 1), 2 * math.log(0.5), dtype=torch.float64)).mean()
assert abs(information + marginal - mean_kl) < 1e-6 and 0 < information < math.log(3)  # (9.7)
print("the importance-weighted bound rises towards log p(x), and kl splits into information and the rest:", True)

# %%
# NBVAL_CHECK_OUTPUT
coin_flips = losses.bernoulli_nll(torch.zeros(1, 784), test.x[:1]).item()
assert math.isclose(coin_flips / (784 * math.log(2)), 1.0, rel_tol=1e-5)  # (9.8): a coin flip is one bit per pixel
cvae = lesson.shipped("cvae-2d").model
digit, labels = test.x[:1].expand(10, -1), torch.arange(10)
with torch.no_grad():
    bound_y = -sum(cvae.negative_elbo(digit, labels, generator=torch.Generator().manual_seed(0)))
posterior = torch.softmax(bound_y + torch.full((10,), 0.1).log(), 0)  # (9.9), with the bound for log p(x|y)
by_hand = bound_y.double().exp() * 0.1
assert torch.allclose(posterior.double(), by_hand / by_hand.sum(), atol=1e-4) and abs(posterior.sum() - 1) < 1e-5
print("ten posterior probabilities that sum to 1:", True)

# %% [markdown]
# ## 8 · Where to go from here
#
# Every limit you met has been somebody's next paper. Here are the doors, and which limit each opens.
#
# - **The prior is too simple.** $q(z)$ has holes that $N(0, I)$ does not know of (lesson 06). The *VampPrior* replaces the prior by a mixture of encoder answers to learned pseudo-images
#   (Tomczak and Welling 2018).
# - **The posterior is too simple.** A diagonal Gaussian leaves an approximation gap (lesson 05). *Normalising flows* bend it by invertible maps with a known determinant (Rezende and Mohamed
#   2015; inverse autoregressive flow, Kingma et al. 2016).
# - **One layer of codes is too few.** *Hierarchical VAEs* have a code at every scale: the ladder VAE (Sønderby et al. 2016), NVAE (Vahdat and Kautz 2020), and the very deep VAE (Child
#   2021), whose samples are sharp.
# - **The code should be discrete.** *VQ-VAE* takes the nearest of a few hundred learned vectors in place of a Gaussian draw (van den Oord et al. 2017). Its kl is a constant, so it cannot
#   pull the code towards the prior; a second model learns the prior over codes. Image generators that work "in latent space" stand on such an encoder, or on a VAE with a tiny $\beta$
#   (Rombach et al. 2022).
# - **The encoder need not be learned.** *Diffusion models* are hierarchical VAEs with a thousand layers whose encoder is fixed: it adds a little noise at each. The loss is the ELBO
#   again, a sum of kl terms and one rec term; each kl term becomes a weighted squared error of guessing the noise, and Ho et al. dropped the weights (Sohl-Dickstein et al. 2015; Ho et al.
#   2020; Kingma et al. 2021). (9.3) is where those papers start.
# - **Pixels are not independent given $z$,** and a fully connected network does not know that they have neighbours. Convolutional encoders and decoders are the first thing to change on
#   photographs.
#
# **Questions worth thinking about**
#
# 1. A public repository reports 77.3 nats on MNIST after 50 epochs (lesson 05), better than every published model of its kind. Which three exhibits do you think of first?
# 2. You find that your code lacks the "1" of kl. Must you train again?
# 3. A colleague's test trains the network and says `assert loss < 200`. Which of the ten exhibits does it catch?
# 4. In chart 3 of the first wing, why does the encoder not push $\mu$ to exactly 0, since that would cost nothing at all?
# 5. Which of the ten bugs could a larger test set have revealed?
#
# <details><summary>Answers</summary>
#
# 1. A log-variance drawn as $\sigma$ (chart 3 of the first wing reports 103 nats where the healthy run reports 131), the mean in place of a draw, and the KL formula inside the weights. A
#    leak is worth asking about, but is usually too small: it can hide about as much as the gap between training and test, and Burda's code reports at most 0.75 nats for dynamic pixels and 3.5
#    for fixed ones (lesson 05). Turned signs make the figure worse. Not in the museum: thresholded pixels (lesson 03).
# 2. No: the gradients were right, so the weights are. Subtract $d/2$ from every figure, and say so. (Unless kl was clamped as well, as with free bits: then the clamp acted on the wrong
#    number, and you must.)
# 3. The second (rec near 543), and nothing else. The first prints a loss far below 1 and passes with honours.
# 4. Then all images would have one code and rec would be at its baseline. The broken draw makes *precision* free, not *difference*; so the means stay different, and as close together as the
#    decoder's weights, which may grow, allow.
# 5. The leak, if the larger set is really new. The others are wrong on every set alike, or are not about a test set at all.
# </details>
#
# ## Recap
#
# - Read rec and kl apart, the bars, the samples and the reconstructions together. Each alone can look good in a sick model.
# - Ask of each number: what should it be held against, and is it possible at all? Constants, fixed ratios, an estimate without noise, a bound past the truth, a kl too small for its code:
#   all give a bug away without the code.
# - A good result is a reason to look, too.
# - Test pieces on tiny tensors whose answer you know. Then break them, and see the test fail.
# - Check in order: pixels, splits, kl at the prior, rec at logits 0, the draw, the gradients; architecture last.
#
# **Farewell.** You began with a model that knows nothing and the question what it would score. Since then you have bounded an integral that nobody can do, differentiated through a dice
# roll, built a VAE and taken its loss apart nat by nat, measured how much of its code is used, walked through its latent space, asked it for digits, made it a classifier, and learned when
# not to believe it. The number at the bottom of a loss curve can no longer fool you. Go and build something, and when it breaks, begin with the pixels.
#
# **Before:** [08 · Can Bayes' rule classify, and when should you not believe it?](08_generative_classifier.ipynb) · **The first lesson again:** [00 · What would a model that knows nothing
# score?](00_start_here.ipynb)
#
# **Further reading**
# - J. M. Tomczak, M. Welling, *VAE with a VampPrior*, AISTATS 2018; D. J. Rezende, S. Mohamed, *Variational Inference with Normalizing Flows*, ICML 2015; D. P. Kingma et al., *Improved
#   Variational Inference with Inverse Autoregressive Flow*, NeurIPS 2016.
# - C. K. Sønderby et al., *Ladder Variational Autoencoders*, NeurIPS 2016; A. Vahdat, J. Kautz, *NVAE: A Deep Hierarchical Variational Autoencoder*, NeurIPS 2020; R. Child, *Very Deep VAEs
#   Generalize Autoregressive Models and Can Outperform Them on Images*, ICLR 2021.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu, *Neural Discrete Representation Learning*, NeurIPS 2017.
# - J. Sohl-Dickstein et al., *Deep Unsupervised Learning using Nonequilibrium Thermodynamics*, ICML 2015; J. Ho, A. Jain, P. Abbeel, *Denoising Diffusion Probabilistic Models*, NeurIPS
#   2020; D. P. Kingma et al., *Variational Diffusion Models*, NeurIPS 2021; R. Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*, CVPR 2022.
# - T. M. Cover, J. A. Thomas, *Elements of Information Theory*, Wiley, 2nd edition 2006, section 2.10 (Fano's inequality).

# %% [markdown] tags=["solution"]
# **For instructors.** The three wings work best in pairs, aloud, with the code cells still folded: let each pair defend its letters before anybody runs a check. Chart 3 of the first wing
# deserves ten minutes of its own. If time is short, keep sections 2 and 5.
