"""A set of images seen once, batch by batch, and two such sets beside one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vaelab.estimators import samples
from vaelab.evaluation.feature_spaces import Batches, ClassifierSpace, FeatureSpace

Images = Float[Tensor, "count channel height width"]

# k of the balls of precision, recall, density and coverage.
NEIGHBOURS = 5
# So many images at most are kept.
MAX_KEPT = 1_000


@dataclass(frozen=True)
class ImageSet:
    """What is kept of images that were seen batch by batch; `first` has the first of them.

    `points` has their features by the name of the space, `power` their mean power spectrum.
    `sharpness` is None below 3x3 pixels, the rest without a classifier.
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
    """Look at six images or more, each once, and keep the first: 1,000, or `keep` of them."""
    most = MAX_KEPT if keep is None else keep
    parts: list[dict[str, Tensor]] = []
    count = 0
    for images in batches:
        # A copy, because a view would hold all of the batch.
        first = images[: max(0, most - count)].clone()
        parts.append(_extract_batch(images, spaces) | {"first": first})
        count += len(images)
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    predicted, shares = _classes(whole, spaces)
    return ImageSet(
        points={s.name: samples.PointSet.from_features(whole[s.name], NEIGHBOURS) for s in spaces},
        kept=whole["first"],
        power=whole["power"].sum(0) / count,
        sharpness=whole.get("sharpness"),
        predicted=predicted,
        class_shares=shares,
    )


def _extract_batch(images: Images, spaces: Sequence[FeatureSpace]) -> dict[str, Tensor]:
    looked = {space.name: space.features(images) for space in spaces}
    looked["power"] = len(images) * samples.mean_power(images)[None]
    if min(images.shape[-2:]) >= 3:
        looked["sharpness"] = samples.sharpness(images)
    return looked


def _classes(
    features: Mapping[str, Tensor], spaces: Sequence[FeatureSpace]
) -> tuple[Tensor | None, Tensor | None]:
    """Give each image's most likely class and the share of each, where there is a classifier."""
    for space in spaces:
        if isinstance(space, ClassifierSpace):
            predicted = space.classifier.head(features[space.name]).argmax(1)
            return predicted, samples.class_shares(predicted, space.classifier.classes)
    return None, None


def compare_image_sets(generated: ImageSet, real: ImageSet) -> dict[str, float]:
    """Compare generated images with real ones in every space, and their sharpness."""
    found = {
        f"{space}_{name}": value
        for space, points in generated.points.items()
        for name, value in vars(samples.compare_sets(points, real.points[space])).items()
    }
    if generated.sharpness is None or real.sharpness is None:
        return found
    ratio = samples.sharpness_ratio(generated.sharpness, real.sharpness)
    return found if ratio is None else found | {"sharpness_ratio": ratio}


def describe_image_set(images: ImageSet) -> dict[str, float | int]:
    """Give the slope of a set's power spectrum, and how its images spread over the classes."""
    slope, shares = samples.spectrum_slope(images.power), images.class_shares
    found: dict[str, float | int] = {} if slope is None else {"spectrum_slope": slope}
    if shares is not None:
        # One image that the classifier mistakes is enough for a class to have been drawn.
        found["classes_drawn"] = int((shares > 0).sum())
        found["largest_class_share"] = shares.max().item()
    return found
