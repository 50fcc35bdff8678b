"""Verdicts on the annealed bounds."""

import math
from collections.abc import Mapping

from vaelab.metrics.thresholds import NOISY_GAP
from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule, with_suffix
from vaelab.runtime.formatting import format_number


def _nll(reading: MetricContext) -> Interpretation:
    images = reading.other("annealing.test_images")
    gap = reading.other("annealing.gap_nats")
    of = f"Of {images:.0f} test images" if images is not None else "Of some test images"
    if gap is None:
        return reading.unrated(f"{of}.")
    return reading.unrated(f"{of}, at a gap of {format_number(gap, 2)} nats on simulated ones.")


def _gap(reading: MetricContext) -> Interpretation:
    if reading.value < NOISY_GAP:
        crossed = f"The bounds have crossed by {format_number(-reading.value, 2)} nats"
        return Interpretation(
            "fair", f"{crossed}: noise, which more chains or images would lessen."
        )
    apart = f"are {format_number(reading.value, 2)} nats apart" if reading.value > 0 else "meet"
    return with_suffix(
        reading.rated(f"The bounds {apart}"),
        ": the truth lies between them, the annealing has converged.",
        ": more temperatures would bring them together (evaluate.annealing_temperatures).",
        ": too far to tell, raise evaluate.annealing_temperatures.",
    )


def _excess(reading: MetricContext) -> Interpretation:
    if reading.rating_of("annealing.gap_nats") == "poor":
        return reading.unrated("The gap is too wide to tell.")
    high = f"At most {format_number(reading.value, 2)} nats too high"
    return with_suffix(
        reading.rated(high if reading.value > 0 else "As low as the lower bound, within noise"),
        ": the importance-weighted bound can be quoted.",
        ": quote the importance-weighted bound with this margin.",
        ": quote the annealed bound, or use more importance samples.",
    )


def _above_lower(reading: MetricContext) -> Interpretation:
    lower = reading.other("annealing.simulated_nll_lower_nats")
    if lower is None:
        return reading.unrated("An upper bound.")
    if reading.value <= lower:
        return reading.unrated("As low as the lower bound, within noise.")
    return reading.unrated(f"{format_number(reading.value - lower, 2)} nats above the lower bound.")


def _lower(reading: MetricContext) -> Interpretation:
    return reading.unrated("The truth is not below it, but for noise.")


def _variance(reading: MetricContext) -> Interpretation:
    noise = math.sqrt(reading.value)
    return reading.unrated(f"Noise of {noise:.1%} of the range from black to white.")


def _temperatures(reading: MetricContext) -> Interpretation:
    return reading.unrated("More would narrow the gap.")


def _chains(reading: MetricContext) -> Interpretation:
    return reading.unrated("More would tighten both bounds.")


def _simulated(reading: MetricContext) -> Interpretation:
    return reading.unrated("Drawn from the model, so the latent behind each is known.")


def _tested(reading: MetricContext) -> Interpretation:
    return reading.unrated("Few, because annealing decodes each thousands of times.")


RULES: Mapping[str, Rule] = {
    "annealing.nll_nats": _nll,
    "annealing.gap_nats": _gap,
    "annealing.importance_weighted_excess_nats": _excess,
    "annealing.simulated_nll_upper_nats": _above_lower,
    "annealing.simulated_nll_lower_nats": _lower,
    "annealing.simulated_importance_weighted_nll_nats": _above_lower,
    "annealing.observation_variance": _variance,
    "annealing.temperatures": _temperatures,
    "annealing.chains": _chains,
    "annealing.simulated_images": _simulated,
    "annealing.test_images": _tested,
}
