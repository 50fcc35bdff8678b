"""A study's results so far: its trials as rows, its finalists, and the winner's test score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.final_trainings import Decision, decide, load_finalists
from pipeline.study.finalists import LATENT, METRICS, Finalist, Training, value_of
from pipeline.study.run_info import settings_of_training
from pipeline.study.search_space import decode_params, total_trials
from pipeline.study.storage import study_lock
from pipeline.study.trial_queue import retry_history
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_settings import trial_epochs
from pipeline.study.trial_states import FAILURE, finished_trials, is_finished
from vaelab.config import Settings

# Fewer complete trials tell neither which value of a setting is best nor how much it matters.
ENOUGH_TRIALS = 20
# The study's user attribute with metrics on the test split, by the winner's number.
TEST_METRICS, OLD_TEST_METRICS = "study_test", "test"


@dataclass(frozen=True)
class StudySummary:
    """What the report and the figures are made from.

    `value_names` are the metrics that the trials' values are. `test` has the best one's metrics on
    the test split, or is None before the study is complete.
    """

    study: Study
    settings: Settings
    label: str
    value_names: list[str]
    total: int
    decision: Decision
    test: Mapping[str, float] | None

    @property
    def best(self) -> Finalist:
        """The winner."""
        return self.decision.finalists[0]

    @property
    def smallest(self) -> Finalist | None:
        """The smallest latent size that is as good as the winner, if there are errors."""
        return self.decision.smallest

    @property
    def is_small(self) -> bool:
        """Whether there are too few complete trials to locate the best value of a setting."""
        return len(self.completed()) < ENOUGH_TRIALS

    def settings_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the settings that a trial changed, by dotted name."""
        return decode_params(trial.params, self.settings.tune)

    def settings_of_finalist(self, finalist: Finalist) -> dict[str, Any]:
        """Return the settings that a finalist changed, by dotted name."""
        latent = {LATENT: finalist.latent_dim} if finalist.latent_dim else {}
        return self.settings_of(finalist.trial) | latent

    def completed(self) -> list[FrozenTrial]:
        """Return the trials that were trained to the end."""
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def summarize(study: Study, runner: TrialRunner) -> StudySummary | None:
    """Return a study's summary; None before any trial is complete.

    Only this function reads the test split, once, for the winner of a complete study.
    """
    settings = runner.scorer.settings
    decision = decide(study, load_finalists(study, settings.tune), settings.tune)
    if not decision.finalists:
        return None
    test, total = None, total_trials(settings.tune)
    if decision.is_complete and len(finished_trials(study)) >= total:
        with study_lock():
            test = _test_metrics(study, runner, settings, decision.finalists[0].trial)
    scorer = runner.scorer
    return StudySummary(study, settings, scorer.label, scorer.value_names, total, decision, test)


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
    full = trial_epochs(summary.settings)
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


def _test_metrics(
    study: Study, runner: TrialRunner, settings: Settings, winner: FrozenTrial
) -> dict[str, float]:
    """Return the winner's metrics on the test split; it is scored only if they are not stored."""
    known = study.user_attrs.get(TEST_METRICS)
    if known is None and OLD_TEST_METRICS in study.user_attrs:
        known = study.user_attrs[OLD_TEST_METRICS]
        print(
            f"warning: study {study.study_name} stores its test metrics under the old name "
            f"{OLD_TEST_METRICS!r}; the next release reads only {TEST_METRICS!r}"
        )
    epochs = settings.tune.finalist_epochs
    known, key = known or {}, f"{winner.number}, {epochs} epochs" if epochs else str(winner.number)
    if key not in known:
        training = Training(winner.number, seed=0)
        model = runner.load_or_retrain(settings_of_training(settings, winner, training))
        known = {**known, key: runner.scorer.score_on_test(model).metrics}
    if study.user_attrs.get(TEST_METRICS) != known:
        study.set_user_attr(TEST_METRICS, known)
    return dict(known[key])
