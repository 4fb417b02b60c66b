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
# # What would a model that knows nothing score?
#
# Welcome. In this course you build a **variational autoencoder** (VAE): a model that looks at images, learns a small code for each,
# and can then dream up new ones. It is trained by minimising one number, and most of the confusion about VAEs is confusion about that
# number. So before there is any model, you will learn what the number means: what zero would mean, what the best possible value is,
# and what a model that has learned next to nothing scores. After that, no loss curve can fool you.
#
# **You will be able to**
# - load MNIST, check that it is what it claims to be, and keep the test images apart;
# - read a grey pixel in three ways, and say which of them your loss assumes;
# - compute the floor below which no loss can go, and two baselines that any model must beat;
# - convert nats per image into bits per pixel;
# - steer through the code of a trained VAE with two sliders.
#
# **You need** Python, a little PyTorch (tensors, broadcasting), the logarithm, and the mean of a random variable.
# **Time:** 35 minutes of reading and trying, under a minute of computing.
#
# Words you will meet: a *nat* is a unit of information, like a bit, but with the natural logarithm (1 nat is $1/\log 2 \approx 1.44$ bits).

# %%
import math

import torch

from vae_helpers import checks as check
from vae_helpers import data, lesson, losses, plotting, widgets

lesson.start()

# %% [markdown]
# That line tells you how this notebook is running. The *full* profile uses all of MNIST and computes every number in the text anew; the
# *quick* profile (set the environment variable `VAE_PROFILE=quick`) takes a few thousand images, for a fast look and for automatic tests.
# (The comment `# NBVAL_CHECK_OUTPUT` on top of some cells is for those tests; you can ignore it.)
#
# ## 1 · The images
#
# <!-- source: LeCun et al. 1998; scikit-learn's load_digits -->
# MNIST is 70 000 pictures of handwritten digits, 28 by 28 pixels. The next cell looks for them in the folder named by `VAE_DATA_DIR`,
# then in `data/`, and else fetches them once. Each file's SHA-256 is compared with the published one, so a broken download cannot slip
# through. With no MNIST and no network, you get 1 797 smaller real digits that come with scikit-learn, and a note that says so.

# %%
train, validation, test = lesson.images()
print("one image:", train.images[0].shape, train.images.dtype, "· its label:", int(train.labels[0]))

# %% [markdown]
# `train.images` are the stored bytes, `(N, 28, 28)`. `train.x` are the same pixels divided by 255, as rows `(N, 784)`, and `train.y` the
# digits. `train[:5]` and `train.of_digit(3)` are smaller sets of the same kind.
#
# Three sets, three jobs. You *train* on the first. You compare models and choose settings on the second, the **validation** images, which
# were taken out of the training file. The **test** images decide nothing: no setting may ever be chosen by looking at them, so that they can
# tell you at the end how good the chosen model is. Look at ten training images of each digit first.
# Which would you misread yourself?

# %%
sheet = torch.cat([train.of_digit(k).x[:10] for k in range(10)])
plotting.image_sheet(sheet, "ten training images of each digit, one digit a row, from 0 at the top to 9 at the bottom")

# %% [markdown]
# An image is a vector to us: the 28 rows are laid end to end, which gives a vector $x \in [0,1]^D$ with $D = 28 \cdot 28 = 784$.
# The models of this course never learn that two pixels are neighbours. That is a real limit: convolutional networks do better on
# pictures. It is also a simplification that lets you see the probability theory without the machinery.

# %%
plotting.reshape_figure(train.x[0])

# %% [markdown]
# Are training and test images really different images? Some public tutorials load the training file twice and never notice. A checksum
# per image settles it: if no image stands in both, the two sets are disjoint.


# %%
# NBVAL_CHECK_OUTPUT
def fingerprints(images):
    """The set of all images in an ImageSet, as byte strings."""
    return {image.numpy().tobytes() for image in images.images}


shared = fingerprints(data.load(split="train")) & fingerprints(data.load(split="test"))
assert not shared
print("images that stand in both the training and the test file:", len(shared))

