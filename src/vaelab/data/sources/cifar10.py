"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32x32, in the binary version."""

import gzip
import math
import tarfile
import zlib
from pathlib import Path

import numpy as np

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher, digest_is
from vaelab.data.source import ImageSet, Source, from_array

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
NAMES = "batches.meta.txt"

RECORDS = 10_000
"""Of a batch: one byte for the label, then the red, the green and the blue plane, row by row."""
CLASSES = 10
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + math.prod(_SHAPE)
_MOST_NAMES_BYTES = 1024
_BLOCK_BYTES = 2**20


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """The archive, verified by its MD5."""
    fetch(raw_folder / ARCHIVE, [URL], digest_is("MD5", MD5))


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images, with the official test split, straight from the archive.

    Raises UserError where it is incomplete.
    """
    archive = raw_folder / ARCHIVE
    try:
        found = _members(archive)
        names = _class_names(found[NAMES])
    except (OSError, EOFError, zlib.error, tarfile.TarError, LookupError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{archive}: not a complete CIFAR-10 archive: {reason}; download it again"
        ) from error
    return Source(
        name="cifar10",
        origin=URL,
        levels=256,
        train=_image_set([found[name] for name in TRAIN], settings),
        test=_image_set([found[name] for name in TEST], settings),
        class_names=names,
    )


def _members(archive: Path) -> dict[str, bytes]:
    """Read the required members, each of its known size, and skip all others."""
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN, *TEST, NAMES)}
    found = {}
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if name := wanted.get(member.name):
                    found[name] = _content(tar, member, name)
        while stream.read(_BLOCK_BYTES):  # to the end, where the checksum is
            pass
    if missing := sorted(set(wanted.values()) - set(found)):
        raise ValueError(f"it has no {', '.join(missing)}")
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    size, whole = member.size, RECORDS * _RECORD_BYTES
    if size > _MOST_NAMES_BYTES if name == NAMES else size != whole:
        should = f"{_MOST_NAMES_BYTES:,} at most" if name == NAMES else f"{whole:,}"
        raise ValueError(f"{name} has {size:,} bytes, which should be {should}")
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def _class_names(content: bytes) -> tuple[str, ...]:
    names = tuple(content.decode("ascii").split())
    if len(names) != CLASSES:
        raise ValueError(f"{NAMES} names {len(names)} classes, which should be {CLASSES}")
    return names


def _image_set(batches: list[bytes], settings: DataSettings) -> ImageSet:
    records = np.frombuffer(b"".join(batches), np.uint8).reshape(-1, _RECORD_BYTES)
    images = records[:, 1:].reshape(-1, *_SHAPE)
    return from_array(images, records[:, 0].astype(np.int64), settings)
