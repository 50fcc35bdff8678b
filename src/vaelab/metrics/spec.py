"""What the project knows about a metric, in one entry: `MetricSpec`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vaelab.runtime.formatting import format_number

Direction = Literal["lower", "higher", "neither"]
Rating = Literal["good", "fair", "poor", "none"]
SectionName = Literal["likelihood", "bound", "latent", "collapse", "structure", "samples"]

NATS = "nats per image"

# The feature spaces in which two sets of images are compared, in the order of `MetricSpec.names`.
SPACES: Mapping[str, str] = {
    "classifier": "classifier features",
    "pixels": "pixels",
    "pca": "principal components",
    "inception": "Inception features",
}


@dataclass(frozen=True)
class Thresholds:
    """The limits of a good and of a fair measure; if good < fair, lower is better.

    All are rules of thumb, chosen by this project unless a source is named, and no metric depends
    on them. `of` describes the measure: the metric itself or something derived from it.
    """

    good: float
    fair: float
    of: str

    def rating(self, measure: float) -> Rating:
        """Return the rating of a measure; each limit belongs to the better rating."""
        sign = 1 if self.good < self.fair else -1
        if sign * measure <= sign * self.good:
            return "good"
        return "fair" if sign * measure <= sign * self.fair else "poor"

    def __str__(self) -> str:
        """Return the limits in words."""
        side = "up to" if self.good < self.fair else "from"
        good, fair = format_number(self.good), format_number(self.fair)
        return f"good {side} {good}, fair {side} {fair} ({self.of})"


@dataclass(frozen=True)
class MetricSpec:
    """One metric of metrics.json: its names, what it means, and what computes it.

    `names` has its full name, group.name; for a metric of feature spaces one name for each of
    `SPACES`. `references` has the names of the same quantity for real images or for chance, one
    for each of `names` or none; `reference_of` is what they are measured on.
    `standard_error` is a full name too. `unit` is empty for a pure number. `computed_by` is the
    function, as module.function. `interpretation` has a sentence for each rating, in which
    `{value}` stands for the value. The report uses it unless `vaelab.report.interpretations` has
    a function for the metric.
    """

    names: tuple[str, ...]
    title: str
    unit: str
    direction: Direction
    section: SectionName
    computed_by: str
    what: str
    good: str = ""
    caveat: str = ""
    source: str = ""
    standard_error: str = ""
    references: tuple[str, ...] = ()
    reference_of: Literal["", "training images", "test images", "chance", "mean image"] = ""
    thresholds: Thresholds | None = None
    interpretation: Mapping[Rating, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """The group of metrics.json that the metric belongs to."""
        return self.names[0].partition(".")[0]

    @property
    def spaces(self) -> tuple[str, ...]:
        """The feature space of each of `names`; empty strings where there is no choice."""
        return tuple(SPACES) if len(self.names) == len(SPACES) else ("",)

    def rating(self, measure: float) -> Rating:
        """Return the rating of a measure, "none" if the metric has no thresholds."""
        return self.thresholds.rating(measure) if self.thresholds else "none"

    def in_space(self, space: str) -> tuple[str, str]:
        """Return its name in a feature space and that of its reference, "" if it has none."""
        index = self.spaces.index(space)
        return self.names[index], self.references[index] if self.references else ""
