"""A study in MLflow: one parent run, a child run a trial. Training never waits for it."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import METRICS
from pipeline.study.run_info import RunInfo
from pipeline.study.storage import FAILURE, study_lock
from pipeline.study.trial_queue import is_finished
from pipeline.tracking import BACKFILLED_TAG, Run, Store, shorten
from pipeline.tracking.sync import git_state
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
        else:
            tags = {"vaelab.study": study.study_name, **git_state()}
            run = store.create_run(study.study_name, tags)
            study.set_user_attr(PARENT, run.run_id)
        if not run.has_params():
            run.log_dataset(info)
            run.log_params({k: v for k, v in flatten(settings).items() if k.startswith("tune.")})
    return run


class StudyRuns:
    """Writes trials to MLflow, in a thread of its own; a store that goes away is said once."""

    def __init__(self, store: Store, parent: Run, study: str) -> None:
        self.store, self.parent, self.study = store, parent, study
        self.lost = False
        self._queue = ThreadPoolExecutor(max_workers=1)

    def start(self, described: RunInfo) -> "TrialRun":
        """Begin the run of a trial."""
        return TrialRun(self, described)

    def reconcile(self, ended: Iterable[tuple[RunInfo, FrozenTrial]]) -> None:
        """See to it that trials which have ended have a run that says so.

        A worker that was killed leaves runs open, or trials without one, and so does one that
        lost the store; their results are in the study's storage.
        """
        self.submit(partial(self._reconcile, ended))

    def create(self, described: RunInfo, tags: Mapping[str, Any]) -> Run:
        """Create the run of a trial, with its settings."""
        tags = {TRIAL_TAG: self.key_of(described), **tags}
        run = self.store.create_run(described.name, tags, self.parent.run_id)
        run.log_params(described.settings)
        return run

    def key_of(self, described: RunInfo) -> str:
        """Give the key of a trial among those of all studies."""
        return f"{self.study}/{described.key}"

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
            print(f"warning: MLflow no longer answers ({shorten(error)}); the study goes on")

    def _reconcile(self, ended: Iterable[tuple[RunInfo, FrozenTrial]]) -> None:
        with study_lock():
            there = self.store.children(self.parent.run_id, TRIAL_TAG)
            for described, trial in ended:
                for run, status in there.get(self.key_of(described), []):
                    if status == "RUNNING":
                        if not run.has_params():
                            run.log_params(described.settings)
                        _end(run, trial)
                if self.key_of(described) not in there and is_finished(trial):
                    _end(self.create(described, {BACKFILLED_TAG: "true"}), trial)


class TrialRun:
    """The run of one trial; its curve is sent every few seconds."""

    def __init__(self, runs: StudyRuns, described: RunInfo) -> None:
        self.runs = runs
        self.run: Run | None = None
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.sent = time.monotonic()
        runs.submit(partial(self._start, described))

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self.rows.append((epoch, metrics))
        if time.monotonic() - self.sent > FLUSH_SECONDS:
            self._flush()

    def end(self, trial: FrozenTrial) -> None:
        """Say how it ended, and with which results."""
        self._flush()
        self.runs.submit(partial(self._end, trial))

    def _flush(self) -> None:
        rows, self.rows, self.sent = self.rows, [], time.monotonic()
        self.runs.submit(partial(self._send, rows))

    def _send(self, rows: list[tuple[int, Mapping[str, float]]]) -> None:
        if self.run:
            self.run.log_history(rows)

    def _start(self, described: RunInfo) -> None:
        self.run = self.runs.create(described, {STATE_TAG: "running"})

    def _end(self, trial: FrozenTrial) -> None:
        if self.run:
            _end(self.run, trial)


def _end(run: Run, trial: FrozenTrial) -> None:
    """Write what a trial came to, as its storage has it, and end its run."""
    if not is_finished(trial):  # its worker died, or was interrupted
        run.log_tags({STATE_TAG: "interrupted"})
        run.end("KILLED")
        return
    values = trial.values or []
    named = {"value" if len(values) == 1 else f"value_{i}": v for i, v in enumerate(values)}
    run.log_results(named | trial.user_attrs.get(METRICS, {}))
    failure = {FAILURE: trial.user_attrs[FAILURE]} if FAILURE in trial.user_attrs else {}
    run.log_tags({STATE_TAG: trial.state.name.lower()} | failure)
    run.end(STATUS[trial.state])
