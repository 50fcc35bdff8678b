"""Verdicts on the latent space as a whole: its use, its information, its distance from p(z)."""

import math
from collections.abc import Mapping

from vaelab.metrics.thresholds import KS_CHANCE
from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule, with_suffix
from vaelab.runtime.formatting import format_number

CAPPED = "The information is near its cap, so this is an upper bound"

FREE = "The prior is not N(0, I), so the dimensions may depend on one another."


def _dimensions(reading: MetricContext) -> Interpretation:
    pixels = math.prod(reading.result.info.image_shape)
    return reading.unrated(
        f"{format_number(pixels / reading.value, 3)} pixel values for each dimension."
    )


def _active(reading: MetricContext) -> Interpretation:
    dimensions = reading.result.description.model.latent_dim
    text = f"{reading.value:.0f} of {dimensions} dimensions are active"
    if reading.result.description.posterior == "point":
        others = " Without noise the others may tell something too."
        return reading.unrated(f"{text}.{others if reading.value < dimensions else ''}")
    if reading.value:
        return reading.rated(f"{text}.", reading.value / dimensions)
    if reading.result.is_uninformative or reading.rating_of("test.kl_loss_nats") == "poor":
        return reading.rated(f"{text}: the posterior has collapsed.")
    return reading.unrated(f"{text}, though latents may tell something on a small scale.")


def _information(reading: MetricContext) -> Interpretation:
    cap = reading.other("latent.mutual_information_cap_nats")
    value = format_number(reading.value, 3)
    if cap is None:
        return reading.rated(f"{value} nats.")
    text = f"{value} of at most {format_number(cap, 3)} nats"
    if reading.result.information_is_capped:
        text += ": near its cap, so the marginal KL is an upper bound."
        return Interpretation("fair", text)
    return with_suffix(
        reading.rated(text),
        ": clear of its cap.",
        ": a latent tells little of its image.",
        ": a latent tells nothing of its image.",
    )


def _cap(reading: MetricContext) -> Interpretation:
    return reading.unrated(f"The logarithm of {math.exp(reading.value):,.0f} images.")


def _marginal(reading: MetricContext) -> Interpretation:
    if reading.result.information_is_capped:
        return reading.unrated(f"{CAPPED}.")
    return with_suffix(
        reading.rated("The prior lies"),
        " where the latents lie.",
        " roughly where the latents lie.",
        " in places without latents.",
    )


def _total_correlation(reading: MetricContext) -> Interpretation:
    if reading.result.information_is_capped:
        return reading.unrated(f"{CAPPED} too.")
    if not reading.result.has_standard_prior:
        return reading.unrated(FREE)
    return with_suffix(
        reading.rated("The dimensions"),
        " are nearly independent.",
        " depend on one another somewhat.",
        " depend on one another.",
    )


def _dimension_wise(reading: MetricContext) -> Interpretation:
    each = reading.value / reading.result.description.model.latent_dim
    return reading.rated(f"{format_number(each, 2)} nats for each dimension on average.", each)


def _gaussian(reading: MetricContext) -> Interpretation:
    if not reading.result.has_standard_prior:
        return reading.unrated(FREE)
    return with_suffix(
        reading.rated("The dimensions"),
        " are nearly uncorrelated.",
        " are somewhat correlated.",
        " are correlated.",
    )


def _mmd(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated("Latents and prior are"),
        " hard to tell apart.",
        " near each other.",
        " apart.",
    )


def _ks(reading: MetricContext) -> Interpretation:
    images = reading.other("dataset.test_images")
    chance = KS_CHANCE / math.sqrt(images) if images else 0.0
    if reading.value <= chance:
        return Interpretation(
            "good", f"Within what {images:,.0f} draws of the prior have by chance."
        )
    return with_suffix(
        reading.rated(f"Off by {reading.value:.0%} at most"),
        ": close to the prior.",
        ": not the prior, but near it.",
        ": not the prior.",
    )


def _mean_norm(reading: MetricContext) -> Interpretation:
    each = reading.value / math.sqrt(reading.result.description.model.latent_dim)
    if not reading.result.has_standard_prior:
        return reading.unrated("The prior is not N(0, I), so the centre is free.")
    return reading.rated(
        f"Dimensions are off the centre by {format_number(each, 2)} on average.", each
    )


def _stddev(reading: MetricContext) -> Interpretation:
    if not reading.result.has_standard_prior:
        return reading.unrated("The prior is not N(0, I), so the width is free.")
    factor = max(reading.value, 1 / reading.value) if reading.value > 0 else math.inf
    return reading.rated(f"{format_number(reading.value, 3)} where the prior has 1.", factor)


RULES: Mapping[str, Rule] = {
    "latent.dimensions": _dimensions,
    "latent.active_units": _active,
    "latent.mutual_information_nats": _information,
    "latent.mutual_information_cap_nats": _cap,
    "latent.marginal_kl_nats": _marginal,
    "latent.total_correlation_nats": _total_correlation,
    "latent.dimension_wise_kl_nats": _dimension_wise,
    "latent.gaussian_total_correlation_nats": _gaussian,
    "latent.mmd_squared": _mmd,
    "latent.ks_statistic_max": _ks,
    "latent.squared_norm_ks_statistic": _ks,
    "latent.aggregate_mean_norm": _mean_norm,
    "latent.aggregate_stddev_min": _stddev,
    "latent.aggregate_stddev_max": _stddev,
}
