"""The name and the settings of a trial's MLflow run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from pipeline.study.final_trainings import load_finalists
from pipeline.study.finalists import LATENT, Training, training_of
from pipeline.study.search_space import decode_params
from pipeline.study.trial_settings import finalist_epochs, trial_settings
from vaelab.config import Settings, UserError
from vaelab.training.fingerprint import training_settings


@dataclass(frozen=True)
class RunInfo:
    """What a trial's run starts with; `key` is unique in the study."""

    name: str
    key: str
    settings: Mapping[str, Any]


def settings_of_trial(settings: Settings, trial: FrozenTrial) -> Settings:
    """Return the settings of a stored trial."""
    return trial_settings(settings, decode_params(trial.params, settings.tune))


def settings_of_training(settings: Settings, trial: FrozenTrial, training: Training) -> Settings:
    """Return the settings of a training after the search, which is of a stored trial."""
    changes = decode_params(trial.params, settings.tune)
    if training.latent_dim:
        changes[LATENT] = training.latent_dim
    return trial_settings(settings, changes, training.seed, finalist_epochs(settings))


def describe_trial(settings: Settings, number: int, changes: Mapping[str, Any]) -> RunInfo:
    """Return the run of a trial; if its settings are invalid together, with only its changes."""
    try:
        shown: Mapping[str, Any] = training_settings(trial_settings(settings, changes))
    except UserError:
        shown = changes
    return RunInfo(f"trial {number}", str(number), shown)


def describe_training(number: int, training: Training, settings: Settings) -> RunInfo:
    """Return the run of training `number` after the search; `settings` are the training's own."""
    name = f"{training_name(training)}, seed {settings.train.seed}"
    key = f"finalist {number}"
    if settings.tune.finalist_epochs:
        key += f", {settings.tune.finalist_epochs} epochs"
    return RunInfo(name, key, training_settings(settings))


def training_name(training: Training) -> str:
    """Return a few words on a training after the search."""
    latents = f" with {training.latent_dim} latents" if training.latent_dim else ""
    return f"finalist {training.trial}{latents}"


def ended_runs(study: Study, settings: Settings) -> list[tuple[RunInfo, FrozenTrial]]:
    """Return the runs of all ended trials, of the search and of the finalists."""
    searched = study.get_trials(deepcopy=False)
    finalists = load_finalists(study, settings.tune)
    trained = finalists.get_trials(deepcopy=False) if finalists else []

    def search_run(trial: FrozenTrial) -> RunInfo:
        return describe_trial(settings, trial.number, decode_params(trial.params, settings.tune))

    def finalist_run(trial: FrozenTrial) -> RunInfo:
        training = training_of(trial)
        own = settings_of_training(settings, searched[training.trial], training)
        return describe_training(trial.number, training, own)

    search = [(search_run(trial), trial) for trial in searched if _has_ended(trial)]
    return search + [(finalist_run(trial), trial) for trial in trained if _has_ended(trial)]


def _has_ended(trial: FrozenTrial) -> bool:
    """Return whether a trial was started and has ended."""
    return trial.state.is_finished() and bool(trial.params)
