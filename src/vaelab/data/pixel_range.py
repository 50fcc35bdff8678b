"""Which pixel values become black and white: one range for all images of a data set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped, UInt8

from vaelab.config import UserError

NumberFormat = Literal["8-bit", "16-bit", "integer", "float"]
"""Unsigned of 8 or 16 bits, or other integers and floats, whose format does not bound them."""
Setting = tuple[float, float] | Literal["auto"]

_QUANTILES = (0.001, 0.999)
_FEWEST_LEVELS = 32
"""8-bit images whose values are all below this are masks or class numbers, not photographs."""


@dataclass(frozen=True)
class PixelRange:
    """The values that become 0 and 255; values between them are spread evenly."""

    low: float
    high: float

    def to_bytes(self, values: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
        """Return round(255 (v - low) / (high - low)), with values outside clipped."""
        if values.dtype == np.uint8 and self == FORMAT_RANGES["8-bit"]:
            return values
        scaled = (values.astype(np.float64) - self.low) * (255 / (self.high - self.low))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)

    def __str__(self) -> str:
        return " to ".join(f"{value:{_digits(value)}}" for value in (self.low, self.high))

    @property
    def setting(self) -> str:
        """The range as a value of data.range."""
        values = (f"{value:{_digits(value)}}" for value in (self.low, self.high))
        return f"[{', '.join(value.replace(',', '') for value in values)}]"


def _digits(value: float) -> str:
    """Return how a number is formatted: all digits of an integer, six of another."""
    return ",.0f" if float(value).is_integer() else ",.6g"


FORMAT_RANGES: dict[NumberFormat, PixelRange] = {
    "8-bit": PixelRange(0, 255),
    "16-bit": PixelRange(0, 65535),
}

_USUAL: dict[NumberFormat, tuple[PixelRange, ...]] = {
    "8-bit": (),
    "16-bit": (),
    "integer": (PixelRange(0, 255),),
    "float": (PixelRange(0, 1), PixelRange(-1, 1), PixelRange(0, 255)),
}
"""Ranges that numbers of formats without bounds usually have."""


@dataclass(frozen=True)
class Extent:
    """The smallest and largest value of images, and two between which 99.8 % of the values lie."""

    format: NumberFormat
    low: float
    high: float
    typical_low: float
    typical_high: float


def measure(values: Shaped[np.ndarray, "*shape"]) -> Extent:
    """Return the extent of an image, or of several together.

    Raises ValueError for values that are not finite numbers.
    """
    kind = number_format(values.dtype)
    low, high = float(values.min()), float(values.max())
    if kind == "8-bit":
        return Extent(kind, low, high, low, high)
    unusable = np.count_nonzero(~np.isfinite(values))
    if unusable:
        are_nan = unusable == np.count_nonzero(np.isnan(values))
        hint = "; data.missing: marked takes NaN as missing pixels" if are_nan else ""
        raise ValueError(f"{unusable:,} of its {values.size:,} values are not finite numbers{hint}")
    typical = np.quantile(values, _QUANTILES, method="nearest")
    return Extent(kind, low, high, *map(float, typical))


def choose(
    extents: Sequence[Extent], setting: Setting, names: Sequence[str] = ()
) -> tuple[dict[NumberFormat, PixelRange], list[str]]:
    """Return the range of each number format in a data set, and what is to be said about it.

    `auto` takes the whole range of the format where the values use at least half of it (8-bit:
    where they reach 32); [0, 1], [-1, 1] and [0, 255] count as ranges of floats, [0, 255] as one of
    other integers. Otherwise it is the range of the values, from 0 where that leaves them half of
    it. Raises UserError for several formats, unless
    all keep their whole range; `names` are the images' for its message.
    """
    whole = {name: combine([e for e in extents if e.format == name]) for name in _names(extents)}
    if setting != "auto":
        ranges = dict.fromkeys(whole, PixelRange(*setting))
        notes = [note for extent in whole.values() for note in _about_set(extent, ranges, extents)]
    else:
        ranges = {name: _auto(extent) for name, extent in whole.items()}
        notes = [note for extent in whole.values() for note in _about_auto(extent, ranges)]
    if len(ranges) > 1 and any(FORMAT_RANGES.get(name) != r for name, r in ranges.items()):
        raise UserError(_several_formats(whole, extents, names))
    return ranges, notes


def levels_of(extent: Extent, chosen: PixelRange) -> int:
    """Return how many values a pixel can take: the integers of a small range; else 256."""
    span = float(chosen.high - chosen.low)
    return 256 if extent.format == "float" or span > 255 or span % 1 else int(span) + 1


def source_range(ranges: dict[NumberFormat, PixelRange]) -> tuple[float, float] | None:
    """Return the values that become 0 and 255; None for the whole range of 8 or 16 bits."""
    for name, chosen in ranges.items():
        if chosen != FORMAT_RANGES.get(name):
            return chosen.low, chosen.high
    return None


def number_format(dtype: np.dtype[Any]) -> NumberFormat:
    """Return the format of numbers. Raises ValueError for complex ones and others."""
    if dtype.kind == "f":
        return "float"
    if dtype.kind not in "bui":
        raise ValueError(f"its pixels are {dtype} numbers; save them as integers or floats")
    return (
        "8-bit"
        if dtype.itemsize == 1 and dtype.kind in "ub"
        else "16-bit"
        if dtype == np.uint16
        else "integer"
    )


def _names(extents: Sequence[Extent]) -> list[NumberFormat]:
    return list(dict.fromkeys(extent.format for extent in extents))


def combine(extents: Sequence[Extent]) -> Extent:
    """Return the extent of several images of one format; what is typical is so for most."""
    return Extent(
        extents[0].format,
        min(e.low for e in extents),
        max(e.high for e in extents),
        float(np.quantile([e.typical_low for e in extents], 0.1, method="nearest")),
        float(np.quantile([e.typical_high for e in extents], 0.9, method="nearest")),
    )


def _auto(extent: Extent) -> PixelRange:
    low, high = extent.low, extent.high
    full = FORMAT_RANGES.get(extent.format)
    if extent.format == "8-bit":
        return PixelRange(0, high) if 0 < high < _FEWEST_LEVELS else FORMAT_RANGES["8-bit"]
    if full and (high - low >= full.high / 2 or high == 0):
        return full
    for usual in _USUAL[extent.format]:
        half = (usual.high - usual.low) / 2
        if usual.low <= low and high <= usual.high and high - low >= half:
            return usual
    if 0 <= low <= high / 2:
        low = 0
    return PixelRange(low, high) if high > low else PixelRange(low, low + 1)


def _about_auto(extent: Extent, ranges: dict[NumberFormat, PixelRange]) -> list[str]:
    chosen = ranges[extent.format]
    if chosen == FORMAT_RANGES.get(extent.format):
        if extent.format == "8-bit" and extent.high < 128:
            return [
                f"the largest pixel value is {extent.high:g} of 255, and stays {extent.high:g}: "
                f"data.range: [0, {extent.high:g}] uses all gray levels"
            ]
        return [] if extent.format == "8-bit" else _about_outliers(extent, chosen)
    kind = f"{extent.format}s" if extent.format in ("integer", "float") else extent.format
    return [
        f"the pixel values ({kind}) are {_span(extent)}: {chosen} becomes black to white in all "
        "images (data.range sets another range)",
        *_about_outliers(extent, chosen),
    ]


def _about_set(
    extent: Extent, ranges: dict[NumberFormat, PixelRange], extents: Sequence[Extent]
) -> list[str]:
    chosen = ranges[extent.format]
    outside = sum(e.low < chosen.low or e.high > chosen.high for e in extents)
    if not outside:
        return []
    return [
        f"{outside:,} of {len(extents):,} images have values outside data.range, which are "
        f"clipped: their values are {_span(extent)}, data.range is {chosen}"
    ]


def _about_outliers(extent: Extent, chosen: PixelRange) -> list[str]:
    typical = PixelRange(extent.typical_low, extent.typical_high)
    if not 0 < typical.high - typical.low < (chosen.high - chosen.low) / 4:
        return []
    return [
        f"in most images 99.8 % of the values lie in {typical}, less than a quarter of the range: "
        f"data.range: {typical.setting} gives them all gray levels and clips the rest"
    ]


def _several_formats(
    whole: dict[NumberFormat, Extent], extents: Sequence[Extent], names: Sequence[str]
) -> str:
    counts = Counter(extent.format for extent in extents)
    first = {e.format: n for n, e in reversed([*zip(names, extents, strict=False)])}
    parts = [
        f"{counts[name]:,} {name} ({first.get(name, '')}: values {_span(extent)})"
        for name, extent in whole.items()
    ]
    return (
        "its images have several number formats, which have no common scale: "
        f"{', '.join(parts)}; save all of them with the same number of bits"
    )


def _span(extent: Extent) -> str:
    return str(PixelRange(extent.low, extent.high))
