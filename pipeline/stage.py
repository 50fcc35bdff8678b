"""What every stage's script does around its work: the command line, the settings, the errors."""

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pipeline import paths
from vaelab.config import Settings, UserError, load_settings


def run(work: Callable[[Settings], None], description: str | None) -> None:
    """Read params.yaml and do a stage's work; what a user can mend is one line and exit 2."""
    parser = argparse.ArgumentParser(
        description=description, epilog="`dvc repro` runs all stages that are out of date."
    )
    parser.add_argument(
        "--params", type=Path, default=paths.PARAMS, help="the settings (default: %(default)s)"
    )
    arguments = parser.parse_args()
    # A termination unwinds the stack like Ctrl-C, so that runs end and locks are released.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        work(load_settings(arguments.params))
    except UserError as error:
        sys.exit(_say(str(error), 2))
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(_say(f"{error.filename}: {error.strerror}", 2))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; `dvc repro` goes on from here", 130))


def _say(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
