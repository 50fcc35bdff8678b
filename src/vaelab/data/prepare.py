"""Write a source's images in the prepared format, a chunk at a time."""

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from vaelab.config import DataSettings, UserError
from vaelab.data.dataset import (
    ARRAY_TYPES,
    INFO_FILE,
    DatasetInfo,
    SplitName,
    array_file,
    names_file,
)
from vaelab.data.missing import may_miss_pixels, missing_notes, missing_pixels
from vaelab.data.source import Shape, Source
from vaelab.data.splits import Part, binarize, generator, keep_classes, split, split_notes
from vaelab.runtime.files import annotate_oserror, sha256, write_text

_CHUNK_BYTES = 2**24
FEW_IMAGES = 50
"""Validation images below which the mean loss hardly tells neighboring epochs apart."""


def prepare(source: Source, settings: DataSettings, folder: Path) -> DatasetInfo:
    """Split, binarize and write a source; `folder` appears only when it is complete.

    An older `folder` is replaced. Raises UserError for images that cannot be read or split.
    """
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        with annotate_oserror(folder):
            info = _write(source, settings, unfinished)
            _replace(folder, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return info


def summarize(info: DatasetInfo) -> str:
    """Return one line: how many images of which shape and classes."""
    counts = ", ".join(f"{count:,} {name}" for name, count in info.counts.items())
    channels, height, width = info.image_shape
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    names = info.class_names
    classes = "no labels" if names is None else f"{len(names)} classes"
    if names is not None and len(names) <= 10:
        classes += f" ({', '.join(names)})"
    return f"{info.name}: {counts}; {kind} images of {height}x{width} pixels; {classes}"


def small_split_note(info: DatasetInfo) -> str | None:
    """Return a line if the validation split is too small to choose an epoch by; else None."""
    count = info.counts["validation"]
    if count >= FEW_IMAGES:
        return None
    return (
        f"validation: {count} image{'s' if count > 1 else ''}; the choice of the best epoch is "
        f"noisy below {FEW_IMAGES}: a larger data.validation_fraction or more images help"
    )


def _write(source: Source, settings: DataSettings, folder: Path) -> DatasetInfo:
    parts = split(source, settings)
    notes = split_notes(source, parts)
    if settings.only_classes:
        parts, note = keep_classes(source, parts, settings.only_classes)
        notes = (*notes, note)
    count, (channels, height, width) = sum(map(len, parts.values())), source.train.shape
    masks = settings.missing != "none"
    _check_disk_space(folder, count, (channels + masks, height, width))
    missing: dict[SplitName, float] = {}
    for name, part in parts.items():
        share = _write_images(folder, name, part, settings)
        missing |= {} if share is None else {name: share}
        for kind, values in (("labels", part.images.labels), ("factors", part.images.factors)):
            if values is not None:
                np.save(folder / array_file(name, kind), values[part.rows], allow_pickle=False)
        if part.images.names is not None:
            names = part.images.names
            write_text(folder / names_file(name), "".join(f"{names[r]}\n" for r in part.rows))
    info = DatasetInfo(
        name=source.name,
        image_shape=source.train.shape,
        counts={name: len(part) for name, part in parts.items()},
        class_names=source.class_names,
        factor_names=source.factor_names,
        levels=source.levels if settings.binarization == "none" else 2,
        binarization=settings.binarization,
        seed=settings.seed,
        sha256={path.name: sha256(path) for path in sorted(folder.iterdir())},
        origin=source.origin,
        pixel_range=source.pixel_range,
        missing=missing,
        notes=(*source.notes, *notes, *missing_notes(settings, missing)),
    )
    for file, lines in source.lists.items():
        write_text(folder / file, "".join(f"{line}\n" for line in lines))
    write_text(folder / INFO_FILE, info.model_dump_json(indent=2) + "\n")
    return info


def _check_disk_space(folder: Path, count: int, shape: Shape) -> None:
    """Writing to a memory map on a full disk would kill the process (SIGBUS)."""
    needed, free = count * math.prod(shape), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.parent}: {needed / 1e9:.1f} GB of images do not fit on the disk, which has "
            f"{free / 1e9:.1f} GB free: make room, or set a smaller data.image_size"
        )


def _write_images(
    folder: Path, name: SplitName, part: Part, settings: DataSettings
) -> float | None:
    """Write the images of a split, and where their pixels are missing.

    Returns the share that is missing; None for whole images.
    """
    channels, height, width = part.images.shape
    target = _new_array(folder, name, "images", (len(part), channels, height, width))
    gaps = None
    if may_miss_pixels(name, settings):
        gaps = _new_array(folder, name, "missing", (len(part), 1, height, width))
    start, hiding = 0, generator(settings.seed, f"missing {name}")
    for images in _chunks(name, part, settings):
        rows = slice(start, start + len(images))
        if gaps is not None:
            gaps[rows] = missing = missing_pixels(images, settings, hiding)
            images = np.where(missing, 0, np.ma.getdata(images))
        target[rows] = images
        start = rows.stop
    target.flush()
    if gaps is None:
        return None
    gaps.flush()
    return float(gaps.mean())


def _new_array(folder: Path, name: SplitName, kind: str, shape: tuple[int, ...]) -> np.memmap:
    path, dtype = folder / array_file(name, kind), ARRAY_TYPES[kind]
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _chunks(
    name: SplitName, part: Part, settings: DataSettings
) -> Iterator[UInt8[np.ndarray, "n c h w"]]:
    random = generator(settings.seed, f"binarize {name}")
    drawn_once = settings.binarization == "fixed" or (
        settings.binarization == "fresh" and name != "train"
    )
    size = max(1, _CHUNK_BYTES // math.prod(part.images.shape))
    with tqdm(total=len(part), desc=name, unit=" images", leave=False, disable=None) as bar:
        for start in range(0, len(part), size):
            images = part.images.read(part.rows[start : start + size])
            yield binarize(images, random) if drawn_once else images
            bar.update(len(images))


def _replace(folder: Path, successor: Path) -> None:
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        successor.rename(folder)
        shutil.rmtree(old)
    else:
        successor.rename(folder)
