"""The sources of images, one file per format, imported when they are used."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from vaelab.config import DataSettings, SourceName, UserError
from vaelab.data.fetch import Fetcher
from vaelab.data.source import Source
from vaelab.runtime.files import write_text

_FAMILIES: dict[SourceName, str] = {
    "digits": "digits",
    "sprites": "sprites",
    "mnist": "idx",
    "fashion_mnist": "idx",
    "kmnist": "idx",
    "emnist": "idx",
    "cifar10": "cifar10",
    "svhn": "svhn",
    "celeba": "celeba",
    "folder": "folder",
}
_RECORD = "source.json"


@runtime_checkable
class Family(Protocol):
    """The functions that a file of this folder defines."""

    def download(self, settings: DataSettings, raw_folder: Path, fetch: Fetcher) -> None:
        """Put the source's verified files into `raw_folder`. Raises UserError."""

    def read(self, settings: DataSettings, raw_folder: Path) -> Source:
        """The images in those files. Raises UserError."""


def family(name: SourceName) -> Family:
    """Return the module of a source."""
    module = importlib.import_module(f"{__name__}.{_FAMILIES[name]}")
    return cast(Family, module)


def download(settings: DataSettings, raw: Path, fetch: Fetcher) -> None:
    """Fill `raw` with the files of one source, in `raw/<name>/`, and record where they came from.

    Files of other sources are removed afterwards; valid ones of this source are kept.
    Raises UserError.
    """
    before = _load_record(raw)
    files = before.get("files", {}) if before.get("name") == settings.name else {}
    family(settings.name).download(settings, raw / settings.name, fetch)
    _keep_only(raw, settings.name)
    record = {"name": settings.name, "files": {**files, **fetch.used}}
    write_text(raw / _RECORD, json.dumps(record, indent=2) + "\n")


def read(settings: DataSettings, raw: Path) -> Source:
    """The images that `download` left in `raw`. Raises UserError where they are not there."""
    found = _load_record(raw).get("name")
    if found != settings.name:
        holds = f"holds {found}" if found else "holds no downloaded source"
        raise UserError(
            f"{raw} {holds}, data.name is {settings.name}: run the download stage first"
        )
    return family(settings.name).read(settings, raw / settings.name)


def _load_record(raw: Path) -> dict[str, Any]:
    try:
        record = json.loads((raw / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _keep_only(raw: Path, name: str) -> None:
    (raw / _RECORD).unlink(missing_ok=True)
    for path in raw.iterdir() if raw.exists() else ():
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
