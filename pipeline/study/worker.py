"""What a worker does: trials of the search, then the finalists' trainings with other seeds."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from optuna import Study, TrialPruned
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.study.finalists import (
    GROUPS,
    METRICS,
    PAIR,
    open_finalists,
    pair_of,
    ranked,
    value_of,
)
from pipeline.study.run_info import (
    describe_finalist,
    describe_trial,
    settings_of_trial,
    trial_settings,
)
from pipeline.study.runs import StudyRuns, TrialRun
from pipeline.study.samplers import settings_of, suggest, total_trials
from pipeline.study.storage import MISSED_HEARTBEATS
from pipeline.study.trial_queue import (
    FAILURE,
    TrialQueue,
    TrialResult,
    finished_trials,
    is_finished,
)
from pipeline.study.trial_runner import Trained, TrialRunner
from vaelab.config import Settings
from vaelab.models.model import Model
from vaelab.training.progress import EpochReport, NonFiniteLossError
from vaelab.training.trainer import Trainer


class Worker:
    """Takes part in a study until nothing is left to train, or the time is over."""

    def __init__(
        self, settings: Settings, study: Study, laboratory: TrialRunner, runs: StudyRuns
    ) -> None:
        self.settings, self.study = settings, study
        self.laboratory, self.judge = laboratory, laboratory.scorer
        self.runs, self.open_runs = runs, dict[int, TrialRun]()

    def work(self, deadline: float | None) -> None:
        """Do trials, then finalists, beside any other workers."""
        patience = MISSED_HEARTBEATS * self.settings.tune.heartbeat_seconds
        total = total_trials(self.settings.tune)
        together = self.settings.tune.trials_together
        queue = TrialQueue(self.study, total, patience, deadline, together)
        queue.work(self._search, lambda trial: self._end_search(trial, total))
        if len(finished_trials(self.study)) < total:
            return
        finalists, pairs = open_finalists(self.study, self.settings.tune)
        queue = TrialQueue(finalists, pairs, patience, deadline, together)
        queue.work(self._train_finalists, self._end_finalist)

    def _search(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        return self._train(trials, self._begin, self._intermediate_value)

    def _train_finalists(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        return self._train(trials, self._begin_finalist, lambda *_: None, groups=True)

    def _train(
        self,
        trials: Sequence[Trial],
        begin: Callable[[Trial], Settings],
        stand: Callable[[Trial, Trainer, EpochReport], None],
        *,
        groups: bool = False,
    ) -> Iterator[tuple[Trial, TrialResult]]:
        """Begin all, train them, and judge each as it ends; `stand` hears of every epoch."""
        begun: list[tuple[Trial, Settings]] = []
        for trial in trials:
            try:
                begun.append((trial, begin(trial)))
            except Exception as error:  # the queue knows what is a trial's own
                yield trial, error

        def on_epoch(trial: Trial, trainer: Trainer, report: EpochReport) -> None:
            self.open_runs[trial.number].log_epoch(report.epoch, report.metrics)
            stand(trial, trainer, report)

        on_epochs = [partial(on_epoch, trial) for trial, _ in begun]
        chosen = [settings for _, settings in begun]
        for number, trained in self.laboratory.train_all(chosen, on_epochs):
            trial = begun[number][0]
            yield trial, self._result(trial, trained, groups=groups)

    def _begin(self, trial: Trial) -> Settings:
        changes = suggest(trial, self.settings.tune)
        described = describe_trial(self.settings, trial.number, changes)
        self.open_runs[trial.number] = self.runs.start(described)
        return trial_settings(self.settings, changes)

    def _begin_finalist(self, trial: Trial) -> Settings:
        number, seed = (trial.suggest_int(name, *bounds) for name, bounds in PAIR.items())
        winner = self.study.get_trials(deepcopy=False)[number]
        settings = settings_of_trial(self.settings, winner, seed)
        described = describe_finalist(trial.number, number, settings)
        self.open_runs[trial.number] = self.runs.start(described)
        return settings

    def _intermediate_value(self, trial: Trial, trainer: Trainer, report: EpochReport) -> None:
        """Let the pruner know how a trial stands. Raises TrialPruned if it gives it up."""
        standing = self.judge.intermediate_value(trainer, report)
        if standing is not None:
            trial.report(standing, report.epoch)
            if trial.should_prune():
                raise TrialPruned

    def _result(self, trial: Trial, trained: Trained | Exception, *, groups: bool) -> TrialResult:
        if isinstance(trained, Exception):
            return trained
        try:
            return self._scored(trial, *trained, groups=groups)
        except Exception as error:  # the queue knows what is a trial's own
            return error

    def _scored(
        self, trial: Trial, model: Model, epochs: int, *, groups: bool
    ) -> tuple[float, ...]:
        verdict = self.judge.score(model)
        if not all(math.isfinite(value) for value in verdict.values):
            raise NonFiniteLossError(f"its score is {verdict.values}")
        trial.set_user_attr(METRICS, verdict.metrics | {"epochs": epochs})
        if groups:
            trial.set_user_attr(GROUPS, verdict.groups)
        return verdict.values

    def _end_search(self, trial: FrozenTrial, total: int) -> None:
        self._end_run(trial)
        trials = self.study.get_trials(deepcopy=False)
        done = sum(map(is_finished, trials))
        best = next(iter(ranked(self.study, trials)), None)
        leader = f" (best {value_of(best):.5g}, trial {best.number})" if best else ""
        changes = settings_of(trial.params, self.settings.tune)
        shown = ", ".join(f"{k.partition('.')[2]} {_short(v)}" for k, v in changes.items())
        print(f"{done}/{total} trial {trial.number}: {shown}: {outcome(trial)}{leader}", flush=True)

    def _end_finalist(self, trial: FrozenTrial) -> None:
        self._end_run(trial)
        number, seed = pair_of(trial)
        print(f"finalist {number}, new seed {seed}: {outcome(trial)}", flush=True)

    def _end_run(self, trial: FrozenTrial) -> None:
        self.open_runs.pop(trial.number).end(trial)


def outcome(trial: FrozenTrial) -> str:
    """Say in a few words how a trial ended."""
    seconds = f"{trial.duration.total_seconds():.1f} s" if trial.duration else "no time"
    if trial.state == TrialState.PRUNED:
        return f"pruned after epoch {trial.last_step}, {seconds}"
    if trial.values is None:
        return f"failed: {trial.user_attrs.get(FAILURE, 'interrupted')}"
    return f"{' and '.join(f'{value:.5g}' for value in trial.values)}, {seconds}"


def _short(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
