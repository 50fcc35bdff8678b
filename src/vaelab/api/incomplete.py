"""Images with missing pixels as people have them: NaN, a mask, or a color that marks them."""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageColor
from torch import Tensor

from vaelab.api.inputs import (
    ARRAY_FILES,
    image_items,
    read_array,
    read_item,
    read_picture,
    training_pixels,
)
from vaelab.config import MARKING_COLOR, UserError, reason
from vaelab.data.pixels import Resize
from vaelab.inference.inputs import incomplete_batch, mask_batch, number_array
from vaelab.models.networks import Shape

Incomplete = Float[Tensor, "count channel height width"]
"""Images in [0, 1], NaN where a pixel is missing."""

WANTED = (
    "give a mask that is not 0 where one is missing, NaN in an array of floats, or a color that "
    "marks them, such as '#ff00ff'"
)


def read_incomplete(images: object, mask: object, shape: Shape) -> Incomplete:
    """Return images as `read_images` does, with NaN where a pixel is missing.

    Missing are NaN in arrays and what `mask` marks: where it is not 0, as an array, a picture or
    paths of such files; or, as a color "#ff00ff", where pictures have this color. Raises UserError
    for a mask that does not fit the images, and where no pixel is missing.
    """
    color, items = marking_color(mask), image_items(images)
    if color and items is None:
        items = _pictures(images)
    if items is None:
        pixels = incomplete_batch(images, shape)
    else:
        pixels = torch.cat([read_incomplete_item(item, shape, color) for item in items])
    if mask is not None and not color:
        pixels = pixels.masked_fill(mask_batch(_mask_array(mask), shape, len(pixels)), torch.nan)
    if not pixels.isnan().any():
        raise UserError(f"no pixel is missing: {WANTED}")
    return pixels


def training_images(
    values: object,
) -> tuple[
    UInt8[np.ndarray, "count channel height width"],
    Bool[np.ndarray, "count channel height width"] | None,
]:
    """Return images as `training_pixels` does, and which pixels are missing: NaN in an array."""
    array = None if image_items(values) is not None else number_array(values, "images")
    if array is None or not (missing := np.isnan(array)).any():
        return training_pixels(values), None
    pixels = training_pixels(np.where(missing, 0, array))
    channels, height, width = pixels.shape[1:]
    return pixels, incomplete_batch(array, (channels, height, width)).isnan().numpy()


def marking_color(mask: object) -> str | None:
    """Return the color that marks missing pixels; None for a mask of another kind."""
    return mask if isinstance(mask, str) and MARKING_COLOR.fullmatch(mask) else None


def read_incomplete_item(
    item: object, shape: Shape, color: str | None = None, resize: Resize | None = None
) -> Incomplete:
    """Return the images of a file, a picture or an array, NaN where missing or of a color.

    Pictures are resized if that is said how. Raises UserError, with the name of the file.
    """
    is_path = isinstance(item, str | os.PathLike)
    try:
        if is_path and Path(item).suffix in ARRAY_FILES:  # type: ignore[arg-type]
            return incomplete_batch(read_array(Path(item).expanduser()), shape)  # type: ignore[arg-type]
        if color is None:
            return read_item(item, shape, resize)
        if resize:
            raise UserError(f"resizing would blend the color {color}: use a mask, or no resizing")
        picture = read_picture(item)
        pixels = read_item(picture, shape)
    except (OSError, ValueError) as error:
        problem = str(error) if isinstance(error, UserError) else reason(error)
        repeated = not is_path or problem.startswith(f"{item}: ")
        raise UserError(problem if repeated else f"{item}: {problem}") from error
    marked = np.asarray(picture.convert("RGB")) == ImageColor.getrgb(color)
    return pixels.masked_fill(mask_batch(marked.all(-1), shape, 1), torch.nan)


def _pictures(images: object) -> list[object]:
    """Return arrays of RGB images as pictures. Raises UserError for others."""
    array = number_array(images, "images")
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise UserError(
            "a color marks missing pixels in pictures, or in arrays of 8-bit integers of shape "
            f"[count, height, width, 3], not {list(array.shape)} of {array.dtype}: give a mask"
        )
    return [Image.fromarray(each) for each in array.reshape(-1, *array.shape[-3:])]


def _mask_array(mask: object) -> object:
    """Return a mask, or those of several files, as an array."""
    items = image_items(mask)
    if items is None:
        return mask
    first = items[0]
    if (
        len(items) == 1
        and isinstance(first, str | os.PathLike)
        and Path(first).suffix in ARRAY_FILES
    ):
        try:
            return read_array(Path(first).expanduser())
        except (OSError, ValueError) as error:
            raise UserError(f"{first}: cannot be read as a mask: {reason(error)}") from error
    return [_mask_picture(item) for item in items]


def _mask_picture(item: object) -> np.ndarray:
    try:
        return np.asarray(read_picture(item).convert("L"))
    except UserError as error:
        raise UserError(f"the mask {item}: {error}") from error
