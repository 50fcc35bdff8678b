"""Interpretations of samples from the prior or a sampler, compared with real images."""

import math

from vaelab.report.interpretations.context import (
    Interpretation,
    MetricContext,
    interprets,
    with_suffix,
)
from vaelab.runtime.formatting import format_number

# Density relative to training images above which samples concentrate around typical images.
CROWDED = 1.5
# Standard deviations above 0 beyond which samples are farther from the data than test images.
FAR_FROM_DATA = 3.0


@interprets("sampler.neg_elbo_gain_nats")
def _gain(context: MetricContext) -> Interpretation:
    distance = context.other("latent.marginal_kl_nats")
    far = "" if distance is None else f", by at most {format_number(distance, 3)} nats"
    if context.value <= 0:
        return Interpretation("poor", "The sampler fits the latents worse than the prior does.")
    name = "classifier_frechet_distance"
    own, sampled = context.other(f"samples.{name}"), context.other(f"sampler.{name}")
    better = own is not None and sampled is not None and sampled < own
    effect = ", which is why its samples are better" if better else ""
    return context.unrated(
        "The latents of images are not distributed like the prior"
        f"{far}. The sampler has learned {format_number(context.value, 3)} nats of the difference"
        f"{effect}."
    )


@interprets("sampler.neg_elbo_nats", "sampler.nll_nats")
def _two_stage_bound(context: MetricContext) -> Interpretation:
    gain = context.other(context.metric.names[0].replace("_nats", "_gain_nats"))
    images = context.other("sampler.likelihood_images")
    if gain is None or images is None:
        return context.unrated("")
    own = format_number(context.value + gain, 4)
    return context.unrated(f"On {images:,.0f} test images, where it is {own} with the prior.")


@interprets("samples.classifier_frechet_distance")
def _frechet(context: MetricContext) -> Interpretation:
    floor = context.reference
    if floor is None or floor <= 0:
        return context.unrated("There is no value for training images to compare with.")
    ratio = context.value / floor
    text = f"{format_number(ratio, 2)} times the value for training images, "
    return context.rated(f"{text}{format_number(floor, 3)}.", ratio)


@interprets("samples.classifier_kernel_distance")
def _kernel(context: MetricContext) -> Interpretation:
    floor = context.reference
    if floor is None:
        return context.unrated("There is no value for training images to compare with.")
    side = "below" if context.value < floor else "above"
    difference = format_number(abs(context.value - floor), 2)
    return context.unrated(f"{difference} {side} the value for training images.")


@interprets("samples.classifier_precision", "samples.pixels_recall", "samples.pixels_coverage")
def _share(context: MetricContext) -> Interpretation:
    floor = context.reference
    if not floor:
        return context.unrated("There is no value for training images to compare with.")
    ratio = context.value / floor
    percent = format_number(100 * ratio, 3)
    return context.rated(f"{percent}% of the value for training images.", ratio)


@interprets("samples.classifier_density")
def _density(context: MetricContext) -> Interpretation:
    floor = context.reference
    if floor and context.value > CROWDED * floor:
        ratio = format_number(context.value / floor, 2)
        return Interpretation(
            "fair",
            f"{ratio} times the value for training images: samples concentrate around typical "
            "images.",
        )
    return _share(context)


@interprets("samples.sharpness_ratio")
def _sharpness(context: MetricContext) -> Interpretation:
    ratio = context.value / (context.reference or 1.0)
    rated = context.rated(
        f"{format_number(ratio, 2)} times as sharp as training images",
        max(ratio, 1 / ratio) if ratio > 0 else math.inf,
    )
    kind = "sharper, perhaps because of noise" if ratio > 1 else "blurrier"
    return with_suffix(rated, ".", f": {kind}.", f": much {kind}.")


@interprets("samples.spectrum_slope")
def _slope(context: MetricContext) -> Interpretation:
    real = context.reference
    if real is None:
        return context.unrated("There is no value for test images to compare with.")
    difference = abs(context.value - real)
    rated = context.rated(f"The slope of test images is {format_number(real, 3)}", difference)
    kind = "smoother" if context.value < real else "noisier"
    return with_suffix(rated, ".", f": samples are {kind}.", f": samples are much {kind}.")


@interprets("samples.classes_drawn")
def _classes(context: MetricContext) -> Interpretation:
    shares = context.result.arrays.get("class_shares_real")
    if shares is None:
        return context.unrated("The number among test images is unknown.")
    real = int((shares > 0).sum())
    text = f"{context.value:.0f} of {len(shares)} classes; {real} among as many test images."
    return context.rated(text, context.value / real)


@interprets("samples.largest_class_share")
def _largest_share(context: MetricContext) -> Interpretation:
    real = context.reference
    if not real:
        return context.unrated("There is no value for test images to compare with.")
    ratio = context.value / real
    return with_suffix(
        context.rated(f"{format_number(ratio, 2)} times the share among test images", ratio),
        ".",
        ": one class is sampled too often.",
        ": one class dominates the samples.",
    )


@interprets("samples.nearest_training_distance")
def _nearest(context: MetricContext) -> Interpretation:
    real = context.reference
    if not real:
        return context.unrated("There is no value for test images to compare with.")
    ratio = context.value / real
    side = "closer than" if ratio < 1 else "as far as" if ratio == 1 else "farther than"
    return context.unrated(
        f"{format_number(ratio, 2)} times the distance of test images: {side} these."
    )


@interprets("samples.data_copying_z")
def _copying(context: MetricContext) -> Interpretation:
    z = f"z\u00a0=\u00a0{format_number(context.value, 2)}"
    if context.value > FAR_FROM_DATA:
        text = f"Samples are farther from training images than test images are ({z})"
        return Interpretation("fair", f"{text}: no copies, but unlike the data.")
    return with_suffix(
        context.rated("Samples are"),
        f" about as close to training images as test images are ({z}): no sign of copying.",
        f" closer to training images than test images are ({z}): possible copies, or blur.",
        f" much closer to training images than test images are ({z}): copies, or blur.",
    )
