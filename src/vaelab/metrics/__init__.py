"""The metrics: one `MetricSpec` for each, in the files of this package.

A new metric is a function, which `vaelab.evaluation` calls, and a spec here. The report, the
glossary and the search for hyperparameters take all they need from the spec.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from vaelab.metrics import (
    annealing,
    bounds,
    disentanglement,
    latent,
    likelihood,
    sampler,
    samples,
    structure,
)
from vaelab.metrics.sampler import SAME_AS_OF_THE_PRIOR, of_sampler
from vaelab.metrics.spec import (
    NATS,
    SPACES,
    Direction,
    MetricSpec,
    Rating,
    SectionName,
    Thresholds,
)

__all__ = [
    "METRICS",
    "NATS",
    "SAME_AS_OF_THE_PRIOR",
    "SPACES",
    "SPECS",
    "Direction",
    "MetricSpec",
    "Rating",
    "SectionName",
    "Thresholds",
    "lookup",
    "of_sampler",
]

METRICS: tuple[MetricSpec, ...] = (
    likelihood.NLL,
    *bounds.METRICS,
    *likelihood.TIGHTNESS,
    *annealing.METRICS,
    *latent.METRICS,
    *structure.METRICS,
    *disentanglement.METRICS,
    sampler.GAIN,
    *samples.METRICS,
    *sampler.LABELS,
    *sampler.REST,
)


def _by_name(spec: MetricSpec) -> Iterator[tuple[str, MetricSpec]]:
    for name in spec.names:
        yield name, spec
    for name in filter(None, (spec.standard_error, *spec.references)):
        yield name, replace(spec, direction="neither")


SPECS: Mapping[str, MetricSpec] = dict(
    item for spec in (*METRICS, *SAME_AS_OF_THE_PRIOR) for item in _by_name(spec)
)
"""The spec of every number in metrics.json, by full name.

A standard error or a reference has the spec of its metric, but no better direction.
"""


def lookup(name: str) -> MetricSpec | None:
    """Return the spec of a full name, or of a name without its group; None if there is none.

    Of a name that several groups have, such as nll_nats, that of `test` is returned, or the
    first.
    """
    if name in SPECS:
        return SPECS[name]
    if f"test.{name}" in SPECS:
        return SPECS[f"test.{name}"]
    return next((spec for key, spec in SPECS.items() if key.partition(".")[2] == name), None)
