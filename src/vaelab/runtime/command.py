"""Run a command: an error that a user can fix is printed as one line, with exit code 2."""

import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from vaelab.config import ArtifactError, UserError
from vaelab.runtime.memory import is_lack_of_memory
from vaelab.runtime.signals import HANGUP

USER_ERROR, INTERRUPTED = 2, 130
"""Exit codes; other signals than Ctrl-C end with 128 and their number."""
Remedy = Callable[[Path], str]
"""Returns the end of an error message about a path: how to recreate it; "" where nothing does."""


def user_message(error: Exception, remedy: Remedy = lambda path: "") -> str | None:
    """Return the message for an error that a user can fix; None for a bug."""
    if isinstance(error, ArtifactError):
        return f"{error}{remedy(error.path)}"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        if error.filename is None:
            return error.strerror or str(error)
        missing = isinstance(error, FileNotFoundError)
        hint = remedy(Path(error.filename)) if missing else ""
        return f"{error.filename}: {error.strerror or error}{hint}"
    if is_lack_of_memory(error):
        return f"not enough memory: {' '.join(str(error).split())[:200]}"
    return None


def run_command(
    work: Callable[[], None],
    resume_hint: str,
    show_traceback: Callable[[], bool] = lambda: False,
    should_print: Callable[[str], bool] = lambda message: True,
    message_of: Callable[[Exception], str | None] = user_message,
) -> None:
    """Run a command. A user error is printed as one line, with exit code 2.

    `resume_hint` is printed after an interruption; `show_traceback` adds a user error's traceback;
    `should_print` decides whether this process prints a message, `message_of` returns that of an
    error, None for a bug.
    """
    # These unwind the stack like Ctrl-C, so that runs end and locks are released.
    for stopping in (signal.SIGTERM, HANGUP):
        if stopping and signal.getsignal(stopping) != signal.SIG_IGN:  # as after nohup
            signal.signal(stopping, lambda number, frame: sys.exit(128 + number))
    try:
        work()
    except KeyboardInterrupt:
        sys.exit(_print_error(f"interrupted; {resume_hint}", INTERRUPTED, should_print))
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        if show_traceback():
            traceback.print_exc()
        sys.exit(_print_error(message, USER_ERROR, should_print))


def _print_error(message: str, code: int, should_print: Callable[[str], bool]) -> int:
    if should_print(message):
        # File names may contain line breaks.
        print(f"error: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    return code
