"""Interpretations of the likelihood and of how tight its bounds are."""

import math

from vaelab.config import DENSITIES
from vaelab.metrics import SPECS
from vaelab.report.interpretations.context import (
    Interpretation,
    MetricContext,
    interprets,
    with_suffix,
)
from vaelab.runtime.formatting import format_number

# With so few samples the effective sample size is no evidence about the fit of the posterior.
FEW_SAMPLES = 20
# The K of published results: Burda et al. 2016.
PUBLISHED_SAMPLES = 5_000
# An 8-bit pixel without a model.
UNCOMPRESSED_BITS = 8


@interprets("test.nll_nats")
def _nll(context: MetricContext) -> Interpretation:
    bound = context.other("test.neg_elbo_nats")
    if context.result.bound_is_of_a_part:
        images = context.other("test.nll_images")
        return context.unrated(f"Mean of {images:,.0f} test images; the negative ELBO is of all.")
    if bound is None or context.other("test.nll_importance_samples") == 1:
        return context.unrated("From one sample: equal to the negative ELBO.")
    if context.value > bound:
        above = format_number(context.value - bound)
        return context.unrated(f"{above} nats above the negative ELBO, due to sampling noise.")
    return context.unrated(f"{format_number(bound - context.value)} nats below the negative ELBO.")


@interprets("test.nll_rounding_nats")
def _rounding(context: MetricContext) -> Interpretation:
    error = context.other("test.nll_standard_error_nats")
    assert error is not None
    return context.unrated(f"The bound's standard error is {format_number(error)} nats.")


@interprets("test.nll_images")
def _bound_images(context: MetricContext) -> Interpretation:
    if not context.result.bound_is_of_a_part:
        return context.unrated("All test images.")
    return context.unrated(f"Of {context.other('dataset.test_images'):,.0f}.")


@interprets("likelihood.nll_nats")
def _fitted_nll(context: MetricContext) -> Interpretation:
    images, error = (context.other(f"likelihood.{name}") for name in ("images", "uneven_share"))
    text = f"Mean of {images or 0:,.0f} test images"
    if not error:
        return context.unrated(f"{text}; the proposals of all of them fit.")
    return context.unrated(f"{text}; for {error:.0%} of them the proposal fits poorly.")


@interprets("likelihood.bound_excess_nats")
def _excess(context: MetricContext) -> Interpretation:
    bound = "The K-sample bound"
    if context.value <= 0:
        rated = context.rated(f"{bound} is as low as the fitted estimate")
    else:
        rated = context.rated(f"{bound} is {format_number(context.value, 2)} nats too high")
    if rated.rating == "good" and context.rating_of("likelihood.uneven_share") != "good":
        return Interpretation("fair", f"{rated.text}, or more: many proposals fit poorly.")
    return with_suffix(
        rated,
        ": it can be quoted.",
        ": quote it with this margin.",
        ": quote the negative log-likelihood from fitted proposals.",
    )


@interprets("likelihood.effective_sample_size")
def _fitted_effective(context: MetricContext) -> Interpretation:
    samples = context.other("likelihood.importance_samples") or 1
    return context.unrated(f"Worth {format_number(context.value, 2)} of {samples:,.0f} samples.")


@interprets("test.bits_per_dim")
def _bits(context: MetricContext) -> Interpretation:
    description = context.result.description
    is_density = description.model.likelihood in DENSITIES
    if is_density and not description.settings.get("data.dequantize"):
        return context.unrated("From a density of pixels that are not dequantized: no code length.")
    saved = 1 - context.value / UNCOMPRESSED_BITS
    share = f"{saved:.0%}" if saved > 0 else "Not"
    return context.unrated(f"{share} fewer than the {UNCOMPRESSED_BITS} bits without compression.")


@interprets("test.neg_elbo_nats")
def _neg_elbo(context: MetricContext) -> Interpretation:
    terms = (context.other("test.generation_loss_nats"), context.other("test.kl_loss_nats"))
    generation, kl = (format_number(term) if term is not None else "?" for term in terms)
    return context.unrated(f"Generation loss {generation} plus KL loss {kl}.")


@interprets("test.generation_loss_nats")
def _generation(context: MetricContext) -> Interpretation:
    each = context.value / math.prod(context.result.info.image_shape)
    return context.unrated(f"{format_number(each, 3)} nats per pixel and channel.")


