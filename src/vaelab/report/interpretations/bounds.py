"""Verdicts on the likelihood and on how tight its bounds are."""

import math
from collections.abc import Mapping

from vaelab.metrics.thresholds import BANDS, FEW_SAMPLES, PUBLISHED_SAMPLES, UNMODELLED_BITS
from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule, with_suffix
from vaelab.runtime.formatting import format_number

UNMODELLED = f"the {UNMODELLED_BITS} bits of a pixel that nobody models"
EFFECTIVE = "test.nll_effective_sample_size"


def _nll(reading: MetricContext) -> Interpretation:
    bound = reading.other("test.neg_elbo_nats")
    if bound is None or reading.other("test.nll_importance_samples") == 1:
        return reading.unrated("From one sample: the bound itself.")
    if reading.value > bound:
        above = format_number(reading.value - bound)
        return reading.unrated(f"{above} nats above the negative bound, by the noise of the draws.")
    return reading.unrated(f"{format_number(bound - reading.value)} nats below the negative bound.")


def _bits(reading: MetricContext) -> Interpretation:
    description = reading.result.description
    is_density = description.model.likelihood in ("gaussian", "continuous_bernoulli")
    if is_density and not description.settings.get("data.dequantize"):
        return reading.unrated("Of a density on undequantised pixels: not a code length.")
    saved = 1 - reading.value / UNMODELLED_BITS
    if saved <= 0:
        return reading.unrated(f"No fewer than {UNMODELLED}.")
    return reading.unrated(f"{saved:.0%} fewer than {UNMODELLED}.")


def _neg_elbo(reading: MetricContext) -> Interpretation:
    parts = (reading.other(f"test.{part}_loss_nats") for part in ("generation", "kl"))
    generation, kl = (format_number(part) if part is not None else "?" for part in parts)
    return reading.unrated(f"Generation loss {generation} and KL loss {kl}.")


def _generation(reading: MetricContext) -> Interpretation:
    pixels = math.prod(reading.result.info.image_shape)
    return reading.unrated(f"{format_number(reading.value / pixels, 3)} nats a pixel and channel.")


def _kl(reading: MetricContext) -> Interpretation:
    dimensions = reading.result.description.model.latent_dim
    text = f"{format_number(reading.value, 3)} nats pass through {dimensions} dimensions"
    verdict = reading.rated(text)
    if verdict.rating != "poor" and reading.result.is_uninformative:
        return Interpretation("poor", f"{text}, and tell nothing of the image.")
    return with_suffix(
        verdict,
        ": the decoder uses its latents.",
        ": next to nothing.",
        ": the decoder ignores its latents, the posterior has collapsed.",
    )


def _squared_error(reading: MetricContext) -> Interpretation:
    return reading.unrated(
        f"A typical error of {math.sqrt(reading.value):.1%} of the range from black to white."
    )


def _samples(reading: MetricContext) -> Interpretation:
    if reading.value == 1:
        return reading.unrated("One sample: the bound itself.")
    if reading.value >= PUBLISHED_SAMPLES:
        return reading.unrated("As many as papers use.")
    return reading.unrated(f"Papers use {PUBLISHED_SAMPLES:,}.")


def _doubling(reading: MetricContext) -> Interpretation:
    samples = reading.other("test.nll_importance_samples") or 0
    more = "anneal" if samples >= PUBLISHED_SAMPLES else f"use {PUBLISHED_SAMPLES}"
    verdict, doubt = _rise(reading), _doubt(reading)
    if verdict.rating == "good" and doubt:
        return Interpretation("fair", f"{verdict.text}, which proves little: {doubt}.")
    return with_suffix(
        verdict,
        ": K is large enough." if reading.value < 0 else ".",
        f": a tight table needs more samples, {more}.",
        f": too few samples, {more}.",
    )


def _rise(reading: MetricContext) -> Interpretation:
    rise = -reading.value
    text = f"still rises by {format_number(rise, 2)} nats" if rise > 0 else "no longer rises"
    return reading.rated(f"The bound {text} on doubling K", rise)


def _doubt(reading: MetricContext) -> str:
    """Say why K may be too small although the bound hardly rises, or nothing."""
    samples = reading.other("test.nll_importance_samples") or 0
    effective = reading.other(EFFECTIVE)
    if samples <= FEW_SAMPLES:
        return f"K = {samples:.0f} is small"
    if effective is not None and BANDS[EFFECTIVE].rating(effective / samples) == "poor":
        return f"K = {samples:,.0f} samples are worth {format_number(effective, 2)}"
    excess = reading.rating_of("annealing.importance_weighted_excess_nats")
    return "annealing does not confirm it" if excess in ("fair", "poor") else ""


def _effective(reading: MetricContext) -> Interpretation:
    samples = reading.other("test.nll_importance_samples")
    if samples is None or samples == 1:
        return reading.unrated("One sample is worth one.")
    text = f"Worth {format_number(reading.value, 2)} of {samples:,.0f} samples"
    if samples <= FEW_SAMPLES:
        return reading.unrated(f"{text}: too few to tell how well the posterior fits.")
    return with_suffix(
        reading.rated(text, reading.value / samples),
        ": the posterior fits well.",
        ": the posterior fits in part.",
        ": the posterior fits badly, few samples carry the estimate.",
    )


RULES: Mapping[str, Rule] = {
    "test.nll_nats": _nll,
    "test.bits_per_dim": _bits,
    "test.neg_elbo_nats": _neg_elbo,
    "test.generation_loss_nats": _generation,
    "test.kl_loss_nats": _kl,
    "test.mean_squared_error": _squared_error,
    "test.nll_importance_samples": _samples,
    "test.nll_change_on_doubling_nats": _doubling,
    "test.nll_effective_sample_size": _effective,
}
