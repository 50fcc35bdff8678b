"""What the values of metrics mean for a model: a sentence and a rating for each.

A metric is interpreted by the sentences of its spec. Where these do not suffice, a function in
this package is registered for it with `interprets`.
"""

from vaelab.report.interpretations import (  # noqa: F401  registers the functions
    annealing,
    bounds,
    latent,
    samples,
    structure,
)
from vaelab.report.interpretations.context import (
    INTERPRETATIONS,
    Interpretation,
    MetricContext,
    interpret,
)

__all__ = ["INTERPRETATIONS", "Interpretation", "MetricContext", "interpret"]
