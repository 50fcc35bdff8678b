"""What image files hold, read once before any is used, and their pixels in one scale."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from vaelab.config import DataSettings, UserError
from vaelab.data.image_files import Frame, open_frames
from vaelab.data.image_size import choose_size
from vaelab.data.listing import shown
from vaelab.data.missing import with_marked_missing
from vaelab.data.pixel_range import (
    FORMAT_RANGES,
    Extent,
    NumberFormat,
    PixelRange,
    choose,
    levels_of,
    measure,
    number_format,
    source_range,
)
from vaelab.data.pixels import (
    Color,
    Size,
    in_threads,
    is_grey,
    to_masked_pixels,
    to_pixels,
)

_CHUNK = 1024


@dataclass(frozen=True)
class FrameFacts:
    """What is known of one frame of a file."""

    size: Size
    grey: bool
    extent: Extent
    transparent: bool
    missing: bool
    converted: str | None
    digest: str


@dataclass(frozen=True)
class FileFacts:
    """The frames of a file that are used, and how many it has."""

    path: Path
    count: int
    frames: tuple[FrameFacts, ...]


@dataclass(frozen=True)
class PixelReader:
    """Reads frames of files, given as pairs of path and number, as pixels of one scale and size.

    `levels` is how many gray levels a pixel can take.
    """

    ranges: dict[NumberFormat, PixelRange]
    color: Color
    size: Size
    levels: int
    settings: DataSettings

    @property
    def pixel_range(self) -> tuple[float, float] | None:
        """The values that become 0 and 255; None for the whole range of the files' format."""
        return source_range(self.ranges)

    def read(
        self, frames: Sequence[tuple[Path, int]]
    ) -> UInt8[np.ndarray, "count channel height width"]:
        """Return the pixels of frames, with a mask if files mark missing ones.

        Raises UserError for a file that cannot be read.
        """
        # A file is opened once for neighbouring frames of it.
        files = [(path, [n for _, n in group]) for path, group in groupby(frames, lambda f: f[0])]
        found = [pixels for each in in_threads(self._read_file, files) for pixels in each]
        return np.ma.stack(found) if self.settings.files_mark_missing else np.stack(found)

    def _read_file(self, file: tuple[Path, list[int]]) -> list[np.ndarray]:
        path, numbers = file
        try:
            with open_frames(path, self.settings.bands) as frames:
                return [self._pixels(frames.read(number)) for number in numbers]
        except Exception as error:  # as in file_facts; the file has changed since
            raise UserError(f"{shown(path)}: cannot be read: {error}") from error

    def _pixels(self, frame: Frame) -> np.ndarray:
        frame, how = with_marked_missing(frame, self.settings), self.settings.resize
        image = frame.to_image(self.ranges[number_format(frame.values.dtype)])
        if frame.missing is None or not self.settings.files_mark_missing:
            return to_pixels(image, self.color, self.size, how)
        return to_masked_pixels(image, frame.missing, self.color, self.size, how)


def inspect(files: Sequence[Path], settings: DataSettings) -> list[FileFacts | str]:
    """Read every file once; return its facts, or why it cannot be read."""
    results: list[FileFacts | str] = []
    with tqdm(total=len(files), desc="reading", unit=" images", leave=False, disable=None) as bar:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            results += in_threads(lambda path: _file_facts(path, settings), chunk)
            bar.update(len(chunk))
    return results


def pixel_reader(
    files: Sequence[FileFacts], settings: DataSettings
) -> tuple[PixelReader, tuple[str, ...]]:
    """Return the reader of a data set's pixels, and what is to be said about them.

    Raises UserError for several number formats without a common scale.
    """
    frames = [frame for file in files for frame in file.frames]
    names = [shown(file.path.name) for file in files for _ in file.frames]
    ranges, notes = choose([frame.extent for frame in frames], settings.range, names)
    color: Color = "rgb"
    if settings.color == "grey" or (settings.color == "auto" and all(f.grey for f in frames)):
        color = "grey"
    size, about_size = settings.image_size, None
    if size is None:
        size, about_size = choose_size([frame.size for frame in frames])
    sizes = [about_size] if about_size else []
    marked = settings.files_mark_missing
    notes = [*_frames_left_out(files), *_reinterpreted(frames, marked), *sizes, *notes]
    levels = _levels(frames, ranges, color, size)
    return PixelReader(ranges, color, size, levels, settings), tuple(notes)


def _file_facts(path: Path, settings: DataSettings) -> FileFacts | str:
    try:
        with open_frames(path, settings.bands) as frames:
            used = range(frames.count if settings.frames == "all" else 1)
            read = (with_marked_missing(frames.read(n), settings) for n in used)
            return FileFacts(path, frames.count, tuple(map(_frame_facts, read)))
    except Exception as error:  # Pillow's plugins raise anything; each is reported with its file
        return _reason(error, path)


def _frame_facts(frame: Frame) -> FrameFacts:
    extent = measure(frame.visible)
    own = FORMAT_RANGES.get(extent.format) or choose([extent], "auto")[0][extent.format]
    image = frame.to_image(own)
    grey = is_grey(image)
    if extent.format != "8-bit":
        pixels = frame.values.tobytes()
    else:
        pixels = (image.getchannel(0) if grey else image).tobytes()
    if frame.missing is not None:
        pixels += frame.missing.tobytes()
    digest = hashlib.blake2b(f"{image.size}{grey}".encode() + pixels, digest_size=16).hexdigest()
    size = (image.height, image.width)
    missing = frame.missing is not None
    return FrameFacts(size, grey, extent, frame.transparent, missing, frame.converted, digest)


def _reason(error: Exception, path: Path) -> str:
    if path.is_file() and path.stat().st_size == 0:
        return "an empty file"
    if isinstance(error, Image.DecompressionBombError):
        return f"{str(error).partition(',')[0]}; data.max_pixels sets another limit"
    if isinstance(error, UnidentifiedImageError):
        return "in no image format that Pillow knows"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def _levels(
    frames: Sequence[FrameFacts],
    ranges: dict[NumberFormat, PixelRange],
    color: Color,
    size: Size,
) -> int:
    """Return how many gray levels pixels can have; 256 where some are mixed of others."""
    mixed = any(f.transparent or f.size != size or (color == "grey" and not f.grey) for f in frames)
    (chosen, *others) = ranges.values()
    return 256 if mixed or others else levels_of(frames[0].extent, chosen)


def _frames_left_out(files: Sequence[FileFacts]) -> list[str]:
    total, used = sum(file.count for file in files), sum(len(file.frames) for file in files)
    if total == used:
        return []
    return [f"{total:,} frames, {used:,} used: the first of each file (data.frames: all uses all)"]


def _reinterpreted(frames: Sequence[FrameFacts], files_mark_missing: bool) -> list[str]:
    converted = Counter(frame.converted for frame in frames if frame.converted)
    notes = [f"{count:,} {kind} images are converted to RGB" for kind, count in converted.items()]
    if transparent := sum(frame.transparent for frame in frames):
        notes.append(f"{transparent:,} images are transparent in parts, and are put on white")
    if not files_mark_missing and (missing := sum(frame.missing for frame in frames)):
        notes.append(f"{missing:,} images have pixels without data (GDAL_NODATA), which are black")
    return notes
