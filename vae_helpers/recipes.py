"""Named set-ups: the five source tutorials with their own settings and printed figures, and the models that the course ships.

A source's figure is not always -ELBO per image; `Recipe.as_source_counts` turns ours into what the source would have printed.
"""

import math
from dataclasses import dataclass, field, replace

import torch

from vae_helpers.data import ImageSet
from vae_helpers.history import Epoch, History
from vae_helpers.initialization import start_codes_at, start_from
from vae_helpers.models import PIXELS, VAE
from vae_helpers.training import fit

# what "SSE + KL" leaves out of -log N(x; mean, I/2): 448.73 nats
GAUSSIAN_HALF_CONSTANT = PIXELS / 2 * math.log(math.pi)


@dataclass(frozen=True)
class Recipe:
    """A model, how it is trained, and what its source printed.

    model, training       keyword arguments of `VAE` and of `fit`
    starts_from_data      whether the first weights come from `initialization.start_from`, not from PyTorch's defaults
    first_log_var         where the posterior's log-variance starts, if not where these weights put it
    printed               the source's own figures: {epoch, counted from 1: nats per image}
    dropped_constant      nats that the source leaves out of a normalised density
    added_constant        nats that a mistake in the source adds (S0: KL without its "1 +")
    divides_by            the number of images that the source divides by, where it is not the number seen (S4)
    seed                  the seed of a run that names none. The sources do not give theirs, and their first epochs differ by a nat or
                          two between seeds: ours is one whose first three *training* figures lie near the printed ones
    """

    name: str
    title: str
    model: dict
    training: dict
    printed: dict[int, float] = field(default_factory=dict)
    dropped_constant: float = 0.0
    added_constant: float = 0.0
    divides_by: int | None = None
    seed: int = 0
    starts_from_data: bool = False
    first_log_var: float | None = None
    notes: str = ""

    def build(self, seed: int | None = None, *, images: ImageSet | None = None) -> VAE:
        """A fresh network; the same weights for the same seed (default: the recipe's), whatever was drawn before.

        A recipe that starts from data needs the training images for that.
        """
        seed = self.seed if seed is None else seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = VAE(**self.model)
        if self.starts_from_data and images is not None:
            start_from(model, images, seed=seed)
        return model if self.first_log_var is None else start_codes_at(model, self.first_log_var)

    def bound(self, rec: float, kl: float) -> float:
        """-ELBO in the source's unit: without the constant that it drops, with no mistake. Nats per image."""
        return rec - self.dropped_constant + kl

    def as_source_counts(self, row: Epoch) -> float:
        """Our epoch, averaged the way the source averages, its mistakes included. Nats per image."""
        share = row.images_seen / self.divides_by if self.divides_by else 1.0
        return (self.bound(row.rec, row.kl) + self.added_constant) * share

    def train(
        self,
        images: ImageSet,
        *,
        epochs: int | None = None,
        seed: int | None = None,
        model: VAE | None = None,
        **settings,
    ) -> tuple[VAE, History]:
        """Build and train; `settings` are those of `fit` and override the recipe's. Pass `model` to go on with that one."""
        seed = self.seed if seed is None else seed
        model = self.build(seed, images=images) if model is None else model
        arguments = self.training | settings | ({"epochs": epochs} if epochs is not None else {})
        return model, fit(model, images, seed=seed, **arguments)


