"""A study's results so far: its trials as rows, its finalists, and the winner's test score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.finalists import (
    METRICS,
    Finalist,
    are_trained,
    compare_finalists,
    direction_sign,
    load_finalists,
    smallest_latent,
    value_of,
)
from pipeline.study.run_info import settings_of_trial
from pipeline.study.search_space import decode_params, total_trials
from pipeline.study.storage import study_lock
from pipeline.study.trial_queue import retry_history
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_states import FAILURE, finished_trials, is_finished
from vaelab.config import Settings, TuneSettings

# The study's user attribute with metrics on the test split, by the winner's number.
TEST_METRICS, OLD_TEST_METRICS = "study_test", "test"


@dataclass(frozen=True)
class StudySummary:
    """What the report and the figures are made from.

    `finalists` are best first, and `smallest` is the one of the smallest latent size within one
    standard error of the best. `test` has the best one's metrics on the test split, or is None
    before the study is complete.
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
        """The winner."""
        return self.finalists[0]

    def settings_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the settings that a trial changed, by dotted name."""
        return decode_params(trial.params, self.settings.tune)

    def completed(self) -> list[FrozenTrial]:
        """Return the trials that were trained to the end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def is_complete(study: Study, tune: TuneSettings) -> bool:
    """Return whether the search and the finalists' trainings are all finished."""
    searched = len(finished_trials(study)) >= total_trials(tune)
    return searched and are_trained(study, load_finalists(study), tune)


def summarize(study: Study, runner: TrialRunner) -> StudySummary | None:
    """Return a study's summary; None before any trial is complete.

    Only this function reads the test split, once, for the winner of a complete study.
    """
    settings = runner.scorer.settings
    finalists = compare_finalists(study, load_finalists(study), settings.tune)
    if not finalists:
        return None
    test = None
    if is_complete(study, settings.tune):
        with study_lock():
            test = _test_metrics(study, runner, finalists[0].trial)
    return StudySummary(
        study,
        settings,
        runner.scorer.label,
        total_trials(settings.tune),
        finalists,
        smallest_latent(finalists, direction_sign(study)),
        test,
    )


def trial_rows(summary: StudySummary) -> list[dict[str, Any]]:
    """Return a row for each trial, including the interrupted ones."""
    return [_row(summary, trial) for trial in summary.study.get_trials(deepcopy=False)]


def epochs_of(trial: FrozenTrial) -> int:
    """Return the number of epochs that a finished trial was trained for."""
    if trial.state == TrialState.COMPLETE:
        return int(trial.user_attrs[METRICS]["epochs"])
    return trial.last_step or 0


def epochs_spent(summary: StudySummary) -> tuple[int, int]:
    """Return the epochs that the search trained for, and those it had trained without pruning."""
    trials = finished_trials(summary.study)
    full = summary.settings.tune.epochs or summary.settings.train.epochs
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    spent = sum(epochs_of(trial) for trial in trials)
    return spent, spent + sum(full - epochs_of(trial) for trial in pruned)


def _row(summary: StudySummary, trial: FrozenTrial) -> dict[str, Any]:
    value = value_of(trial) if trial.values else ""
    seconds = f"{trial.duration.total_seconds():.3f}" if trial.duration else ""
    interrupted = trial.state == TrialState.FAIL and not is_finished(trial)
    retried = retry_history(trial)
    return {
        "trial": trial.number,
        "state": "interrupted" if interrupted else trial.state.name.lower(),
        "value": value,
        **summary.settings_of(trial),
        **trial.user_attrs.get(METRICS, {}),
        "stopped_after_epoch": trial.last_step if trial.state == TrialState.PRUNED else "",
        "seconds": seconds,
        "runs_again": retried[-1] if retried else "",
        "failure": trial.user_attrs.get(FAILURE, ""),
    }


def _test_metrics(study: Study, runner: TrialRunner, winner: FrozenTrial) -> dict[str, float]:
    """Return the winner's metrics on the test split; it is scored only if they are not stored."""
    known = study.user_attrs.get(TEST_METRICS)
    if known is None and OLD_TEST_METRICS in study.user_attrs:
        known = study.user_attrs[OLD_TEST_METRICS]
        print(
            f"warning: study {study.study_name} stores its test metrics under the old name "
            f"{OLD_TEST_METRICS!r}; the next release reads only {TEST_METRICS!r}"
        )
    known, key = known or {}, str(winner.number)
    if key not in known:
        model = runner.load_or_retrain(settings_of_trial(runner.scorer.settings, winner))
        known = {**known, key: runner.scorer.score_on_test(model).metrics}
    if study.user_attrs.get(TEST_METRICS) != known:
        study.set_user_attr(TEST_METRICS, known)
    return dict(known[key])
