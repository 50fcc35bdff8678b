"""Comparison of objectives: reconstructions and samples side by side."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from vaelab.figures.grids import image_grid
from vaelab.figures.image_tiles import Images


@dataclass(frozen=True)
class VariantImages:
    """Images [count, channel, height, width] in [0, 1]; no reconstructions without an encoder."""

    reconstructions: Images | None
    samples: Images


def comparison_figure(
    originals: Images,
    real: Images,
    variants: Mapping[str, VariantImages],
    title: str = "Reconstructions and samples by objective",
) -> Figure:
    """Draw a row a variant, below one of real images: reconstructions left, samples right."""
    blank = np.full_like(originals, np.nan)
    rows = [np.concatenate([originals, real])]
    for images in variants.values():
        decoded = blank if images.reconstructions is None else images.reconstructions
        rows.append(np.concatenate([decoded, images.samples]))
    return image_grid(
        np.stack(rows).astype(np.float32),
        title,
        row_labels=["real", *variants],
        row_breaks=(1,),
        column_breaks=(len(originals),),
        column_title="left: reconstructions of the first row; right: samples from the prior",
    )
