"""Download the files of the data set `data.name` into data/raw, and verify them."""

import os
from pathlib import Path

from pipeline import cli, paths
from vaelab.config import Settings, UserError
from vaelab.data import sources
from vaelab.data.fetch import Fetcher, mirror_urls
from vaelab.data.listing import expand_user


def main() -> None:
    """Run the stage."""
    cli.run(download, __doc__)


def download(settings: Settings, raw: Path = paths.RAW) -> None:
    """Fill data/raw, or another folder. Raises UserError."""
    _check_folder(settings)
    mirrors = mirror_urls(os.environ, settings.data.mirror)
    fetch = Fetcher(settings.data.name, mirrors, paths.PARTIAL_DOWNLOADS)
    sources.download(settings.data, raw, fetch)
    for name, url in fetch.used.items():
        print(f"{settings.data.name}: {name} from {url}")


def _check_folder(settings: Settings) -> None:
    """Refuse what DVC would not find, in its words, before the next stage. Raises UserError."""
    folder = settings.data.folder
    full = expand_user(folder)
    if settings.data.name != "folder" or "DVC_STAGE" not in os.environ:
        return
    if full != folder:
        raise UserError(f"data.folder: {folder}: DVC does not expand ~; write {full}")
    hint = cli.how_images_travel(folder)
    if hint and not folder.exists():
        raise UserError(f"data.folder: {folder} is not there{hint}")


if __name__ == "__main__":
    main()
