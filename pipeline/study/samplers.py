"""Where the next trial is, and when one is given up: Optuna's samplers and pruners, by name."""

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
    """Another sampler, made anew for each trial, its seed drawn from the trial's number.

    Numbers are given out by the storage, each once. So no worker, here or elsewhere, and no
    study that goes on repeats another's draws, and one worker alone can be repeated exactly.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self.make, self.seed = make, seed
        self.inner = make(seed)
        self.number: int | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Take up the trial's own sampler."""
        self._reseed(trial).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Ask the trial's own sampler."""
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the trial's own sampler."""
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Ask the trial's own sampler, made once more if another trial has begun since."""
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
        # The storage knows which of one list of points are taken.
        "grid": lambda seed: samplers.GridSampler(grid(tune), seed=0),
    }
    return PerTrialSeedSampler(makers[tune.sampler], tune.seed)


def build_pruner(tune: TuneSettings, train: TrainSettings) -> BasePruner:
    """Build the pruner that `tune.pruner` names; two objectives cannot be pruned."""
    if tune.objective == "rate_distortion" or tune.pruner == "none":
        return NopPruner()
    epochs = tune.epochs or train.epochs
    # A small weight looks worse at first, however good it becomes; so does one that grows.
    warmup = max(train.kl_warmup_epochs, train.learning_rate_warmup_epochs)
    first = min(max(1, warmup, math.ceil(tune.pruning_after * epochs)), epochs)
    if tune.pruner == "hyperband":
        return HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
    return MedianPruner(n_startup_trials=min(5, tune.startup_trials), n_warmup_steps=first)


def total_trials(tune: TuneSettings) -> int:
    """Give the number of trials in all: `tune.trials`, or a grid's points if there are fewer."""
    if tune.sampler != "grid":
        return tune.trials
    return min(tune.trials, math.prod(len(values) for values in grid(tune).values()))


def suggest(trial: Trial, tune: TuneSettings) -> dict[str, Any]:
    """Draw a trial's settings, by dotted name."""
    return {name: _suggest(trial, name, entry) for name, entry in tune.search_space.items()}


def settings_of(params: Mapping[str, Any], tune: TuneSettings) -> dict[str, Any]:
    """Give the settings that a trial's stored parameters stand for."""
    space = tune.search_space
    return {name: _decoded(value, space.get(name)) for name, value in params.items()}


def grid(tune: TuneSettings) -> dict[str, list[Any]]:
    """Spread at most `tune.trials` points over the search space, as many along each range."""
    space = tune.search_space
    counts = [len(entry.choices) for entry in space.values() if isinstance(entry, Choices)]
    ranges = len(space) - len(counts)
    each = (tune.trials / math.prod(counts)) ** (1 / ranges) if ranges else 0
    points = max(2, math.floor(each + 1e-9))
    return {name: _points(entry, points) for name, entry in space.items()}


def _suggest(trial: Trial, name: str, entry: IntRange | FloatRange | Choices) -> Any:
    if isinstance(entry, IntRange):
        return trial.suggest_int(name, entry.low, entry.high, log=entry.log)
    if isinstance(entry, FloatRange):
        return _decoded(trial.suggest_float(name, entry.low, entry.high, log=entry.log), entry)
    drawn = trial.suggest_categorical(name, [_encoded(choice) for choice in entry.choices])
    return _decoded(drawn, entry)


def _quasi_random(sequence: int, seed: int) -> BaseSampler:
    """Let all workers draw from one sequence, which is its seed's; the storage counts along."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return samplers.QMCSampler(
            scramble=True,
            seed=sequence,
            independent_sampler=samplers.RandomSampler(seed=seed),
            warn_independent_sampling=False,
        )


def _encoded(choice: object) -> Any:
    """Write a list as text: the storage keeps scalars."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def _decoded(value: object, entry: object) -> Any:
    if isinstance(entry, Choices):
        return next((c for c in entry.choices if _encoded(c) == value), value)
    if isinstance(entry, FloatRange):
        # Four digits, which people can read, and which the trial is trained with.
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
    """Let evolution see several generations: Optuna's 50 would be one, drawn at random."""
    return min(50, max(4, tune.trials // 5))