# %% [markdown]
# ### Find the bug: a test set that is none
#
# Your first exercise. In all of them you edit a cell, run it, and run the check below it. A check says ✓ (right), ✗ (wrong, with a hint) or
# ○ (nothing written yet). After ✗ and ○ the lesson goes on with an answer of its own, so you are never stuck; to try again, edit, and run
# both cells once more. Further hints are folded below the check.
#
# The next cell is how one of the tutorials behind this course sets up its test images. It runs, the shapes look right, every later number
# looks fine, and it is wrong. Mend it, then run the check.

# %%
### BEGIN SOLUTION
test_images = data.load(split="test")
### BLANK VERSION
# test_images = data.load(split="train")
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
test_images = check.test_images(test_images)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Read the argument. What does it load? And how would you have noticed: which property of the two sets would you print?
# </details>
#
# ## 2 · What is a pixel?
#
# <!-- confusion 15 -->
# A pixel is stored as a byte from 0 to 255. Divided by 255 it becomes a number $x_j$ between 0 and 1, and now there is a choice that many
# texts make silently.
#
# - **grey**: the pixel *is* the number 0.3.
# - **dynamic binarisation**: the number is a *probability*. Each time you look, you draw a fresh black-or-white pixel
#   $b_j \sim \text{Bernoulli}(x_j)$, which is white in 3 looks out of 10.
# - **static binarisation**: black or white once and for all, $b_j = 1$ where $x_j > \tfrac12$.
#
# These are three different data sets, and a loss on one cannot be compared with a loss on another. Play with it: in dynamic mode press
# *draw again* a few times, and watch where the picture flickers.

# %%
widgets.binarization_explorer(test)

# %% [markdown]
# The same as a picture, for readers without a running kernel. Look at the edges of the strokes: well inside and outside, the rows almost
# always agree.

# %%
eight = test.x[:8]
torch.manual_seed(1)
rows = {
    "grey": eight,
    "dynamic": data.binarize(eight, "dynamic"),
    "again": data.binarize(eight, "dynamic"),
    "static": data.binarize(eight, "static"),
}
plotting.image_rows(
    rows,
    "eight test images as grey values, as two random binary draws that differ mostly at the edges, and cut at one half",
)

# %% [markdown]
# How much of an image is edge? Count the pixels that are exactly 0 or exactly 1: for them all three conventions say the same.
#
# **Before you run it, guess:** what share of MNIST's pixels is pure black or pure white?

# %%
x = train.x
extreme = ((x == 0) | (x == 1)).float().mean()
print(f"pixels that are exactly 0 or 1: {extreme:.1%} · mean pixel: {x.mean():.4f}")

# %% [markdown]
# On MNIST about four pixels in five are pure. The other fifth is where all the disagreement lives: the soft edges, and the insides of strokes,
# which are often 253 or 254 in place of 255 and so flip once in a hundred draws. <!-- source: 1 - 253/255 is below 1 % -->
#
# <!-- confusion 4 -->
# > **Are your inputs really in [0, 1]?** Everything here needs pixels between 0 and 1. Feed bytes from 0 to 255 to
# > `F.binary_cross_entropy_with_logits` and PyTorch (2.15) raises no error: the loss starts out harmless, soon turns *negative*, and goes down
# > for ever. "Normalised" images (mean 0, standard deviation 1) break it in the same way. The course's own entry points check the range once
# > and tell you the fix. The next cell fails on purpose; read the last line of its message.

# %% tags=["raises-exception"]
data.check_images(255 * test.x[:2])

