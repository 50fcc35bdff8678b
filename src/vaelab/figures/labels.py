"""Figures of models that see labels: samples of each label, and images under other labels."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import ImageGrid
from vaelab.figures.style import shorten_name


def label_samples_figure(
    images: ImageGrid, labels: Sequence[str], title: str = "Samples of each label"
) -> Figure:
    """Draw samples [i, j] of labels[j]: a column a label."""
    names = [shorten_name(name) for name in labels]
    return image_grid(images, title, column_labels=names, column_title="label")


def counterfactuals_figure(
    images: ImageGrid,
    labels: Sequence[str],
    own: Sequence[str] = (),
    title: str = "Test images decoded under other labels, from the same latent",
) -> Figure:
    """Draw a test image a row: [i, 0] the image, [i, 1] decoded, [i, 2 + j] under labels[j].

    `own` names the labels of the images.
    """
    return image_grid(
        images,
        title,
        row_labels=[shorten_name(name) for name in own],
        column_labels=["image", "decoded", *(shorten_name(name) for name in labels)],
        column_breaks=(1, 2),
        column_title="label",
    )
