"""Heartbeats of running trials, by which other workers see that this one is alive."""

import threading
from collections.abc import Mapping

from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.trial import Trial


class HeartbeatThread:
    """A context in which one thread records the heartbeats of several trials.

    A trial that is removed from `running` gets no more of them. Nothing is recorded in a storage
    without heartbeats.
    """

    def __init__(self, storage: BaseStorage, running: Mapping[int, Trial]) -> None:
        self.storage, self.running = storage, running
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._beat)

    def __enter__(self) -> "HeartbeatThread":
        self.thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stopped.set()
        self.thread.join()

    def _beat(self) -> None:
        if not is_heartbeat_enabled(self.storage):
            return
        assert isinstance(self.storage, BaseHeartbeat)
        try:
            while not self.stopped.is_set():
                for trial in list(self.running.values()):
                    self.storage.record_heartbeat(trial._trial_id)
                self.stopped.wait(self.storage.get_heartbeat_interval())
        finally:
            self.storage.remove_session()
