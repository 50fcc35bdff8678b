"""The catalogue of metrics: what each number of metrics.json is, and which direction is better."""

from collections.abc import Mapping

from vaelab.metrics import annealing, bounds, disentanglement, latent, samples
from vaelab.metrics.spec import NATS, SPACE, SPACES, Direction, Metric, MetricSpec, Role

__all__ = [
    "ENTRIES",
    "METRICS",
    "NATS",
    "SPACES",
    "Direction",
    "Metric",
    "MetricSpec",
    "Role",
    "lookup",
]

METRICS: tuple[Metric, ...] = (
    *bounds.METRICS,
    *annealing.METRICS,
    *latent.METRICS,
    *disentanglement.METRICS,
    *samples.METRICS,
)

ENTRIES: Mapping[str, MetricSpec] = {
    f"{metric.group}.{name.replace(SPACE, space)}": MetricSpec(metric, role, space)
    for metric in METRICS
    for space in metric.spaces
    for name, role in metric.roles()
}
"""Every name that metrics.json can hold, as group.name."""


def lookup(name: str) -> MetricSpec | None:
    """Find a metric by group.name, or by its name alone; None where there is no such metric.

    A name that two groups have, such as nll_nats, is the first group's.
    """
    if name in ENTRIES:
        return ENTRIES[name]
    ends = (entry for key, entry in ENTRIES.items() if key.partition(".")[2] == name)
    return next(ends, None)
