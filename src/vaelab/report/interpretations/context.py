"""A number as a verdict sees it, and the verdict."""

from collections.abc import Callable
from dataclasses import dataclass

from vaelab.metrics.thresholds import BANDS, Mark
from vaelab.report.evaluation_result import Subject


@dataclass(frozen=True)
class Verdict:
    """A mark, and a sentence that says where this model stands."""

    mark: Mark
    text: str


@dataclass(frozen=True)
class Reading:
    """A number, and what real images or chance have, where there is such.

    `key` is the metric's group.name in the catalogue.
    """

    key: str
    value: float
    subject: Subject
    reference: float | None = None

    def other(self, name: str) -> float | None:
        """Give another number by group.name."""
        return self.subject.value(name)

    def judged(self, text: str, measure: float | None = None) -> Verdict:
        """Mark a measure, or else the value, by the metric's band."""
        return Verdict(BANDS[self.key].mark(self.value if measure is None else measure), text)

    def mark_of(self, name: str) -> Mark:
        """Mark another number, by group.name, by its own band; none where it was not measured."""
        value = self.other(name)
        return "none" if value is None else BANDS[name].mark(value)

    def said(self, text: str) -> Verdict:
        """Say something without a mark."""
        return Verdict("none", text)


Rule = Callable[[Reading], Verdict]


def by_mark(verdict: Verdict, good: str, fair: str, poor: str) -> Verdict:
    """Add to a verdict what its mark means."""
    endings = {"good": good, "fair": fair, "poor": poor, "none": ""}
    return Verdict(verdict.mark, verdict.text + endings[verdict.mark])
