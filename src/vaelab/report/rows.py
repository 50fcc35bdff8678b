"""The rows of the page's tables: a number, its error, what real images have, and the verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vaelab.metrics import METRICS, SPACES, Metric
from vaelab.metrics.spec import SPACE
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.interpretations import Interpretation, MetricContext, interpret
from vaelab.report.sections import SUMMARY, SUMMARY_LENGTH, SUMMARY_SPACES
from vaelab.runtime.formatting import format_number

_BY_KEY = {f"{metric.group}.{metric.name}": metric for metric in METRICS}


@dataclass(frozen=True)
class Row:
    """A line of a table; `explained` says over how many rows its explanation reaches, or 0."""

    metric: Metric
    name: str
    title: str
    value: str
    reference: str
    interpretation: Interpretation
    explained: int = 1


def rows(subject: EvaluationResult, keys: Sequence[str]) -> list[Row]:
    """Give a row for each number that was measured, one explanation for those of one metric."""
    found: list[Row] = []
    for key in keys:
        same = [row for space in _BY_KEY[key].spaces for row in _row(subject, key, space)]
        spans = [len(same), *[0] * len(same)]
        found += [replace(row, explained=n) for row, n in zip(same, spans, strict=False)]
    return found


def summary(subject: EvaluationResult) -> list[Row]:
    """Give the few rows that matter most, each metric in one space only."""
    found = []
    for key in SUMMARY:
        spaces = SUMMARY_SPACES if SPACE in key else ("",)
        found += [row for space in spaces for row in _row(subject, key, space)][:1]
    return found[:SUMMARY_LENGTH]


def _row(subject: EvaluationResult, key: str, space: str) -> Iterator[Row]:
    metric = _BY_KEY[key]

    def named(name: str) -> float | None:
        return subject.value(f"{metric.group}.{name.replace(SPACE, space)}") if name else None

    value, error, reference = (named(n) for n in (metric.name, metric.error, metric.reference))
    if value is None:
        return
    reading = MetricContext(key, value, subject, reference)
    yield Row(
        metric,
        key.replace(SPACE, space),
        f"{metric.title}, {SPACES[space]}" if space else metric.title,
        with_error(value, error),
        "" if reference is None else f"{_whose(metric)} {format_number(reference, 3)}",
        interpret(reading),
    )


def _whose(metric: Metric) -> str:
    kind = metric.reference.rpartition("_")[2]
    return {"floor": "training images", "real": "test images", "chance": "chance"}[kind]


def with_error(value: float, error: float | None) -> str:
    """Write a value to the digits that its standard error leaves it, and the error behind it."""
    if error is None or not error:
        return format_number(value)
    first = f"{error:.1g}"
    decimals = max(0, -int(f"{error:e}".partition("e")[2]))
    return f"{value:,.{decimals}f} ± {float(first):,.{decimals}f}".replace("-", "−")
