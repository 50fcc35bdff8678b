"""Turn the downloaded files, or a folder of images, into the arrays of data/prepared."""

from pathlib import Path

from pipeline import cli, paths
from vaelab.config import Settings
from vaelab.data import sources
from vaelab.data.prepare import prepare, summarize


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings, raw: Path = paths.RAW, prepared: Path = paths.PREPARED) -> None:
    """Fill data/prepared, or another folder. Raises UserError."""
    source = sources.read(settings.data, raw)
    info = prepare(source, settings.data, prepared)
    print(summarize(info))
    for note in info.notes:
        print(note)


if __name__ == "__main__":
    main()
