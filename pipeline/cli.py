"""What every script does around its work: the command line, the settings, the errors."""

import argparse
import gc
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from pipeline import paths
from vaelab.config import Settings, UserError, load_settings
from vaelab.runtime.memory import is_lack_of_memory


def run(
    work: Callable[[Settings], None],
    description: str | None,
    should_print: Callable[[str], bool] = lambda message: True,
) -> None:
    """Read params.yaml and do a stage's work; what a user can mend is one line and exit 2.

    `may_say` is asked before that line is printed.
    """
    arguments = parser(
        description, "`dvc repro` runs all stages that are out of date."
    ).parse_args()
    wanted: list[bool] = []

    def whole() -> None:
        settings = load_settings(arguments.params)
        wanted.append(settings.machine.traceback)
        work(settings)

    again = "`dvc repro` goes on from here"
    run_command(whole, again, show_traceback=lambda: any(wanted), should_print=should_print)


def parser(description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """Give a command line that names the settings file."""
    _enable_garbage_collection()
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


def run_command(
    work: Callable[[], None],
    resume_hint: str,
    show_traceback: Callable[[], bool] = lambda: False,
    should_print: Callable[[str], bool] = lambda message: True,
) -> None:
    """Do a command's work; `again` says how to go on after an interruption.

    What a user can mend ends it with one line and exit code 2; `with_traceback` asks for more.
    """
    _enable_garbage_collection()
    # A termination unwinds the stack like Ctrl-C, so that runs end and locks are released.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(_print_error(f"interrupted; {resume_hint}", 130, should_print))
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        if show_traceback():
            traceback.print_exc()
        sys.exit(_print_error(message, 2, should_print))


def _enable_garbage_collection() -> None:
    """Turn on what pipeline/__init__.py turned off; what is imported by now is no garbage."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _user_message(error: Exception) -> str | None:
    """Say what a user can mend; None for what only the code's authors can."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}"
    if is_lack_of_memory(error):
        return f"not enough memory: {' '.join(str(error).split())[:200]}"
    return None


def _print_error(message: str, code: int, should_print: Callable[[str], bool]) -> int:
    if should_print(message):
        # One line, whatever the name of a file has in it.
        print(f"error: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    return code
