"""Restored images: what was seen, and what the missing pixels may have been."""

import numpy as np
from jaxtyping import Bool, Float

from vaelab.figures.image_tiles import MISSING, Canvas, tile_images

Images = Float[np.ndarray, "count channel height width"]
LARGEST_STDDEV = 0.5
"""The standard deviation that is shown in white: the largest that pixels in [0, 1] can have."""


def restoration_rows(
    images: Images,
    observed: Bool[np.ndarray, "count channel height width"],
    mean: Images,
    draws: Float[np.ndarray, "count draws channel height width"],
    stddev: Images,
    truth: Images | None = None,
) -> Canvas:
    """Draw a column for each image: the truth, what is seen, the mean, the draws, the spread."""
    color = np.array(MISSING, np.float32)[:, None, None] / 255
    seen = np.where(observed.all(1, keepdims=True), images, color)
    drawn = np.moveaxis(draws, 1, 0)
    first = [] if truth is None else [truth]
    rows = [*first, seen, mean, *drawn, stddev / LARGEST_STDDEV]
    shape = (*seen.shape[:1], 3, *seen.shape[2:])
    grid = np.stack([np.broadcast_to(row, shape) for row in rows]).astype(np.float32)
    mean_row = 1 + (truth is not None)
    breaks = [mean_row, mean_row + 1, len(rows) - 1]
    scale = -(-64 // max(images.shape[-2:]))
    return tile_images(grid, scale=scale, row_breaks=breaks)
