"""The frames of an image file, with the numbers that it stores."""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageOps

from vaelab.data.pixel_range import PixelRange

if TYPE_CHECKING:
    from tifffile import TiffPage

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_FRAMES = ("ICO", "ICNS", "MPO", "PSD")
"""Formats whose further pictures are other sizes, previews or layers."""
_ORIENTATION = 0x0112
_GDAL_NODATA = 42113
_NOT_A_FRAME = 1 | 4
"""Bits of TIFF's NewSubfileType: a smaller version of another page, or its mask."""
_CONVERTED = ("CMYK", "HSV", "LAB")


@dataclass(frozen=True)
class Frame:
    """One upright picture: gray values [height, width] or RGB [height, width, 3].

    `opacity` is 0 to 255 where the file says that a band is transparency. `inverted`: the
    largest value is black. `converted` is the color space that RGB was computed from. `missing`
    is where the file says that it has no data, or where a setting says so (`data.missing`).
    """

    values: Shaped[np.ndarray, "height width *channels"]
    opacity: UInt8[np.ndarray, "height width"] | None = None
    inverted: bool = False
    converted: str | None = None
    missing: Bool[np.ndarray, "height width"] | None = None

    @property
    def visible(self) -> Shaped[np.ndarray, "..."]:
        """The values that are not missing or entirely transparent; all if none is visible."""
        counted = ~self.missing if self.missing is not None else None
        if counted is None and self.opacity is not None and self.opacity.any():
            counted = self.opacity > 0
        return self.values if counted is None else self.values[counted]

    @property
    def transparent(self) -> bool:
        """Whether a pixel is transparent, entirely or in part."""
        return self.opacity is not None and bool((self.opacity < 255).any())

    def to_image(self, pixel_range: PixelRange) -> Image.Image:
        """Return an opaque image of 8 bits, mode L or RGB.

        Transparent parts are on white, missing ones black.
        """
        values = self.values.copy() if self.missing is not None else self.values
        if self.missing is not None:
            values[self.missing] = values[~self.missing].flat[0]  # any number
        pixels = pixel_range.to_bytes(np.ascontiguousarray(values))
        if self.inverted:
            pixels = 255 - pixels
        if self.missing is not None:
            pixels[self.missing] = 0
        image = Image.fromarray(pixels)
        if self.opacity is None:
            return image
        image = image.convert("RGB")
        image.putalpha(Image.fromarray(self.opacity))
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")


@dataclass(frozen=True)
class Frames:
    """The frames of an open file; `read` takes a number from 0 to count - 1."""

    count: int
    read: Callable[[int], Frame]


@contextmanager
def open_frames(file: Path | io.BytesIO, bands: Sequence[int] | None = None) -> Iterator[Frames]:
    """Open an image file. `bands`, counted from 1, are taken as they are stored: 1 gray, 3 RGB.

    Raises ValueError, here or when a frame is read, for bands that are not understood, and
    whatever Pillow's plugins and tifffile raise on a broken file, which may be any exception.
    """
    if _starts_with(file, _TIFF):
        with _open_tiff(file, bands) as frames:
            yield frames
    else:
        with Image.open(file) as image:
            count = 1 if image.format in _NO_FRAMES else getattr(image, "n_frames", 1)
            yield Frames(count, lambda number: _of_pillow(image, number, file, bands))


@contextmanager
def _open_tiff(file: Path | io.BytesIO, bands: Sequence[int] | None) -> Iterator[Frames]:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its errors are raised as well
    with tifffile.TiffFile(file) as tiff:
        pages = {
            number: page
            for number, page in enumerate(tiff.pages)
            if isinstance(page, tifffile.TiffPage) and not page.subfiletype & _NOT_A_FRAME
        }
        numbers = list(pages)
        if bands is not None or not all(_pillow_understands(page) for page in pages.values()):
            yield Frames(len(numbers), lambda number: _of_page(pages[numbers[number]], bands))
            return
    with Image.open(file) as image:
        yield Frames(len(numbers), lambda n: _of_pillow(image, numbers[n], file, None))


def _starts_with(file: Path | io.BytesIO, beginnings: tuple[bytes, ...]) -> bool:
    if isinstance(file, io.BytesIO):
        file.seek(0)  # tifffile reads from where it is
        return file.getvalue().startswith(beginnings)
    with file.open("rb") as opened:
        return opened.read(4).startswith(beginnings)


def _pillow_understands(page: "TiffPage") -> bool:
    """Return whether Pillow keeps all that a page says: 8 bits at most, in known bands."""
    bands = {"RGB": 3, "YCBCR": 3, "CIELAB": 3, "SEPARATED": 4}
    known = bands.get(_photometric(page), 1)
    return (
        page.bitspersample <= 8
        and page.sampleformat == 1
        and (page.samplesperpixel == known or _has_opacity(page, known))
    )


def _photometric(page: "TiffPage") -> str:
    return str(getattr(page.photometric, "name", page.photometric))


def _has_opacity(page: "TiffPage", bands: int) -> bool:
    declared = [int(kind) for kind in page.extrasamples]
    return page.samplesperpixel == bands + 1 and declared in ([1], [2])


