"""Two runs compared: which settings changed, and which numbers differ beyond their errors."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vaelab.metrics import METRICS, SPACES, MetricSpec
from vaelab.report.template import render_page
from vaelab.runtime.formatting import format_number, with_error

# A difference of more standard errors than this is called beyond its error.
STANDARD_ERRORS = 2.0
# Per-image arrays of arrays.npz, by the metric that is their mean.
PER_IMAGE = {"test.nll_nats": "nll"}

Metrics = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """The files of a run: its name, settings by full name, metrics, per-image arrays, report."""

    name: str
    settings: Mapping[str, Any]
    metrics: Metrics
    arrays: Mapping[str, np.ndarray]
    report: str
    test_images: str  # SHA-256

    def value(self, name: str) -> float | None:
        """Return a number of metrics.json by its full name, None if it was not measured."""
        group, _, key = name.partition(".")
        found = self.metrics.get(group, {}).get(key)
        return None if found is None or isinstance(found, str) else float(found)


@dataclass(frozen=True)
class Difference:
    """A metric of two runs; `better` is "A", "B", or "" where that cannot be said."""

    metric: MetricSpec
    title: str
    values: tuple[str, str]
    difference: str
    better: str
    verdict: str
    has_error: bool = True


def build_difference(first: Run, second: Run) -> str:
    """Return the comparison of two runs as HTML, with both reports side by side."""
    return render_page(
        "difference.html",
        runs=(first, second),
        settings=list(changed_settings(first, second)),
        differences=list(differences(first, second)),
        same_images=first.test_images == second.test_images,
    )


def changed_settings(first: Run, second: Run) -> Iterator[tuple[str, Any, Any]]:
    """Yield name and both values of each setting that differs."""
    names = dict.fromkeys([*first.settings, *second.settings])
    for name in names:
        pair = first.settings.get(name, "—"), second.settings.get(name, "—")
        if pair[0] != pair[1]:
            yield name, *pair


def differences(first: Run, second: Run) -> Iterator[Difference]:
    """Yield the metrics that both runs have and that differ, in the order of `METRICS`."""
    for metric in METRICS:
        for name, space in zip(metric.names, metric.spaces, strict=True):
            pair = first.value(name), second.value(name)
            if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
                title = f"{metric.title}, {SPACES[space]}" if space else metric.title
                yield _difference(metric, name, title, first, second)


def _difference(metric: MetricSpec, name: str, title: str, first: Run, second: Run) -> Difference:
    a, b = first.value(name) or 0.0, second.value(name) or 0.0
    errors = first.value(metric.standard_error), second.value(metric.standard_error)
    error = _paired_error(name, first, second)
    if error is None and None not in errors:
        error = math.hypot(*(each or 0.0 for each in errors))
    shown = with_error(a, errors[0]), with_error(b, errors[1])
    if not error:
        plain = format_number(b - a)
        return Difference(metric, title, shown, plain, "", "no error was measured", False)
    beyond = abs(b - a) > STANDARD_ERRORS * error
    wins = beyond and metric.direction != "neither"
    better = "" if not wins else "AB"[(b < a) == (metric.direction == "lower")]
    verdict = "beyond" if beyond else "within"
    text = f"{verdict} twice its standard error"
    return Difference(metric, title, shown, with_error(b - a, error), better, text)


def _paired_error(name: str, first: Run, second: Run) -> float | None:
    """Return the standard error of the mean difference between the same images, if known."""
    key = PER_IMAGE.get(name, "")
    if first.test_images != second.test_images or not {key} <= first.arrays.keys():
        return None
    a, b = first.arrays[key], second.arrays.get(key)
    if b is None or a.shape != b.shape or len(a) < 2:
        return None
    return float((b - a).std(ddof=1) / math.sqrt(len(a)))
