"""A folder of the user's own images; sub-folders, where there are any, are the labels."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from vaelab.config import DataSettings, UserError
from vaelab.data.array_files import ENDINGS
from vaelab.data.dataset import SPLITS, SplitName
from vaelab.data.fetch import Fetcher
from vaelab.data.layout import Layout, read_layout
from vaelab.data.listing import Listing, expand_user, list_files, shown, some_of
from vaelab.data.pixels import Color, Size, decode, in_threads, is_grey, to_pixels
from vaelab.data.source import MAX_NAMED, ImageSet, Source, UnreadableError
from vaelab.data.sources import arrays

_CHUNK = 1024
_NOT_DECODED = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow recognises and cannot read."""


@dataclass(frozen=True)
class _Facts:
    size: Size
    grey: bool
    digest: str


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """Nothing: the images are the user's."""


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images of `settings.folder` and of the folders in it, sorted by path.

    Raises UserError for no folder, no images, images both beside and in sub-folders, files that
    cannot be read (by name), and images of several sizes where no size is set.
    """
    settings = settings.model_copy(update={"folder": expand_user(settings.folder)})
    if settings.max_pixels:
        Image.MAX_IMAGE_PIXELS = -(-settings.max_pixels // 2)  # Pillow refuses twice as many
    if _holds_arrays(settings.folder):
        return arrays.read(settings)
    listing = _find(settings.folder)
    all_classes = read_layout(settings.folder, listing.files, settings.group).class_names
    listing, facts = _inspect(listing, settings)
    files, note = list(listing.files), listing.note()
    layout = read_layout(settings.folder, files, settings.group)
    gone = sorted(set(all_classes or ()) - set(layout.class_names or ()))
    about_gone = [f"classes without a readable image: {some_of(gone)}"] if gone else []
    own = {split: _image_set(settings, files, facts, layout, split) for split in SPLITS}
    if own["train"] is None:
        raise UserError(f"data.folder: {shown(settings.folder)} holds no images for training")
    return Source(
        name="folder",
        origin=f"images in {shown(settings.folder)}",
        levels=256,
        train=own["train"],
        validation=own["validation"],
        test=own["test"],
        class_names=layout.class_names,
        notes=(*([note] if note else []), *about_gone, *layout.notes),
        lists={"skipped_files.txt": listing.lines()} if note else {},
    )


def _holds_arrays(folder: Path) -> bool:
    """Whether this is a file of arrays, or a folder with such files and no images."""
    if folder.is_file():
        return folder.suffix.lower() in ENDINGS
    if not folder.is_dir() or list_files(folder, _endings()).files:
        return False
    return bool(list_files(folder, ENDINGS).files)


def _endings() -> set[str]:
    formats = Image.registered_extensions()
    readable = Image.OPEN.keys() - _NOT_DECODED
    return {ending for ending, name in formats.items() if name in readable}


def _find(folder: Path) -> Listing:
    listing = list_files(folder, _endings())
    if not listing.files:
        count = len(listing.skipped)
        why = f": {listing.reasons()}" if count else ""
        raise UserError(
            f"data.folder: {shown(folder)} holds no images (other entries: {count}){why}"
        )
    return listing


def _inspect(listing: Listing, settings: DataSettings) -> tuple[Listing, list[_Facts]]:
    """Decode every file once, so that all that cannot be read are known before any is used."""
    files = listing.files
    results: list[_Facts | str] = []
    with tqdm(total=len(files), desc="reading", unit=" images", leave=False, disable=None) as bar:
        for start in range(0, len(files), _CHUNK):
            chunk = files[start : start + _CHUNK]
            results += in_threads(_facts, chunk)
            bar.update(len(chunk))
    problems = {
        path: result for path, result in zip(files, results, strict=True) if isinstance(result, str)
    }
    if problems and (settings.unreadable == "refuse" or len(problems) == len(files)):
        _refuse(listing, problems)
    listing = listing.without({path: f"unreadable: {why}" for path, why in problems.items()})
    return listing, [result for result in results if isinstance(result, _Facts)]


def _refuse(listing: Listing, problems: dict[Path, str]) -> None:
    folder, count = listing.folder, len(listing.files)
    lines = tuple(f"{shown(path.relative_to(folder))} ({why})" for path, why in problems.items())
    rest = f" and {len(lines) - MAX_NAMED} more" if len(lines) > MAX_NAMED else ""
    skip = "" if len(lines) == count else ", or set data.unreadable: skip"
    raise UnreadableError(
        f"data.folder: {shown(folder)}: {len(lines)} of {count} images cannot be read: "
        f"{', '.join(lines[:MAX_NAMED])}{rest}; repair or remove them{skip}",
        lines,
    )


def _facts(path: Path) -> _Facts | str:
    try:
        image = decode(path)
    except Exception as error:  # Pillow's plugins raise anything; each is reported with its file
        return _reason(error, path)
    grey = is_grey(image)
    pixels = image.getchannel(0) if grey else image
    digest = hashlib.blake2b(f"{image.size}{grey}".encode() + pixels.tobytes(), digest_size=16)
    return _Facts((image.height, image.width), grey, digest.hexdigest())


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


def _image_set(
    settings: DataSettings,
    files: list[Path],
    facts: list[_Facts],
    layout: Layout,
    split: SplitName,
) -> ImageSet | None:
    own = layout.rows(split)
    if not len(own):
        return None
    size = settings.image_size or _common_size(settings.folder, facts)
    color: Color = "rgb"
    if settings.color == "grey" or (settings.color == "auto" and all(f.grey for f in facts)):
        color = "grey"

    def read_one(path: Path) -> np.ndarray:
        try:
            return to_pixels(decode(path), color, size, settings.resize)
        except Exception as error:  # as in _facts; the file has changed since
            raise UserError(f"{shown(path)}: cannot be read: {error}") from error

    def read_rows(rows: np.ndarray) -> np.ndarray:
        return np.stack(in_threads(read_one, [files[row] for row in own[rows]]))

    return ImageSet(
        len(own),
        (1 if color == "grey" else 3, *size),
        read_rows,
        None if layout.labels is None else layout.labels[own],
        groups=None if layout.groups is None else layout.groups[own],
        digests=np.array([facts[row].digest for row in own], "S32"),
    )


def _common_size(folder: Path, facts: Sequence[_Facts]) -> Size:
    sizes = Counter(fact.size for fact in facts)
    (commonest, _), *others = sizes.most_common(3)
    if others:
        shown = ", ".join(f"{list(size)} ({count} images)" for size, count in sizes.most_common(3))
        raise UserError(
            f"data.folder: {folder}: its images have {len(sizes)} sizes [height, width], the "
            f"commonest {shown}; set one, such as data.image_size: {list(commonest)}"
        )
    return commonest
