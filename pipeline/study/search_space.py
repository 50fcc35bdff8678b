"""The points of `tune.search_space`: how they are stored, which there are, which were tried."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial

from pipeline.study.trial_states import counts_toward_total
from vaelab.config import Settings, TuneSettings
from vaelab.config.tune import Choices, FloatRange, IntRange

Entry = IntRange | FloatRange | Choices
# Spaces of more points than this are taken to be infinite.
MAX_POINTS = 10_000
DIGITS = 4


def distributions(tune: TuneSettings) -> dict[str, BaseDistribution]:
    """Return Optuna's description of the search space."""
    return {name: _distribution(entry) for name, entry in tune.search_space.items()}


def suggest(trial: Trial, tune: TuneSettings) -> dict[str, Any]:
    """Sample a trial's settings, or read them if they are; return them by dotted name."""
    for name, entry in tune.search_space.items():
        if isinstance(entry, IntRange):
            trial.suggest_int(name, entry.low, entry.high, step=entry.step or 1, log=entry.log)
        elif isinstance(entry, FloatRange):
            trial.suggest_float(name, entry.low, entry.high, step=entry.step, log=entry.log)
        else:
            trial.suggest_categorical(name, [_encoded(choice) for choice in entry.choices])
    return decode_params(trial.params, tune)


def decode_params(params: Mapping[str, Any], tune: TuneSettings) -> dict[str, Any]:
    """Return the settings that a trial's parameters stand for, by dotted name."""
    space = tune.search_space
    return {name: _decoded(value, space.get(name)) for name, value in params.items()}


def present_point(settings: Settings) -> dict[str, Any] | None:
    """Return the point of the settings themselves, as parameters; None if the space lacks it."""
    tune, content = settings.tune, settings.model_dump()
    values = {name: _value_at(content, name) for name in tune.search_space}
    point = {name: _encoded(value) for name, value in values.items()}
    for name, distribution in distributions(tune).items():
        try:
            contained = distribution._contains(distribution.to_internal_repr(point[name]))
        except (TypeError, ValueError):
            return None
        if not contained:
            return None
    return point if decode_params(point, tune) == values else None


def tried(trials: Iterable[FrozenTrial], tune: TuneSettings) -> set[str]:
    """Return the keys of the points of all trials that are finished, running or queued."""
    counted = (trial for trial in trials if counts_toward_total(trial))
    return {key for trial in counted if (key := trial_key(trial, tune))}


def trial_key(trial: FrozenTrial, tune: TuneSettings) -> str | None:
    """Return the key of a trial's point; None before all of it is known."""
    params = trial.system_attrs.get("fixed_params", {}) | trial.params
    return point_key(params, tune) if params.keys() >= tune.search_space.keys() else None


def point_key(params: Mapping[str, Any], tune: TuneSettings) -> str:
    """Return a key that is the same for parameters that stand for the same settings."""
    decoded = decode_params({name: params[name] for name in tune.search_space}, tune)
    return json.dumps(decoded, sort_keys=True)


def total_trials(tune: TuneSettings) -> int:
    """Return the study's number of trials: `tune.trials`, or all points if they are fewer."""
    limit = min(tune.trials, MAX_POINTS)
    cut = (itertools.islice(values, limit) for values in _values(tune).values())
    points = math.prod(len(list(values)) for values in cut)
    return points if points < limit else tune.trials


def few_points(tune: TuneSettings) -> str | None:
    """Return a sentence if the points are fewer than `tune.trials`; else None."""
    total = total_trials(tune)
    if total == tune.trials:
        return None
    what = "the grid" if tune.sampler == "grid" else "the search space"
    points = "1 point" if total == 1 else f"{total} points"
    return f"{what} has {points}, each tried once, fewer than tune.trials: {tune.trials}"


def all_points(tune: TuneSettings) -> Iterator[dict[str, Any]]:
    """Return all points, as parameters; none if there are more than `MAX_POINTS`."""
    values = {k: list(itertools.islice(v, MAX_POINTS + 1)) for k, v in _values(tune).items()}
    if math.prod(map(len, values.values())) <= MAX_POINTS:
        for point in itertools.product(*values.values()):
            yield dict(zip(values, point, strict=True))


