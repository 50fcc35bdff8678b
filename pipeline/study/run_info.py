"""What the MLflow run of a trial is called and which settings it has, from the trial alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from pipeline.study.finalists import load_finalists, pair_of
from pipeline.study.samplers import settings_of
from vaelab.config import Settings, UserError, with_changes
from vaelab.training.fingerprint import training_settings


@dataclass(frozen=True)
class RunInfo:
    """A trial's run as it begins; `key` tells it from all others of the study."""

    name: str
    key: str
    settings: Mapping[str, Any]


def trial_settings(settings: Settings, changes: Mapping[str, Any], seed: int = 0) -> Settings:
    """Give a trial's settings: what it changes, its epochs, and a seed counted from the base's."""
    train = settings.train
    fixed = {"train.epochs": settings.tune.epochs or train.epochs, "train.seed": train.seed + seed}
    return with_changes(settings, {**changes, **fixed})


def settings_of_trial(settings: Settings, trial: FrozenTrial, seed: int = 0) -> Settings:
    """Give the settings of a trial that has been."""
    return trial_settings(settings, settings_of(trial.params, settings.tune), seed)


def describe_trial(settings: Settings, number: int, changes: Mapping[str, Any]) -> RunInfo:
    """Describe a trial of the search; a combination that cannot be, by what it changes."""
    try:
        shown: Mapping[str, Any] = training_settings(trial_settings(settings, changes))
    except UserError:
        shown = changes
    return RunInfo(f"trial {number}", str(number), shown)


def describe_finalist(number: int, trained: int, settings: Settings) -> RunInfo:
    """Describe a training, counted by `number`, of the finalist that trial `trained` was."""
    name = f"finalist {trained}, seed {settings.train.seed}"
    return RunInfo(name, f"finalist {number}", training_settings(settings))


def ended_trials(study: Study, settings: Settings) -> list[tuple[RunInfo, FrozenTrial]]:
    """Give the trials that will not go on, of the search and of the finalists."""
    searched, finalists = study.get_trials(deepcopy=False), load_finalists(study)
    trained = finalists.get_trials(deepcopy=False) if finalists else []

    def search_run(trial: FrozenTrial) -> RunInfo:
        return describe_trial(settings, trial.number, settings_of(trial.params, settings.tune))

    def finalist_run(trial: FrozenTrial) -> RunInfo:
        number, seed = pair_of(trial)
        own = settings_of_trial(settings, searched[number], seed)
        return describe_finalist(trial.number, number, own)

    search = [(search_run(trial), trial) for trial in searched if _has_ended(trial)]
    return search + [(finalist_run(trial), trial) for trial in trained if _has_ended(trial)]


def _has_ended(trial: FrozenTrial) -> bool:
    """Tell whether a trial was begun, and will not go on."""
    return trial.state.is_finished() and bool(trial.params)