_SOURCES = [
    Recipe(
        "S0",
        "MNIST VAE, four latent dimensions, squared error",
        dict(
            latent_dim=4,
            encoder_sizes=(64, 32),
            decoder_sizes=(32, 64),
            likelihood="gaussian",
            sigma_x=math.sqrt(0.5),
            sigmoid_mean=True,
        ),
        dict(epochs=50, batch_size=200, learning_rate=1e-3),
        {1: 66.2929, 2: 50.3971, 3: 46.23, 5: 41.3674, 10: 38.5736, 20: 36.5916, 30: 35.7588, 50: 35.0090},
        dropped_constant=GAUSSIAN_HALF_CONSTANT,
        added_constant=2.0,
        seed=5,
        notes="Its KL lacks the '1 +', which adds d/2 = 2 nats to every figure and nothing to the gradients. "
        "Its first epochs differ by more than a nat between seeds, whoever trains it.",
    ),
    Recipe(
        "S1",
        "VAE with ten latent dimensions, cross-entropy on grey pixels",
        dict(latent_dim=10, encoder_sizes=(256,), decoder_sizes=(256,)),
        dict(epochs=150, batch_size=128, learning_rate=1e-3, drop_last=True),
        {
            1: 171.848,
            2: 128.692,
            3: 122.78,
            5: 117.812,
            10: 113.213,
            20: 109.852,
            50: 106.702,
            100: 105.174,
            147: 104.473,
            150: 104.480,
        },
        seed=1,
        notes="It drops the last, short batch and averages batch means: with batches of one size, the mean over images seen.",
    ),
    Recipe(
        "S2-VAE",
        "VAE with two latent dimensions, cross-entropy on grey pixels",
        dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512)),
        dict(epochs=15, batch_size=128, learning_rate=1e-3, shuffle=False),
        {1: 186.848, 2: 163.177, 3: 156.97, 5: 150.558, 10: 144.316, 15: 141.511},
        seed=1,
        notes="Its training loader does not shuffle; shuffling gains 0.6 to 0.8 nat.",
    ),
    Recipe(
        "S2-CVAE",
        "conditional VAE with two latent dimensions",
        dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512), num_classes=10),
        dict(epochs=14, batch_size=128, learning_rate=1e-3, shuffle=False),
        {1: 172.238, 2: 142.200, 3: 137.72, 5: 134.006, 10: 130.637, 14: 129.411},
        notes="Its training loader does not shuffle. The bound is on log p(x|y), not on log p(x).",
    ),
    Recipe(
        "S4",
        "VAE with ten latent dimensions behind 32 units, squared error, linear output",
        dict(
            latent_dim=10,
            encoder_sizes=(256, 128, 32),
            decoder_sizes=(32, 128, 256),
            likelihood="gaussian",
            sigma_x=math.sqrt(0.5),
        ),
        dict(epochs=10, batch_size=64, learning_rate=1e-3, drop_last=True),
        {1: 46.223, 2: 36.646, 3: 34.717, 4: 33.846, 5: 33.334, 10: 32.059},
        dropped_constant=GAUSSIAN_HALF_CONSTANT,
        divides_by=60_000,
        notes="It drops the last batch but divides by all 60 000 images.",
    ),
]

# the same networks and bounds, trained sooner: a rate that rises and falls, and where they pay, bfloat16 products and first weights from
# the data
_FAST_TRAINING = dict(schedule="cosine", warmup=0.05, precision="bfloat16")

_FAST = {
    "S0": dict(epochs=9, batch_size=200, learning_rate=1.5e-2, precision="float32"),  # too small for bfloat16 to pay
    "S1": dict(epochs=14, batch_size=512, learning_rate=3e-2, optimizer="muon", matrix_rate=0.06),
    "S2-VAE": dict(epochs=8, batch_size=400, learning_rate=7e-3),
    "S2-CVAE": dict(epochs=5, batch_size=384, learning_rate=1e-2),
    "S4": dict(epochs=6, batch_size=112, learning_rate=3e-3, beta_warmup_epochs=2, precision="float32"),
}

# narrow first codes: without them some seeds of these two meet the figure an epoch later, or not at all. S4's layers start as PyTorch
# draws them: behind 32 units, the larger weights of `start_from` cost it some of its dimensions
_FAST_STARTS = {
    "S2-VAE": dict(first_log_var=-4.0),
    "S4": dict(first_log_var=-3.0, starts_from_data=False),
}

_FAST_NOTES = {
    "S4": " In its first epochs beta rises from 0 to 1, so that no latent dimension is given up before the 32 units carry it "
    "(Bowman et al. 2016; Sønderby et al. 2016); the later ones minimise the source's objective. The figure is rec + kl in all of them.",
}

_FAST_SOURCES = [
    replace(
        recipe,
        name=f"{recipe.name}-fast",
        title=f"{recipe.title}, trained sooner",
        training=_FAST_TRAINING | _FAST[recipe.name],
        printed={},
        added_constant=0.0,
        divides_by=None,
        seed=0,
        notes="Same architecture and bound as its source; every image of every epoch is seen, in a new order each time."
        + _FAST_NOTES.get(recipe.name, ""),
        **dict(starts_from_data=True) | _FAST_STARTS.get(recipe.name, {}),
    )
    for recipe in _SOURCES
]

_SHIPPED = [
    Recipe(
        "latent-2d",
        "the two-dimensional map that lesson 00 plays with",
        dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512), activation="silu"),
        dict(epochs=30, batch_size=128, learning_rate=2e-3, schedule="cosine", warmup=0.02),
    ),
    Recipe(
        "first-vae",
        "the VAE that lesson 03 builds: 784-400-20-400-784",
        dict(latent_dim=20, encoder_sizes=(400,), decoder_sizes=(400,)),
        dict(epochs=10, batch_size=128, learning_rate=1e-3),
    ),
]

