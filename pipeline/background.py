"""A run that is written to in the background, and given up if its store goes away."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.tracking import Run, brief


class BackgroundRun:
    """Logs epochs in a thread of its own, so that training does not wait for the store.

    A store that goes away costs no training: it is said once, and asked no more. `logged` has
    the epochs that arrived; the others are in the files.
    """

    def __init__(self, run: Run, logged: set[int]) -> None:
        self.run = run
        self.logged = logged
        self.lost = False
        self._queue = ThreadPoolExecutor(max_workers=1)

    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch's metrics in one batch, and its pictures, soon; none is logged twice."""
        if epoch not in self.logged:
            self._queue.submit(self._log_epoch, epoch, metrics, images)

    def close(self) -> None:
        """Wait until all is logged."""
        self._queue.shutdown(wait=True)

    def _log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        if self.lost:
            return
        try:
            for key, image in images.items():
                self.run.log_image(image, key, epoch)
            self.run.log_metrics(metrics, epoch)
            self.logged.add(epoch)
        except Exception as error:  # whatever it is, training is worth more
            self.lost = True
            print(
                f"warning: MLflow no longer answers ({brief(error)}); training goes on", flush=True
            )
