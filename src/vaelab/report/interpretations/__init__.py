"""Where a model stands, in a sentence and a mark for each number."""

from collections.abc import Mapping

from vaelab.report.interpretations import annealing, bounds, latent, samples, structure
from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule

__all__ = ["RULES", "Interpretation", "MetricContext", "Rule", "interpret"]

RULES: Mapping[str, Rule] = {
    **bounds.RULES,
    **annealing.RULES,
    **latent.RULES,
    **structure.RULES,
    **samples.RULES,
}
"""By the metric's group.name in the catalogue."""


def interpret(reading: MetricContext) -> Interpretation:
    """Say where the model stands with a number of the catalogue."""
    return RULES[reading.key](reading)
