"""Verdicts on images from the prior against real ones."""

import math
from collections.abc import Mapping

from vaelab.metrics.thresholds import CROWDED, FAR_FROM_DATA
from vaelab.report.interpretations.context import Interpretation, MetricContext, Rule, with_suffix
from vaelab.runtime.formatting import format_number


def _count(reading: MetricContext) -> Interpretation:
    return reading.unrated("Compared with as many test images.")


def _classifier(reading: MetricContext) -> Interpretation:
    return with_suffix(
        reading.rated(f"The classifier is right {reading.value:.0%} of the time"),
        ": its features can be trusted.",
        ": trust its features in part.",
        ": do not trust its features.",
    )


def _frechet(reading: MetricContext) -> Interpretation:
    floor = reading.reference
    if floor is None or floor <= 0:
        return reading.unrated("No floor to compare with.")
    times = reading.value / floor
    return reading.rated(
        f"{format_number(times, 2)} times the floor {format_number(floor, 3)}.", times
    )


def _kernel(reading: MetricContext) -> Interpretation:
    floor = reading.reference
    if floor is None:
        return reading.unrated("No floor to compare with.")
    side = "below" if reading.value < floor else "above"
    apart = format_number(abs(reading.value - floor), 2)
    return reading.unrated(f"{apart} {side} what training images have.")


def _percent(share: float) -> str:
    return f"{format_number(100 * share, 3)}%"


def _share(reading: MetricContext) -> Interpretation:
    floor = reading.reference
    if not floor:
        return reading.unrated("No training images to compare with.")
    share = reading.value / floor
    return reading.rated(f"{_percent(share)} of what training images reach.", share)


def _density(reading: MetricContext) -> Interpretation:
    floor = reading.reference
    if floor and reading.value > CROWDED * floor:
        times = format_number(reading.value / floor, 2)
        text = f"{times} times what training images reach: samples crowd around typical images."
        return Interpretation("fair", text)
    return _share(reading)


def _sharpness(reading: MetricContext) -> Interpretation:
    ratio = reading.value / (reading.reference or 1.0)
    verdict = reading.rated(
        f"{format_number(ratio, 2)} times as sharp as training images",
        max(ratio, 1 / ratio) if ratio > 0 else math.inf,
    )
    way = "sharper, perhaps by noise" if ratio > 1 else "blurrier"
    return with_suffix(verdict, ".", f": {way}.", f": much {way}.")


def _slope(reading: MetricContext) -> Interpretation:
    real = reading.reference
    if real is None:
        return reading.unrated("No real images to compare with.")
    steeper = reading.value < real
    verdict = reading.rated(f"Real images have {format_number(real, 3)}", abs(reading.value - real))
    way = "smoother" if steeper else "noisier"
    return with_suffix(verdict, ".", f": samples are {way}.", f": samples are much {way}.")


def _classes(reading: MetricContext) -> Interpretation:
    shares = reading.result.arrays.get("class_shares_real")
    if shares is None:
        return reading.unrated("How many there are among real images is not known.")
    real = int((shares > 0).sum())
    text = f"{reading.value:.0f} of {len(shares)} classes appear, {real} among as many real images."
    return reading.rated(text, reading.value / real)


def _largest_share(reading: MetricContext) -> Interpretation:
    real = reading.reference
    if not real:
        return reading.unrated("No real images to compare with.")
    times = reading.value / real
    return with_suffix(
        reading.rated(f"{format_number(times, 2)} times the share among real images", times),
        ".",
        ": one class is drawn too often.",
        ": one class crowds out the others.",
    )


def _nearest(reading: MetricContext) -> Interpretation:
    real = reading.reference
    if not real:
        return reading.unrated("No test images to compare with.")
    times = reading.value / real
    way = "nearer than" if times < 1 else "as far as" if times == 1 else "farther than"
    return reading.unrated(
        f"{format_number(times, 2)} times the distance of test images: {way} these."
    )


def _copying(reading: MetricContext) -> Interpretation:
    score = f"z\u00a0=\u00a0{format_number(reading.value, 2)}"
    if reading.value > FAR_FROM_DATA:
        text = f"Samples are farther from training images than test images are ({score}): no copies"
        return Interpretation("fair", f"{text}, but off the data.")
    return with_suffix(
        reading.rated("Samples are"),
        f" about as near to training images as test images are ({score}): no sign of copying.",
        f" nearer to training images than test images are ({score}): it may copy, or blur.",
        f" much nearer to training images than test images are ({score}): it copies, or blurs.",
    )


RULES: Mapping[str, Rule] = {
    "samples.count": _count,
    "samples.classifier_test_accuracy": _classifier,
    "samples.{space}_frechet_distance": _frechet,
    "samples.{space}_kernel_distance": _kernel,
    "samples.{space}_precision": _share,
    "samples.{space}_recall": _share,
    "samples.{space}_density": _density,
    "samples.{space}_coverage": _share,
    "samples.sharpness_ratio": _sharpness,
    "samples.spectrum_slope": _slope,
    "samples.classes_drawn": _classes,
    "samples.largest_class_share": _largest_share,
    "samples.nearest_training_distance": _nearest,
    "samples.data_copying_z": _copying,
}
