"""The rows of the page's tables: a value, its error, its reference and its interpretation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vaelab.metrics import SPACES, SPECS, MetricSpec, of_sampler
from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.interpretations import Interpretation, MetricContext, interpret
from vaelab.report.sections import SUMMARY, SUMMARY_LENGTH, SUMMARY_SPACES
from vaelab.runtime.formatting import format_number, with_error


@dataclass(frozen=True)
class Row:
    """A line of a table; `rowspan` is that of its description, 0 if a row above has it.

    `references` are values to compare with: of samples from the prior, and of real images.
    """

    metric: MetricSpec
    name: str
    title: str
    value: str
    references: Sequence[str]
    interpretation: Interpretation
    rowspan: int = 1


def rows(result: EvaluationResult, metrics: Sequence[MetricSpec]) -> list[Row]:
    """Return a row for each number that was measured, with one description for each metric."""
    found: list[Row] = []
    for metric in metrics:
        same = [row for space in metric.spaces for row in _row(result, metric, space)]
        spans = [len(same), *[0] * len(same)]
        found += [replace(row, rowspan=n) for row, n in zip(same, spans, strict=False)]
    return found


def summary(result: EvaluationResult) -> list[Row]:
    """Return the rows of the summary, each metric in one feature space only."""
    found = []
    for metric in (SPECS[name] for name in SUMMARY):
        spaces = SUMMARY_SPACES if len(metric.spaces) > 1 else metric.spaces
        found += [row for space in spaces for row in _row(result, metric, space)][:1]
    return found[:SUMMARY_LENGTH]


def _row(result: EvaluationResult, metric: MetricSpec, space: str) -> Iterator[Row]:
    name, reference_name = metric.in_space(space)
    own, sampled = result.value(name), result.value(of_sampler(name))
    # What is sampled from the fitted sampler is what the value and its interpretation are of.
    value = own if sampled is None else sampled
    if value is None:
        return
    reference = result.value(reference_name)
    of_prior = None if sampled is None else own
    compared = {"prior": of_prior, metric.reference_of: reference}
    yield Row(
        metric,
        name if sampled is None else of_sampler(name),
        f"{metric.title}, {SPACES[space]}" if space else metric.title,
        with_error(value, result.value(metric.standard_error)),
        [f"{of} {format_number(found, 3)}" for of, found in compared.items() if found is not None],
        interpret(MetricContext(metric, value, result, reference)),
    )
