"""A number as a verdict sees it, and the verdict."""

from collections.abc import Callable
from dataclasses import dataclass

from vaelab.metrics.thresholds import BANDS, Rating
from vaelab.report.evaluation_result import EvaluationResult


@dataclass(frozen=True)
class Interpretation:
    """A mark, and a sentence that says where this model stands."""

    rating: Rating
    text: str


@dataclass(frozen=True)
class MetricContext:
    """A number, and what real images or chance have, where there is such.

    `key` is the metric's group.name in the catalogue.
    """

    key: str
    value: float
    result: EvaluationResult
    reference: float | None = None

    def other(self, name: str) -> float | None:
        """Give another number by group.name."""
        return self.result.value(name)

    def rated(self, text: str, measure: float | None = None) -> Interpretation:
        """Mark a measure, or else the value, by the metric's band."""
        return Interpretation(
            BANDS[self.key].rating(self.value if measure is None else measure), text
        )

    def rating_of(self, name: str) -> Rating:
        """Mark another number, by group.name, by its own band; none where it was not measured."""
        value = self.other(name)
        return "none" if value is None else BANDS[name].rating(value)

    def unrated(self, text: str) -> Interpretation:
        """Say something without a mark."""
        return Interpretation("none", text)


Rule = Callable[[MetricContext], Interpretation]


def with_suffix(verdict: Interpretation, good: str, fair: str, poor: str) -> Interpretation:
    """Add to a verdict what its mark means."""
    endings = {"good": good, "fair": fair, "poor": poor, "none": ""}
    return Interpretation(verdict.rating, verdict.text + endings[verdict.rating])
