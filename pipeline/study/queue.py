"""Who does which trial: each is finished once, whoever dies, and no more than were asked for.

Optuna's storage gives out trials and, through heartbeats, fails those whose worker died.
What it leaves open is closed here: the total over all workers, trials whose worker died
before its first heartbeat, and interruptions that could still say so.
"""

import time
import warnings
from collections.abc import Callable, Sequence

import optuna
import torch
from optuna import Study, TrialPruned
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.study.storage import FAILURE as FAILURE
from pipeline.study.storage import queue_again, study_lock
from vaelab.config import UserError

# Attributes of a trial.
SURPLUS, STARTED = "surplus", "started"
# What a trial's settings can bring about; anything else is a defect, and ends the worker.
FAILURES = (UserError, torch.OutOfMemoryError)
POLL_SECONDS = 0.5


class SurplusTrialError(Exception):
    """Two machines took the last trial at once; this one gives way."""


EXPECTED = (*FAILURES, SurplusTrialError)

Objective = Callable[[Trial], float | Sequence[float]]


def is_finished(trial: FrozenTrial) -> bool:
    """Tell whether a trial came to an end: with a result, pruned, or failed by its settings."""
    done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return done or (trial.state == TrialState.FAIL and FAILURE in trial.user_attrs)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Give the trials that came to an end, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]


class Queue:
    """A study's trials as one process works through them, beside any number of others."""

    def __init__(
        self, study: Study, total: int, patience: float, deadline: float | None = None
    ) -> None:
        """Take part in a study of `total` trials, until time.monotonic() passes `deadline`.

        A trial that gave no sign of life for `patience` seconds belongs to a dead worker.
        """
        self.study, self.total = study, total
        self.patience, self.deadline = patience, deadline
        self.lock = study_lock()
        self.first_seen: dict[int, float] = {}

    def work(self, objective: Objective, on_end: Callable[[FrozenTrial], None]) -> None:
        """Run trials until all are finished, by whomever, or the time is over.

        `on_end` is told of each trial that ended here. An interruption puts the running trial
        back into the queue and goes on upwards.
        """
        while not self._over():
            number = self._next(objective)
            if number is None:
                self._look_after_others()
                time.sleep(POLL_SECONDS)
            elif is_finished(trial := self._trial(number)):
                on_end(trial)

    def _over(self) -> bool:
        late = self.deadline is not None and time.monotonic() > self.deadline
        return late or len(finished_trials(self.study)) >= self.total

    def _next(self, objective: Objective) -> int | None:
        """Run one trial, if there is one to run, and give its number."""
        self.lock.acquire()
        try:
            return self._run(objective) if self._has_room() else None
        finally:
            self.lock.release(force=True)

    def _has_room(self) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        return waiting or sum(map(counts, trials)) < self.total

    def _run(self, objective: Objective) -> int | None:
        """Take the next trial under the lock, and run it without."""
        taken: list[int] = []
        raised: list[BaseException] = []

        def run(trial: Trial) -> float | Sequence[float]:
            self.lock.release(force=True)
            taken.append(trial.number)
            try:
                self._refuse_surplus(trial)
                trial.set_user_attr(STARTED, trial.number)
                return _with_reason(objective, trial)
            except BaseException as error:
                raised.append(error)
                raise

        try:
            self.study.optimize(run, n_trials=1, catch=EXPECTED)
        except BaseException as error:
            # Optuna's complaint of a trial that has ended elsewhere hides what came first.
            self._explain(taken, raised[0] if raised else error, told=not raised)
        return taken[0] if taken else None

    def _explain(self, taken: Sequence[int], cause: BaseException, *, told: bool) -> None:
        """Give an interrupted trial back, pass over one taken for dead, raise all else."""
        if isinstance(cause, KeyboardInterrupt | SystemExit):
            with self.lock:
                for number in taken:
                    self._fail(self._trial(number))
            raise cause
        expected = told or isinstance(cause, (*EXPECTED, TrialPruned, UpdateFinishedTrialError))
        if not (taken and expected and self._is_dead(taken[0])):
            raise cause
        print(f"warning: trial {taken[0]} was taken for dead, and is run again", flush=True)

    def _is_dead(self, number: int) -> bool:
        trial = self._trial(number)
        return trial.state == TrialState.FAIL and not is_finished(trial)

    def _refuse_surplus(self, trial: Trial) -> None:
        """Give way if others have taken all trials; the lock sees to that on one machine."""
        before = self.study.get_trials(deepcopy=False)[: trial.number]
        if sum(map(counts, before)) >= self.total:
            trial.set_user_attr(SURPLUS, True)
            raise SurplusTrialError

    def _look_after_others(self) -> None:
        """Fail, and queue again, the trials of workers that died."""
        with self.lock:
            fail_stale(self.study)
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                # Without a heartbeat yet it never goes stale; no clock but ours tells its age.
                if trial.user_attrs.get(STARTED) != trial.number:
                    since = self.first_seen.setdefault(trial.number, time.monotonic())
                    if time.monotonic() - since > self.patience:
                        self._fail(trial)

    def _fail(self, trial: FrozenTrial) -> None:
        """Fail a trial that will not end, and queue it again; nothing if it did end."""
        try:
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
        except (UpdateFinishedTrialError, ValueError):
            return
        if not is_finished(trial) and not self._is_queued_again(trial):
            queue_again(self.study, trial)

    def _is_queued_again(self, trial: FrozenTrial) -> bool:
        others = self.study.get_trials(deepcopy=False)
        return any(trial.number in retried_numbers(other) for other in others)

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]


def retried_numbers(trial: FrozenTrial) -> list[int]:
    """Give the numbers of the dead trials that a trial runs again."""
    return list(trial.system_attrs.get("retry_history", []))


def fail_stale(study: Study) -> None:
    """Fail, and queue again, the trials whose heartbeat stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)


def counts(trial: FrozenTrial) -> bool:
    """Tell whether a trial is one of the total: finished, running or waiting."""
    return not trial.state.is_finished() or is_finished(trial)


def _with_reason(objective: Objective, trial: Trial) -> float | Sequence[float]:
    try:
        return objective(trial)
    except FAILURES as error:
        trial.set_user_attr(FAILURE, " ".join(str(error).split())[:500])
        raise