# %% [markdown]
# ## 3 · One number for a guess
#
# Suppose a model says: pixel $j$ is white with probability $p_j$. How good was that guess, once you see the pixel? The measure used in
# the whole course is the **negative log-likelihood**: minus the logarithm of the probability that the model gave to what happened.
#
# For a binary pixel $b$ that is $-\log p$ if $b = 1$ and $-\log(1-p)$ if $b = 0$; in one line, summed over the pixels,
#
# $$ -\log p(b) = -\sum_{j=1}^{D} \Big[ b_j \log p_j + (1-b_j) \log(1-p_j) \Big]. \tag{0.1} $$
#
# A certain and right guess costs 0, a coin flip costs $\log 2 \approx 0.69$ nats, a certain and wrong guess costs infinity. For grey
# pixels people put $x_j$ in the place of $b_j$ and call it *binary cross-entropy*. Is that allowed? It has a meaning: since (0.1) is
# linear in $b$, it is the **average** cost over many dynamic draws $b \sim \text{Bernoulli}(x)$:
#
# $$ \text{BCE}(x, p) = -\sum_{j=1}^{D} \Big[ x_j \log p_j + (1-x_j) \log(1-p_j) \Big] = \mathbb{E}_{b \sim \text{Bernoulli}(x)}\big[-\log p(b)\big]. \tag{0.2} $$
#
# You can see it happen. The cell takes a fixed guess $p$ (the mean training image), and compares the formula on the grey image with the
# average cost over two thousand random draws of it. An average over random draws is itself a little random: its *standard error*, the
# spread of the draws divided by the square root of their number, says by how much. A gap of more than four of them is almost never chance.


# %%
# NBVAL_CHECK_OUTPUT
def bce(x, p):  # (0.1) for binary x, (0.2) for grey x; shapes (..., D) -> (...)
    return -(torch.xlogy(x, p) + torch.xlogy(1 - x, 1 - p)).sum(-1)


mean_guess = train.x.mean(0).clamp(1e-4, 1 - 1e-4)
grey = test.x[0]
draws = bce(torch.bernoulli(grey.expand(2000, -1)), mean_guess)
standard_error = draws.std() / 2000**0.5
assert abs(draws.mean() - bce(grey, mean_guess)) < 4 * standard_error
print("average over draws equals the formula on grey pixels, within four standard errors:", True)

# %% [markdown]
# The clamp matters: a pixel that is black in every training image would get $p_j = 0$, and one white test pixel there would cost infinity.
# Later, models return **logits** $\log\frac{p}{1-p}$ in place of probabilities, and no clamp is needed.
#
# ### The floor
#
# Now the question that this lesson is about. If you could choose every $p_j$ freely, *for this very image*, how low could BCE go?
#
# **Predict first.** A grey pixel has the value $x = 0.3$. Which $p$ makes $-[x\log p + (1-x)\log(1-p)]$ smallest? And is the smallest
# value zero?

# %%
### BEGIN SOLUTION
best_p = 0.3
### END SOLUTION

# %%
# NBVAL_CHECK_OUTPUT
best_p = check.best_p(best_p)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Set the derivative with respect to $p$ to zero: $-\frac{x}{p} + \frac{1-x}{1-p} = 0$. (It is a minimum: both ends cost infinity.)
# </details>
#
# The curves show the cost of one pixel for every guess $p$, one curve for each grey value. The dots mark their lowest points. Follow the
# dots: are they on the axis?

# %%
plotting.bce_curves()

# %% [markdown]
# The dots lie on the arch $h(x)$, which touches zero only at $x=0$ and $x=1$. The best guess for a grey pixel is its own value, and it
# still costs
#
# $$ h(x) = -x \log x - (1-x) \log (1-x), \tag{0.3} $$
#
# the **entropy** of a coin that falls white with probability $x$. No model, however large, can do better than $\sum_j h(x_j)$ on an image,
# because each grey edge pixel is treated as a coin, and coins cannot be foreseen. This is the floor.
#
# ### Exercise: code the floor
#
# Write a function that maps images `(N, 784)` to their floors `(N,)`, in nats. *About 5 minutes.* One trap: $0 \log 0$ is 0 in (0.3), and
# `nan` on a computer.


# %%
def pixel_entropy(x):
    """Sum over the last axis of h(x) = -x log x - (1-x) log(1-x): (..., D) -> (...), in nats."""
    ### BEGIN SOLUTION
    return -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(-1)  # (0.3)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
