"""Images as one picture in a file."""

import os
from pathlib import Path

import numpy as np

from vaelab.api.inputs import image_items, training_pixels
from vaelab.config import UserError
from vaelab.figures.image_tiles import Images, progress_samples, write_png
from vaelab.inference.inputs import number_array

MAX_SIDE = 20_000
"""Pixels of a picture's longer side: larger ones are opened by few programs."""


def save_images(images: object, path: str | os.PathLike[str], columns: int = 8) -> None:
    """Write images as one picture, in rows of `columns`: `save_images(new, "samples.png")`.

    Small images are enlarged by a whole factor. `images` are what a model's methods take or return;
    of `interpolate` and of the draws of `restore`, [count, steps, ...], each row is one image's.
    Raises `vaelab.UserError`, in one line, for what cannot be drawn or written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".png":
        raise UserError(f"{target}: wanted a name that ends in .png")
    if not isinstance(columns, int) or columns < 1:
        raise UserError(f"columns must be a whole number of at least 1 (it is {columns!r})")
    pixels, columns = _in_rows(images, columns)
    canvas = progress_samples(pixels, columns)
    if max(canvas.shape) > MAX_SIDE:
        height, width, _ = canvas.shape
        raise UserError(
            f"{len(pixels):,} images in {columns} columns would be a picture of {width:,}x"
            f"{height:,} pixels: save fewer of them, or choose other columns"
        )
    write_png(target, canvas)


def _in_rows(images: object, columns: int) -> tuple[Images, int]:
    """Return images in [0, 1], and in how many columns to draw them."""
    if image_items(images) is None:
        images = number_array(images, "images")
        if images.ndim == 2:
            images = images[None]
        elif images.ndim == 5:
            images, columns = images.reshape(-1, *images.shape[2:]), images.shape[1]
    return training_pixels(images) / np.float32(255), columns
