"""Images and latents as people have them: arrays, tensors, pictures or lists; one or many."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import UserError
from vaelab.models.networks import Shape

Array = NDArray[np.generic]
ROUNDING = 1e-4
"""How far floats may lie outside of [0, 1], as after interpolation; they are clipped."""
PICTURE_MODES = ("1", "L", "RGB")
WANTED = "wanted floats from 0 (black) to 1 (white), or integers from 0 to 255"


def image_batch(values: object, shape: Shape) -> Float[Tensor, "count channel height width"]:
    """Return images in [0, 1] of a model's shape [channel, height, width].

    One or many; channels first, last, or left out where there is one. Integers are 0 to 255,
    floats 0 to 1. Raises UserError for another shape, and for a range that cannot be right.
    """
    images = _channels_first(number_array(values, "images"), shape)
    return torch.from_numpy(np.ascontiguousarray(_scaled(images), np.float32))


def incomplete_batch(values: object, shape: Shape) -> Float[Tensor, "count channel height width"]:
    """Return images as `image_batch` does, whose missing pixels, NaN, stay NaN.

    Raises UserError as `image_batch` does.
    """
    array = number_array(values, "images")
    missing = np.isnan(array)
    images = image_batch(np.where(missing, 0, array) if missing.any() else array, shape)
    gaps = torch.from_numpy(np.ascontiguousarray(_channels_first(missing, shape)))
    return images.masked_fill(gaps, torch.nan)


def mask_batch(
    values: object, shape: Shape, count: int
) -> Bool[Tensor, "count channel height width"]:
    """Return a mask for each of `count` images: true where it is not 0, for all channels.

    [height, width], one for all or one each. Raises UserError for another shape.
    """
    array = number_array(values, "the mask") != 0
    _, height, width = shape
    try:
        masks = _channels_first(array, (1, height, width))
    except UserError as error:
        raise UserError(
            f"a mask of shape {list(array.shape)} does not fit the images: "
            f"wanted [{height}, {width}], one for all images or one each"
        ) from error
    if len(masks) not in (1, count):
        raise UserError(f"{len(masks)} masks for {count} images: wanted one, or one each")
    full = torch.from_numpy(np.ascontiguousarray(masks))
    return full.expand(count, *shape)


def latent_batch(values: object, latent_dim: int) -> Float[Tensor, "count latent"]:
    """Return latents, one or many. Raises UserError for another shape, and if not finite."""
    latents = number_array(values, "latents")
    if latents.ndim not in (1, 2) or latents.shape[-1] != latent_dim or not latents.size:
        raise UserError(
            f"latents of shape {list(latents.shape)} do not fit the model: "
            f"wanted [{latent_dim}], or a batch of them"
        )
    _check_finite(latents, "latents")
    return torch.from_numpy(latents.reshape(-1, latent_dim).astype(np.float32))


def number_array(values: object, what: str) -> Array:
    """Return an array of numbers; `what` names it in errors. Raises UserError for others."""
    mode = getattr(values, "mode", "L")
    if isinstance(mode, str) and mode not in PICTURE_MODES:
        raise UserError(f"a picture of mode {mode}: convert it, with .convert('L') or 'RGB'")
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    try:
        array: Array = np.asarray(values)
    except ValueError as error:
        raise UserError(f"{what} are not all of one shape") from error
    if array.dtype.kind not in "buif":
        raise UserError(f"{what} must be numbers, not {type(values).__name__} of {array.dtype}")
    return array


def _channels_first(array: Array, shape: Shape) -> Array:
    """Return an array of images [count, channel, height, width]."""
    channels, height, width = shape
    layouts: dict[tuple[int, ...], Callable[[Array], Array]] = {
        (channels, height, width): lambda images: images,
        (height, width, channels): lambda images: np.moveaxis(images, -1, 1),
    }
    if channels == 1:
        layouts[height, width] = lambda images: images[:, None]
    for layout, arrange in layouts.items():
        batch = array.ndim - len(layout)
        if batch in (0, 1) and array.shape[batch:] == layout and array.size:
            return arrange(array.reshape(-1, *layout))
    wanted = " or ".join(str(list(layout)) for layout in layouts)
    raise UserError(
        f"images of shape {list(array.shape)} do not fit the model: "
        f"wanted {wanted}, or a batch of them"
    )


def _scaled(array: Array) -> Array:
    """Return pixels in [0, 1]."""
    if array.dtype.kind == "b":
        return array
    _check_finite(array, "pixels")
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f":
        is_right, scale = low >= -ROUNDING and high <= 1 + ROUNDING, 1
    else:
        is_right, scale = low >= 0 and high <= 255, 255
        if is_right and high == 1:
            raise UserError(f"pixels of {array.dtype} are only 0 and 1, almost black: {WANTED}")
    if not is_right:
        raise UserError(
            f"pixels of {array.dtype} from {low:g} to {high:g} cannot be right: {WANTED}"
        )
    pixels: Array = np.clip(array.astype(np.float32) / np.float32(scale), 0, 1)
    return pixels


def _check_finite(array: Array, what: str) -> None:
    if not np.isfinite(array).all():
        raise UserError(f"{what} are not all finite")
