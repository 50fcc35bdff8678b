"""Drawn sprites with known factors: those of dSprites (Matthey et al. 2017), 737,280 images.

Every combination of 3 shapes, 6 scales, 40 orientations and 32 x 32 positions is one binary image
of 64x64 pixels, white on black. A pixel is white where its centre lies in the shape. The pixels
are not those of dSprites, whose drawing program is not public, but factors, counts and the order
of rows (shape slowest, y fastest) are the same.

Shapes of one scale have one area, 346 pixels at scale 1, and turn about their centroid, which a
step of x or y moves by one pixel to the right or down. Orientations are even steps over [0, 2 pi]
with both ends, as in dSprites: orientations 0 and 39 are the same. A square looks the same after a
quarter turn and an ellipse after half a turn, so orientation cannot be read off an image alone:
steps of 2 pi / 39 never fall on those turns exactly, but nearly, and small shapes then have the
same pixels. Of the 720 combinations of shape, scale and orientation 656 look different.
"""

import math
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from vaelab.config import DataSettings
from vaelab.data.fetch import Fetcher
from vaelab.data.source import ImageSet, Source, is_resized, resized

Plane = Float[np.ndarray, "scale orientation height width"]
Inside = Bool[np.ndarray, "scale orientation height width"]

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "orientation", "x", "y")
SCALES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COUNTS = (len(SHAPES), len(SCALES), 40, 32, 32)
IMAGES = math.prod(COUNTS)
SIZE = 64
"""Pixels a side."""
AREA = 346.0
"""Pixels of a shape of scale 1."""

_REACH = 16
"""Pixels from a sprite's middle one to its border: 16 + 32 positions + 16 = 64."""
_AXES_RATIO = 2.0
"""Of the ellipse."""
_HEART_CENTROID = (7 / 12 + 3 * math.pi / 16) / (1 + math.pi / 4)
"""Of the unit heart, along both sides of its square, from its tip."""


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """Nothing: the images are drawn when they are read."""


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """All images, or `settings.sprites_images` different ones drawn with `settings.seed`.

    Only their factors are in memory. Resized images are grey.
    """
    factors = factors_of(_rows(settings))

    def read_rows(chosen: np.ndarray) -> np.ndarray:
        return resized(draw(factors[chosen]), settings)

    is_grey = is_resized(draw(factors[:1]), settings)
    size = settings.image_size or (SIZE, SIZE)
    return Source(
        name="sprites",
        origin="drawn by vaelab, with the factors of dSprites (Matthey et al. 2017)",
        levels=256 if is_grey else 2,
        train=ImageSet(len(factors), (1, *size), read_rows, factors[:, 0].copy(), factors),
        class_names=SHAPES,
        factor_names=FACTORS,
    )


def factors_of(rows: Int64[np.ndarray, " count"]) -> Int64[np.ndarray, "count factor"]:
    """The factors, as indices from 0 in the order of `FACTORS`, of rows 0 to 737,279."""
    return np.stack(np.unravel_index(rows, COUNTS), axis=1).astype(np.int64)


def draw(factors: Int64[np.ndarray, "count factor"]) -> UInt8[np.ndarray, "count 1 64 64"]:
    """The images of factors, pixels 0 and 255."""
    shape, scale, orientation, x, y = factors.T
    images = np.zeros((len(factors), 1, SIZE, SIZE), np.uint8)
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(
        images[:, 0], (side, side), axis=(1, 2), writeable=True
    )
    windows[np.arange(len(factors)), y, x] = _sprites()[shape, scale, orientation]
    return images


def _rows(settings: DataSettings) -> Int64[np.ndarray, " count"]:
    count = settings.sprites_images
    if count is None:
        return np.arange(IMAGES)
    random = np.random.default_rng([settings.seed, *b"sprites"])
    return np.sort(random.choice(IMAGES, count, replace=False))


@cache
def _sprites() -> UInt8[np.ndarray, "shape scale orientation height width"]:
    """Each shape in each scale and orientation, about its middle pixel."""
    offset = np.arange(-_REACH, _REACH + 1) / math.sqrt(AREA)
    right, up = np.meshgrid(offset, -offset)
    scale = np.array(SCALES)[:, None, None, None]
    angle = np.linspace(0, 2 * np.pi, COUNTS[2])[:, None, None]
    # counter-clockwise: the plane is turned back instead of the shape
    across = (right * np.cos(angle) + up * np.sin(angle)) / scale
    along = (up * np.cos(angle) - right * np.sin(angle)) / scale
    inside = [shape(across, along) for shape in (_in_square, _in_ellipse, _in_heart)]
    return np.where(np.stack(inside), np.uint8(255), np.uint8(0))


# Shapes of area 1 whose centroid is the origin, upright.


def _in_square(across: Plane, along: Plane) -> Inside:
    inside: np.ndarray = np.maximum(abs(across), abs(along)) <= 0.5
    return inside


def _in_ellipse(across: Plane, along: Plane) -> Inside:
    # the area is pi times both half axes
    return across**2 / _AXES_RATIO + along**2 * _AXES_RATIO <= 1 / np.pi


def _in_heart(across: Plane, along: Plane) -> Inside:
    """A unit square on its tip, and half discs on its two upper sides."""
    stretch = math.sqrt(1 + math.pi / 4)
    left_side = stretch * (along - across) / math.sqrt(2) + _HEART_CENTROID
    right_side = stretch * (along + across) / math.sqrt(2) + _HEART_CENTROID
    in_square = (np.minimum(left_side, right_side) >= 0) & (np.maximum(left_side, right_side) <= 1)
    on_left = (left_side - 1) ** 2 + (right_side - 0.5) ** 2 <= 0.25
    on_right = (left_side - 0.5) ** 2 + (right_side - 1) ** 2 <= 0.25
    inside: np.ndarray = in_square | on_left | on_right
    return inside
