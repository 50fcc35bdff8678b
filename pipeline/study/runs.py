"""The MLflow runs of a study: one parent run, and a child run for each trial."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import METRICS
from pipeline.study.run_info import RunInfo
from pipeline.study.scorer import ON_VALIDATION
from pipeline.study.storage import study_lock
from pipeline.study.trial_states import FAILURE, is_finished
from pipeline.tracking import BACKFILLED_TAG, Run, Store
from pipeline.tracking.async_logging import AsyncWriter
from pipeline.tracking.sync import git_state
from vaelab.config import Settings, flatten
from vaelab.data.dataset import DatasetInfo

PARENT = "mlflow_run"
TRIAL_TAG = "vaelab.trial"
STATE_TAG = "vaelab.trial_state"
FLUSH_SECONDS = 5.0
STATUS: Mapping[TrialState, Literal["FINISHED", "FAILED", "KILLED"]] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "FINISHED",
    TrialState.FAIL: "FAILED",
}


def parent_run(store: Store, study: Study, settings: Settings, info: DatasetInfo) -> Run:
    """Return the parent run of a study; the first worker creates it."""
    with study_lock():
        run_id = study.user_attrs.get(PARENT)
        if run_id and store.has_run(run_id):
            run = Run(store.client, run_id)
            run.reopen()
        else:
            tags = {"vaelab.study": study.study_name, **git_state()}
            run = store.create_run(study.study_name, tags)
            study.set_user_attr(PARENT, run.run_id)
        if not run.has_params():
            run.log_dataset(info)
            run.log_params({k: v for k, v in flatten(settings).items() if k.startswith("tune.")})
    return run


def with_split(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a trial's metrics by names that say on which split they were measured."""

    def full_name(name: str) -> str:
        is_measured = name.endswith(("_nats", "_sample_size")) and "." not in name
        return f"{ON_VALIDATION}{name}" if is_measured else name

    return {full_name(name): value for name, value in metrics.items()}


class StudyRuns:
    """Writes the trials of a study to MLflow, in the background."""

    def __init__(self, store: Store, parent: Run, study: str) -> None:
        self.store, self.parent, self.study = store, parent, study
        self.writer = AsyncWriter()

    def start(self, info: RunInfo) -> "TrialRun":
        """Start the run of a trial."""
        return TrialRun(self, info)

    def reconcile(self, ended: Iterable[tuple[RunInfo, FrozenTrial]]) -> None:
        """Make sure that each ended trial has a run with its final status and results.

        A worker that was killed, or that lost the store, leaves runs open and trials without a
        run; their results are in the study's storage.
        """
        self.writer.submit(partial(self._reconcile, ended))

    def end_study(self) -> None:
        """Set the status of an interrupted study's run, until it is resumed."""
        self.writer.submit(partial(self.parent.end, "KILLED"))

    def close(self) -> None:
        """Wait until everything is written."""
        self.writer.close()

    def create(self, info: RunInfo, tags: Mapping[str, Any]) -> Run:
        """Create the run of a trial, with its settings."""
        tags = {TRIAL_TAG: self.key_of(info), **tags}
        run = self.store.create_run(info.name, tags, self.parent.run_id)
        run.log_params(info.settings)
        return run

    def key_of(self, info: RunInfo) -> str:
        """Return the key of a trial, unique among all studies."""
        return f"{self.study}/{info.key}"

    def _reconcile(self, ended: Iterable[tuple[RunInfo, FrozenTrial]]) -> None:
        with study_lock():
            existing = self.store.children(self.parent.run_id, TRIAL_TAG)
            for info, trial in ended:
                for run, status in existing.get(self.key_of(info), []):
                    if status == "RUNNING":
                        if not run.has_params():
                            run.log_params(info.settings)
                        _end(run, trial)
                if self.key_of(info) not in existing and is_finished(trial):
                    _end(self.create(info, {BACKFILLED_TAG: "true"}), trial)


class TrialRun:
    """The run of one trial. Its metrics are sent every few seconds, many epochs in one call."""

    def __init__(self, runs: StudyRuns, info: RunInfo) -> None:
        self.runs, self.info = runs, info
        self.run: Run | None = None
        self.rows: list[tuple[int, Mapping[str, float]]] = []
        self.flushed = time.monotonic()
        runs.writer.submit(self._start)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log an epoch's metrics, soon."""
        self.rows.append((epoch, metrics))
        if time.monotonic() - self.flushed > FLUSH_SECONDS:
            self.flushed = time.monotonic()
            self.runs.writer.submit(self._send)

    def end(self, trial: FrozenTrial) -> None:
        """Log the remaining epochs and the results, and set the final status."""
        self.runs.writer.submit(partial(self._end, trial))

    def _start(self) -> None:
        self.run = self.runs.create(self.info, {STATE_TAG: "running"})

    def _send(self) -> None:
        """Send all rows so far; they are kept until the store has taken them."""
        count = len(self.rows)
        if self.run and count:
            self.run.log_history(self.rows[:count])
            del self.rows[:count]

    def _end(self, trial: FrozenTrial) -> None:
        self._send()
        if self.run:
            _end(self.run, trial)


def _end(run: Run, trial: FrozenTrial) -> None:
    """Log a trial's results and state as its storage has them, and end its run."""
    if not is_finished(trial):  # its worker died, or was interrupted
        run.log_tags({STATE_TAG: "interrupted"})
        run.end("KILLED")
        return
    run.log_results(with_split(trial.user_attrs.get(METRICS, {})))
    failure = {FAILURE: trial.user_attrs[FAILURE]} if FAILURE in trial.user_attrs else {}
    run.log_tags({STATE_TAG: trial.state.name.lower()} | failure)
    run.end(STATUS[trial.state])
