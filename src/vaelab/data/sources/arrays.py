"""Images in NumPy's files: one .npy or .npz file, or a folder of them (data.name: folder)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from vaelab.config import DataSettings, UserError
from vaelab.data.array_files import ENDINGS, ArrayFile, read_headers, survey
from vaelab.data.dataset import SPLITS, SplitName
from vaelab.data.layout import find_split, number_names, read_layout
from vaelab.data.listing import Listing, list_files, name_in, shown, some_of
from vaelab.data.missing import nan_pixels
from vaelab.data.pixel_range import (
    Extent,
    NumberFormat,
    PixelRange,
    choose,
    levels_of,
    number_format,
    source_range,
)
from vaelab.data.pixels import Color, Resize, Size, to_masked_pixels, to_pixels
from vaelab.data.source import ImageSet, Source

_IMAGES = ("images", "image", "imgs", "img", "x", "data", "arr_0")
"""Names of the images among several arrays of a file, without the name of a split."""

Ranges = dict[NumberFormat, PixelRange]


@dataclass(frozen=True)
class _Meaning:
    """The split, group and labels of each array of images, and the arrays of the labels."""

    splits: list[SplitName]
    notes: list[str]
    groups: np.ndarray | None
    labels: list[np.ndarray] | None = None
    class_names: tuple[str, ...] | None = None
    label_arrays: Sequence[ArrayFile] = ()


def read(settings: DataSettings) -> Source:
    """Return the images, labels and splits of array files.

    Splits are named by keys, files or folders (x_train, train.npz, train/a.npy). Labels are
    one-dimensional arrays beside the images, or folders. Raises UserError for arrays that cannot
    be read, are no images, or can be understood in two ways.
    """
    listing, where = _list(settings.folder), shown(settings.folder)
    found = [array for path in listing.files for array in read_headers(path)]
    arrays = [replace(array, bands=settings.bands) for array in found]
    images = _choose_images(settings.folder, arrays)
    meaning = _understand(settings, listing, arrays, images)
    labels, groups = meaning.labels, meaning.groups
    if settings.files_mark_missing and settings.missing != "marked":
        raise UserError(
            f"data.missing: {settings.missing}: colors mark missing pixels of image files, and "
            f"{where} holds arrays; set data.missing: marked, and NaN where a pixel is missing"
        )
    extents, digests = survey(images, nan_is_missing=settings.missing == "marked")
    ranges, about_pixels = _choose_range(settings, extents)
    single = sum(array.is_one_image for array in images)
    unused = [a for a in arrays if a not in images and a not in meaning.label_arrays]
    notes = [
        *([note] if (note := listing.note()) else []),
        *meaning.notes,
        *([f"{where}: each of {single:,} arrays is taken as one image"] if single else []),
        *(f"{where}: {text}" for text in about_pixels),
        *([f"not used: {some_of([a.name for a in unused], 10)}"] if unused else []),
    ]
    counts = [len(array.images()) for array in images]
    starts = np.cumsum([0, *counts])
    sets: dict[SplitName, ImageSet] = {}
    for split in SPLITS:
        own = [i for i, name in enumerate(meaning.splits) if name == split]
        if own:
            rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in own])
            sets[split] = ImageSet(
                len(rows),
                _shape(settings, [images[i] for i in own]),
                _Reader(settings, [images[i] for i in own], ranges),
                np.concatenate([labels[i] for i in own]) if labels else None,
                names=[name for i in own for name in _names(listing.folder, images[i])],
                groups=None if groups is None else np.repeat(groups, counts)[rows],
                digests=np.array(digests, "S32")[rows],
            )
    if "train" not in sets:
        raise UserError(f"data.folder: {shown(settings.folder)} holds no arrays for training")
    return Source(
        name="folder",
        origin=f"arrays in {shown(settings.folder)}",
        levels=_levels(settings, extents, ranges, images),
        train=sets["train"],
        validation=sets.get("validation"),
        test=sets.get("test"),
        class_names=meaning.class_names,
        pixel_range=source_range(ranges),
        notes=tuple(notes),
        lists={"skipped_files.txt": listing.lines()} if listing.skipped else {},
    )


def _choose_range(settings: DataSettings, extents: list[Extent]) -> tuple[Ranges, list[str]]:
    try:
        return choose(extents, settings.range)
    except UserError as error:
        raise UserError(f"data.folder: {shown(settings.folder)}: {error}") from error


def _levels(
    settings: DataSettings, extents: list[Extent], ranges: Ranges, images: list[ArrayFile]
) -> int:
    as_stored = all(array.images().shape[1:] == _shape(settings, images) for array in images)
    (chosen, *others) = ranges.values()
    return levels_of(extents[0], chosen) if as_stored and not others else 256


def _list(path: Path) -> Listing:
    return Listing(path.parent, (path,), {}) if path.is_file() else list_files(path, ENDINGS)


def _choose_images(folder: Path, arrays: list[ArrayFile]) -> list[ArrayFile]:
    """Return the arrays of images: one for each split of a file, named as images if several."""
    by_place: dict[tuple[Path, object], list[ArrayFile]] = {}
    for array in filter(lambda a: a.is_images, arrays):
        found = find_split(array.key or "")
        by_place.setdefault((array.path, found and found[0]), []).append(array)
    chosen = []
    for several in by_place.values():
        named = [a for a in several if _plain(a) in _IMAGES] if len(several) > 1 else several
        if len(named) != 1:
            raise UserError(
                f"data.folder: {shown(folder)}: which array holds the images is not clear "
                f"({some_of([a.name for a in several])}); name one of them images"
            )
        chosen += named
    pictures = [array for array in arrays if array.is_one_image]
    if not chosen and len(pictures) > 1:
        return pictures
    if not chosen:
        raise UserError(
            f"data.folder: {shown(folder)} holds no array of images [N, height, width] or "
            f"[N, height, width, channel] ({some_of([a.name for a in arrays])})"
        )
    return chosen


def _names(folder: Path, array: ArrayFile) -> list[str]:
    if array.is_one_image:
        return [name_in(folder, array.path)]
    path = array.path if array.key is None else array.path / array.key
    return [name_in(folder, path, row) for row in range(len(array.images()))]


def _plain(array: ArrayFile) -> str:
    found = find_split(array.key or "")
    return (found[1] if found else array.key or "").strip("_-. ").lower()


def _understand(
    settings: DataSettings, listing: Listing, arrays: list[ArrayFile], images: list[ArrayFile]
) -> _Meaning:
    layout = read_layout(listing.folder, [a.path for a in images], settings)
    splits, notes = list(layout.splits), list(layout.notes)
    named = [_split_of(array) for array in images]
    if set(splits) == {"train"} and any(named):
        if None in named:
            raise UserError(
                f"data.folder: {shown(settings.folder)}: some arrays are named as splits "
                f"and others are not ({some_of([a.name for a in images])})"
            )
        splits = [name for name in named if name]
        pairs = zip(images, splits, strict=True)
        said = ", ".join(f"{array.name} as {split}" for array, split in pairs)
        notes.append(f"{shown(settings.folder)}: arrays are taken as splits: {said}")
    found = [_labels_of(array, split, arrays) for array, split in zip(images, splits, strict=True)]
    if all(label is not None for label in found):
        values = [label.values.reshape(-1).tolist() for label in found if label]
        names, numbers = number_names([_text(value) for each in values for value in each])
        ends = np.cumsum([len(each) for each in values])[:-1]
        shown_names = tuple(map(shown, names))
        used = [label for label in found if label]
        return _Meaning(splits, notes, layout.groups, np.split(numbers, ends), shown_names, used)
    if layout.labels is None or layout.class_names is None:
        return _Meaning(splits, notes, layout.groups)
    repeated = [
        np.full(len(array.images()), label)
        for array, label in zip(images, layout.labels, strict=True)
    ]
    return _Meaning(splits, notes, layout.groups, repeated, layout.class_names)


def _split_of(array: ArrayFile) -> SplitName | None:
    for name in (array.key, array.path.stem):
        if name and (found := find_split(name)):
            return found[0]
    return None


def _labels_of(
    images: ArrayFile, split: SplitName, arrays: Sequence[ArrayFile]
) -> ArrayFile | None:
    """Return the only array of labels of this length in the file, else in the folder."""
    fitting = [
        a
        for a in arrays
        if a.is_labels
        and a.path.parent == images.path.parent
        and a.shape[0] == len(images.images())
        and _split_of(a) in (split, None)
    ]
    same_file = [a for a in fitting if a.path == images.path and a.key is not None]
    found = same_file or fitting
    return found[0] if len(found) == 1 else None


def _text(value: object) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _color(settings: DataSettings, channels: int) -> Color:
    if settings.color == "auto":
        return "grey" if channels == 1 else "rgb"
    return settings.color


def _shape(settings: DataSettings, arrays: Sequence[ArrayFile]) -> tuple[int, int, int]:
    shapes = {array.images().shape[1:] for array in arrays}
    channels, height, width = shapes.pop()
    if any(s[0] != channels for s in shapes) or (shapes and settings.image_size is None):
        raise UserError(
            f"data.folder: {shown(settings.folder)}: its arrays hold images of several shapes; "
            "all must have one number of channels, and one size unless data.image_size is set"
        )
    color = _color(settings, channels)
    return (1 if color == "grey" else 3, *(settings.image_size or (height, width)))


class _Reader:
    """Reads rows of several arrays as if they were one."""

    def __init__(self, settings: DataSettings, arrays: list[ArrayFile], ranges: Ranges) -> None:
        self.settings, self.arrays, self.ranges = settings, arrays, ranges
        self.ends = np.cumsum([len(array.images()) for array in arrays])
        self.shape = _shape(settings, arrays)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        marks = self.settings.files_mark_missing
        shape = (len(rows), *self.shape)
        pixels = np.ma.zeros(shape, np.uint8) if marks else np.empty(shape, np.uint8)
        which = np.searchsorted(self.ends, rows, side="right")
        for number in np.unique(which):
            places = np.flatnonzero(which == number)
            start = self.ends[number - 1] if number else 0
            images = self.arrays[number].images()[rows[places] - start]
            pixels[places] = self._masked(images) if marks else self._whole(images)
        return pixels

    def _whole(self, images: np.ndarray) -> np.ndarray:
        stored = self.ranges[number_format(images.dtype)].to_bytes(images)
        if stored.shape[1:] == self.shape:
            return stored
        return np.stack([to_pixels(picture, *self._fit(stored)) for picture in _pictures(stored)])

    def _masked(self, images: np.ndarray) -> np.ma.MaskedArray:
        """Return pixels of which those that are NaN are masked."""
        missing, pixel_range = nan_pixels(images), self.ranges[number_format(images.dtype)]
        if missing.any():
            images = np.where(missing, images.dtype.type(pixel_range.low), images)
        stored = pixel_range.to_bytes(images)
        if stored.shape[1:] == self.shape:
            return np.ma.array(stored, mask=np.broadcast_to(missing, stored.shape))
        pairs = zip(_pictures(stored), missing[:, 0], strict=True)
        fitted = [to_masked_pixels(picture, gaps, *self._fit(stored)) for picture, gaps in pairs]
        return np.ma.stack(fitted)

    def _fit(self, images: np.ndarray) -> tuple[Color, Size, Resize]:
        color, (_, height, width) = _color(self.settings, images.shape[1]), self.shape
        return color, (height, width), self.settings.resize


def _pictures(images: np.ndarray) -> list[Image.Image]:
    bands = images[:, 0] if images.shape[1] == 1 else images.transpose(0, 2, 3, 1)
    return [Image.fromarray(np.ascontiguousarray(image)) for image in bands]
