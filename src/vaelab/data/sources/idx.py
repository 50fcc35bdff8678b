"""MNIST and data sets in its format (idx): https://yann.lecun.com/exdb/mnist/ describes it."""

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int64, UInt8
from torchvision.datasets import EMNIST, KMNIST, MNIST, FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher, Verify, digest_is, wrong_digest
from vaelab.data.source import ImageSet, Source, from_array

_DATASETS: dict[str, Any] = {"mnist": MNIST, "fashion_mnist": FashionMNIST, "kmnist": KMNIST}

# of the decompressed files, so that a mirror may compress them again
_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte.gz": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}
_EMNIST_ARCHIVE = "gzip.zip"
_AGAIN = "download it again"


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """The compressed files, verified: MNIST by SHA-256 of the content, the rest by MD5."""
    if settings.name == "emnist":
        fetch(raw_folder / _EMNIST_ARCHIVE, [EMNIST.url], digest_is("MD5", EMNIST.md5))
        return
    dataset = _DATASETS[settings.name]
    for name, md5 in dataset.resources:
        is_good = _content_is(_MNIST_SHA256[name]) if dataset is MNIST else digest_is("MD5", md5)
        fetch(raw_folder / name, [f"{host}{name}" for host in dataset.mirrors], is_good)


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images, upright, with labels that count from 0, and the official test split.

    Raises UserError for a file that is missing, truncated, or no idx file.
    """
    if settings.name == "emnist":
        return _read_emnist(settings, raw_folder)
    dataset = _DATASETS[settings.name]

    def load(part: str) -> ImageSet:
        return from_array(*_read_part(raw_folder, part), settings)

    return Source(
        name=settings.name,
        origin=dataset.mirrors[0],
        levels=256,
        train=load("train"),
        test=load("t10k"),
        class_names=tuple(name.partition(" - ")[0] for name in dataset.classes),
    )


def _read_emnist(settings: DataSettings, raw_folder: Path) -> Source:
    # letters counts its labels from 1; torchvision puts an unused class before them
    first = 1 if settings.emnist_split == "letters" else 0

    def load(part: str) -> ImageSet:
        images, labels = _read_part(raw_folder, f"emnist-{settings.emnist_split}-{part}")
        # stored column by column
        return from_array(images.swapaxes(2, 3), labels - first, settings)

    return Source(
        name="emnist",
        origin=f"{EMNIST.url}, split {settings.emnist_split}",
        levels=256,
        train=load("train"),
        test=load("test"),
        class_names=tuple(EMNIST.classes_split_dict[settings.emnist_split][first:]),
    )


def _content_is(sha256: str) -> Verify:
    def verify(path: Path) -> str | None:
        try:
            with gzip.open(path) as content:
                return wrong_digest(content.read, "SHA-256", sha256)
        except (OSError, EOFError, zlib.error) as error:
            return f"not a complete gzip file ({error}); its content should have SHA-256 {sha256}"

    return verify


def _read_part(
    folder: Path, part: str
) -> tuple[UInt8[np.ndarray, "count 1 height width"], Int64[np.ndarray, " labels"]]:
    images = _read_idx(folder, f"{part}-images-idx3-ubyte.gz", read_image_file)
    return images[:, None], _read_idx(folder, f"{part}-labels-idx1-ubyte.gz", read_label_file)


def _read_idx(folder: Path, name: str, reader: Callable[[str], Any]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "idx"
        try:
            with _open(folder, name) as packed, gzip.open(packed) as file, plain.open("wb") as out:
                shutil.copyfileobj(file, out)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{folder / name}: not a complete gzip file: {reason}; {_AGAIN}"
            ) from error
        try:
            array: np.ndarray = reader(str(plain)).numpy()
        except (AssertionError, LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or "its header is none"
            raise UserError(f"{folder / name}: not a valid idx file: {reason}; {_AGAIN}") from error
    return array


@contextmanager
def _open(folder: Path, name: str) -> Iterator[IO[bytes]]:
    """A compressed file of `folder`, or of EMNIST's archive of all splits in it."""
    if (folder / _EMNIST_ARCHIVE).exists():
        with (
            zipfile.ZipFile(folder / _EMNIST_ARCHIVE) as archive,
            archive.open(f"gzip/{name}") as member,
        ):
            yield member
    else:
        with (folder / name).open("rb") as file:
            yield file
