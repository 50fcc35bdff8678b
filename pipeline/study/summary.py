"""What a study has found so far: its trials as rows, its finalists, and the winner's score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import (
    METRICS,
    Finalist,
    are_trained,
    compare,
    load_finalists,
    sign,
    smallest,
    value_of,
)
from pipeline.study.run_info import settings_of_trial
from pipeline.study.samplers import settings_of, total_trials
from pipeline.study.storage import study_lock
from pipeline.study.trial_queue import FAILURE, finished_trials, is_finished, retried_numbers
from pipeline.study.trial_runner import TrialRunner
from vaelab.config import Settings, TuneSettings

TEST = "test"


@dataclass(frozen=True)
class StudySummary:
    """A study as the report and the figures see it.

    `finalists` are best first, and `smallest` is the one of the smallest latent size within one
    standard error of the best. `test` has the best one's metrics on the test split.
    """

    study: Study
    settings: Settings
    label: str
    total: int
    finalists: list[Finalist]
    smallest: Finalist | None
    test: Mapping[str, float] | None

    @property
    def best(self) -> Finalist:
        """Give the winner."""
        return self.finalists[0]

    def changes(self, trial: FrozenTrial) -> dict[str, Any]:
        """Give the settings that a trial changed."""
        return settings_of(trial.params, self.settings.tune)

    def completed(self) -> list[FrozenTrial]:
        """Give the trials that were trained to the end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def is_complete(study: Study, tune: TuneSettings) -> bool:
    """Tell whether nothing is left to train, neither in the search nor of the finalists."""
    searched = len(finished_trials(study)) >= total_trials(tune)
    return searched and are_trained(study, load_finalists(study), tune)


def summarize(study: Study, laboratory: TrialRunner) -> StudySummary | None:
    """Sum a study up; None before any trial is complete.

    The test split is read here only, for the winner of a finished study, once.
    """
    settings, judge = laboratory.scorer.settings, laboratory.scorer
    final = is_complete(study, settings.tune)
    entries = compare(study, load_finalists(study), settings.tune)
    if not entries:
        return None
    with study_lock():
        test = _test_metrics(study, laboratory, entries[0].trial) if final else None
    small = smallest(entries, sign(study))
    total = total_trials(settings.tune)
    return StudySummary(study, settings, judge.label, total, entries, small, test)


def trial_rows(outcome: StudySummary) -> list[dict[str, Any]]:
    """Give a row a trial, with every one that was begun."""
    return [_row(outcome, trial) for trial in outcome.study.get_trials(deepcopy=False)]


def epochs_of(trial: FrozenTrial) -> int:
    """Give how many epochs a finished trial was trained for."""
    if trial.state == TrialState.COMPLETE:
        return int(trial.user_attrs[METRICS]["epochs"])
    return trial.last_step or 0


def epochs_spent(outcome: StudySummary) -> tuple[int, int]:
    """Give the epochs that the search trained for, and what they were without pruning."""
    trials = finished_trials(outcome.study)
    whole = outcome.settings.tune.epochs or outcome.settings.train.epochs
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    spent = sum(epochs_of(trial) for trial in trials)
    return spent, spent + sum(whole - epochs_of(trial) for trial in pruned)


def _row(outcome: StudySummary, trial: FrozenTrial) -> dict[str, Any]:
    value = value_of(trial) if trial.values else ""
    seconds = f"{trial.duration.total_seconds():.3f}" if trial.duration else ""
    dead = trial.state == TrialState.FAIL and not is_finished(trial)
    retried = retried_numbers(trial)
    return {
        "trial": trial.number,
        "state": "interrupted" if dead else trial.state.name.lower(),
        "value": value,
        **outcome.changes(trial),
        **trial.user_attrs.get(METRICS, {}),
        "stopped_after_epoch": trial.last_step if trial.state == TrialState.PRUNED else "",
        "seconds": seconds,
        "runs_again": retried[-1] if retried else "",
        "failure": trial.user_attrs.get(FAILURE, ""),
    }


def _test_metrics(study: Study, laboratory: TrialRunner, winner: FrozenTrial) -> dict[str, float]:
    """Score the winner on the test split, unless it has been."""
    known = study.user_attrs.get(TEST, {})
    key = str(winner.number)
    if key not in known:
        model = laboratory.load_or_retrain(settings_of_trial(laboratory.scorer.settings, winner))
        study.set_user_attr(TEST, known | {key: laboratory.scorer.score_on_test(model).metrics})
    return dict(study.user_attrs[TEST][key])
