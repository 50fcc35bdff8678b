"""Turn the downloaded files, or a folder of images, into the arrays of data/prepared."""

from pathlib import Path

from pipeline import cli, paths
from vaelab.config import Settings, UserError
from vaelab.data import sources
from vaelab.data.prepare import prepare, small_split_note, summarize
from vaelab.data.source import MAX_NAMED, NoImagesError, UnreadableError
from vaelab.runtime.files import write_text


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings, raw: Path = paths.RAW, prepared: Path = paths.PREPARED) -> None:
    """Fill data/prepared, or another folder. Raises UserError."""
    try:
        source = sources.read(settings.data, raw)
    except NoImagesError as error:
        raise UserError(f"{error}{cli.how_images_travel(settings.data.folder)}") from error
    except UnreadableError as error:
        if len(error.files) <= MAX_NAMED:
            raise
        path = paths.unreadable_files()
        write_text(path, "".join(f"{line}\n" for line in error.files))
        raise UserError(f"{error}; {path} lists all") from error
    info = prepare(source, settings.data, prepared)
    print(summarize(info))
    for note in (*info.notes, small_split_note(info)):
        if note:
            print(note)


if __name__ == "__main__":
    main()
