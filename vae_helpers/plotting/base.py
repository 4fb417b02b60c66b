"""The one style of all figures, and how a figure is shown: as a PNG with alt text, and a sentence below it."""

import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image as Picture

DIGIT_COLORS = [
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
]  # petroff10
DIGIT_MARKERS = ["o", "s", "^", "v", "D", "P", "X", "<", ">", "*"]
WIDTH = 8.0


def use_style() -> None:
    """The look of all figures: fixed sizes, quiet axes, petroff10 colours."""
    plt.rcParams.update(
        {
            "figure.dpi": 96,
            "savefig.dpi": 96,
            "figure.figsize": (WIDTH, 3.2),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=DIGIT_COLORS),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.labelsize": 10,
            "image.cmap": "gray",
            "image.interpolation": "nearest",
            "legend.frameon": False,
            "font.size": 10,
        }
    )


def show(figure: Figure, alt: str) -> None:
    """Display a figure as a PNG whose alt text is `alt`, print that sentence below it, and close the figure."""
    from IPython.display import Image, display

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    display(Image(smaller(buffer.getvalue()), format="png", alt=alt), metadata={"image/png": {"alt": alt}})
    print(f"Figure: {alt}")


def smaller(picture: bytes) -> bytes:
    """The same opaque picture in fewer bytes: no alpha channel, and one channel instead of three where all are grey.

    Sheets of digits shrink to less than half, and notebooks that show many of them stay under the size that is stored.
    """
    image = Picture.open(io.BytesIO(picture)).convert("RGB")
    red, green, blue = (channel.tobytes() for channel in image.split())
    buffer = io.BytesIO()
    (image.convert("L") if red == green == blue else image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
