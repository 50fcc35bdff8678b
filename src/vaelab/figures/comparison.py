"""Objectives side by side: what each restores, and what each invents."""

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
    title: str = "Restored and invented images by objective",
) -> Figure:
    """Draw a row a member, below one of real images: reconstructions left, samples right."""
    blank = np.full_like(originals, np.nan)
    rows = [np.concatenate([originals, real])]
    for pictures in variants.values():
        restored = blank if pictures.reconstructions is None else pictures.reconstructions
        rows.append(np.concatenate([restored, pictures.samples]))
    return image_grid(
        np.stack(rows).astype(np.float32),
        title,
        row_labels=["real", *variants],
        row_breaks=(1,),
        column_breaks=(len(originals),),
        column_title="left: the images of the first row restored; right: samples from the prior",
    )
