"""What every script does around its work: the command line, the settings, the errors."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline import paths
from vaelab.config import Settings, UserError, load_settings


def run(work: Callable[[Settings], None], description: str | None) -> None:
    """Read params.yaml and do a stage's work; what a user can mend is one line and exit 2."""
    arguments = parser(
        description, "`dvc repro` runs all stages that are out of date."
    ).parse_args()
    run_command(
        lambda: work(load_settings(arguments.params)), again="`dvc repro` goes on from here"
    )


def parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Give a command line that names the settings file."""
    made = argparse.ArgumentParser(
        prog=f"python -m {spec.name}" if (spec := sys.modules["__main__"].__spec__) else None,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--params", type=Path, default=paths.PARAMS, help="the settings (default: %(default)s)"
    )
    return made


def run_command(work: Callable[[], None], again: str) -> None:
    """Do a command's work; `again` says how to go on after an interruption."""
    # A termination unwinds the stack like Ctrl-C, so that runs end and locks are released.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        work()
    except UserError as error:
        sys.exit(_say(str(error), 2))
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(_say(f"{error.filename}: {error.strerror}", 2))
    except KeyboardInterrupt:
        sys.exit(_say(f"interrupted; {again}", 130))


def _say(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
