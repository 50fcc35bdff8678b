"""The settings of a trial, and the warm-ups that the trials of a study may have."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from vaelab.config import Settings, TrainSettings, TuneSettings, UserError, with_changes
from vaelab.config.tune import Choices
from vaelab.objectives import Objective, build_objective
from vaelab.training.schedules import check_warmups, warmup_epochs


def trial_settings(
    settings: Settings, changes: Mapping[str, Any], seed: int = 0, epochs: int | None = None
) -> Settings:
    """Return a trial's settings: its changes, its epochs, and `seed` added to `train.seed`.

    `epochs` replaces those of a trial.
    """
    epochs = epochs or trial_epochs(settings)
    fixed = {"train.epochs": epochs, "train.seed": settings.train.seed + seed}
    return with_changes(settings, {**changes, **fixed})


def trial_epochs(settings: Settings) -> int:
    """Return the epochs of a trial."""
    return settings.tune.epochs or settings.train.epochs


def finalist_epochs(settings: Settings) -> int:
    """Return the epochs of the trainings after the search."""
    return settings.tune.finalist_epochs or trial_epochs(settings)


def epochs_note(searched: int, compared: int, trained: int) -> str | None:
    """Return a line if settings were found at other epochs than they will be trained for."""
    if searched == compared == trained:
        return None
    found = f"found at {searched} epochs"
    if compared != searched:
        found += f", compared with the other finalists at {compared}"
    hint = f" (with tune.finalist_epochs: {trained} the finalists are compared at that length)"
    return f"{found}; `dvc repro` will train for {trained}{hint if compared != trained else ''}"


def check_trial_warmups(settings: Settings) -> None:
    """Raise UserError if a warm-up, set or searched, is longer than a trial or a finalist's."""
    origin = "tune.epochs" if settings.tune.epochs else "train.epochs"
    final = {"epochs": finalist_epochs(settings)}
    for objective, train in _with_longest_warmups(settings):
        check_warmups(objective, train, origin)
        check_warmups(objective, train.model_copy(update=final), "tune.finalist_epochs")


def longest_warmup(settings: Settings) -> int:
    """Return the epochs of the longest warm-up that a trial may have."""
    found = _with_longest_warmups(settings)
    return max((max(warmup_epochs(*trial).values()) for trial in found), default=0)


def _with_longest_warmups(settings: Settings) -> Iterator[tuple[Objective, TrainSettings]]:
    """Return a trial's objective as it is set, then with one searched setting at its highest value.

    Those that cannot be built are left out: they are reported where a trial has them.
    """
    for changes in ({}, *_highest(settings.tune)):
        with suppress(UserError):
            trial = trial_settings(settings, changes)
            yield build_objective(trial), trial.train


def _highest(tune: TuneSettings) -> Iterator[dict[str, object]]:
    """Return the highest value, or each choice, of every searched setting that a loss reads."""
    for name, entry in tune.search_space.items():
        if name.startswith(("train.", "objectives.")) and name != "train.objective":
            values = entry.examples()
            for value in values if isinstance(entry, Choices) else values[-1:]:
                yield {name: value}