@interprets("test.kl_loss_nats")
def _kl(context: MetricContext) -> Interpretation:
    dimensions = context.result.description.model.latent_dim
    text = f"{format_number(context.value, 3)} nats in {dimensions} dimensions"
    rated = context.rated(text)
    if rated.rating != "poor" and context.result.is_uninformative:
        return Interpretation("poor", f"{text}, but the latent carries no information.")
    return with_suffix(
        rated,
        ": the decoder uses the latent.",
        ": the decoder hardly uses the latent.",
        ": the decoder ignores the latent (posterior collapse).",
    )


@interprets("test.mean_squared_error")
def _squared_error(context: MetricContext) -> Interpretation:
    error = math.sqrt(context.value)
    return context.unrated(f"A typical error of {error:.1%} of the range from black to white.")


@interprets("test.psnr_db")
def _psnr(context: MetricContext) -> Interpretation:
    error = f"A typical error of {10 ** (-context.value / 20):.1%} of the range"
    if context.reference is None:
        return context.unrated(f"{error}.")
    gain = context.value - context.reference
    side = "above" if gain > 0 else "below"
    of_image = f"{abs(gain):.1f} dB {side} the mean training image"
    return with_suffix(
        context.rated(f"{error}, {of_image}", gain),
        ": the latent says what is in the image.",
        ": the latent says little of the image.",
        ": a decoder that ignores its latent does as well.",
    )


@interprets("test.ssim")
def _ssim(context: MetricContext) -> Interpretation:
    return with_suffix(
        context.rated("Edges and textures are"),
        " kept.",
        " partly lost: reconstructions are blurred.",
        " lost: only coarse shapes and brightness remain.",
    )


@interprets("test.nll_importance_samples")
def _samples(context: MetricContext) -> Interpretation:
    if context.value == 1:
        return context.unrated("One sample: the result is the negative ELBO.")
    if context.value >= PUBLISHED_SAMPLES:
        return context.unrated("As many as in published results.")
    return context.unrated(f"Published results use {PUBLISHED_SAMPLES:,}.")


@interprets("test.nll_change_on_doubling_nats")
def _doubling(context: MetricContext) -> Interpretation:
    samples = context.other("test.nll_importance_samples") or 0
    more = "use annealing" if samples >= PUBLISHED_SAMPLES else f"use {PUBLISHED_SAMPLES}"
    rated, doubt = _increase(context), _doubt(context)
    if rated.rating == "good" and doubt:
        return Interpretation("fair", f"{rated.text}, which is weak evidence: {doubt}.")
    return with_suffix(
        rated,
        ": K is large enough." if context.value < 0 else ".",
        f": more samples are needed for a tight bound; {more}.",
        f": too few samples; {more}.",
    )


def _increase(context: MetricContext) -> Interpretation:
    increase = -context.value
    by = f"increases by {format_number(increase, 2)} nats" if increase > 0 else "does not increase"
    return context.rated(f"The bound {by} when K doubles", increase)


def _doubt(context: MetricContext) -> str:
    """Return why K may be too small although the bound hardly increases, or an empty string."""
    samples = context.other("test.nll_importance_samples") or 0
    effective = context.other("test.nll_effective_sample_size")
    metric = SPECS["test.nll_effective_sample_size"]
    if samples <= FEW_SAMPLES:
        return f"K = {samples:.0f} is small"
    if effective is not None and metric.rating(effective / samples) == "poor":
        return f"K = {samples:,.0f} samples are worth {format_number(effective, 2)}"
    if context.rating_of("likelihood.bound_excess_nats") in ("fair", "poor"):
        return "fitted proposals do not confirm it"
    excess = context.rating_of("annealing.importance_weighted_excess_nats")
    return "annealing does not confirm it" if excess in ("fair", "poor") else ""


@interprets("test.nll_effective_sample_size")
def _effective(context: MetricContext) -> Interpretation:
    samples = context.other("test.nll_importance_samples")
    if samples is None or samples == 1:
        return context.unrated("1, as there is one sample.")
    text = f"Worth {format_number(context.value, 2)} of {samples:,.0f} samples"
    if samples <= FEW_SAMPLES:
        return context.unrated(f"{text}: too few to measure how well the posterior fits.")
    return with_suffix(
        context.rated(text, context.value / samples),
        ": the posterior fits well.",
        ": the posterior fits partly.",
        ": the posterior fits poorly, and few samples dominate the estimate.",
    )
