"""The best few trials, trained again with other seeds, so that their values have standard errors.

The value that selected a trial among many is biased towards better values, and so is the mean of
the seeds that selected the best finalist. Both are left out: the best one's mean is that of further
seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.trial_states import finished_trials
from vaelab.config import TuneSettings
from vaelab.estimators.statistics import mean_and_standard_error

LATENT = "model.latent_dim"
METRICS, GROUPS = "metrics", "groups"


class Training(NamedTuple):
    """One more training of a trial's settings: what is added to its seed, and its latent size.

    The latent size is 0 where it is the trial's own.
    """

    trial: int
    seed: int
    latent_dim: int = 0


# The parameters that a training is stored as, with the range of each.
TRAINING_PARAMS = {"trial": (0, 2**31 - 1), "seed": (0, 2**31 - 1), "latent_dim": (0, 2**31 - 1)}


@dataclass(frozen=True)
class Finalist:
    """A trial's settings, perhaps with another latent size, and their values with new seeds.

    `mean` is that of `values`, or the value in the search if there are none. `error` counts the
    variance over seeds and over images. `difference` is the mean minus the best one's; its error
    counts the seeds of both, and the images, which are compared in pairs. `seeds` are those of
    `values`, `metrics` the means of the other metrics over them, and `chosen_by` has the values by
    which the best finalist was chosen, if others are its `values`.
    """

    trial: FrozenTrial
    values: list[float]
    mean: float
    error: float | None
    difference: float = 0.0
    difference_error: float | None = None
    latent_dim: int = 0
    seeds: tuple[int, ...] = ()
    chosen_by: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def latent_size(self) -> int | None:
        """The number of latent dimensions; None if it was not searched, or is `auto`."""
        size = self.latent_dim or self.trial.params.get(LATENT)
        return size if isinstance(size, int) else None

    def is_as_good(self, factor: float, errors: float = 2.0) -> bool:
        """Return whether it is less than `errors` standard errors worse than the best one.

        False without an error; `factor` is `direction_sign`'s.
        """
        error = self.difference_error
        return error is not None and factor * self.difference <= errors * error


class TrainedFinalists:
    """The results of the trainings that are finished, by training."""

    def __init__(self, finalists: Study | None) -> None:
        self.trials: dict[Training, FrozenTrial] = {}
        for trial in finished_trials(finalists) if finalists else []:
            # Two machines may have run the same training; its result is the same.
            self.trials.setdefault(training_of(trial), trial)

    def has(self, trainings: Sequence[Training]) -> bool:
        """Return whether all of these are finished."""
        return self.trials.keys() >= set(trainings)

    def finalist(self, trial: FrozenTrial, trainings: Sequence[Training]) -> Finalist:
        """Return the mean of these trainings, of those that did not fail."""
        own = [t for training in trainings if (t := self.trials.get(training)) and t.values]
        values, latent_dim = [value_of(t) for t in own], trainings[0].latent_dim if trainings else 0
        metrics = _mean_metrics(own or [trial])
        if not values:
            return Finalist(
                trial, [], value_of(trial), None, latent_dim=latent_dim, metrics=metrics
            )
        mean, error = mean_and_standard_error(values)
        if error is not None:
            error = math.hypot(error, _error_over_images(self.groups(trainings)))
        seeds = tuple(training_of(t).seed for t in own)
        return Finalist(
            trial, values, mean, error, latent_dim=latent_dim, seeds=seeds, metrics=metrics
        )

    def groups(self, trainings: Sequence[Training]) -> np.ndarray:
        """Return the value of each group of images, the mean over these trainings; may be empty."""
        own = [t for training in trainings if (t := self.trials.get(training)) and t.values]
        return (
            np.array([t.user_attrs.get(GROUPS, []) for t in own]).mean(0) if own else np.array([])
        )

    def compare(self, entry: Finalist, best: Finalist) -> Finalist:
        """Return an entry with its difference to the best one."""
        difference = entry.mean - best.mean
        if entry.error is None or best.error is None:
            return replace(entry, difference=difference)
        if entry is best:
            return replace(entry, difference=0.0, difference_error=0.0)
        variances = [mean_and_standard_error(each.values)[1] or 0.0 for each in (entry, best)]
        ours, theirs = (self.groups(_trainings_of(each)) for each in (entry, best))
        # Both have the same groups of images: the variance of their paired differences.
        paired = _error_over_images(ours - theirs) if ours.size and theirs.size else 0.0
        error = math.hypot(*variances, paired)
        return replace(entry, difference=difference, difference_error=error)


def value_of(trial: FrozenTrial) -> float:
    """Return what trials are ranked by: the value, or of two their sum, the negative ELBO."""
    values = trial.values
    assert values is not None
    return float(sum(values))


def ranked(study: Study, trials: Sequence[FrozenTrial] | None = None) -> list[FrozenTrial]:
    """Return a study's complete trials, of `trials` if passed, best first."""
    trials = study.get_trials(deepcopy=False) if trials is None else trials
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(completed, key=lambda trial: direction_sign(study) * value_of(trial))


def direction_sign(study: Study) -> float:
    """Return 1 if low values are better, -1 if high ones are."""
    return -1.0 if study.directions[0].name == "MAXIMIZE" else 1.0


def choose_finalists(study: Study, tune: TuneSettings) -> list[FrozenTrial]:
    """Return the best `tune.finalists` trials, at most one of each latent size."""
    best: dict[Any, FrozenTrial] = {}
    for trial in ranked(study):
        best.setdefault(trial.params.get(LATENT, trial.number), trial)
    return list(best.values())[: tune.finalists]


def training_of(trial: FrozenTrial) -> Training:
    """Return the training that a stored trial of the finalists is."""
    params = trial.system_attrs.get("fixed_params", {}) | trial.params
    return Training(params.get("trial", -1), params.get("seed", -1), params.get("latent_dim", 0))


def _trainings_of(entry: Finalist) -> list[Training]:
    return [Training(entry.trial.number, seed, entry.latent_dim) for seed in entry.seeds]


def _mean_metrics(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Return the means of the metrics that all trials have."""
    metrics = [trial.user_attrs.get(METRICS, {}) for trial in trials]
    names = [name for name in metrics[0] if all(name in each for each in metrics)]
    return {name: sum(each[name] for each in metrics) / len(metrics) for name in names}


def _error_over_images(groups: np.ndarray) -> float:
    """Return the standard error of a mean over groups of images; 0 if there are none."""
    return float(groups.std(ddof=1)) / math.sqrt(len(groups)) if len(groups) > 1 else 0.0
