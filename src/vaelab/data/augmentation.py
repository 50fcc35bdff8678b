"""Random changes of training images, each image its own: mirror images, shifts, crops, colors.

They are drawn from a stream that epoch and batch name, for the whole batch: nothing of them is in a
checkpoint, and an image is changed in the same way whichever process computes it. What comes out
has 8 bits, as what went in: pixels are binarized or dequantized after that.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from vaelab.config import TrainSettings
from vaelab.runtime.random_streams import rng_stream

Stored = UInt8[Tensor, "batch channels height width"]
Pixels = Float[Tensor, "batch channel height width"]
Uniforms = Float[Tensor, "batch draws"]
Transform = Callable[[Stored], Stored]

SETTINGS = ("augment_flip", "augment_shift", "augment_zoom", "augment_color")
DRAWS = 9


def is_augmenting(settings: TrainSettings) -> bool:
    """Return whether training images are changed at all."""
    return any(getattr(settings, name) for name in SETTINGS)


def draw_uniforms(seed: int, epoch: int, batch: int, count: int) -> Uniforms:
    """Draw what decides how each of `count` images is changed, on the CPU."""
    rng = rng_stream(seed, f"augmentation/{epoch}/{batch}")
    return torch.rand(count, DRAWS, generator=rng)


def augment(
    stored: Stored, uniforms: Uniforms, settings: TrainSettings, channels: int | None = None
) -> Stored:
    """Return the images changed; channels after the first `channels` are 1 where one is missing.

    Such a mask moves with its image. A pixel that is interpolated from a missing one is missing.
    """
    drawn = uniforms.to(stored.device, non_blocking=True)
    flip, down, right, side, top, left, *color = drawn.unbind(1)
    if settings.augment_flip or settings.augment_shift:
        height, width = stored.shape[2:]
        shift = settings.augment_shift
        rows = _shifted(down, shift, height)
        columns = _shifted(right, shift, width)
        columns = torch.where(flip[:, None] < settings.augment_flip, columns.flip(1), columns)
        stored = _gather(stored, rows, columns)
    if not (settings.augment_zoom or settings.augment_color):
        return stored
    pixels, mask = stored.float().tensor_split([channels or stored.shape[1]], dim=1)
    if settings.augment_zoom:
        size = 1 - settings.augment_zoom * side
        pixels, mask = (_crop(x, size, top * (1 - size), left * (1 - size)) for x in (pixels, mask))
        mask = (mask > 0).float()
    if settings.augment_color:
        factors = [1 + settings.augment_color * (2 * draw - 1) for draw in color]
        observed = 1 - mask if mask.shape[1] else torch.ones_like(pixels[:, :1])
        pixels = _jitter(pixels, observed, *factors)
    return torch.cat([pixels.round(), mask], 1).to(torch.uint8)


def _shifted(draw: Float[Tensor, "batch"], share: float, size: int) -> Tensor:
    """Return the index, [batch, size], that each row is read from; the image goes on mirrored."""
    shift = ((2 * draw - 1) * share * size).round().long()
    index = (torch.arange(size, device=draw.device) - shift[:, None]).abs()
    return size - 1 - (size - 1 - index).abs()


def _gather(stored: Stored, rows: Tensor, columns: Tensor) -> Stored:
    """Return the pixels at row and column indices [batch, height] and [batch, width]."""
    width = stored.shape[3]
    places = rows[:, :, None] * width + columns[:, None, :]
    flat = places.flatten(1)[:, None].expand(-1, stored.shape[1], -1)
    return stored.flatten(2).gather(2, flat).view_as(stored)


def _crop(pixels: Pixels, size: Tensor, top: Tensor, left: Tensor) -> Pixels:
    """Return the square share [top, top + size] x [left, left + size] of each, enlarged."""
    if not pixels.shape[1]:
        return pixels
    zero = torch.zeros_like(size)
    # In the coordinates of affine_grid an image reaches from -1 to 1.
    x = torch.stack([size, zero, 2 * left + size - 1], 1)
    y = torch.stack([zero, size, 2 * top + size - 1], 1)
    grid = functional.affine_grid(torch.stack([x, y], 1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def _jitter(
    pixels: Pixels,
    observed: Float[Tensor, "batch 1 height width"],
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
) -> Pixels:
    """Return the images, from 0 to 255, with these factors, in the order of their names."""
    factors = (each.view(-1, 1, 1, 1) for each in (brightness, contrast, saturation))
    pixels = (pixels * next(factors)).clamp(0, 255)
    mean = (_gray(pixels) * observed).sum((1, 2, 3)) / observed.sum((1, 2, 3)).clamp_min(1)
    pixels = mean.view(-1, 1, 1, 1).lerp(pixels, next(factors)).clamp(0, 255)
    return _gray(pixels).lerp(pixels, next(factors)).clamp(0, 255)


def _gray(pixels: Pixels) -> Float[Tensor, "batch 1 height width"]:
    """Return the luma (ITU-R BT.601); images of one channel are gray already."""
    if pixels.shape[1] != 3:
        return pixels
    red, green, blue = pixels.unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(1)
