"""A worker runs trials of the search, then the trainings that compare the best of them."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from optuna import Study, TrialPruned
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.study.final_trainings import open_finalists
from pipeline.study.finalists import (
    GROUPS,
    METRICS,
    TRAINING_PARAMS,
    Training,
    direction_sign,
    ranked,
    training_of,
    value_of,
)
from pipeline.study.run_info import (
    describe_training,
    describe_trial,
    settings_of_training,
    training_name,
)
from pipeline.study.runs import StudyRuns, TrialRun
from pipeline.study.search_space import decode_params, suggest, total_trials
from pipeline.study.storage import MISSED_HEARTBEATS
from pipeline.study.trial_queue import TrialQueue, TrialResult
from pipeline.study.trial_runner import Trained, TrialRunner
from pipeline.study.trial_settings import trial_settings
from pipeline.study.trial_states import FAILURE, finished_trials, is_finished
from vaelab.config import Settings
from vaelab.training.progress import EpochReport, NonFiniteLossError
from vaelab.training.trainer import Trainer

Results = Iterator[tuple[Trial, TrialResult]]


class Worker:
    """Runs a study's trials until none is left or the deadline has passed."""

    def __init__(
        self, settings: Settings, study: Study, runner: TrialRunner, runs: StudyRuns
    ) -> None:
        self.settings, self.study = settings, study
        self.runner, self.scorer = runner, runner.scorer
        self.runs, self.open_runs = runs, dict[int, TrialRun]()

    def work(self, deadline: float | None) -> None:
        """Run the search, then the finalists' trainings, beside any other workers.

        Each step of those follows from the results of the last one.
        """
        tune = self.settings.tune
        new_queue = partial(
            TrialQueue,
            stale_seconds=MISSED_HEARTBEATS * tune.heartbeat_seconds,
            deadline=deadline,
            batch_size=tune.trials_together,
        )
        total = total_trials(tune)
        new_queue(self.study, total, tune=tune).run(self._run_search, self._end_trial)
        if len(finished_trials(self.study)) < total:
            return
        done = -1
        while True:
            finalists, trainings = open_finalists(self.study, tune)
            if done == trainings:
                return
            new_queue(finalists, trainings).run(self._run_finalists, self._end_finalist)
            done = len(finished_trials(finalists))
            if done < trainings:  # the deadline has passed
                return

    def _run_search(self, trials: Sequence[Trial]) -> Results:
        return self._run(trials, self._start_trial, self._report_to_pruner)

    def _run_finalists(self, trials: Sequence[Trial]) -> Results:
        return self._run(trials, self._start_finalist, lambda *_: None, save_groups=True)

    def _run(
        self,
        trials: Sequence[Trial],
        start: Callable[[Trial], Settings],
        after_epoch: Callable[[Trial, Trainer, EpochReport], None],
        *,
        save_groups: bool = False,
    ) -> Results:
        """Start all trials, train them, and score each as its training ends."""
        started: list[tuple[Trial, Settings]] = []
        for trial in trials:
            try:
                started.append((trial, start(trial)))
            except Exception as error:  # the queue knows which errors are a trial's own
                yield trial, error

        def on_epoch(trial: Trial, trainer: Trainer, report: EpochReport) -> None:
            self.open_runs[trial.number].log_epoch(report.epoch, report.metrics)
            after_epoch(trial, trainer, report)

        on_epochs = [partial(on_epoch, trial) for trial, _ in started]
        for index, trained in self.runner.train_all([chosen for _, chosen in started], on_epochs):
            trial, _ = started[index]
            yield trial, self._score(trial, trained, save_groups=save_groups)

    def _start_trial(self, trial: Trial) -> Settings:
        changes = suggest(trial, self.settings.tune)
        info = describe_trial(self.settings, trial.number, changes)
        self.open_runs[trial.number] = self.runs.start(info)
        return trial_settings(self.settings, changes)

    def _start_finalist(self, trial: Trial) -> Settings:
        # A trial that an earlier version queued has no latent size.
        queued = trial._cached_frozen_trial.system_attrs["fixed_params"]
        names = [name for name in TRAINING_PARAMS if name in queued]
        training = Training(
            **{name: trial.suggest_int(name, *TRAINING_PARAMS[name]) for name in names}
        )
        finalist = self.study.get_trials(deepcopy=False)[training.trial]
        settings = settings_of_training(self.settings, finalist, training)
        info = describe_training(trial.number, training, settings)
        self.open_runs[trial.number] = self.runs.start(info)
        return settings

    def _report_to_pruner(self, trial: Trial, trainer: Trainer, report: EpochReport) -> None:
        """Report a trial's intermediate value. Raises TrialPruned if the pruner stops it."""
        value = self.scorer.intermediate_value(trainer, report)
        if value is not None:
            trial.report(value, report.epoch)
            if trial.should_prune():
                raise TrialPruned

    def _score(
        self, trial: Trial, trained: Trained | Exception, *, save_groups: bool
    ) -> TrialResult:
        """Score a trained model and store its metrics; return its values or an error."""
        if isinstance(trained, Exception):
            return trained
        model, epochs = trained
        try:
            score = self.scorer.score(model)
            if not all(math.isfinite(value) for value in score.values):
                raise NonFiniteLossError(f"its score is {score.values}")
            trial.set_user_attr(METRICS, score.metrics | {"epochs": epochs})
            if save_groups:
                trial.set_user_attr(GROUPS, score.groups)
        except Exception as error:  # the queue knows which errors are a trial's own
            return error
        return score.values

    def _end_trial(self, trial: FrozenTrial) -> None:
        self.open_runs.pop(trial.number).end(trial)
        trials = self.study.get_trials(deepcopy=False)
        done = f"{sum(map(is_finished, trials))}/{total_trials(self.settings.tune)}"
        best = next(iter(ranked(self.study, trials)), None)
        lowest = "lowest" if direction_sign(self.study) > 0 else "highest"
        best_yet = f" (best, {lowest}: {value_of(best):.5g}, trial {best.number})" if best else ""
        changes = decode_params(trial.params, self.settings.tune)
        shown = ", ".join(f"{k.partition('.')[2]} {_short(v)}" for k, v in changes.items())
        result = describe_result(trial)
        print(f"{done} trial {trial.number}: {shown}: {result}{best_yet}", flush=True)

    def _end_finalist(self, trial: FrozenTrial) -> None:
        self.open_runs.pop(trial.number).end(trial)
        training = training_of(trial)
        shown = f"{training_name(training)}, new seed {training.seed}"
        print(f"{shown}: {describe_result(trial)}", flush=True)


def describe_result(trial: FrozenTrial) -> str:
    """Return a few words on how a trial ended."""
    seconds = f"{trial.duration.total_seconds():.1f} s" if trial.duration else "no time"
    if trial.state == TrialState.PRUNED:
        return f"pruned after epoch {trial.last_step}, {seconds}"
    if trial.values is None:
        return f"failed: {trial.user_attrs.get(FAILURE, 'interrupted')}"
    return f"{' and '.join(f'{value:.5g}' for value in trial.values)}, {seconds}"


def _short(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)
