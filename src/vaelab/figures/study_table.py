"""The table of a study's trials that its figures draw: positions, ticks and ranges of values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from vaelab.figures.style import evenly_spaced
from vaelab.runtime.formatting import format_number, wrap

State = Literal["complete", "pruned", "failed"]
Column = Float[np.ndarray, "trials"]
TrialMask = Bool[np.ndarray, "trials"]
Values = Float[np.ndarray, "points"]
Span = tuple[float, float]

STEPS = (1, 2, 5, 10)  # between ticks


@dataclass(frozen=True)
class Parameter:
    """A setting that was searched, and its value in each trial; strings are categories."""

    name: str
    values: tuple[float | int | str | None, ...]  # None where a trial has none
    log: bool = False

    @property
    def categories(self) -> list[str]:
        """Return the categories in the order of the axis; empty for a numeric setting."""
        if not any(isinstance(value, str | bool) for value in self.values):
            return []
        return sorted({str(value) for value in self.values if value is not None})

    def positions(self) -> Column:
        """Return each trial's axis position: log10 if `log`, a category's index, NaN for none."""
        index = {name: float(k) for k, name in enumerate(self.categories)}
        values = [np.nan if v is None else index[str(v)] if index else v for v in self.values]
        positions = np.array(values, np.float64)
        if self.log and not index:
            return np.log10(np.where(positions > 0, positions, np.nan))
        return positions

    def limits(self, positions: Values) -> Span:
        """Return the limits of an axis or a color bar that shows `positions`."""
        names, finite = self.categories, positions[np.isfinite(positions)]
        if names or not len(finite):
            return -0.5, max(len(names), 1) - 0.5
        return widen((float(finite.min()), float(finite.max())))

    def ticks(self, positions: Values) -> tuple[list[float], list[str]]:
        """Choose the ticks of an axis that shows `positions`: their positions and labels."""
        names, finite = self.categories, positions[np.isfinite(positions)]
        if names or not len(finite):
            shown = evenly_spaced(len(names), 12)
            return [float(k) for k in shown], [wrap(names[k], 14) for k in shown]
        low, high = float(finite.min()), float(finite.max())
        if self.log:
            values = _log_ticks(10**low, 10**high)
            return [math.log10(value) for value in values], [
                format_number(value) for value in values
            ]
        values = _ticks(low, high, integer=all(isinstance(v, int | None) for v in self.values))
        return values, tick_texts(values)


@dataclass(frozen=True)
class StudyTable:
    """The trials of a study in the order of their numbers, with the value of each."""

    measure: str  # with its unit, such as "validation NLL, nats per image"
    minimize: bool
    numbers: tuple[int, ...]
    values: tuple[float, ...]  # the last value of a pruned trial; NaN for none
    states: tuple[State, ...]
    parameters: tuple[Parameter, ...]

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by its name; raises ValueError for an unknown name."""
        by_name = {parameter.name: parameter for parameter in self.parameters}
        if name not in by_name:
            raise ValueError(f"no parameter {name!r} among: {', '.join(by_name) or 'none'}")
        return by_name[name]

    def complete(self, *parameters: Parameter) -> TrialMask:
        """Return the mask of trials that are complete, finite and have `parameters`.

        Raises ValueError if there is none.
        """
        columns = [self.column(), *(p.positions() for p in parameters)]
        mask = np.isfinite(columns).all(axis=0) & self.in_state("complete")
        if not mask.any():
            names = " and ".join(p.name for p in parameters)
            which = f"has {names}" if names else f"among {len(self.numbers)}"
            raise ValueError(f"no complete trial {which}")
        return mask

    def in_state(self, state: State) -> TrialMask:
        """Return the mask of trials in this state."""
        return np.array([each == state for each in self.states], np.bool_)

    def column(self) -> Column:
        """Return the values as an array."""
        return np.array(self.values, np.float64)

    def losses(self) -> Column:
        """Return the values, negated where higher is better."""
        return self.column() if self.minimize else -self.column()

    def best(self, mask: TrialMask) -> int:
        """Return the row of the best trial within a mask."""
        return int(np.where(mask, self.losses(), np.inf).argmin())

    def describe_best(self, mask: TrialMask) -> str:
        """Return the best value within a mask and its trial number, as text."""
        row = self.best(mask)
        return f"{format_number(self.values[row])} in trial {self.numbers[row]}"

    def span(self) -> Span:
        """Return the range of values of complete trials, without those far worse than most."""
        low, high = widen(typical_span(self.losses()[self.complete()]))
        return (low, high) if self.minimize else (-high, -low)


def tick_texts(values: Sequence[float] | Values) -> list[str]:
    """Format numbers with as many decimals as distinguish them."""
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_scientific(False)
    formatter.create_dummy_axis()
    return formatter.format_ticks(list(values))


def typical_span(losses: Values) -> Span:
    """Return the range of the losses without those far worse than the better half."""
    ordered = np.sort(losses)
    low, median = ordered[0], ordered[(len(ordered) - 1) // 2]
    limit = median + 4 * (median - low) if median > low else np.inf
    return float(low), float(ordered[ordered <= limit][-1])


def widen(span: Span) -> Span:
    """Widen a range of zero width."""
    low, high = span
    half = 0.0 if high > low else 0.05 * abs(low) or 0.5
    return low - half, high + half


def _ticks(low: float, high: float, integer: bool = False) -> list[float]:
    tolerance = 1e-6 * (high - low)
    found = np.asarray(MaxNLocator(5, integer=integer, steps=STEPS).tick_values(low, high))
    return [value for value in found.tolist() if low - tolerance <= value <= high + tolerance] or [
        low
    ]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [step * 10.0**decade for decade in decades for step in steps]
        found = [value for value in found if low * (1 - 1e-6) <= value <= high * (1 + 1e-6)]
        if len(found) > 2:
            return [found[k] for k in evenly_spaced(len(found), 5)]
    return _ticks(low, high)
