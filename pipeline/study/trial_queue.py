"""A study's trials, shared by any number of workers: each finished once, none beyond the total.

Optuna's storage hands out trials and, through heartbeats, fails those whose worker died. The queue
adds a total over all workers, trials whose worker died before its first heartbeat, and the
requeueing of trials that an interruption or an unexpected error ends.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

import optuna
import torch
from optuna import Study, TrialPruned
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.study.heartbeat import HeartbeatThread
from pipeline.study.search_space import distributions, trial_key, tried
from pipeline.study.storage import requeue, study_lock
from pipeline.study.trial_states import (
    FAILURE,
    counts_toward_total,
    finished_trials,
    is_finished,
)
from vaelab.config import TuneSettings, UserError

# User attributes of a trial.
SURPLUS, STARTED = "surplus", "started"
# Errors that a trial's settings can cause; any other one is a defect, and ends the worker.
FAILURES = (UserError, torch.OutOfMemoryError)
POLL_SECONDS = 0.5


class SurplusTrialError(Exception):
    """Two machines took the last trial at the same time; this one drops it."""


# Errors that end a trial but not the worker; Optuna raises the last for one it failed meanwhile.
TRIAL_ERRORS = (*FAILURES, SurplusTrialError, TrialPruned, UpdateFinishedTrialError)

# A trial's values, one for each direction, or the error that ended it.
TrialResult = float | Sequence[float] | Exception
# Runs trials, and yields the result of each as it ends.
RunBatch = Callable[[Sequence[Trial]], Iterable[tuple[Trial, TrialResult]]]
OnEnd = Callable[[FrozenTrial], None]


class TrialQueue:
    """Runs a study's trials in this process, beside any number of others."""

    def __init__(
        self,
        study: Study,
        total: int,
        stale_seconds: float,
        deadline: float | None = None,
        batch_size: int = 1,
        tune: TuneSettings | None = None,
    ) -> None:
        """Run a study of `total` trials, up to `batch_size` at once.

        If the trials are points of `tune.search_space`, each point is tried once.

        No trial is started after time.monotonic() passes `deadline`. A worker is taken to be dead
        if its trial has had no heartbeat for `stale_seconds`.
        """
        self.study, self.total, self.batch_size = study, total, batch_size
        self.stale_seconds, self.deadline = stale_seconds, deadline
        self.tune, self.space = tune, distributions(tune) if tune else None
        self.lock = study_lock()
        self.first_seen: dict[int, float] = {}

    def run(self, run_batch: RunBatch, on_end: OnEnd) -> None:
        """Run trials until this and other workers have finished all, or the deadline has passed.

        `on_end` is called with each trial that ended here. An interruption, and any error that is
        not one of a trial's own, requeues the running trials and is raised.
        """
        while not self._is_over():
            if not self._run_next(run_batch, on_end):
                self._requeue_stale()
                time.sleep(POLL_SECONDS)

    def _is_over(self) -> bool:
        late = self.deadline is not None and time.monotonic() > self.deadline
        return late or len(finished_trials(self.study)) >= self.total

    def _run_next(self, run_batch: RunBatch, on_end: OnEnd) -> int:
        """Run a batch of trials, if there are any to run, and return how many."""
        running: dict[int, Trial] = {}
        try:
            with ExitStack() as stack:
                with self.lock:
                    self._take(running)
                    count = len(running)
                    stack.enter_context(HeartbeatThread(self.study._storage, running))
                self._run(running, run_batch, on_end)
        except BaseException:
            with self.lock:
                for number in running:
                    self._fail(self._trial(number))
            raise
        finally:
            self.study._storage.remove_session()
        return count

    def _take(self, running: dict[int, Trial]) -> None:
        """Take as many trials as the total has room for; the lock is held."""
        room = min(self.batch_size, self._room())
        if room:
            fail_stale(self.study)
        for _ in range(room):
            with warnings.catch_warnings():
                # Optuna warns that study.ask() records no heartbeats: HeartbeatThread does.
                warnings.filterwarnings("ignore", "Heartbeat of storage")
                # All is sampled here, under the lock: the next trial is another point.
                trial = self.study.ask(self.space)
            running[trial.number] = trial

    def _room(self) -> int:
        """Count the queued trials, and those that are missing from the total."""
        trials = self.study.get_trials(deepcopy=False)
        queued = sum(trial.state == TrialState.WAITING for trial in trials)
        return queued + max(0, self.total - sum(map(counts_toward_total, trials)))

    def _run(self, running: dict[int, Trial], run_batch: RunBatch, on_end: OnEnd) -> None:
        known = self.study.get_trials(deepcopy=False) if running else []
        taken = list(running.values())
        accepted = [trial for trial in taken if self._accept(trial, known, running)]
        for trial, result in run_batch(accepted) if accepted else ():
            self._end(trial, result, running)
            if is_finished(ended := self._trial(trial.number)):
                on_end(ended)

    def _accept(
        self, trial: Trial, known: Sequence[FrozenTrial], running: dict[int, Trial]
    ) -> bool:
        """Mark a trial as started, unless it exceeds the total; return whether it is started.

        The lock prevents a surplus, and a point that another trial has, on one machine; of two
        machines, the one with the later trial drops it.
        """
        try:
            before = known[: trial.number]
            surplus = sum(map(counts_toward_total, before)) >= self.total
            if surplus or self._is_repeat(known[trial.number], before):
                trial.set_user_attr(SURPLUS, True)
                raise SurplusTrialError
            trial.set_user_attr(STARTED, trial.number)
        except (SurplusTrialError, UpdateFinishedTrialError) as error:
            self._end(trial, error, running)
            return False
        return True

    def _is_repeat(self, trial: FrozenTrial, before: Sequence[FrozenTrial]) -> bool:
        """Return whether an earlier trial has the same settings."""
        if self.tune is None:
            return False
        return trial_key(trial, self.tune) in tried(before, self.tune)

    def _end(self, trial: Trial, result: TrialResult, running: dict[int, Trial]) -> None:
        """Store a trial's result; raise an error that is not the trial's own."""
        unexpected = isinstance(result, Exception) and not isinstance(result, TRIAL_ERRORS)
        try:
            _tell(self.study, trial, result)
        except (UpdateFinishedTrialError, ValueError):
            if unexpected or not self._failed_by_others(trial.number):
                raise
            print(
                f"warning: trial {trial.number} missed its heartbeats and was re-queued; "
                "this result is dropped",
                flush=True,
            )
        del running[trial.number]
        if unexpected:
            assert isinstance(result, Exception)
            raise result

    def _failed_by_others(self, number: int) -> bool:
        """Return whether another worker failed a trial because its heartbeats stopped."""
        trial = self._trial(number)
        return trial.state == TrialState.FAIL and not is_finished(trial)

    def _requeue_stale(self) -> None:
        """Fail and requeue the trials of workers that died."""
        with self.lock:
            fail_stale(self.study)
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                # Optuna never fails a trial without a first heartbeat; its age is counted here.
                if trial.user_attrs.get(STARTED) != trial.number:
                    since = self.first_seen.setdefault(trial.number, time.monotonic())
                    if time.monotonic() - since > self.stale_seconds:
                        self._fail(trial)

    def _fail(self, trial: FrozenTrial) -> None:
        """Fail and requeue a trial that was interrupted; one that has ended stays as it is."""
        try:
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            return
        if not is_finished(trial) and not self._is_requeued(trial):
            requeue(self.study, trial)

    def _is_requeued(self, trial: FrozenTrial) -> bool:
        others = self.study.get_trials(deepcopy=False)
        return any(trial.number in retry_history(other) for other in others)

    def _trial(self, number: int) -> FrozenTrial:
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(trial_id)


def retry_history(trial: FrozenTrial) -> list[int]:
    """Return the numbers of the interrupted trials that a trial repeats."""
    return list(trial.system_attrs.get("retry_history", []))


def fail_stale(study: Study) -> None:
    """Fail and requeue the trials whose heartbeats stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)


def _tell(study: Study, trial: Trial, result: TrialResult) -> None:
    if not isinstance(result, Exception):
        study.tell(trial, result)
        return
    if isinstance(result, FAILURES):
        trial.set_user_attr(FAILURE, " ".join(str(result).split())[:500])
    pruned = isinstance(result, TrialPruned)
    study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
