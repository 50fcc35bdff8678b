"""Verdicts on the latent space as a whole: its use, its information, its distance from p(z)."""

import math
from collections.abc import Mapping

from vaelab.figures.study_table import number
from vaelab.metrics.thresholds import KS_CHANCE
from vaelab.report.interpretations.context import Reading, Rule, Verdict, by_mark

CAPPED = "The information is near its cap, so this is an upper bound"

FREE = "The prior is not N(0, I), so the dimensions may depend on one another."


def _dimensions(reading: Reading) -> Verdict:
    pixels = math.prod(reading.subject.info.image_shape)
    return reading.said(f"{number(pixels / reading.value, 3)} pixel values for each dimension.")


def _active(reading: Reading) -> Verdict:
    dimensions = reading.subject.description.model.latent_dim
    text = f"{reading.value:.0f} of {dimensions} dimensions are active"
    if reading.subject.description.posterior == "point":
        others = " Without noise the others may tell something too."
        return reading.said(f"{text}.{others if reading.value < dimensions else ''}")
    if reading.value:
        return reading.judged(f"{text}.", reading.value / dimensions)
    if reading.subject.tells_nothing or reading.mark_of("test.kl_loss_nats") == "poor":
        return reading.judged(f"{text}: the posterior has collapsed.")
    return reading.said(f"{text}, though latents may tell something on a small scale.")


def _information(reading: Reading) -> Verdict:
    cap = reading.other("latent.mutual_information_cap_nats")
    value = number(reading.value, 3)
    if cap is None:
        return reading.judged(f"{value} nats.")
    text = f"{value} of at most {number(cap, 3)} nats"
    if reading.subject.information_is_capped:
        text += ": near its cap, so the marginal KL is an upper bound."
        return Verdict("fair", text)
    return by_mark(
        reading.judged(text),
        ": clear of its cap.",
        ": a latent tells little of its image.",
        ": a latent tells nothing of its image.",
    )


def _cap(reading: Reading) -> Verdict:
    return reading.said(f"The logarithm of {math.exp(reading.value):,.0f} images.")


def _marginal(reading: Reading) -> Verdict:
    if reading.subject.information_is_capped:
        return reading.said(f"{CAPPED}.")
    return by_mark(
        reading.judged("The prior lies"),
        " where the latents lie.",
        " roughly where the latents lie.",
        " in places without latents.",
    )


def _total_correlation(reading: Reading) -> Verdict:
    if reading.subject.information_is_capped:
        return reading.said(f"{CAPPED} too.")
    if not reading.subject.has_standard_prior:
        return reading.said(FREE)
    return by_mark(
        reading.judged("The dimensions"),
        " are nearly independent.",
        " depend on one another somewhat.",
        " depend on one another.",
    )


def _dimension_wise(reading: Reading) -> Verdict:
    each = reading.value / reading.subject.description.model.latent_dim
    return reading.judged(f"{number(each, 2)} nats for each dimension on average.", each)


def _gaussian(reading: Reading) -> Verdict:
    if not reading.subject.has_standard_prior:
        return reading.said(FREE)
    return by_mark(
        reading.judged("The dimensions"),
        " are nearly uncorrelated.",
        " are somewhat correlated.",
        " are correlated.",
    )


def _mmd(reading: Reading) -> Verdict:
    return by_mark(
        reading.judged("Latents and prior are"),
        " hard to tell apart.",
        " near each other.",
        " apart.",
    )


def _ks(reading: Reading) -> Verdict:
    images = reading.other("dataset.test_images")
    chance = KS_CHANCE / math.sqrt(images) if images else 0.0
    if reading.value <= chance:
        return Verdict("good", f"Within what {images:,.0f} draws of the prior have by chance.")
    return by_mark(
        reading.judged(f"Off by {reading.value:.0%} at most"),
        ": close to the prior.",
        ": not the prior, but near it.",
        ": not the prior.",
    )


def _mean_norm(reading: Reading) -> Verdict:
    each = reading.value / math.sqrt(reading.subject.description.model.latent_dim)
    if not reading.subject.has_standard_prior:
        return reading.said("The prior is not N(0, I), so the centre is free.")
    return reading.judged(f"Dimensions are off the centre by {number(each, 2)} on average.", each)


def _stddev(reading: Reading) -> Verdict:
    if not reading.subject.has_standard_prior:
        return reading.said("The prior is not N(0, I), so the width is free.")
    factor = max(reading.value, 1 / reading.value) if reading.value > 0 else math.inf
    return reading.judged(f"{number(reading.value, 3)} where the prior has 1.", factor)


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
