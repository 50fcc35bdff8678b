"""Turn the downloaded files, or a folder of images, into the arrays of data/prepared."""

from pipeline import paths, stage
from vaelab.config import Settings
from vaelab.data import sources
from vaelab.data.prepare import prepare, summarize


def main() -> None:
    """Run the stage."""
    stage.run(work, __doc__)


def work(settings: Settings) -> None:
    """Fill data/prepared; raises UserError."""
    source = sources.read(settings.data, paths.RAW)
    print(summarize(prepare(source, settings.data, paths.PREPARED)))
    for note in source.notes:
        print(note)


if __name__ == "__main__":
    main()