def grid(tune: TuneSettings) -> dict[str, list[Any]]:
    """Return the values of each setting in a grid of at most `tune.trials` points.

    Every range has the same number of them, at least 2, if it has so many.
    """
    space = tune.search_space
    counts = [len(entry.choices) for entry in space.values() if isinstance(entry, Choices)]
    ranges = len(space) - len(counts)
    each = (tune.trials / math.prod(counts)) ** (1 / ranges) if ranges else 0
    points = max(2, math.floor(each + 1e-9))
    return {name: _spread(entry, points) for name, entry in space.items()}


def _value_at(content: Mapping[str, Any], name: str) -> Any:
    """Return a setting by its dotted name; None if it is not there."""
    value: Any = content
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _distribution(entry: Entry) -> BaseDistribution:
    if isinstance(entry, IntRange):
        return IntDistribution(entry.low, entry.high, entry.log, entry.step or 1)
    if isinstance(entry, FloatRange):
        return FloatDistribution(entry.low, entry.high, entry.log, entry.step)
    return CategoricalDistribution([_encoded(choice) for choice in entry.choices])


def _encoded(choice: object) -> Any:
    """Return a list as JSON text, as Optuna stores only scalars."""
    return json.dumps(choice) if isinstance(choice, tuple) else choice


def _decoded(value: Any, entry: Entry | None) -> Any:
    if isinstance(entry, Choices):
        return next((c for c in entry.choices if _encoded(c) == value), value)
    if isinstance(entry, FloatRange):
        if entry.step is not None:
            return _at_step(entry, round((value - entry.low) / entry.step))
        # The trial is trained with this readable value of four digits.
        return min(max(float(f"{value:.{DIGITS}g}"), entry.low), entry.high)
    return value


def _at_step(entry: FloatRange, number: int) -> float:
    """Return the value after so many steps, without the rounding error of their sum."""
    return float(Decimal(str(entry.low)) + number * Decimal(str(entry.step)))


def _values(tune: TuneSettings) -> dict[str, Iterator[Any]]:
    """Return the values of each setting, of the grid where that is sampled."""
    if tune.sampler == "grid":
        return {name: iter(values) for name, values in grid(tune).items()}
    return {name: _values_of(entry) for name, entry in tune.search_space.items()}


def _values_of(entry: Entry) -> Iterator[Any]:
    if isinstance(entry, Choices):
        yield from map(_encoded, entry.choices)
    elif isinstance(entry, IntRange):
        yield from range(entry.low, entry.high + 1, entry.step or 1)
    elif entry.step is not None:
        steps = round((entry.high - entry.low) / entry.step)
        yield from (_at_step(entry, number) for number in range(steps + 1))
    else:
        yield from _readable_values(entry)


def _readable_values(entry: FloatRange) -> Iterator[float]:
    """Return what the numbers of a range are decoded to, rising."""
    value, last = _decoded(entry.low, entry), _decoded(entry.high, entry)
    while value < last:
        yield value
        # Around 0 they are too many to count, so any small step does.
        exponent = int(f"{value:e}".partition("e")[2]) - DIGITS + 1 if value else -300
        value = float(f"{value + 10.0**exponent:.{DIGITS}g}")
    yield last


def _spread(entry: Entry, count: int) -> list[Any]:
    """Return about `count` values of an entry, from end to end."""
    if isinstance(entry, Choices):
        return [_encoded(choice) for choice in entry.choices]
    space = np.geomspace if entry.log else np.linspace
    values = space(entry.low, entry.high, count).clip(entry.low, entry.high).tolist()
    if entry.step is not None:
        steps = {round((value - entry.low) / entry.step) for value in values}
        every = list(_values_of(entry))
        return [every[number] for number in sorted(steps)]
    if isinstance(entry, IntRange):
        return sorted({round(value) for value in values})
    return list({_decoded(value, entry): float(value) for value in values}.values())
