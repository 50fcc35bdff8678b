"""Statistics of a set of images, computed batch by batch, and comparisons of two sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.estimators import samples
from vaelab.evaluation.feature_spaces import Batches, ClassifierSpace, FeatureSpace
from vaelab.runtime.progress_bars import with_bar

Images = Float[Tensor, "count channel height width"]

# k of the nearest-neighbor balls of precision, recall, density and coverage
NEIGHBORS = 5
# Limit on the images that are kept in memory
MAX_KEPT = 1_000


@dataclass(frozen=True)
class ImageSet:
    """Statistics of a set of images; `kept` has the first of the images themselves.

    `points` has the features by name of the space, `power` the mean power spectrum. `sharpness`
    is None below 3x3 pixels, `predicted` and `class_shares` without a classifier.
    """

    points: Mapping[str, samples.PointSet]
    kept: Images
    power: Float64[Tensor, "height width"]
    sharpness: Float[Tensor, "images"] | None = None
    predicted: Int64[Tensor, "images"] | None = None
    class_shares: Float64[Tensor, "classes"] | None = None


def extract_features(
    batches: Batches, spaces: Sequence[FeatureSpace], keep: int | None = None
) -> ImageSet:
    """Compute the statistics of at least six images; keep the first 1,000, or `keep` of them."""
    limit = MAX_KEPT if keep is None else keep
    parts: list[dict[str, Tensor]] = []
    count = 0
    for images in with_bar(batches, "features of samples", "batches"):
        # A view would keep the entire batch in memory.
        kept = images[: max(0, limit - count)].clone()
        parts.append(_extract_batch(images, spaces) | {"kept": kept})
        count += len(images)
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    predicted, shares = _classes(joined, spaces)
    return ImageSet(
        points={s.name: samples.PointSet.from_features(joined[s.name], NEIGHBORS) for s in spaces},
        kept=joined["kept"],
        power=joined["power"].sum(0) / count,
        sharpness=joined.get("sharpness"),
        predicted=predicted,
        class_shares=shares,
    )


def _extract_batch(images: Images, spaces: Sequence[FeatureSpace]) -> dict[str, Tensor]:
    features = {space.name: space.features(images) for space in spaces}
    features["power"] = len(images) * samples.mean_power(images)[None]
    if min(images.shape[-2:]) >= 3:
        features["sharpness"] = samples.sharpness(images)
    return features


def _classes(
    features: Mapping[str, Tensor], spaces: Sequence[FeatureSpace]
) -> tuple[Tensor | None, Tensor | None]:
    """Return each image's predicted class and the share of each class, if there is a classifier."""
    for space in spaces:
        if isinstance(space, ClassifierSpace):
            predicted = space.classifier.head(features[space.name]).argmax(1)
            return predicted, samples.class_shares(predicted, space.classifier.classes)
    return None, None


def compare_image_sets(generated: ImageSet, real: ImageSet) -> dict[str, float]:
    """Compare generated with real images in every feature space, and their sharpness."""
    metrics = {
        f"{space}_{name}": value
        for space, points in generated.points.items()
        for name, value in vars(samples.compare_sets(points, real.points[space])).items()
    }
    if generated.sharpness is None or real.sharpness is None:
        return metrics
    ratio = samples.sharpness_ratio(generated.sharpness, real.sharpness)
    return metrics if ratio is None else metrics | {"sharpness_ratio": ratio}


def describe_image_set(images: ImageSet) -> dict[str, float | int]:
    """Compute the slope of the power spectrum, and how predictions are spread over classes."""
    slope, shares = samples.spectrum_slope(images.power), images.class_shares
    metrics: dict[str, float | int] = {} if slope is None else {"spectrum_slope": slope}
    if shares is not None:
        # One misclassified image is enough for a class to count.
        metrics["classes_drawn"] = int((shares > 0).sum())
        metrics["largest_class_share"] = shares.max().item()
    return metrics
