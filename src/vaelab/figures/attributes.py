"""Pictures of images that are asked for a class or an attribute."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import ImageGrid
from vaelab.figures.style import escape_mathtext

_LONGEST_NAME = 20


def class_arithmetic_figure(
    images: ImageGrid,
    source: Sequence[str],
    target: Sequence[str],
    title: str = "Test images, their class's mean latent exchanged for another's",
) -> Figure:
    """Draw row i of the pictures as a column: image, reconstruction, the image as each class.

    `own` names the classes of the images, `asked` those of the pictures from [i, 2] on. The
    asked ones are rows because a row has room for a long name.
    """
    return image_grid(
        np.moveaxis(images, 1, 0),
        title,
        row_labels=["image", "decoded", *(f"as {_shorten(name)}" for name in target)],
        column_labels=[_shorten(name) for name in source],
        row_breaks=(1, 2),
        column_title="class of the image",
    )


def attribute_arithmetic_figure(
    added: ImageGrid,
    removed: ImageGrid,
    steps: Sequence[float],
    names: Sequence[str],
    effect_sizes: Sequence[float],
    title: str = "Attributes given to test images (left) and taken away (right)",
) -> Figure:
    """Draw an attribute a row: on the left an image that gains it, on the right one that loses it.

    In row i of `given` and of `taken` the real image comes first, then the image decoded at each
    of `steps`, multiples of the attribute's direction. `effect_sizes` are Cohen's d.
    """
    gains, losses = ([_signed(sign * step) for step in steps] for sign in (1, -1))
    half = added.shape[1]
    return image_grid(
        np.concatenate([added, removed], axis=1),
        title,
        row_labels=[
            f"{_shorten(name)}   effect {size:z.1f}".replace("-", "−")
            for name, size in zip(names, effect_sizes, strict=True)
        ],
        column_labels=["image", *gains, "image", *losses],
        column_breaks=(1, half, half + 1),
        column_title="steps along the direction",
    )


def _shorten(name: str) -> str:
    words = name.replace("_", " ")
    long = len(words) > _LONGEST_NAME
    return escape_mathtext(f"{words[: _LONGEST_NAME - 1].rstrip()}…" if long else words)


def _signed(step: float) -> str:
    return f"{step:+g}".replace("-", "−") if step else "0"
