"""Who does which trial: each is finished once, whoever dies, and no more than were asked for.

Optuna's storage gives out trials and, through heartbeats, fails those whose worker died.
What it leaves open is closed here: the total over all workers, trials whose worker died
before its first heartbeat, and interruptions that could still say so.
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


# What ends a trial and not the worker. The last one is of a trial that was taken for dead.
EXPECTED = (*FAILURES, SurplusTrialError, TrialPruned, UpdateFinishedTrialError)

# What a trial came to: its values, one a direction, or what ended it.
TrialResult = float | Sequence[float] | Exception
# Runs trials, and gives what each came to as it ends.
Batch = Callable[[Sequence[Trial]], Iterable[tuple[Trial, TrialResult]]]
OnEnd = Callable[[FrozenTrial], None]


def is_finished(trial: FrozenTrial) -> bool:
    """Tell whether a trial came to an end: with a result, pruned, or failed by its settings."""
    done = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return done or (trial.state == TrialState.FAIL and FAILURE in trial.user_attrs)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Give the trials that came to an end, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]


class TrialQueue:
    """A study's trials as one process works through them, beside any number of others."""

    def __init__(
        self,
        study: Study,
        total: int,
        patience: float,
        deadline: float | None = None,
        together: int = 1,
    ) -> None:
        """Take part in a study of `total` trials, until time.monotonic() passes `deadline`.

        A trial that gave no sign of life for `patience` seconds belongs to a dead worker. As many
        as `together` are taken at once.
        """
        self.study, self.total, self.together = study, total, together
        self.patience, self.deadline = patience, deadline
        self.lock = study_lock()
        self.first_seen: dict[int, float] = {}

    def work(self, batch: Batch, on_end: OnEnd) -> None:
        """Run trials until all are finished, by whomever, or the time is over.

        `on_end` is told of each trial that ended here. An interruption, like any error that is not
        one trial's own, puts the running trials back into the queue and goes on upwards.
        """
        while not self._over():
            if not self._next(batch, on_end):
                self._requeue_stale()
                time.sleep(POLL_SECONDS)

    def _over(self) -> bool:
        late = self.deadline is not None and time.monotonic() > self.deadline
        return late or len(finished_trials(self.study)) >= self.total

    def _next(self, batch: Batch, on_end: OnEnd) -> int:
        """Run a batch of trials, if there are any to run, and give how many."""
        running: dict[int, Trial] = {}
        try:
            with ExitStack() as stack:
                with self.lock:
                    self._take(running)
                    count = len(running)
                    stack.enter_context(HeartbeatThread(self.study._storage, running))
                self._run(running, batch, on_end)
        except BaseException:
            with self.lock:
                for number in running:
                    self._fail(self._trial(number))
            raise
        finally:
            self.study._storage.remove_session()
        return count

    def _take(self, running: dict[int, Trial]) -> None:
        """Ask for as many trials as there is room for; the lock is held."""
        room = min(self.together, self._room())
        if room:
            fail_stale(self.study)
        for _ in range(room):
            with warnings.catch_warnings():
                # Optuna's own loop would give them; here the queue does.
                warnings.filterwarnings("ignore", "Heartbeat of storage")
                trial = self.study.ask()
            running[trial.number] = trial

    def _room(self) -> int:
        """Count the trials that wait, and those that are missing from the total."""
        trials = self.study.get_trials(deepcopy=False)
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        return waiting + max(0, self.total - sum(map(counts_toward_total, trials)))

    def _run(self, running: dict[int, Trial], batch: Batch, on_end: OnEnd) -> None:
        known = self.study.get_trials(deepcopy=False) if running else []
        taken = list(running.values())
        admitted = [trial for trial in taken if self._accept(trial, known, running)]
        for trial, came_to in batch(admitted) if admitted else ():
            self._end(trial, came_to, running)
            if is_finished(ended := self._trial(trial.number)):
                on_end(ended)

    def _accept(
        self, trial: Trial, known: Sequence[FrozenTrial], running: dict[int, Trial]
    ) -> bool:
        """Note that a trial begins here, unless others have taken all trials.

        The lock sees to that on one machine; of two, the one whose trial came later gives way.
        """
        try:
            if sum(map(counts_toward_total, known[: trial.number])) >= self.total:
                trial.set_user_attr(SURPLUS, True)
                raise SurplusTrialError
            trial.set_user_attr(STARTED, trial.number)
        except (SurplusTrialError, UpdateFinishedTrialError) as error:
            self._end(trial, error, running)
            return False
        return True

    def _end(self, trial: Trial, came_to: TrialResult, running: dict[int, Trial]) -> None:
        """Tell how a trial ended, pass over one taken for dead, raise what is no trial's own."""
        expected = not isinstance(came_to, Exception) or isinstance(came_to, EXPECTED)
        try:
            _tell(self.study, trial, came_to)
        except (UpdateFinishedTrialError, ValueError):
            if not (expected and self._is_dead(trial.number)):
                raise
            print(f"warning: trial {trial.number} was taken for dead, and is run again", flush=True)
        del running[trial.number]
        if not expected:
            assert isinstance(came_to, Exception)
            raise came_to

    def _is_dead(self, number: int) -> bool:
        trial = self._trial(number)
        return trial.state == TrialState.FAIL and not is_finished(trial)

    def _requeue_stale(self) -> None:
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
        storage = self.study._storage
        known = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(known)


def retried_numbers(trial: FrozenTrial) -> list[int]:
    """Give the numbers of the dead trials that a trial runs again."""
    return list(trial.system_attrs.get("retry_history", []))


def fail_stale(study: Study) -> None:
    """Fail, and queue again, the trials whose heartbeat stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)


def counts_toward_total(trial: FrozenTrial) -> bool:
    """Tell whether a trial is one of the total: finished, running or waiting."""
    return not trial.state.is_finished() or is_finished(trial)


def _tell(study: Study, trial: Trial, came_to: TrialResult) -> None:
    if not isinstance(came_to, Exception):
        study.tell(trial, came_to)
        return
    if isinstance(came_to, FAILURES):
        trial.set_user_attr(FAILURE, " ".join(str(came_to).split())[:500])
    pruned = isinstance(came_to, TrialPruned)
    study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
