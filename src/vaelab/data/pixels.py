"""From an image file in any format that Pillow reads to 8-bit pixels of one size."""

import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageChops, ImageOps

from vaelab.data.image_files import open_frames
from vaelab.data.pixel_range import FORMAT_RANGES, measure

Size = tuple[int, int]
"""Height and width, in pixels."""
Resize = Literal["crop", "pad", "stretch"]
Color = Literal["grey", "rgb"]
Item = TypeVar("Item")
Result = TypeVar("Result")

_METHOD = Image.Resampling.BICUBIC


def decode(file: Path | io.BytesIO) -> Image.Image:
    """The first frame of an image file: upright, opaque (on white), 8 bits, mode L or RGB.

    Black and white are the limits of its 8-bit or 16-bit format. Raises ValueError for other
    numbers, and whatever Pillow's plugins raise on a broken file, which may be any exception.
    """
    with open_frames(file) as frames:
        frame = frames.read(0)
    extent = measure(frame.values)
    if extent.format == "float":
        raise ValueError("its pixels are floats of unknown range; save it with 8 or 16 bits")
    if not 0 <= extent.low <= extent.high <= 65535:
        raise ValueError("its pixels go beyond 16 bits; save it with 8 or 16 bits")
    return frame.to_image(FORMAT_RANGES["8-bit" if extent.format == "8-bit" else "16-bit"])


def is_grey(image: Image.Image) -> bool:
    """Whether an image of mode L or RGB shows no colour."""
    if image.mode == "L":
        return True
    red, green, blue = image.split()
    return all(ImageChops.difference(red, other).getbbox() is None for other in (green, blue))


def to_pixels(
    image: Image.Image, color: Color, size: Size, how: Resize
) -> UInt8[np.ndarray, "channel height width"]:
    """An image of mode L or RGB as an array of the wanted channels and size."""
    array = np.asarray(resize(image.convert("L" if color == "grey" else "RGB"), size, how))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def to_masked_pixels(
    image: Image.Image,
    missing: Bool[np.ndarray, "old_height old_width"],
    color: Color,
    size: Size,
    how: Resize,
) -> np.ma.MaskedArray:
    """`to_pixels` without the missing pixels, which are masked, as is what `pad` adds.

    A pixel of the result is the mean of those observed, and missing where these are less than half.
    """
    picture = image.convert("L" if color == "grey" else "RGB")
    # Pillow weights colors by their opacity when it resizes.
    picture.putalpha(Image.fromarray(np.where(missing, 0, 255).astype(np.uint8)))
    array = np.asarray(resize(picture, size, how)).transpose(2, 0, 1)
    is_missing = np.broadcast_to(array[-1:] < 128, array[:-1].shape)
    return np.ma.array(array[:-1], mask=is_missing, fill_value=0)


def resize(image: Image.Image, size: Size, how: Resize) -> Image.Image:
    """Scale an image to `size`.

    `crop` fills it and cuts off what juts out on both sides, `pad` fits the image in and leaves
    the rest black, `stretch` gives up the aspect ratio.
    """
    height, width = size
    if image.size == (width, height):
        return image
    if how == "crop":
        return ImageOps.fit(image, (width, height), _METHOD)
    if how == "stretch":
        return image.resize((width, height), _METHOD)
    scale = min(width / image.width, height / image.height)
    inner = [max(1, round(side * scale)) for side in image.size]
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(
        image.resize((inner[0], inner[1]), _METHOD),
        ((width - inner[0]) // 2, (height - inner[1]) // 2),
    )
    return canvas


def resize_array(
    image: UInt8[np.ndarray, "channel old_height old_width"], size: Size, how: Resize
) -> UInt8[np.ndarray, "channel height width"]:
    """`resize` for an array of one channel (grey) or three."""
    grey = len(image) == 1
    pixels = np.ascontiguousarray(image[0] if grey else image.transpose(1, 2, 0))
    return to_pixels(Image.fromarray(pixels), "grey" if grey else "rgb", size, how)


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`work` of each item, in order; Pillow decodes without holding Python's lock.

    Pillow's warnings are silenced here, about large images (photographs are) and odd metadata;
    its error about images twice that large, which look like decompression bombs, is not.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return list(pool.map(work, items))
