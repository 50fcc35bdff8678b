"""A study in MLflow: one parent run, a child run a trial. Training never waits for it."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.records import git_state
from pipeline.study.storage import study_lock
from pipeline.tracking import Run, Store, brief
from vaelab.config import Settings, flatten
from vaelab.data.dataset import DatasetInfo

PARENT = "mlflow_run"
TRIAL_TAG = "vaelab.trial"
STATE_TAG = "vaelab.trial_state"
FLUSH_SECONDS = 5.0
STATUS: Mapping[TrialState, Literal["FINISHED", "FAILED", "KILLED"]] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAIL: "FAILED",
}


def parent_run(store: Store, study: Study, settings: Settings, info: DatasetInfo) -> Run:
    """Give the study's one parent run, made by whoever comes first."""
    with study_lock():
        noted = study.user_attrs.get(PARENT)
        if noted and store.has_run(noted):
            run = Run(store.client, noted)
            run.reopen()
            return run
        tags = {"vaelab.study": study.study_name, **git_state()}
        run = store.create_run(study.study_name, tags)
        tuned = {k: v for k, v in flatten(settings).items() if k.startswith("tune.")}
        run.log_params(tuned)
        run.log_dataset(info)
        study.set_user_attr(PARENT, run.run_id)
    return run


class StudyRuns:
    """Writes trials to MLflow, in a thread of its own; a store that goes away is said once."""

    def __init__(self, store: Store, parent: Run, study: str) -> None:
        self.store, self.parent, self.study = store, parent, study
        self.lost = False
        self._queue = ThreadPoolExecutor(max_workers=1)

    def start(self, name: str, key: str, settings: Mapping[str, Any]) -> "TrialRun":
        """Begin the run of a trial; `key` tells it from all others of the study."""
        return TrialRun(self, name, f"{self.study}/{key}", settings)

    def end_dead(self, keys: list[str]) -> None:
        """End the runs of trials whose workers died."""
        for key in keys:
            self.submit(partial(self._end_dead, f"{self.study}/{key}"))

    def submit(self, work: Callable[[], object]) -> None:
        """Do something with the store soon; once it failed, nothing more is tried."""
        self._queue.submit(self._attempt, work)

    def close(self) -> None:
        """Wait until all is written."""
        self._queue.shutdown(wait=True)

    def _attempt(self, work: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            work()
        except Exception as error:  # whatever it is, the study is worth more
            self.lost = True
            print(f"warning: MLflow no longer answers ({brief(error)}); the study goes on")

    def _end_dead(self, key: str) -> None:
        for run in self.store.unfinished_runs(TRIAL_TAG, key):
            run.log_tags({STATE_TAG: "interrupted"})
            run.end("KILLED")


class TrialRun:
    """The run of one trial; its curve is sent every few seconds."""

    def __init__(self, runs: StudyRuns, name: str, key: str, settings: Mapping[str, Any]) -> None:
        self.runs = runs
        self.run: Run | None = None
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.sent = time.monotonic()
        runs.submit(partial(self._start, name, key, settings))

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self.rows.append((epoch, metrics))
        if time.monotonic() - self.sent > FLUSH_SECONDS:
            self._flush()

    def end(self, trial: FrozenTrial, metrics: Mapping[str, float]) -> None:
        """Say how it ended, and with which results."""
        self._flush()
        tags = {STATE_TAG: trial.state.name.lower()}
        tags |= {key: trial.user_attrs[key] for key in ("failure",) if key in trial.user_attrs}
        self.runs.submit(partial(self._end, metrics, tags, STATUS[trial.state]))

    def _flush(self) -> None:
        rows, self.rows, self.sent = self.rows, [], time.monotonic()
        self.runs.submit(partial(self._send, rows))

    def _send(self, rows: list[tuple[int, Mapping[str, float]]]) -> None:
        if self.run:
            self.run.log_history(rows)

    def _start(self, name: str, key: str, settings: Mapping[str, Any]) -> None:
        tags = {TRIAL_TAG: key, STATE_TAG: "running"}
        self.run = self.runs.store.create_run(name, tags, self.runs.parent.run_id)
        self.run.log_params(settings)

    def _end(
        self,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        status: Literal["FINISHED", "FAILED", "KILLED"],
    ) -> None:
        if self.run:
            self.run.log_metrics(metrics)
            self.run.log_tags(tags)
            self.run.end(status)
