"""Log a training to MLflow as it goes on: by what steps, and how the second process takes them."""

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from pipeline.tracking.mirror import OPEN, Asked
from pipeline.tracking.status import status_after
from vaelab.data.dataset import DatasetInfo


class Training(NamedTuple):
    """What is known of a training before its first epoch.

    `run_id` is the run of one that was interrupted; `params` are the settings that MLflow shows;
    `continued_from` counts the epochs of a finished training that this one continues;
    `leaves_cores` says that some have no thread of it.
    """

    name: str
    run_id: str | None
    params: Mapping[str, Any]
    settings: Mapping[str, Any]
    info: DatasetInfo
    device: str
    continued_from: int | None
    leaves_cores: bool = False


class TrainingLog(ABC):
    """The run of a training, from `begin` to the end of the context, which sets its status.

    No failure of the store after `begin` stops the training.
    """

    @abstractmethod
    def begin(self, training: Training) -> str:
        """Start a run, or resume the one that is named, and return its id.

        Raises UserError, or exits, if the store fails.
        """

    @abstractmethod
    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch soon, unless the run has it already."""

    @abstractmethod
    def finish(self) -> None:
        """Log the files and what the run lacks; print a warning if the store fails."""

    @abstractmethod
    def end(self, status: str) -> None:
        """Set the run's status, once all that was to be logged soon is."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.end(status_after(error))


class TrainingProcess(TrainingLog):
    """Lets the second process log."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        asked.ask(OPEN)

    def begin(self, training: Training) -> str:
        """Start a run, or resume the one that is named, and return its id."""
        run_id: str = self.asked.ask("begin", training)
        return run_id

    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch soon, unless the run has it already."""
        self.asked.tell("log_epoch", epoch, metrics, images)

    def finish(self) -> None:
        """Log the files and what the run lacks; print a warning if the store fails."""
        self.asked.ask("finish")

    def end(self, status: str) -> None:
        """Set the run's status. What it is at, an interruption interrupts there, too."""
        if status == status_after(KeyboardInterrupt()):
            self.asked.process.send_signal(signal.SIGINT)
        self.asked.tell("end", status)
        self.asked.connection.close()
        self.asked.process.wait()
