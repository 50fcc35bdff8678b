"""Figures of images edited in the latent space: classes exchanged, attributes added or removed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import ImageGrid
from vaelab.figures.style import shorten_name


def class_arithmetic_figure(
    images: ImageGrid,
    source: Sequence[str],
    target: Sequence[str],
    title: str = "Test images edited to other classes by latent arithmetic",
) -> Figure:
    """Draw row i of the images as a column: image, reconstruction, the image edited to each class.

    `source` names the classes of the images, `target` those of the edited images from [i, 2] on.
    Target classes are rows because a row has room for a long name.
    """
    return image_grid(
        np.moveaxis(images, 1, 0),
        title,
        row_labels=["image", "decoded", *(f"as {shorten_name(name)}" for name in target)],
        column_labels=[shorten_name(name) for name in source],
        row_breaks=(1, 2),
        column_title="class of the image",
    )


def attribute_arithmetic_figure(
    added: ImageGrid,
    removed: ImageGrid,
    steps: Sequence[float],
    names: Sequence[str],
    effect_sizes: Sequence[float],
    title: str = "Attributes added to test images (left) and removed (right)",
) -> Figure:
    """Draw an attribute a row: on the left added to an image, on the right removed from one.

    In row i of `added` and of `removed` the real image comes first, then the image decoded at each
    of `steps`, multiples of the attribute's direction. `effect_sizes` are Cohen's d.
    """
    gains, losses = ([_signed(sign * step) for step in steps] for sign in (1, -1))
    half = added.shape[1]
    return image_grid(
        np.concatenate([added, removed], axis=1),
        title,
        row_labels=[
            f"{shorten_name(name)}   effect {size:z.1f}".replace("-", "−")
            for name, size in zip(names, effect_sizes, strict=True)
        ],
        column_labels=["image", *gains, "image", *losses],
        column_breaks=(1, half, half + 1),
        column_title="multiples of the attribute's direction",
    )


def _signed(step: float) -> str:
    return f"{step:+g}".replace("-", "−") if step else "0"
