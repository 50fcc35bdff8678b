"""Optuna's samplers and pruners by name."""

import hashlib
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from optuna import Study, samplers
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from pipeline.study.search_space import all_points, distributions, grid, point_key, tried
from vaelab.config import TrainSettings, TuneSettings

# So often a point is sampled before one is chosen at random.
ATTEMPTS = 8


class NewPointSampler(BaseSampler):
    """Sample the points of a search space with a sampler that is built anew for each trial.

    Its seed is derived from the trial's number, which the storage assigns once: no two workers and
    no resumed study sample the same values, and a study with a single worker can be repeated
    exactly. A point that has been tried is sampled again, with other seeds; of a space with few
    points left, one of these is chosen at random.
    """

    def __init__(self, make: Callable[[int], BaseSampler], tune: TuneSettings) -> None:
        self.make, self.tune = make, tune
        self.space = distributions(tune)
        self.inner = make(tune.seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Build the trial's sampler."""
        self._reseed(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the whole search space: a point is sampled at once, to compare it with others."""
        return self.space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Sample a point that has not been tried; {} for a queued trial, which has its point."""
        if "fixed_params" in trial.system_attrs:
            return {}
        # Not study.get_trials: that of Hyperband has only the trials of one bracket.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        known = tried(trials, self.tune)
        point = self._sample(study, trial)
        for attempt in range(1, ATTEMPTS):
            if point_key(point, self.tune) not in known:
                return point
            self._reseed(study, trial, attempt)
            point = self._sample(study, trial)
        left = [p for p in all_points(self.tune) if point_key(p, self.tune) not in known]
        if not left:
            return point
        choice = np.random.default_rng([self.tune.seed, trial.number]).integers(len(left))
        return left[int(choice)]

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Sample a parameter that is not in the search space."""
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def _sample(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        relative = self.inner.infer_relative_search_space(study, trial)
        point = self.inner.sample_relative(study, trial, relative)
        trial = study._storage.get_trial(trial._trial_id)  # with what the sampler has stored in it
        for name, distribution in self.space.items():
            if isinstance(distribution, CategoricalDistribution) and distribution.single():
                point[name] = distribution.choices[0]
            elif name not in point:
                point[name] = self.inner.sample_independent(study, trial, name, distribution)
        return point

    def _reseed(self, study: Study, trial: FrozenTrial, attempt: int = 0) -> None:
        again = f"/{attempt}" if attempt else ""
        digest = hashlib.sha256(f"{self.tune.seed}/{trial.number}{again}".encode()).digest()
        self.inner = self.make(int.from_bytes(digest[:4], "big"))
        self.inner.before_trial(study, trial)


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
    return NewPointSampler(makers[tune.sampler], tune)


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


def _population(tune: TuneSettings) -> int:
    """Return a population that leaves room for several generations; Optuna's default is 50."""
    return min(50, max(4, tune.trials // 5))
