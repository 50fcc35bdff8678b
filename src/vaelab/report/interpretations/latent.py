"""Interpretations of the latent space: its use, its information, its distance from the prior."""

import math

from vaelab.report.interpretations.context import (
    Interpretation,
    MetricContext,
    interprets,
    with_suffix,
)
from vaelab.report.posterior_collapse import INFORMATIVE_NATS, describe_collapse
from vaelab.runtime.formatting import format_number

AN_UPPER_BOUND = "An upper bound, because the mutual information is near its upper limit."
DEPENDENCE_IS_ALLOWED = "The prior is not N(0, I), so dimensions may depend on one another."
# n samples of N(0, 1) exceed this over the root of n with probability 1/1,000.
KS_CHANCE = 1.95


@interprets("latent.dimensions")
def _dimensions(context: MetricContext) -> Interpretation:
    pixels = math.prod(context.result.info.image_shape)
    ratio = format_number(pixels / context.value, 3)
    return context.unrated(f"{ratio} pixel values per dimension.")


@interprets("latent.active_units")
def _active(context: MetricContext) -> Interpretation:
    dimensions = context.result.description.model.latent_dim
    text = f"{context.value:.0f} of {dimensions} dimensions are active"
    if context.result.description.posterior == "point":
        others = " Latents have no noise, so the others may carry information too."
        return context.unrated(f"{text}.{others if context.value < dimensions else ''}")
    if context.value:
        return context.rated(f"{text}{_informative(context)}.", context.value / dimensions)
    if context.result.is_uninformative or context.rating_of("test.kl_loss_nats") == "poor":
        return context.rated(f"{text}: the posterior has collapsed.")
    return context.unrated(f"{text}, but latents may carry information on a small scale.")


def _informative(context: MetricContext) -> str:
    """Say how many of the active dimensions carry information, "" if all do."""
    diagnosis = describe_collapse(context.result)
    if diagnosis is None or diagnosis.informative >= context.value:
        return ""
    return f"; {diagnosis.informative} carry at least {INFORMATIVE_NATS} nats about the image"


@interprets("latent.mutual_information_nats")
def _information(context: MetricContext) -> Interpretation:
    cap = context.other("latent.mutual_information_cap_nats")
    value = format_number(context.value, 3)
    if cap is None:
        return context.rated(f"{value} nats.")
    text = f"{value} of at most {format_number(cap, 3)} nats"
    if context.result.information_is_capped:
        text += ": near the upper limit, so the KL of the aggregate posterior is an upper bound."
        return Interpretation("fair", text)
    return with_suffix(
        context.rated(text),
        ": clearly below the upper limit.",
        ": a latent carries little information about its image.",
        ": a latent carries no information about its image.",
    )


@interprets("latent.mutual_information_cap_nats")
def _cap(context: MetricContext) -> Interpretation:
    return context.unrated(f"The logarithm of {math.exp(context.value):,.0f} images.")


@interprets("latent.marginal_kl_nats")
def _marginal(context: MetricContext) -> Interpretation:
    if context.result.information_is_capped:
        return context.unrated(AN_UPPER_BOUND)
    return with_suffix(
        context.rated("Latents of images"),
        " are distributed like the prior.",
        " are distributed roughly like the prior.",
        " are not distributed like the prior.",
    )


@interprets("latent.total_correlation_nats")
def _total_correlation(context: MetricContext) -> Interpretation:
    if context.result.information_is_capped:
        return context.unrated(AN_UPPER_BOUND)
    if not context.result.has_standard_prior:
        return context.unrated(DEPENDENCE_IS_ALLOWED)
    return with_suffix(
        context.rated("The dimensions"),
        " are nearly independent.",
        " are weakly dependent.",
        " are dependent.",
    )


@interprets("latent.dimension_wise_kl_nats")
def _dimension_wise(context: MetricContext) -> Interpretation:
    each = context.value / context.result.description.model.latent_dim
    return context.rated(f"{format_number(each, 2)} nats per dimension on average.", each)


@interprets("latent.gaussian_total_correlation_nats")
def _gaussian(context: MetricContext) -> Interpretation:
    if not context.result.has_standard_prior:
        return context.unrated(DEPENDENCE_IS_ALLOWED)
    return with_suffix(
        context.rated("The dimensions"),
        " are nearly uncorrelated.",
        " are weakly correlated.",
        " are correlated.",
    )


@interprets("latent.ks_statistic_max", "latent.squared_norm_ks_statistic")
def _ks(context: MetricContext) -> Interpretation:
    images = context.other("dataset.test_images")
    chance = KS_CHANCE / math.sqrt(images) if images else 0.0
    if context.value <= chance:
        text = f"Within what {images:,.0f} samples of the prior have by chance."
        return Interpretation("good", text)
    return with_suffix(
        context.rated(f"The distribution functions differ by up to {context.value:.0%}"),
        ": very close to the prior.",
        ": close to the prior.",
        ": not close to the prior.",
    )


@interprets("latent.aggregate_mean_norm")
def _mean_norm(context: MetricContext) -> Interpretation:
    each = context.value / math.sqrt(context.result.description.model.latent_dim)
    if not context.result.has_standard_prior:
        return context.unrated("The prior is not N(0, I), so the mean may differ from 0.")
    return context.rated(
        f"The means of the dimensions differ from 0 by {format_number(each, 2)} on average.", each
    )


@interprets("latent.aggregate_stddev_min", "latent.aggregate_stddev_max")
def _stddev(context: MetricContext) -> Interpretation:
    if not context.result.has_standard_prior:
        return context.unrated("The prior is not N(0, I), so it may differ from 1.")
    factor = max(context.value, 1 / context.value) if context.value > 0 else math.inf
    return context.rated(f"{format_number(context.value, 3)}; the prior's is 1.", factor)
