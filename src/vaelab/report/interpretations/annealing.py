"""Interpretations of the bounds from annealing."""

import math

from vaelab.report.interpretations.context import (
    Interpretation,
    MetricContext,
    interprets,
    with_suffix,
)
from vaelab.runtime.formatting import format_number

# Bounds that agree cross by more than this only if they are noisy, in nats.
LOWEST_GAP_NATS = -1.0


@interprets("annealing.nll_nats")
def _nll(context: MetricContext) -> Interpretation:
    images = context.other("annealing.test_images")
    gap = context.other("annealing.gap_nats")
    text = f"Mean of {images:.0f} test images" if images is not None else "Mean of few test images"
    if gap is None:
        return context.unrated(f"{text}.")
    return context.unrated(f"{text}; the gap on sampled images is {format_number(gap, 2)} nats.")


@interprets("annealing.gap_nats")
def _gap(context: MetricContext) -> Interpretation:
    if context.value < LOWEST_GAP_NATS:
        text = f"The bounds cross by {format_number(-context.value, 2)} nats: noise, which more "
        return Interpretation("fair", f"{text}chains or images would reduce.")
    gap = f"are {format_number(context.value, 2)} nats apart" if context.value > 0 else "agree"
    return with_suffix(
        context.rated(f"The bounds {gap}"),
        ": the annealing has converged.",
        ": a larger evaluate.annealing_temperatures would narrow the gap.",
        ": too far for a conclusion; increase evaluate.annealing_temperatures.",
    )


@interprets("annealing.initial_fits")
def _start(context: MetricContext) -> Interpretation:
    if context.value:
        return context.unrated("Chains start from a Gaussian fitted to each image's posterior.")
    return context.unrated("Chains start from the prior: fitted Gaussians left a larger gap.")


@interprets("annealing.importance_weighted_excess_nats")
def _excess(context: MetricContext) -> Interpretation:
    if context.rating_of("annealing.gap_nats") == "poor":
        return context.unrated("Unknown, because the gap between the bounds is too large.")
    excess = f"At most {format_number(context.value, 2)} nats too high"
    return with_suffix(
        context.rated(excess if context.value > 0 else "Equal to the lower bound within noise"),
        ": the importance-weighted bound can be quoted.",
        ": quote the importance-weighted bound with this margin.",
        ": quote the annealed bound, or use more importance samples.",
    )


@interprets(
    "annealing.simulated_importance_weighted_nll_nats", "annealing.simulated_nll_upper_nats"
)
def _above_lower(context: MetricContext) -> Interpretation:
    lower = context.other("annealing.simulated_nll_lower_nats")
    if lower is None:
        return context.unrated("An upper bound.")
    if context.value <= lower:
        return context.unrated("Equal to the lower bound within noise.")
    return context.unrated(f"{format_number(context.value - lower, 2)} nats above the lower bound.")


@interprets("annealing.observation_variance")
def _variance(context: MetricContext) -> Interpretation:
    noise = math.sqrt(context.value)
    return context.unrated(f"A standard deviation of {noise:.1%} of the range from black to white.")
