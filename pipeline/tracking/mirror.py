"""Log to MLflow in a second process, where a stage has started one.

To import MLflow and to open its store takes as long as to import PyTorch. `pipeline/__init__.py`
starts the process when Python begins a stage, so that both happen at the same time; it ends with
the stage. It prints for itself; where it fails, the stage ends with its exit code.
"""

import atexit
import contextlib
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING, Any, Protocol

# Whatever is imported here, a stage waits for before its process starts.
if TYPE_CHECKING:
    from vaelab.config import Settings

OPEN = "open"
PROGRAM = "pipeline.tracking.second_process"
_started: "Asked | None" = None


class Asked:
    """The second process, which does what it is asked for, in order."""

    def __init__(self, process: "subprocess.Popen[bytes]", connection: Connection) -> None:
        self.process, self.connection = process, connection

    def ask(self, question: str, *arguments: object) -> Any:
        """Return the answer. Exits with the process's code where it fails: it has said why."""
        sys.stdout.flush()  # it prints, too
        try:
            self.connection.send((question, arguments, True))
            return self.connection.recv()
        except (EOFError, ConnectionError):
            code = self.process.wait()
        if code < 0:
            message = f"error: the process that logs to MLflow was killed by signal {-code}"
            print(message, file=sys.stderr, flush=True)
        sys.exit(128 - code if code < 0 else code or 1)

    def tell(self, question: str, *arguments: object) -> None:
        """Do not wait for it. If it has ended, the next `ask` says so."""
        with contextlib.suppress(ConnectionError):
            self.connection.send((question, arguments, False))

    def end(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()


class Mirror(Protocol):
    """A store that was opened for a stage."""

    def log(self) -> None:
        """Log the stage's files to the model's run; print a warning if the store fails."""


class StageMirror:
    """Logs in this process. Raises UserError for a store that cannot be used."""

    def __init__(self, stage: str, settings: "Settings") -> None:
        from pipeline.tracking.store import open_store

        self.stage, self.settings, self.store = stage, settings, open_store(settings.tracking)

    def log(self) -> None:
        """Log the stage's files to the model's run; print a warning if the store fails."""
        from pipeline.tracking.sync import log_stage

        log_stage(self.store, self.stage, self.settings)


class MirrorProcess:
    """Lets the second process log."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        asked.ask(OPEN)

    def log(self) -> None:
        """Log the stage's files to the model's run; print a warning if the store fails."""
        self.asked.ask("log")


def start(stage: str) -> None:
    """Start the second process of a stage."""
    global _started
    own, other = Pipe()
    with other:
        process = subprocess.Popen(  # noqa: S603  fixed arguments
            [sys.executable, "-m", PROGRAM, stage, str(other.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[other.fileno()],
            start_new_session=True,  # Ctrl-C is for the stage, which ends it
        )
    _started = Asked(process, own)
    atexit.register(_started.end)


def started() -> Asked | None:
    """Return the second process of this stage, if it has one."""
    return _started


def end() -> None:
    """End the second process of a stage that has no use for it."""
    if _started:
        _started.end()


def open_mirror(stage: str, settings: "Settings") -> Mirror:
    """Open the store for a stage. Raises UserError, or exits, if it cannot be used."""
    return MirrorProcess(_started) if _started else StageMirror(stage, settings)
