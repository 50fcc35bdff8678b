"""Log the files of a stage to MLflow, in a second process where a stage has started one.

To import MLflow and to open its store takes as long as to import PyTorch. `pipeline/__init__.py`
starts the process when Python begins a stage, so that both happen at the same time; it ends with
the stage. What it prints, the stage prints; where it fails, the stage ends with its exit code.
"""

import atexit
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

# Whatever is imported here, a stage waits for before its process starts.
if TYPE_CHECKING:
    from vaelab.config import Settings

OPEN, LOG, DONE = "open", "log", "\0done"
_process: "subprocess.Popen[str] | None" = None


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
    """Lets the second process log. Exits with its code where it fails: it has said why."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._ask(OPEN)

    def log(self) -> None:
        """Log the stage's files to the model's run; print a warning if the store fails."""
        self._ask(LOG)

    def _ask(self, question: str) -> None:
        """Let the process do something, and print what it prints."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{question}\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line == f"{DONE}\n":
                return
            print(line, end="", flush=True)
        code = self.process.wait()
        if code < 0:
            message = f"error: the process that logs to MLflow was killed by signal {-code}"
            print(message, file=sys.stderr, flush=True)
        sys.exit(128 - code if code < 0 else code or 1)


def start(stage: str) -> None:
    """Start the second process of a stage."""
    global _process
    _process = subprocess.Popen(  # noqa: S603  fixed arguments
        [sys.executable, "-m", __name__, stage],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for the stage, which ends it
    )
    atexit.register(_end, _process)


def open_mirror(stage: str, settings: "Settings") -> Mirror:
    """Open the store for a stage. Raises UserError, or exits, if it cannot be used."""
    return MirrorProcess(_process) if _process else StageMirror(stage, settings)


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()


def main() -> None:
    """Run the second process: open the store, and do what the stage asks for."""
    from pipeline import cli, paths
    from pipeline.tracking import sync  # noqa: F401  before garbage is collected
    from vaelab.config import Settings
    from vaelab.runtime.host import Host

    settings = Settings()

    def work() -> None:
        nonlocal settings
        failure = None
        try:
            settings = cli.load_params(paths.PARAMS)
            mirror = StageMirror(sys.argv[1], settings)
        except Exception as error:
            failure = error
        for question in sys.stdin:
            if failure:
                raise failure
            if question == f"{LOG}\n":
                mirror.log()
            print(DONE, flush=True)

    cli.run_command(
        work,
        "`dvc repro` continues from here",
        lambda: settings.machine.traceback,
        watched=Host(with_parent=True, with_folder=False),
    )


if __name__ == "__main__":
    main()
