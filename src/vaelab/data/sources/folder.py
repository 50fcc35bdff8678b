"""A folder of the user's own images; sub-folders, where there are any, are the labels."""

from pathlib import Path

import numpy as np
from PIL import Image

from vaelab.config import DataSettings, UserError
from vaelab.data.array_files import ENDINGS
from vaelab.data.dataset import SPLITS, SplitName
from vaelab.data.fetch import Fetcher
from vaelab.data.inspection import FileFacts, PixelReader, inspect, pixel_reader
from vaelab.data.layout import Layout, loose_files, read_layout
from vaelab.data.listing import Listing, expand_user, list_files, name_in, shown, some_of
from vaelab.data.source import MAX_NAMED, ImageSet, NoImagesError, Source, UnreadableError
from vaelab.data.sources import arrays

_NOT_DECODED = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow recognises and cannot read."""


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """Nothing: the images are the user's."""


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images of `settings.folder` and of the folders in it, sorted by path.

    Raises UserError for no folder, no images, as many images beside sub-folders as in them, and
    files that cannot be read (by name).
    """
    settings = settings.model_copy(update={"folder": expand_user(settings.folder)})
    if settings.max_pixels:
        Image.MAX_IMAGE_PIXELS = -(-settings.max_pixels // 2)  # Pillow refuses twice as many
    if _holds_arrays(settings.folder):
        return arrays.read(settings)
    listing = _find(settings.folder)
    loose = loose_files(settings.folder, listing.files, settings)
    listing = listing.without(dict.fromkeys(loose, "beside the folders of classes"))
    all_classes = read_layout(settings.folder, listing.files, settings).class_names
    listing, facts = _inspect(listing, settings)
    files, note = list(listing.files), listing.note()
    layout = read_layout(settings.folder, files, settings)
    gone = sorted(set(all_classes or ()) - set(layout.class_names or ()))
    about_gone = [f"classes without a readable image: {some_of(gone)}"] if gone else []
    reader, pixel_notes = _pixel_reader(facts, settings)
    own = {split: _image_set(reader, listing, facts, layout, split) for split in SPLITS}
    if own["train"] is None:
        raise UserError(f"data.folder: {shown(settings.folder)} holds no images for training")
    about_pixels = (f"{shown(settings.folder)}: {text}" for text in pixel_notes)
    return Source(
        name="folder",
        origin=f"images in {shown(settings.folder)}",
        levels=reader.levels,
        train=own["train"],
        validation=own["validation"],
        test=own["test"],
        class_names=layout.class_names,
        pixel_range=reader.pixel_range,
        notes=(*([note] if note else []), *about_gone, *layout.notes, *about_pixels),
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
        raise NoImagesError(
            f"data.folder: {shown(folder)} holds no images (other entries: {count}){why}"
        )
    return listing


def _inspect(listing: Listing, settings: DataSettings) -> tuple[Listing, list[FileFacts]]:
    """Decode every file once, so that all that cannot be read are known before any is used."""
    files = listing.files
    results = inspect(files, settings)
    problems = {
        path: result for path, result in zip(files, results, strict=True) if isinstance(result, str)
    }
    if problems and (settings.unreadable == "refuse" or len(problems) == len(files)):
        _refuse(listing, problems)
    listing = listing.without({path: f"unreadable: {why}" for path, why in problems.items()})
    return listing, [result for result in results if isinstance(result, FileFacts)]


def _refuse(listing: Listing, problems: dict[Path, str]) -> None:
    folder, count = listing.folder, len(listing.files)
    lines = tuple(f"{shown(path.relative_to(folder))} ({why})" for path, why in problems.items())
    rest = f" and {len(lines) - MAX_NAMED} more" if len(lines) > MAX_NAMED else ""
    skip = "" if len(lines) == count else ", or set data.unreadable: skip"
    named, reasons, common = list(lines), set(problems.values()), ""
    if len(lines) > 1 == len(reasons):
        named = [shown(path.relative_to(folder)) for path in problems]
        common = f" ({reasons.pop()})"
    raise UnreadableError(
        f"data.folder: {shown(folder)}: {len(lines)} of {count} images cannot be read{common}: "
        f"{', '.join(named[:MAX_NAMED])}{rest}; repair or remove them{skip}",
        lines,
    )


def _pixel_reader(
    facts: list[FileFacts], settings: DataSettings
) -> tuple[PixelReader, tuple[str, ...]]:
    try:
        return pixel_reader(facts, settings)
    except UserError as error:
        raise UserError(f"data.folder: {shown(settings.folder)}: {error}") from error


def _image_set(
    reader: PixelReader,
    listing: Listing,
    facts: list[FileFacts],
    layout: Layout,
    split: SplitName,
) -> ImageSet | None:
    """Return the images of a split; frames of a file are images of its label and of one group."""
    files = listing.files
    own = [row for row in layout.rows(split) for _ in facts[row].frames]
    frames = [(files[row], n) for row in layout.rows(split) for n in range(len(facts[row].frames))]
    if not own:
        return None
    groups = layout.groups
    if groups is None and any(len(file.frames) > 1 for file in facts):
        groups = np.arange(len(files), dtype=np.int64)
    digests = [frame.digest for row in layout.rows(split) for frame in facts[row].frames]
    return ImageSet(
        len(own),
        (1 if reader.color == "grey" else 3, *reader.size),
        lambda rows: reader.read([frames[row] for row in rows]),
        None if layout.labels is None else layout.labels[own],
        names=[
            name_in(listing.folder, path, n if len(facts[row].frames) > 1 else None)
            for row, (path, n) in zip(own, frames, strict=True)
        ],
        groups=None if groups is None else groups[own],
        digests=np.array(digests, "S32"),
    )
