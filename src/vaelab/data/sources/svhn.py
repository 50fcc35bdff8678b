"""Street View House Numbers (Netzer et al. 2011), cropped: 99,289 colour images of 32x32."""

from pathlib import Path

from torchvision.datasets import SVHN

from vaelab.config import DataSettings, UserError
from vaelab.data.fetch import Fetcher, digest_is
from vaelab.data.source import ImageSet, Source, from_array

_SPLITS = ("train", "test")


def download(settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
    """The two .mat files, verified by torchvision's MD5."""
    for split in _SPLITS:
        url, name, md5 = SVHN.split_list[split]
        fetch(raw_folder / name, [url], digest_is("MD5", md5))


def read(settings: DataSettings, raw_folder: Path) -> Source:
    """The images, with the official test split and labels that are the digits shown.

    Raises UserError for a file that is missing or has another MD5 than torchvision knows.
    """
    train, test = (_read_split(settings, raw_folder, split) for split in _SPLITS)
    return Source(
        name="svhn",
        origin=SVHN.split_list["train"][0].rpartition("/")[0],
        levels=256,
        train=train,
        test=test,
        class_names=tuple("0123456789"),
    )


def _read_split(settings: DataSettings, raw_folder: Path, split: str) -> ImageSet:
    try:
        dataset = SVHN(raw_folder, split=split, download=False)
    except (RuntimeError, ValueError) as error:
        path = raw_folder / SVHN.split_list[split][1]
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: missing or broken ({reason}); download it again") from error
    return from_array(dataset.data, dataset.labels, settings)