pixel_entropy = check.pixel_entropy(pixel_entropy)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.xlogy(a, b)` computes $a \log b$ and returns 0 where $a = 0$. And sum over the pixels of each image, not over the whole batch.
# </details>
#
# Why can nothing beat it? Because what a guess costs *above* the floor is a KL divergence, a quantity that is never negative (lesson 01):
#
# $$ \text{BCE}(x, p) - \sum_j h(x_j) = \sum_j \Big[ x_j \log \frac{x_j}{p_j} + (1-x_j) \log \frac{1-x_j}{1-p_j} \Big] \ge 0. \tag{0.4} $$
#
# And a check by computing: guessing each image's own grey values costs the floor; a guess that is off by up to 0.02 costs more.

# %%
floor = pixel_entropy(test.x).mean()
own = bce(test.x, test.x).mean()
nudged = min(bce(test.x, (test.x + s).clamp(1e-3, 1 - 1e-3)).mean() for s in (-0.02, 0.02))  # kept off 0 and 1
print(f"floor, nats per test image: {floor:.2f} · guessing the image itself: {own:.2f} · off by 0.02: {nudged:.2f}")
print(f"floor on the training images: {pixel_entropy(train.x).mean():.2f}")

# %%
# NBVAL_CHECK_OUTPUT
x, p = test.x[:100].double(), mean_guess.double()
excess = (torch.xlogy(x, x / p) + torch.xlogy(1 - x, (1 - x) / (1 - p))).sum(-1)  # (0.4)
assert torch.allclose(bce(x, p) - pixel_entropy(x), excess) and (excess >= 0).all()
assert torch.isclose(own, floor) and nudged > floor > 0
print("the excess over the floor is (0.4), never negative, and zero for the image itself:", True)

# %% [markdown]
# > **"A loss of 100 is bad, because it is not near 0."** On grey MNIST with this loss, *zero is impossible*: the floor printed above is
# > what you pay even if you know which image comes. A model of new images does not know that beforehand, and must pay for it too. How much is
# > unavoidable, nobody knows exactly; the best published models are still 33 nats above the floor.
# > <!-- source: 78.53 nats on dynamically binarised MNIST: X. Chen et al., Variational Lossy Autoencoder, ICLR 2017; less the floor 45.53 -->
# > So read every loss next to its floor, and do not expect to reach it.
#
# ## 4 · Two baselines that have learned next to nothing
#
# The floor bounds you from below; baselines tell you from above whether anything was learned. First the model "every image is the same":
# each pixel independent of the others, white with its average frequency in the training set,
#
# $$ p(b) = \prod_{j=1}^{D} \bar p_j^{\,b_j} (1-\bar p_j)^{1-b_j}, \qquad \bar p_j = \frac1N \sum_{n=1}^{N} x_{nj}. \tag{0.5} $$
#
# Second, the same for each digit, if somebody tells you which digit it is. **Before you run it, guess:** how much of the gap between the
# floor and the first baseline does the label close? A tenth, a third, a half?

# %%
mean_image = train.x.mean(0).clamp(1e-4, 1 - 1e-4)  # (0.5), kept off 0 and 1
class_means = torch.stack([train.of_digit(k).x.mean(0) for k in range(10)]).clamp(1e-4, 1 - 1e-4)

one_for_all = bce(test.x, mean_image).mean()
one_per_digit = bce(test.x, class_means[test.y]).mean()
print(
    f"one image for all: {one_for_all:.1f} · one per digit: {one_per_digit:.1f} · floor: {floor:.1f} nats per test image"
)

# %%
plotting.image_sheet(
    torch.cat([mean_image[None], class_means]),
    "the mean image of all training digits, then the mean of each digit from 0 to 9",
    columns=11,
)

# %%
# NBVAL_CHECK_OUTPUT
closed = (one_for_all - one_per_digit) / (one_for_all - floor)
assert floor < one_per_digit < one_for_all
print("order: floor < one image per digit < one image for all:", True)

# %%
print(f"share of the gap that the label closes: {closed:.0%}")

# %% [markdown]
# Knowing the digit closes about a fifth of the gap on MNIST. The rest is all that the label does not say: slant, thickness, the way a 2 ends.
# Within one digit these make pixels vary *together*, and a mean image cannot say so. The latent code of a VAE will carry them, at a price.
#
# Baselines exist for the squared error too. If you guess the mean image for everyone, the sum of squared errors is the total variance of
# the pixels. You will meet losses of about 32 with this error in lesson 04; now you know what they stand against.

# %%
sse = losses.squared_error(train.x.mean(0), test.x).mean()
print(f"sum of squared errors of the mean image: {sse:.2f} per test image")

# %% [markdown]
# ## 5 · Nats per image, bits per pixel
#
# Some papers report *bits per dimension*: the same quantity divided by the number of pixels and expressed with the logarithm to base 2.
#
# $$ \text{bits per dimension} = \frac{\text{nats per image}}{D \, \log 2} \tag{0.6} $$
#
# ### Exercise: convert
#
# *Two minutes.* The function takes nats per image and the number of pixels.


# %%
def bits_per_dim(nats, dimensions=784):
    """Nats per image -> bits per dimension."""
    ### BEGIN SOLUTION
    return nats / (dimensions * math.log(2))  # (0.6)
    ### END SOLUTION


# %%
# NBVAL_CHECK_OUTPUT
bits_per_dim = check.bits_per_dim(bits_per_dim)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `math.log(2)` is the natural logarithm of 2 (`torch.log` takes only tensors).
# </details>

# %%
print(f"floor: {bits_per_dim(floor):.3f} bits per pixel · one image for all: {bits_per_dim(one_for_all):.3f}")

# %% [markdown]
# <!-- confusion 5 -->
# > **Is a negative loss a bug?** For binary pixels (and for BCE), yes: a probability is at most 1, so $-\log p \ge 0$. For a *density*, as a Gaussian over
# > grey values, no: a density may exceed 1, so its negative log may go below zero. Lesson 04 shows both.
#
# ## 6 · The first generative classifier
#
# Here is a surprise that will carry the whole last third of the course. You have ten guesses, one mean image per digit. Take an image,
# ask each of the ten "how badly did you guess?", and pick the best. That is a classifier, and nobody trained it to classify. It is
# Bayes' rule with the model (0.5) for each digit:
#
# $$ \hat y = \arg\max_y \; \log p(b \mid y) + \log p(y). \tag{0.7} $$
#
# On grey pixels we put the mean over binary draws, minus (0.2), in the place of $\log p(b \mid y)$.


# %%
def naive_bayes(x):  # (0.7): images (N, 784) -> digits (N,)
    log_px_y = torch.stack([-bce(x, mean) for mean in class_means])
    log_py = (torch.bincount(train.y, minlength=10) / len(train)).log()
    return (log_px_y + log_py[:, None]).argmax(0)


accuracy = (naive_bayes(test.x) == test.y).float().mean()
print(f"accuracy of ten mean images and Bayes' rule: {accuracy:.1%}")

# %%
# NBVAL_CHECK_OUTPUT
assert 0.78 < accuracy < 0.95
print("ten mean images classify more than 78 % of the test digits, and fewer than 95 %:", True)

# %% [markdown]
# Lesson 08 replaces each mean image by a conditional VAE and sees how far the idea goes, and where it must not be trusted.
#
# ## 7 · Your three-minute win: drive a trained VAE
#
# Enough of baselines. The course ships a trained VAE. It has two networks: an **encoder**, which squeezes an image into a code $z$ of *two numbers*, and a
# **decoder**, which turns any two numbers into an image. The cell prints what the model costs on the test images, in the units that you now understand.
# "At most", because its exact cost cannot be computed, only a number that lies above it (lesson 01).

# %%
shipped = lesson.shipped("latent-2d")
vae = shipped.model
bound, one_for_all_mnist, floor_mnist = shipped.metrics["test"], 205.8, 45.5  # the last two: sections 3 and 4, on MNIST
closed = (one_for_all_mnist - bound) / (one_for_all_mnist - floor_mnist)
print(f"at most {bound} nats per MNIST test image: {closed:.0%} of the way from one image for all to the floor")

# %% [markdown]
# Two numbers per image, and no label, close twice as much of the gap as knowing the digit did. Drag the sliders, or click one and use
# the arrow keys. Start in the middle. Can you turn a 7 into a 9 and then into a 4? Where do the 1s live?

# %%
widgets.latent_explorer(vae, name="first sliders")

# %% [markdown]
# The same as a sheet: the first coordinate runs from left to right, the second from bottom to top, both from −2.5 to 2.5.

# %%
plotting.decoder_sheet(
    vae,
    "decoded images on a grid of the two-dimensional code: neighbouring cells show similar digits, and digits morph into each other",
)

# %% [markdown]
# Where do real images land? Each dot below is one test image, at the code that the encoder gives it. Colour and marker show the digit,
# which the model was never told.

# %%
some = test.random_subset(min(2000, len(test)))
plotting.code_map(
    vae,
    some,
    "codes of test images in two dimensions, coloured by digit: 0, 1, 6 and 7 lie apart, 4 and 9 overlap, 3, 5 and 8 crowd the middle",
)

# %% [markdown]
# 0, 1, 6 and 7 have regions of their own. 4 and 9 share one; 3, 5 and 8 crowd the middle, and the 5s have a second home further down. Two numbers are not
# enough room for all ways to write a digit: lesson 03 takes twenty.
#
# **Questions worth thinking about**
#
# 1. Why do 4 and 9 share a region, while 0 and 1 lie far apart?
# 2. The sliders run from −3 to 3. What would you expect at $z = (10, 10)$, and does the model promise anything there?
# 3. A colleague reports "our VAE reaches 90 nats on MNIST, yours only 106". Which question do you ask first?
#
# <details><summary>Answers</summary>
#
# 1. The code must let the decoder redraw the pixels. A 4 and a 9 share most of their ink; a 0 and a 1 share almost none. Nobody told
#    the model about labels, so "similar" means "similar pixels".
# 2. Codes of real images lie around the origin, because training pulls them towards the prior $N(0, I)$ (lesson 01). Far outside, the
#    decoder was never trained. It returns *something*, since a network always does, and nothing speaks for it.
# 3. "Grey, dynamic or static?" One and the same model scores about 106, 103 and 90 under the three conventions (lesson 03 measures it).
# </details>
#
# ## Recap
#
# - Training, validation and test images are three sets; check that they are disjoint.
# - A grey pixel can be a value or a probability. BCE treats it as a probability: it is the mean cost over random binary images.
# - The floor of BCE on grey images is the entropy of their pixels, not zero; the baseline "one image for all" is the price of knowing only
#   how often each pixel is white. Read every result next to these two.
# - Bits per dimension are nats per image divided by $D \log 2$.
#
# **Next:** [01 · How can a bound stand in for an integral that nobody can do?](01_elbo.ipynb) If you would rather build a VAE right
# away and understand it afterwards, go to [03 · What does the loss number mean?](03_mlp_vae.ipynb)
#
# **Further reading**
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, *Gradient-based learning applied to document recognition*, Proceedings of the IEEE, 1998 (MNIST).
# - D. P. Kingma, M. Welling, *Auto-Encoding Variational Bayes*, ICLR 2014.
# - Y. Burda, R. Grosse, R. Salakhutdinov, *Importance Weighted Autoencoders*, ICLR 2016 (dynamic binarisation as used here).
# - D. J. C. MacKay, *Information Theory, Inference, and Learning Algorithms*, 2003, chapter 2 (entropy).

# %% [markdown] tags=["solution"]
# **For instructors.** The exercise on the floor takes most groups longest, because of $0\log 0$; let them see the `nan` first. Question 3
# makes a good closing discussion. The three-minute win also works as the opening of a first lecture, before any theory.
