"""The second process of a stage, which logs to MLflow; `mirror` starts it, and says how it ends."""

import contextlib
import os
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline import cli, paths
from pipeline.tracking.mirror import OPEN, StageMirror
from pipeline.tracking.training_mirror import TrainingMirror
from vaelab.config import Settings
from vaelab.runtime.host import Host


def main() -> None:
    """Open the store, and do what the stage asks for."""
    stage, connection = sys.argv[1], Connection(int(sys.argv[2]))
    # MLflow notes which script made a run.
    sys.argv[0] = str(Path(cli.__file__).with_name(f"{stage}.py"))
    settings = Settings()

    def work() -> None:
        nonlocal settings
        try:
            settings = cli.load_params(paths.PARAMS)
            training = TrainingMirror(settings, is_second=True) if stage == "train" else None
            mirror = training or StageMirror(stage, settings)
        except Exception:
            next_question(connection)  # the stage may fail first, for another reason
            raise
        with training or contextlib.nullcontext():
            answer(connection, mirror)

    cli.run_command(
        work,
        "`dvc repro` continues from here",
        lambda: settings.machine.traceback,
        watched=Host(with_parent=True, with_folder=False),
    )


class Interruption:
    """Turns SIGINT into KeyboardInterrupt where the stage waits for an answer, and nowhere else.

    The stage sends it when it waits no longer.
    """

    def __init__(self) -> None:
        self.possible = False
        signal.signal(signal.SIGINT, self._interrupt)

    def _interrupt(self, number: int, frame: object) -> None:
        if self.possible:
            self.possible = False
            raise KeyboardInterrupt


def answer(connection: Connection, mirror: object) -> None:
    """Do what the stage asks for, until it ends."""
    interruption = Interruption()
    while True:
        question, arguments, waits = next_question(connection)
        found = None
        with contextlib.suppress(KeyboardInterrupt):
            interruption.possible = waits
            if question != OPEN:
                found = getattr(mirror, question)(*arguments)
            interruption.possible = False
        if waits:
            with contextlib.suppress(ConnectionError):
                connection.send(found)


def next_question(connection: Connection) -> tuple[str, tuple[Any, ...], bool]:
    """Wait for a question, its arguments, and whether it is to be answered."""
    try:
        found: tuple[str, tuple[Any, ...], bool] = connection.recv()
        return found
    except (EOFError, ConnectionError):
        os._exit(0)  # the stage has ended; at a usual exit, MLflow calls finished what was killed


if __name__ == "__main__":
    main()