def _of_page(page: "TiffPage", bands: Sequence[int] | None) -> Frame:
    limit = Image.MAX_IMAGE_PIXELS
    pixels = page.imagewidth * page.imagelength
    if limit and pixels > 2 * limit:  # as Pillow has it
        raise Image.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {2 * limit} pixels"
        )
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"is not an image: its axes are {page.axes}")
    values = page.asarray()
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    orientation = page.tags.valueof(_ORIENTATION, 1)
    values = _upright(values.astype(values.dtype.newbyteorder("=")), orientation)
    if bands is not None:
        return _without_missing(Frame(_select(values, bands)), page)
    kind = _photometric(page)
    known = {"RGB": 3, "MINISBLACK": 1, "MINISWHITE": 1}.get(kind)
    has_opacity = known is not None and _has_opacity(page, known)
    if known is None or page.samplesperpixel != known + has_opacity:
        raise ValueError(_unknown_bands(page.samplesperpixel, f", photometric {kind}"))
    frame = _split_opacity(values, known, inverted=kind == "MINISWHITE")
    return _without_missing(frame, page)


def _without_missing(frame: Frame, page: "TiffPage") -> Frame:
    """Mark the pixels that are the value that GDAL writes where there is no data."""
    stated = str(page.tags.valueof(_GDAL_NODATA, "")).strip(" \0")
    try:
        nodata = float(stated)
    except ValueError:
        return frame
    equal = np.isnan(frame.values) if np.isnan(nodata) else frame.values == nodata
    missing = equal if equal.ndim == 2 else equal.all(axis=2)
    if missing.all():
        raise ValueError(f"all of its pixels are {stated}, which it says is no data")
    return replace(frame, missing=missing) if missing.any() else frame


def _unknown_bands(count: int, kind: str = "") -> str:
    bits = "band" if count == 1 else "bands"
    choice = "[1, 2, 3]" if count >= 3 else "[1]"
    return (
        f"it has {count} {bits}{kind}, whose meaning is not known; choose one, or three for RGB, "
        f"such as data.bands: {choice}"
    )


def _of_pillow(
    image: Image.Image, number: int, file: Path | io.BytesIO, bands: Sequence[int] | None
) -> Frame:
    if image.tell() != number:
        image.seek(number)
    deep = _deep(image, file)
    if deep is not None:
        return Frame(_select(deep, bands)) if bands else _split_opacity(deep)
    upright = ImageOps.exif_transpose(image)
    if bands is not None:
        return Frame(_select(_array(upright), bands))
    if upright.mode.startswith(("I", "F")):
        values = _array(upright)
        # Pillow scales what a PPM stores to 16 bits
        return Frame(values.astype(np.uint16) if image.format == "PPM" else values)
    if upright.has_transparency_data:
        with_alpha = np.asarray(upright.convert("RGBA"))
        return Frame(with_alpha[..., :3], with_alpha[..., 3])
    converted = upright.mode if upright.mode in _CONVERTED else None
    gray = upright.mode in ("1", "L")
    return Frame(np.asarray(upright.convert("L" if gray else "RGB")), converted=converted)


def _array(image: Image.Image) -> Shaped[np.ndarray, "..."]:
    values = np.asarray(image)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values.astype(values.dtype.newbyteorder("="))


def _deep(image: Image.Image, file: Path | io.BytesIO) -> Shaped[np.ndarray, "..."] | None:
    """Return colors of more than 8 bits, of which Pillow drops the lower ones; else None."""
    if image.format not in ("PNG", "JPEG2000") or len(image.getbands()) == 1:
        return None
    content = file.getvalue() if isinstance(file, io.BytesIO) else file.read_bytes()
    if image.format == "PNG" and (content[24] != 16 or getattr(image, "n_frames", 1) > 1):
        return None  # the bit depth is byte 24 of a PNG
    import imagecodecs

    read = imagecodecs.png_decode if image.format == "PNG" else imagecodecs.jpeg2k_decode
    values: np.ndarray = read(content)
    if values.dtype.itemsize == 1:
        return None
    return _upright(values, image.getexif().get(_ORIENTATION, 1))


def _select(
    values: Shaped[np.ndarray, "height width *bands"], bands: Sequence[int]
) -> Shaped[np.ndarray, "height width *channels"]:
    stored = values if values.ndim == 3 else values[..., None]
    if max(bands) > stored.shape[-1]:
        count = stored.shape[-1]
        plural = "band" if count == 1 else "bands"
        raise ValueError(f"it has {count} {plural}, and data.bands asks for band {max(bands)}")
    chosen = stored[..., [band - 1 for band in bands]]
    return chosen[..., 0] if len(bands) == 1 else chosen


def _split_opacity(
    values: Shaped[np.ndarray, "height width *bands"],
    known: int | None = None,
    inverted: bool = False,
) -> Frame:
    """Separate a last band that is opacity: the second of two, the fourth of four."""
    stored = values if values.ndim == 3 else values[..., None]
    known = known or (1 if stored.shape[-1] <= 2 else 3)
    colors = stored[..., 0] if known == 1 else stored[..., :3]
    if stored.shape[-1] == known:
        return Frame(colors, inverted=inverted)
    if stored.dtype.kind != "u":
        raise ValueError(_unknown_bands(stored.shape[-1], f" of {stored.dtype}"))
    opaque = PixelRange(0, float(np.iinfo(stored.dtype).max))
    return Frame(colors, opaque.to_bytes(stored[..., known]), inverted)


def _upright(values: Shaped[np.ndarray, "..."], orientation: Any) -> Shaped[np.ndarray, "..."]:
    """Turn and mirror as EXIF's orientation 1 to 8 says."""
    turns = {3: 2, 4: 2, 5: -1, 6: -1, 7: 1, 8: 1}
    turned = np.rot90(values, turns.get(orientation, 0))
    return np.fliplr(turned) if orientation in (2, 4, 5, 7) else turned
