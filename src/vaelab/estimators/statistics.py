"""Standard errors of means: over images, and over repeated trainings.

Every ± of a table, a report or a message is one of these: docs/evaluation.md, "What ± means".
"""

import math
import statistics
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vaelab.estimators import as_float64


def standard_error(values: Float[Tensor, "images"]) -> float:
    """Compute the standard error of the mean over images; NaN for one image."""
    return (as_float64(values).std() / math.sqrt(len(values))).item()


def mean_and_standard_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Compute the mean over trainings that differ in the seed; one value has no standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return statistics.fmean(values), error
