"""Pixels that are missing, by the setting `data.missing`: marked in files, or hidden at random."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import ImageColor

from vaelab.config import DataSettings, UserError
from vaelab.data.dataset import SplitName
from vaelab.data.image_files import Frame

_OPAQUE = 128
"""Opacity of the pixels that are there; those that are less than half opaque are missing."""


def with_marked_missing(frame: Frame, settings: DataSettings) -> Frame:
    """Return a frame whose missing pixels are those that `data.missing` says its file marks.

    Raises ValueError where none is left, and for a color in pixels of more than 8 bits.
    """
    if not settings.files_mark_missing:
        return frame
    if settings.missing == "marked":
        marked, opacity = _marked(frame), None
    else:
        marked, opacity = _has_color(frame.values, str(settings.missing)), frame.opacity
    if frame.missing is not None:
        marked = marked | frame.missing
    if marked.all():
        raise ValueError("all of its pixels are missing")
    return replace(frame, missing=marked, opacity=opacity)


def nan_pixels(
    images: Shaped[np.ndarray, "*count channel height width"],
) -> Bool[np.ndarray, "*count 1 height width"]:
    """Return where a channel is NaN."""
    if images.dtype.kind != "f":
        return np.zeros((*images.shape[:-3], 1, *images.shape[-2:]), bool)
    found: np.ndarray = np.isnan(images).any(axis=-3, keepdims=True)
    return found


def may_miss_pixels(split: SplitName, settings: DataSettings) -> bool:
    """Whether pixels of a split are missing: marked ones of all splits, hidden ones not of test."""
    return settings.files_mark_missing or (settings.missing != "none" and split != "test")


def missing_pixels(
    images: UInt8[np.ndarray, "count channel height width"],
    settings: DataSettings,
    random: np.random.Generator,
) -> Bool[np.ndarray, "count 1 height width"]:
    """Return the masked pixels of images, or pixels that are hidden by chance, each by itself."""
    if not isinstance(settings.missing, float):
        return np.ma.getmaskarray(images)[:, :1]
    count, _, height, width = images.shape
    return random.random((count, 1, height, width), np.float32) < settings.missing


def missing_notes(settings: DataSettings, shares: Mapping[SplitName, float]) -> Iterator[str]:
    """Yield a line on the pixels that are missing. Raises UserError if none is, as is set."""
    if settings.missing == "none":
        return
    if not any(shares.values()):
        raise UserError(f"data.missing: {settings.missing}: {_why_none(settings)}")
    listed = ", ".join(f"{share:.1%} of {split}" for split, share in shares.items())
    rest = "" if settings.files_mark_missing else "; the test images are whole"
    yield f"missing pixels: {listed}{rest}"


def _marked(frame: Frame) -> Bool[np.ndarray, "height width"]:
    """Return where a frame is transparent or NaN."""
    values = frame.values if frame.values.ndim == 3 else frame.values[..., None]
    marked: np.ndarray = nan_pixels(values.transpose(2, 0, 1))[0]
    return marked if frame.opacity is None else marked | (frame.opacity < _OPAQUE)


def _has_color(
    values: Shaped[np.ndarray, "height width *channels"], color: str
) -> Bool[np.ndarray, "height width"]:
    if values.dtype != np.uint8:
        raise ValueError(f"a color marks missing pixels of 8 bits, not of {values.dtype}")
    pixels = values if values.ndim == 3 else values[..., None]
    found: np.ndarray = (pixels == ImageColor.getrgb(color)).all(-1)
    return found


def _why_none(settings: DataSettings) -> str:
    if settings.missing == "marked":
        return "no pixel is transparent, NaN or without data (GDAL_NODATA)"
    if settings.files_mark_missing:
        return "no pixel has exactly this color; PNG keeps colors as they are, JPEG does not"
    return "no pixel was hidden; set a larger share"
