"""Verdicts on the likelihood and on how tight its bounds are."""

import math
from collections.abc import Mapping

from vaelab.figures.trials import number
from vaelab.report.bands import PUBLISHED_SAMPLES, UNMODELLED_BITS
from vaelab.report.verdicts.reading import Reading, Rule, Verdict, by_mark


def _nll(reading: Reading) -> Verdict:
    bound = reading.other("test.neg_elbo_nats")
    if bound is None or reading.other("test.nll_importance_samples") == 1:
        return reading.said("From one sample: the bound itself.")
    return reading.said(f"{number(bound - reading.value)} nats below the negative bound.")


def _bits(reading: Reading) -> Verdict:
    saved = 1 - reading.value / UNMODELLED_BITS
    if saved <= 0:
        text = f"No fewer than the {UNMODELLED_BITS} bits of a pixel that nobody models."
        return Verdict("poor", text)
    text = f"{saved:.0%} fewer than the {UNMODELLED_BITS} bits of a pixel that nobody models."
    return reading.said(text)


def _neg_elbo(reading: Reading) -> Verdict:
    parts = (reading.other(f"test.{part}_loss_nats") for part in ("generation", "kl"))
    generation, kl = (number(part) if part is not None else "?" for part in parts)
    return reading.said(f"Generation loss {generation} and KL loss {kl}.")


def _generation(reading: Reading) -> Verdict:
    pixels = math.prod(reading.subject.info.image_shape)
    return reading.said(f"{number(reading.value / pixels, 3)} nats a pixel and channel.")


def _kl(reading: Reading) -> Verdict:
    dimensions = reading.subject.description.model.latent_dim
    text = f"{number(reading.value, 3)} nats pass through {dimensions} dimensions"
    return by_mark(
        reading.judged(text),
        ": the decoder uses its latents.",
        ": next to nothing.",
        ": the decoder ignores its latents, the posterior has collapsed.",
    )


def _squared_error(reading: Reading) -> Verdict:
    return reading.said(
        f"A typical error of {math.sqrt(reading.value):.1%} of the range from black to white."
    )


def _samples(reading: Reading) -> Verdict:
    if reading.value == 1:
        return reading.said("One sample: the bound itself.")
    if reading.value >= PUBLISHED_SAMPLES:
        return reading.said("As many as papers use.")
    return reading.said(f"Enough to compare models here; papers use {PUBLISHED_SAMPLES:,}.")


def _doubling(reading: Reading) -> Verdict:
    rise, samples = -reading.value, reading.other("test.nll_importance_samples") or 0
    more = "anneal" if samples >= PUBLISHED_SAMPLES else f"use {PUBLISHED_SAMPLES}"
    return by_mark(
        reading.judged(f"The bound still rises by {number(rise, 2)} nats on doubling K", rise)
        if rise > 0
        else reading.judged("The bound no longer rises on doubling K", rise),
        ": K is large enough." if rise > 0 else ".",
        f": a tight table needs more samples, {more}.",
        f": too few samples, {more}.",
    )


def _effective(reading: Reading) -> Verdict:
    samples = reading.other("test.nll_importance_samples")
    if samples is None or samples == 1:
        return reading.said("One sample is worth one.")
    share = reading.value / samples
    return by_mark(
        reading.judged(f"Worth {number(reading.value, 2)} of {samples:,.0f} samples", share),
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
