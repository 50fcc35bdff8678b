"""Compare two runs: both reports side by side, changed settings, differences and their errors.

A run is a folder with results/evaluate, or a git revision or DVC experiment whose results are in
DVC's cache.
"""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from pipeline import cli, paths
from vaelab.config import UserError
from vaelab.report.difference import Run, build_difference
from vaelab.runtime.files import write_text

OUTPUT = Path("results/diff.html")
Read = Callable[[Path], bytes]


def main() -> None:
    """Run the command."""
    parser = cli.parser(__doc__)
    parser.add_argument("first", help="a folder, a git revision or an experiment's name")
    parser.add_argument("second", help="the run to compare it with")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    given = parser.parse_args()

    def work() -> None:
        cli.params_file(given.params)
        diff(given.first, given.second, given.output)

    cli.run_command(work, "type the same command again")


def diff(first: str, second: str, output: Path) -> None:
    """Write the page that compares two runs. Raises UserError."""
    write_text(output, build_difference(read_run(first), read_run(second)))
    print(f"wrote {output}: open it in a browser")


def read_run(name: str) -> Run:
    """Read a run's files from a folder or a revision. Raises UserError if one is missing."""
    try:
        with _reader(name) as read:
            return _read(name, read)
    except FileNotFoundError as error:
        what = f"{name} has no {error.filename or error}"
        committed = "" if Path(name).is_dir() else "; if you have, commit dvc.lock"
        raise UserError(
            f"{what}: evaluate it first (dvc repro), or pull it (dvc pull){committed}"
        ) from error


def _read(name: str, read: Read) -> Run:
    with np.load(io.BytesIO(read(paths.EVALUATE_ARRAYS)), allow_pickle=False) as arrays:
        found = dict(arrays)
    info = json.loads(read(paths.PREPARED / "dataset.json"))
    return Run(
        name=name,
        settings=_flat(YAML(typ="safe").load(read(paths.PARAMS))),
        metrics=json.loads(read(paths.EVALUATE_METRICS)),
        arrays=found,
        report=read(paths.REPORT).decode(),
        test_images=info.get("sha256", {}).get("test_images.npy", ""),
    )


@contextmanager
def _reader(name: str) -> Iterator[Read]:
    """Yield what reads a file of a folder, or of a revision whose files are open meanwhile."""
    folder = Path(name)
    if folder.is_dir():
        yield lambda path: (folder / path).read_bytes()
        return
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    with closing(DVCFileSystem(".", rev=name)) as system:
        try:
            system.ls("/")
        except (DvcException, SCMError) as error:
            raise UserError(
                f"{name} is neither a folder nor a git revision or experiment of this project"
            ) from error
        yield lambda path: system.read_bytes(str(path))


def _flat(settings: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in settings.items():
        nested = isinstance(value, dict) and bool(value)
        found |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}  # type: ignore[arg-type]
    return found


if __name__ == "__main__":
    main()