BETAS = (0.1, 0.5, 1.0, 2.0, 4.0, 10.0)
SIGMAS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.71, 1.0)

_FAMILY_SIZES = dict(latent_dim=20, encoder_sizes=(200,), decoder_sizes=(200,))
_FAMILY_TRAINING = dict(epochs=12, batch_size=128, learning_rate=2e-3, schedule="cosine")

_FAMILIES = [
    Recipe(
        f"beta-{beta:g}",
        f"one network at KL weight beta = {beta:g}, grey pixels, Bernoulli",
        _FAMILY_SIZES,
        _FAMILY_TRAINING | dict(beta=beta),
    )
    for beta in BETAS
] + [
    Recipe(
        f"sigma-{sigma:g}",
        f"the same network with a Gaussian likelihood of fixed sigma_x = {sigma:g}",
        _FAMILY_SIZES | dict(likelihood="gaussian", sigma_x=sigma),
        _FAMILY_TRAINING,
    )
    for sigma in SIGMAS
]

_CONDITIONAL = [
    Recipe(
        "cvae-2d",
        "the conditional VAE of lessons 07 and 08 whose code can be drawn: the network of S2-CVAE, shuffled",
        dict(latent_dim=2, encoder_sizes=(512, 256), decoder_sizes=(256, 512), num_classes=10),
        dict(epochs=14, batch_size=128, learning_rate=1e-3),
    ),
    Recipe(
        "cvae-20d",
        "the conditional VAE of lessons 07 and 08 with room for style: 784+10-400-20, binarised anew in each epoch",
        dict(latent_dim=20, encoder_sizes=(400,), decoder_sizes=(400,), num_classes=10),
        dict(epochs=10, batch_size=128, learning_rate=1e-3, pixels="dynamic"),
    ),
]

_CLASSIFIER_TRAINING = dict(
    batch_size=256, learning_rate=4e-3, schedule="cosine", warmup=0.02, precision="bfloat16", distortion=0.5
)

_CLASSIFIERS = [  # settings chosen on held-out training images
    Recipe(
        "classifier",
        "the conditional VAE behind the generative classifier of lesson 08: ten minutes on two cores",
        dict(latent_dim=32, encoder_sizes=(768, 768), decoder_sizes=(768, 768), activation="silu", num_classes=10),
        _CLASSIFIER_TRAINING | dict(epochs=130),
        starts_from_data=True,
    ),
    Recipe(
        "classifier-3min",
        "a smaller one, three minutes on two cores",
        dict(latent_dim=32, encoder_sizes=(512, 512), decoder_sizes=(512, 512), activation="silu", num_classes=10),
        _CLASSIFIER_TRAINING | dict(epochs=40),
        starts_from_data=True,
    ),
]

_LIKELIHOOD_MODEL = dict(
    latent_dim=50, encoder_sizes=(500, 500), decoder_sizes=(500, 500), activation="silu", prior_couplings=4
)
_LIKELIHOOD_TRAINING = dict(
    batch_size=128, learning_rate=2e-3, schedule="cosine", warmup=0.02, pixels="dynamic", precision="bfloat16"
)

_LIKELIHOODS = [
    Recipe(
        "likelihood",
        "fifty dimensions under a learned prior, binarised anew in each epoch: a quarter of an hour on two cores",
        _LIKELIHOOD_MODEL,
        _LIKELIHOOD_TRAINING | dict(epochs=140),
        starts_from_data=True,
    ),
    Recipe(
        "likelihood-10min",
        "the same for ten minutes",
        _LIKELIHOOD_MODEL,
        _LIKELIHOOD_TRAINING | dict(epochs=60),
        starts_from_data=True,
    ),
    Recipe(
        "likelihood-3min",
        "the same for three minutes",
        _LIKELIHOOD_MODEL,
        _LIKELIHOOD_TRAINING | dict(epochs=30, batch_size=256, learning_rate=3e-3),
        starts_from_data=True,
    ),
]

SOURCES = tuple(recipe.name for recipe in _SOURCES)
FAST = tuple(recipe.name for recipe in _FAST_SOURCES)
SHIPPED = tuple(recipe.name for recipe in _SHIPPED + _FAMILIES + _CONDITIONAL + _CLASSIFIERS[:1] + _LIKELIHOODS[:1])
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in [*_SOURCES, *_FAST_SOURCES, *_SHIPPED, *_FAMILIES, *_CONDITIONAL, *_CLASSIFIERS, *_LIKELIHOODS]
}
