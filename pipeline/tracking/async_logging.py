"""Writes to MLflow from a background thread, so that training does not wait for the store."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.tracking.failures import shorten

# After a failed write, so long passes before the next one is tried.
PAUSE_SECONDS = 15.0


class AsyncWriter:
    """Runs writes to MLflow in the order of their submission, in one background thread.

    After a failed write, all writes of the next `pause_seconds` are skipped; then the store is
    tried again. What was skipped is completed later, from the files or from the study's storage.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self.pause_seconds = pause_seconds
        self.unavailable = False
        self._failed_at = 0.0
        self._executor = ThreadPoolExecutor(max_workers=1)

    def submit(self, write: Callable[[], object]) -> None:
        """Run a write soon, unless the store is unavailable by then."""
        self._executor.submit(self._attempt, write)

    def close(self) -> None:
        """Wait until all submitted writes are done or skipped."""
        self._executor.shutdown(wait=True)

    def _attempt(self, write: Callable[[], object]) -> None:
        if self.unavailable and time.monotonic() < self._failed_at + self.pause_seconds:
            return
        try:
            write()
        except Exception as error:  # no failure of the store may stop a training
            self._failed_at = time.monotonic()
            self._set_unavailable(True, f"not available ({shorten(error)}); training continues")
        else:
            self._set_unavailable(False, "available again")

    def _set_unavailable(self, unavailable: bool, message: str) -> None:
        if unavailable != self.unavailable:
            print(f"warning: MLflow is {message}", flush=True)
        self.unavailable = unavailable
