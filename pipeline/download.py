"""Download the files of the data set `data.name` into data/raw, and verify them."""

import os
from pathlib import Path

from pipeline import cli, paths
from vaelab.config import Settings
from vaelab.data import sources
from vaelab.data.fetch import Fetcher, mirror_urls


def main() -> None:
    """Run the stage."""
    cli.run(download, __doc__)


def download(settings: Settings, raw: Path = paths.RAW) -> None:
    """Fill data/raw, or another folder. Raises UserError."""
    mirrors = mirror_urls(os.environ, settings.data.mirror)
    fetch = Fetcher(settings.data.name, mirrors, paths.PARTIAL_DOWNLOADS)
    sources.download(settings.data, raw, fetch)
    for name, url in fetch.used.items():
        print(f"{settings.data.name}: {name} from {url}")


if __name__ == "__main__":
    main()
