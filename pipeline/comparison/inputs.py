"""Copy the code, and list the user's images: what the other stages of the comparison depend on.

They depend on these instead of the originals, because the comparison is a DVC project of its own:
outside of it, DVC would take compiled files for code.
"""

import shutil
from pathlib import Path

from pipeline import cli, paths
from pipeline.comparison.variants import ComparisonConfig
from vaelab.config import DataSettings
from vaelab.runtime.serialization import write_json

NO_CODE = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "dvc.*", "params.yaml")


def main() -> None:
    """Run the stage."""
    cli.run_command(inputs, resume_hint="`make compare` continues from here")


def inputs() -> None:
    """Fill .comparison."""
    for package in ("pipeline", "src/vaelab"):
        target = paths.COMPARISON_INPUTS / package
        shutil.copytree(package, target, ignore=NO_CODE, dirs_exist_ok=True)
    images = list_images(ComparisonConfig.load().base.data)
    write_json(paths.COMPARISON_IMAGES, {"images": images})


def list_images(settings: DataSettings) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of the files in data.folder, if that is the source."""
    if settings.name != "folder":
        return []
    folder = Path(settings.folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        (path.relative_to(folder).as_posix(), found.st_size, found.st_mtime_ns)
        for path in files
        for found in [path.stat()]
    ]


if __name__ == "__main__":
    main()
