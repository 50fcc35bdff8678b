"""A run that is written to in the background, so that training does not wait for its store."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.tracking import Run, shorten

# A store that went away is asked again after so long.
PAUSE_SECONDS = 15.0


class AsyncRun:
    """Logs epochs in a thread of its own.

    A store that goes away costs no training, and what it misses is in the files; it is asked
    again now and then. `logged` has the epochs that need not be sent.
    """

    def __init__(self, run: Run, logged: set[int], pause_seconds: float = PAUSE_SECONDS) -> None:
        self.run = run
        self.logged = logged
        self.pause_seconds = pause_seconds
        self.lost = False
        self._asked = 0.0
        self._queue = ThreadPoolExecutor(max_workers=1)

    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch's metrics in one batch, and its pictures, soon; none is logged twice."""
        if epoch not in self.logged:
            self._queue.submit(self._attempt, epoch, metrics, images)

    def close(self) -> None:
        """Wait until all is logged."""
        self._queue.shutdown(wait=True)

    def _attempt(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        if self.lost and time.monotonic() < self._asked + self.pause_seconds:
            return
        try:
            self.run.log_metrics(metrics, epoch)
            for key, image in images.items():
                self.run.log_image(image, key, epoch)
            self._say(lost=False, message="answers again")
        except Exception as error:  # whatever it is, training is worth more
            self._asked = time.monotonic()
            self._say(lost=True, message=f"no longer answers ({shorten(error)}); training goes on")

    def _say(self, *, lost: bool, message: str) -> None:
        if lost != self.lost:
            print(f"warning: MLflow {message}", flush=True)
        self.lost = lost
