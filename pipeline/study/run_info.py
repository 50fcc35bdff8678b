"""The name and the settings of a trial's MLflow run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from pipeline.study.finalists import load_finalists, trial_and_seed
from pipeline.study.search_space import decode_params
from pipeline.study.trial_settings import trial_settings
from vaelab.config import Settings, UserError
from vaelab.training.fingerprint import training_settings


@dataclass(frozen=True)
class RunInfo:
    """What a trial's run starts with; `key` is unique in the study."""

    name: str
    key: str
    settings: Mapping[str, Any]


def settings_of_trial(settings: Settings, trial: FrozenTrial, seed: int = 0) -> Settings:
    """Return the settings of a stored trial."""
    return trial_settings(settings, decode_params(trial.params, settings.tune), seed)


def describe_trial(settings: Settings, number: int, changes: Mapping[str, Any]) -> RunInfo:
    """Return the run of a trial; if its settings are invalid together, with only its changes."""
    try:
        shown: Mapping[str, Any] = training_settings(trial_settings(settings, changes))
    except UserError:
        shown = changes
    return RunInfo(f"trial {number}", str(number), shown)


def describe_finalist(number: int, trial: int, settings: Settings) -> RunInfo:
    """Return the run of training `number` of the finalists, which is of trial `trial`."""
    name = f"finalist {trial}, seed {settings.train.seed}"
    return RunInfo(name, f"finalist {number}", training_settings(settings))


def ended_runs(study: Study, settings: Settings) -> list[tuple[RunInfo, FrozenTrial]]:
    """Return the runs of all ended trials, of the search and of the finalists."""
    searched, finalists = study.get_trials(deepcopy=False), load_finalists(study)
    trained = finalists.get_trials(deepcopy=False) if finalists else []

    def search_run(trial: FrozenTrial) -> RunInfo:
        return describe_trial(settings, trial.number, decode_params(trial.params, settings.tune))

    def finalist_run(trial: FrozenTrial) -> RunInfo:
        number, seed = trial_and_seed(trial)
        own = settings_of_trial(settings, searched[number], seed)
        return describe_finalist(trial.number, number, own)

    search = [(search_run(trial), trial) for trial in searched if _has_ended(trial)]
    return search + [(finalist_run(trial), trial) for trial in trained if _has_ended(trial)]


def _has_ended(trial: FrozenTrial) -> bool:
    """Return whether a trial was started and has ended."""
    return trial.state.is_finished() and bool(trial.params)
