"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32x32."""

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher, digest_is
from vaelab.data.source import ImageSet, Source, from_array


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """The archive, verified by torchvision's MD5."""
    archive = raw_folder / CIFAR10.filename
    fetch(archive, [CIFAR10.url], digest_is("MD5", CIFAR10.tgz_md5))


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images, with the official test split.

    torchvision unpickles the archive's batches: the one place where anything is unpickled, and
    only after the MD5 of each has been found right. Raises UserError where it is not.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _unpack(raw_folder / CIFAR10.filename, Path(scratch))
        try:
            train = CIFAR10(scratch, train=True, download=False)
            test = CIFAR10(scratch, train=False, download=False)
        except RuntimeError as error:
            raise UserError(
                f"{raw_folder / CIFAR10.filename}: the checksums of its batches are not "
                "CIFAR-10's; download it again"
            ) from error
    return Source(
        name="cifar10",
        origin=CIFAR10.url,
        levels=256,
        train=_image_set(train, settings),
        test=_image_set(test, settings),
        class_names=tuple(train.classes),
    )


def _image_set(dataset: CIFAR10, settings: DataSettings) -> ImageSet:
    labels = np.asarray(dataset.targets, dtype=np.int64)
    return from_array(dataset.data.transpose(0, 3, 1, 2), labels, settings)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files that torchvision reads, and nothing else that the archive may hold."""
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    (folder / CIFAR10.base_folder).mkdir()
    try:
        with tarfile.open(archive) as tar:
            for name in (*names, CIFAR10.meta["filename"]):
                member = f"{CIFAR10.base_folder}/{name}"
                content = tar.extractfile(member)
                if content is None:
                    raise KeyError(f"{member} is no file")
                with content, (folder / member).open("wb") as target:
                    shutil.copyfileobj(content, target)
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{archive}: no whole CIFAR-10 archive: {reason}; download it again"
        ) from error
