"""Many images in one array of bytes."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vaelab.runtime.files import write_atomically

Images = Float[np.ndarray, "count channel height width"]
ImageGrid = Float[np.ndarray, "rows columns channel height width"]
Canvas = UInt8[np.ndarray, "canvas_height canvas_width 3"]

BREAK = 3  # gaps that a break adds
MISSING = (92, 140, 199)
"""The color of missing pixels."""
_SMALLEST_TILE = 32


def arrange(images: Images, columns: int) -> ImageGrid:
    """Fill rows from the left with images; the rest of the last row is blank (NaN)."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = np.full((rows * columns, *images.shape[1:]), np.nan, np.float32)
    grid[: len(images)] = images
    return grid.reshape(rows, columns, *images.shape[1:])


def arrange_pairs(upper: Images, lower: Images, columns: int) -> ImageGrid:
    """Fill rows as `arrange` does, each row of `lower` under its row of `upper`."""
    pairs = np.stack([arrange(upper, columns), arrange(lower, columns)], axis=1)
    return pairs.reshape(-1, *pairs.shape[2:])


def tile_offsets(count: int, size: int, gap: int, breaks: Sequence[int] = ()) -> list[int]:
    """Return the first pixel of each of `count` tiles; a break before a tile widens its gap."""
    breaks_before = [sum(index >= tile for tile in breaks) for index in range(count)]
    return [index * (size + gap) + BREAK * gap * breaks_before[index] for index in range(count)]


def tile_images(
    images: ImageGrid,
    *,
    scale: int = 1,
    gap: int = 2,
    row_breaks: Sequence[int] = (),
    column_breaks: Sequence[int] = (),
) -> Canvas:
    """Draw image [i, j] at row i, column j of a white canvas, each pixel as scale x scale.

    An image of NaN is blank; pixels that are NaN in another have the color of missing ones.
    """
    pixels = _to_bytes(images).repeat(scale, axis=2).repeat(scale, axis=3)
    rows, columns, height, width, _ = pixels.shape
    tops = tile_offsets(rows, height, gap, row_breaks)
    lefts = tile_offsets(columns, width, gap, column_breaks)
    canvas = np.full((tops[-1] + height, lefts[-1] + width, 3), 255, np.uint8)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            canvas[top : top + height, left : left + width] = pixels[i, j]
    return canvas


def progress_samples(images: Images, columns: int = 8) -> Canvas:
    """Lay out samples for monitoring training; a tile has at least 32 pixels a side."""
    return tile_images(arrange(images, columns), scale=_scale(images))


def progress_pairs(originals: Images, reconstructions: Images, columns: int = 8) -> Canvas:
    """Lay out reconstructions below their originals for monitoring training."""
    grid = arrange_pairs(originals, reconstructions, columns)
    return tile_images(grid, scale=_scale(originals), row_breaks=range(2, len(grid), 2))


def write_png(path: Path, pixels: UInt8[np.ndarray, "..."]) -> None:
    """Write a canvas, or one image [height, width] or [height, width, 3]."""
    picture = Image.fromarray(pixels)
    write_atomically(path, lambda partial: picture.save(partial, "PNG"))


def _scale(images: Images) -> int:
    height, width = images.shape[-2:]
    scale: int = math.ceil(_SMALLEST_TILE / min(height, width))
    return scale


def _to_bytes(images: ImageGrid) -> UInt8[np.ndarray, "rows columns height width 3"]:
    assert images.shape[2] in (1, 3), "images must be gray or RGB"
    filled = np.fmin(images, 1.0)  # NaN becomes 1, white
    rounded = np.moveaxis(np.rint(filled.clip(0) * 255).astype(np.uint8), 2, -1)
    pixels = np.broadcast_to(rounded, (*rounded.shape[:-1], 3))
    missing = np.isnan(images).any(2)
    missing &= ~missing.all((2, 3), keepdims=True)
    if not missing.any():
        return pixels
    return np.where(missing[..., None], np.array(MISSING, np.uint8), pixels)
