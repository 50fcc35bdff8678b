"""The best few trials, trained again with other seeds, so that their values have standard errors.

The value that selected a trial among many is biased towards better values. It is left out: only
the new trainings count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.study.storage import study_directions, study_lock
from pipeline.study.trial_states import counts_toward_total, finished_trials
from vaelab.config import TuneSettings
from vaelab.estimators.statistics import mean_and_standard_error

LATENT = "model.latent_dim"
# A finalist's training: its trial's number in the search, and what is added to the seed.
FINALIST_PARAMS = {"trial": (0, 2**31 - 1), "seed": (0, 2**31 - 1)}
METRICS, GROUPS = "metrics", "groups"


@dataclass(frozen=True)
class Finalist:
    """A trial and the values of its settings with new seeds; errors are standard errors.

    `difference` is its mean value minus the best finalist's. Its error includes the variance over
    the seeds of both, and over the images, which are compared in pairs.
    """

    trial: FrozenTrial
    values: list[float]
    mean: float
    error: float | None
    difference: float = 0.0
    difference_error: float | None = None


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


def finalists_name(study: Study) -> str:
    """Return the name of the Optuna study of a study's finalists."""
    return f"{study.study_name} finalists"


def load_finalists(study: Study) -> Study | None:
    """Return the Optuna study of the finalists' trainings; None if it does not exist yet."""
    try:
        return optuna.load_study(study_name=finalists_name(study), storage=study._storage)
    except KeyError:
        return None


def open_finalists(study: Study, tune: TuneSettings) -> tuple[Study, int]:
    """Return the Optuna study of the finalists' trainings, all queued, and their number."""
    with study_lock():
        finalists = optuna.create_study(
            storage=study._storage,
            sampler=optuna.samplers.RandomSampler(seed=0),
            study_name=finalists_name(study),
            load_if_exists=True,
            directions=study_directions(tune),
        )
        present = {
            trial_and_seed(trial) for trial in finalists.trials if counts_toward_total(trial)
        }
        for trial in choose_finalists(study, tune):
            for seed in range(1, tune.seeds + 1):
                if (trial.number, seed) not in present:
                    finalists.enqueue_trial({"trial": trial.number, "seed": seed})
    return finalists, sum(map(counts_toward_total, finalists.trials))


def are_trained(study: Study, finalists: Study | None, tune: TuneSettings) -> bool:
    """Return whether every finalist was trained with every new seed."""
    wanted = {
        (t.number, s) for t in choose_finalists(study, tune) for s in range(1, tune.seeds + 1)
    }
    trained = finished_trials(finalists) if finalists else []
    return wanted <= {trial_and_seed(trial) for trial in trained}


def trial_and_seed(trial: FrozenTrial) -> tuple[int, int]:
    """Return the number in the search and the added seed of a finalist's training."""
    params = trial.system_attrs.get("fixed_params", {}) | trial.params
    return params.get("trial", -1), params.get("seed", -1)


def compare_finalists(study: Study, finalists: Study | None, tune: TuneSettings) -> list[Finalist]:
    """Return the finalists, best first; without new trainings, by their values in the search."""
    trained = finished_trials(finalists) if finalists else []
    groups: dict[int, np.ndarray] = {}
    entries = []
    for trial in choose_finalists(study, tune):
        own = [t for t in trained if trial_and_seed(t)[0] == trial.number and t.values]
        entries.append(_finalist(trial, [value_of(t) for t in own]))
        groups[trial.number] = np.array([t.user_attrs.get(GROUPS, []) for t in own])
    entries.sort(key=lambda entry: direction_sign(study) * entry.mean)
    return [_with_difference(entry, entries[0], groups) for entry in entries]


def smallest_latent(entries: Sequence[Finalist], factor: float) -> Finalist | None:
    """Return the finalist of the smallest latent size within one standard error of the best.

    None if latent sizes were not searched or there is no error. `factor` is `direction_sign`'s.
    """
    near = [
        entry
        for entry in entries
        if LATENT in entry.trial.params
        and entry.difference_error is not None
        and factor * entry.difference <= entry.difference_error
    ]
    return min(near, key=lambda entry: entry.trial.params[LATENT], default=None)


def _finalist(trial: FrozenTrial, values: list[float]) -> Finalist:
    if not values:
        return Finalist(trial, [], value_of(trial), None)
    return Finalist(trial, values, *mean_and_standard_error(values))


def _with_difference(entry: Finalist, best: Finalist, groups: dict[int, np.ndarray]) -> Finalist:
    difference = entry.mean - best.mean
    if entry.error is None or best.error is None:
        return Finalist(entry.trial, entry.values, entry.mean, entry.error, difference)
    if entry is best:
        return Finalist(entry.trial, entry.values, entry.mean, entry.error, 0.0, 0.0)
    variance = entry.error**2 + best.error**2
    ours, theirs = groups[entry.trial.number], groups[best.trial.number]
    if ours.size and theirs.size:
        # Both have the same groups of images: the variance of their paired differences.
        paired = ours.mean(0) - theirs.mean(0)
        variance += paired.var(ddof=1) / len(paired) if len(paired) > 1 else 0.0
    error = math.sqrt(variance)
    return Finalist(entry.trial, entry.values, entry.mean, entry.error, difference, error)
