"""CelebA (Liu et al. 2015), aligned: 202,599 faces with 40 attributes, which become factors."""

import importlib.util
import io
import os
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from torchvision.datasets import CelebA
from torchvision.datasets.utils import check_integrity, download_file_from_google_drive

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import MIRROR_VARIABLE, Fetcher, digest_is
from vaelab.data.pixels import decode, in_threads, to_pixels
from vaelab.data.source import ImageSet, Source

_ARCHIVE = "img_align_celeba.zip"
_DEFAULT_SIZE = (64, 64)


class _ZippedCelebA(CelebA):  # type: ignore[misc]
    """Reads the tables beside an archive that stays one verified file.

    Unpacked, it would be 202,599 files, which torchvision never verifies.
    """

    base_folder = ""

    def _check_integrity(self) -> bool:
        return all(check_integrity(Path(self.root) / name, md5) for _, md5, name in self.file_list)

    def partition(self) -> Int64[np.ndarray, " count"]:
        """Each image's official split: 0 training, 1 validation, 2 test."""
        splits: np.ndarray = self._load_csv("list_eval_partition.txt").data.numpy()
        return splits[:, 0]


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """The archive and its tables: from a mirror, or from Google Drive as torchvision has it."""
    for file_id, md5, name in CelebA.file_list:
        target = raw_folder / name
        try:
            fetch(target, (), digest_is("MD5", md5))
        except UserError as error:
            _from_google_drive(file_id, md5, target, fetch, str(error) if fetch.mirrors else "")


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The faces in their three official splits, decoded as they are read.

    Without data.image_size they are cropped to the middle square and scaled to 64x64.
    Raises UserError for files that are missing or have another MD5 than torchvision knows.
    """
    try:
        tables = _ZippedCelebA(raw_folder, split="all", download=False)
        archive = zipfile.ZipFile(raw_folder / _ARCHIVE)
    except (RuntimeError, zipfile.BadZipFile) as error:
        names = ", ".join(name for _, _, name in CelebA.file_list)
        raise UserError(
            f"{raw_folder}: of {names} one is missing or broken; download it again"
        ) from error
    partition = tables.partition()
    train, validation, test = (
        _image_set(settings, archive, tables, np.flatnonzero(partition == part))
        for part in range(3)
    )
    return Source(
        name="celeba",
        origin="http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        levels=256,
        train=train,
        validation=validation,
        test=test,
        factor_names=tuple(name for name in tables.attr_names if name),
    )


def _image_set(
    settings: DataSettings,
    archive: zipfile.ZipFile,
    tables: _ZippedCelebA,
    members: Int64[np.ndarray, " count"],
) -> ImageSet:
    size = settings.image_size or _DEFAULT_SIZE

    def decode_one(item: tuple[str, bytes]) -> np.ndarray:
        name, content = item
        try:
            return to_pixels(decode(io.BytesIO(content)), "rgb", size, settings.resize)
        except Exception as error:  # Pillow's plugins raise anything
            raise UserError(f"{archive.filename}: {name} cannot be read: {error}") from error

    def read_rows(rows: np.ndarray) -> np.ndarray:
        names = [f"img_align_celeba/{tables.filename[row]}" for row in members[rows]]
        return np.stack(in_threads(decode_one, [(name, archive.read(name)) for name in names]))

    factors = tables.attr.numpy()[members]
    return ImageSet(len(members), (3, *size), read_rows, factors=factors)


def _from_google_drive(file_id: str, md5: str, target: Path, fetch: Fetcher, earlier: str) -> None:
    remedy = f"name a mirror that has celeba/{target.name} in data.mirror or {MIRROR_VARIABLE}"
    if importlib.util.find_spec("gdown") is None:
        raise UserError(
            f"{earlier}{'. ' if earlier else ''}{target.name} comes from Google Drive, which needs "
            f"the package gdown: pip install gdown, or {remedy}"
        )
    fetch.partial_folder.mkdir(parents=True, exist_ok=True)
    try:
        download_file_from_google_drive(file_id, fetch.partial_folder, target.name, md5)
    except Exception as error:  # gdown's own errors have no common base
        reason = " ".join(str(error).split())
        raise UserError(
            f"{earlier}{'. ' if earlier else ''}Google Drive did not give {target.name}: {reason}; "
            f"try again tomorrow (it limits downloads a day), or {remedy}"
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(fetch.partial_folder / target.name, target)
    fetch.used[target.name] = f"Google Drive, file {file_id}"
