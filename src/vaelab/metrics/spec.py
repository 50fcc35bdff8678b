"""What the catalogue says of a metric."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["lower", "higher", "neither"]
Role = Literal["value", "error", "reference"]

NATS = "nats per image"

SPACE = "{space}"
# Where two sets of images are compared, by the prefix of the metric's name.
SPACES: Mapping[str, str] = {
    "classifier": "classifier features",
    "pixels": "pixels",
    "pca": "principal components",
    "inception": "Inception features",
}


@dataclass(frozen=True)
class Metric:
    """One number of metrics.json: what it is and how it is to be read.

    `name` may hold `{space}`, which stands for each key of `SPACES`. `error` names its standard
    error and `reference` the same number of real images, or chance, both in the same group. `unit`
    is empty for a pure number.
    """

    group: str
    name: str
    title: str
    unit: str
    direction: Direction
    what: str
    good: str
    caveat: str
    source: str
    error: str = ""
    reference: str = ""

    def roles(self) -> Iterator[tuple[str, Role]]:
        """Give the names that belong to it, and what each is."""
        yield self.name, "value"
        if self.error:
            yield self.error, "error"
        if self.reference:
            yield self.reference, "reference"

    @property
    def spaces(self) -> tuple[str, ...]:
        """The spaces that it is measured in; one without a name where there is no choice."""
        return tuple(SPACES) if SPACE in self.name else ("",)


@dataclass(frozen=True)
class MetricSpec:
    """A name in metrics.json, found in the catalogue."""

    metric: Metric
    role: Role
    space: str

    @property
    def direction(self) -> Direction:
        """Which direction is better; none for errors and references."""
        return self.metric.direction if self.role == "value" else "neither"
