"""Log a training to MLflow in this process."""

import gc
from collections.abc import Mapping
from functools import partial

import numpy as np

from pipeline.tracking import store
from pipeline.tracking.async_logging import AsyncWriter
from pipeline.tracking.failures import warn_on_store_error
from pipeline.tracking.sync import finish_training, start_training
from pipeline.tracking.training_log import Training, TrainingLog
from vaelab.config import Settings

CONTINUED_TAG = "vaelab.continued_from_epoch"


class TrainingMirror(TrainingLog):
    """Logs in this process. Raises UserError for a store that cannot be used.

    What is logged soon, a thread of its own logs. Where the process `is_second`, that thread
    imports what logging the model needs: before the first epoch, if the training leaves cores, as
    threads that wait for one another on a core in use take longer than the import.
    """

    def __init__(self, settings: Settings, *, is_second: bool = False) -> None:
        self.settings = settings.tracking
        self.imports = is_second and self.settings.log_model
        self.store = store.open_store(self.settings)
        self.writer = AsyncWriter()
        self.logged: set[int] = set()

    def begin(self, training: Training) -> str:
        """Start a run, or resume the one that is named if it exists, and return its id."""
        run_id = training.run_id
        resumed = run_id if run_id and self.store.has_run(run_id) else None
        watch = self.settings.system_metrics
        self.run = store.start_run(self.store, training.name, resumed, watch)
        if training.leaves_cores:
            self._import()
        self.writer.submit(partial(self._log_start, training))
        return self.run.run_id

    def log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch soon, unless the run has it already."""
        self.writer.submit(partial(self._log_epoch, epoch, metrics, images))

    def finish(self) -> None:
        """Log the files and what the run lacks; print a warning if the store fails."""
        self._import()
        self.writer.close()
        with warn_on_store_error("all of the training"):
            finish_training(self.run, self.settings)

    def end(self, status: str) -> None:
        """Set the run's status, once all that was to be logged soon is."""
        self.writer.close()
        store.end_run(status)

    def _import(self) -> None:
        """Import soon, once, what logging the model needs."""
        if self.imports:
            self.imports = False
            self.writer.submit(warm_up)

    def _log_start(self, training: Training) -> None:
        """Log what is known before the first epoch, and find the epochs that the run has."""
        with warn_on_store_error("the settings"):
            start_training(
                self.run, training.params, training.settings, training.info, training.device
            )
            if training.continued_from:
                self.run.log_tags({CONTINUED_TAG: training.continued_from})
            self.logged = self.run.logged_epochs()

    def _log_epoch(
        self, epoch: int, metrics: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Log an epoch's metrics in one call, then its images."""
        if epoch in self.logged:
            return
        self.run.log_metrics(metrics, epoch)
        for key, image in images.items():
            self.run.log_image(image, key, epoch)


def warm_up() -> None:
    """Import what `log_servable_model` needs, without a search for garbage among what stays."""
    gc.disable()
    try:
        from pipeline.tracking import logged_model

        logged_model.warm_up()
    finally:
        gc.freeze()
        gc.enable()
