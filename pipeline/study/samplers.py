"""Optuna's samplers and pruners by name, and the search space that they sample from."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna import Study, samplers
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial

from vaelab.config import TrainSettings, TuneSettings
from vaelab.config.tune import Choices, FloatRange, IntRange


class PerTrialSeedSampler(BaseSampler):
    """A sampler that is built anew for each trial, with a seed derived from the trial's number.

    The storage assigns each number once. So no two workers and no resumed study sample the same
    values, and a study with a single worker can be repeated exactly.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make, self.seed = make, seed
        self.inner = make(seed)
        self.number: int | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Build the trial's sampler."""
        self._reseed(trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the search space of the trial's sampler."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample with the trial's sampler."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample with the trial's sampler, built again if another trial has begun since."""
        inner = self.inner if self.number == trial.number else self._reseed(trial)
        return inner.sample_independent(study, trial, param_name, param_distribution)

    def _reseed(self, trial: FrozenTrial) -> BaseSampler:
        digest = hashlib.sha256(f"{self.seed}/{trial.number}".encode()).digest()
        self.inner = self.make(int.from_bytes(digest[:4], "big"))
        self.number = trial.number
        return self.inner


def build_sampler(tune: TuneSettings) -> BaseSampler:
    """Build the sampler that `tune.sampler` names."""
    startup = tune.startup_trials
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda seed: samplers.TPESampler(n_startup_trials=startup, seed=seed),
        "gp": lambda seed: samplers.GPSampler(n_startup_trials=startup, seed=seed),
        "nsga2": lambda seed: samplers.NSGAIISampler(population_size=_population(tune), seed=seed),
        "random": lambda seed: samplers.RandomSampler(seed=seed),
        "qmc": lambda seed: _quasi_random(tune.seed, seed),
        # All workers need the same list of points; the storage has which of them are taken.
        "grid": lambda seed: samplers.GridSampler(grid(tune), seed=0),
    }
    return PerTrialSeedSampler(makers[tune.sampler], tune.seed)


def build_pruner(tune: TuneSettings, train: TrainSettings, warmup: int = 0) -> BasePruner:
    """Build the pruner that `tune.pruner` names; Optuna prunes no study of two objectives.

    `warmup` is the number of epochs of the longest warm-up, in which no trial is pruned.
    """
    if tune.objective == "rate_distortion" or tune.pruner == "none":
        return NopPruner()
    epochs = tune.epochs or train.epochs
    # A small KL weight starts with worse values, and so does one in its warm-up.
    first = min(max(1, warmup, math.ceil(tune.pruning_after * epochs)), epochs)
    if tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
    return MedianPruner(n_startup_trials=min(5, tune.startup_trials), n_warmup_steps=first)


def total_trials(tune: TuneSettings) -> int:
    """Return the study's number of trials: `tune.trials`, or a grid's points if they are fewer."""
    if tune.sampler != "grid":
        return tune.trials
    return min(tune.trials, math.prod(len(values) for values in grid(tune).values()))


def suggest(trial: Trial, tune: TuneSettings) -> dict[str, Any]:
    """Sample a trial's settings; return them by dotted name."""
    for name, entry in tune.search_space.items():
        _suggest(trial, name, entry)
    return decode_params(trial.params, tune)


def decode_params(params: Mapping[str, Any], tune: TuneSettings) -> dict[str, Any]:
    """Return the settings that a trial's parameters stand for, by dotted name."""
    space = tune.search_space
    return {name: _decoded(value, space.get(name)) for name, value in params.items()}


def grid(tune: TuneSettings) -> dict[str, list[Any]]:
    """Return the values of each setting in a grid of at most `tune.trials` points.

    Every range has the same number of them, at least 2.
    """
    space = tune.search_space
    counts = [len(entry.choices) for entry in space.values() if isinstance(entry, Choices)]
    ranges = len(space) - len(counts)
    each = (tune.trials / math.prod(counts)) ** (1 / ranges) if ranges else 0
    points = max(2, math.floor(each + 1e-9))
    return {name: _points(entry, points) for name, entry in space.items()}


def _suggest(trial: Trial, name: str, entry: IntRange | FloatRange | Choices) -> None:
    if isinstance(entry, IntRange):
        trial.suggest_int(name, entry.low, entry.high, log=entry.log)
    elif isinstance(entry, FloatRange):
        trial.suggest_float(name, entry.low, entry.high, log=entry.log)
    else:
        trial.suggest_categorical(name, [_encoded(choice) for choice in entry.choices])


def _quasi_random(sequence: int, seed: int) -> BaseSampler:
    """Build a sampler of the sequence that all workers share; the storage has its position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return samplers.QMCSampler(
            scramble=True,
            seed=sequence,
            independent_sampler=samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )


def _encoded(choice: object) -> Any:
    """Return a list as JSON text, as Optuna stores only scalars."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def _decoded(value: object, entry: object) -> Any:
    if isinstance(entry, Choices):
        return next((c for c in entry.choices if _encoded(c) == value), value)
    if isinstance(entry, FloatRange):
        # The trial is trained with this readable value of four digits.
        return min(max(float(f"{value:.4g}"), entry.low), entry.high)
    return value


def _points(entry: IntRange | FloatRange | Choices, count: int) -> list[Any]:
    if isinstance(entry, Choices):
        return [_encoded(choice) for choice in entry.choices]
    space = np.geomspace if entry.log else np.linspace
    values = space(entry.low, entry.high, count).clip(entry.low, entry.high).tolist()
    if isinstance(entry, IntRange):
        return sorted({round(value) for value in values})
    return [float(value) for value in values]


def _population(tune: TuneSettings) -> int:
    """Return a population that leaves room for several generations; Optuna's default is 50."""
    return min(50, max(4, tune.trials // 5))
