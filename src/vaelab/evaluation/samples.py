"""Images drawn from the prior against test images, in several spaces of features.

Training images in the place of the drawn ones give the floor, the best to be asked for. All three
sets have one size, so that value and floor have the same bias; the floor is itself an estimate,
and a good model's value may fall a little to either side of it. Features that were fitted to the
training images know them better than test images, which lifts the floor a little.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluateSettings, UserError
from vaelab.data.loader import ImageLoader
from vaelab.estimators import latent_statistics
from vaelab.estimators.memorization import NearestImages, data_copying_z, nearest_images
from vaelab.evaluation.classifier import Classifier
from vaelab.evaluation.feature_spaces import (
    Batches,
    ClassifierSpace,
    FeatureSpace,
    InceptionSpace,
    PCASpace,
    PixelSpace,
)
from vaelab.evaluation.image_sets import (
    NEIGHBOURS,
    ImageSet,
    compare_image_sets,
    describe_image_set,
    extract_features,
)
from vaelab.evaluation.types import EvaluationData
from vaelab.inference import decoding
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

Images = Float[Tensor, "count channel height width"]
Rows = Int64[Tensor, "chosen"]
Metrics = dict[str, float | int | str]

SHOWN_SAMPLES = 36
# What is said of test images, beside what compares them.
REAL_IMAGE_METRICS = ("spectrum_slope", "largest_class_share")
# Training images at most to which principal components are fitted.
MAX_FITTED_IMAGES = 10_000


def sample_metrics(
    model: Model,
    data: EvaluationData,
    classifier: Classifier | None,
    settings: EvaluateSettings,
    device: torch.device,
) -> tuple[Metrics, dict[str, NDArray[Any]]]:
    """Give the group `samples`, and arrays of pictures and of the classes' shares.

    `settings.samples` images are drawn, or as many as the smaller of the splits train and test
    has. Both results are empty where that is less than six. The test images must be the same at
    each access. Raises UserError where drawn images are not finite, and for a file of weights
    that has none of Inception.
    """
    count = min(settings.samples, len(data.test), len(data.train))
    if count <= NEIGHBOURS:
        return {}, {}
    train, test = (_without_dequantization(images) for images in (data.train, data.test))
    test_rows = _shuffled_rows(len(test), settings.seed, "test")[:count]
    train_rows = _shuffled_rows(len(train), settings.seed, "train")
    # Fitted to images that the floor does not have, where there are as many of them.
    others = train_rows[count:] if len(train) >= 2 * count else train_rows
    with torch.inference_mode():
        fitted = gather_batches(train, others[:MAX_FITTED_IMAGES], settings, "fitted")
        spaces = feature_spaces(fitted, classifier, settings, device)
        drawn = extract_features(sample_images(model, data, count, settings, device), spaces)
        real = extract_features(gather_batches(test, test_rows, settings, "test"), spaces)
        floor = extract_features(
            gather_batches(train, train_rows[:count], settings, "train"), spaces, keep=0
        )
        metrics: Metrics = {
            "count": count,
            **compare_image_sets(drawn, real),
            **describe_image_set(drawn),
        }
        metrics |= {
            f"{name}_floor": value for name, value in compare_image_sets(floor, real).items()
        }
        metrics |= {
            f"{name}_real": v
            for name, v in describe_image_set(real).items()
            if name in REAL_IMAGE_METRICS
        }
        distances, pictures = _nearest(drawn, real, train, settings)
    metrics |= distances | _provenance(spaces, real, data, test_rows)
    return metrics, pictures | _shares(drawn, real)


def feature_spaces(
    training_images: Batches,
    classifier: Classifier | None,
    settings: EvaluateSettings,
    device: torch.device,
) -> list[FeatureSpace]:
    """Give the spaces that can be had, the principal components fitted to training images.

    Without a classifier there is none of its own, nor one of components where all images are the
    same, nor one of Inception unless `settings.inception_weights` names its file. Raises UserError
    for another file.
    """
    weights = settings.inception_weights
    inception = [InceptionSpace.load(weights, device)] if weights else []
    learnt = [ClassifierSpace(classifier)] if classifier else []
    principal = PCASpace.fit(training_images)
    components = [principal] if principal.axes.numel() else []
    return [*learnt, PixelSpace(), *components, *inception]


def sample_images(
    model: Model,
    data: EvaluationData,
    count: int,
    settings: EvaluateSettings,
    device: torch.device,
) -> Iterator[Images]:
    """Draw images from the prior, batch by batch, whose pixels are like those of the files.

    They are means of p(x|z), in [0, 1]. Of binary data black and white are drawn from them, and
    where noise was added to grey levels these are brought back. Raises UserError where a pixel
    is not finite.
    """
    latents = model.prior(count, rng_stream(settings.seed, "evaluation/samples", device))
    noise = rng_stream(settings.seed, "evaluation/samples/pixels", device)
    levels = data.test.dequantize_levels
    for some in torch.split(latents, settings.batch_size):
        images = decoding.decode_means(model, some)
        if not images.isfinite().all():
            raise UserError("samples: the images drawn from the model are not finite")
        if data.levels == 2:
            images = torch.bernoulli(images, generator=noise)
        elif levels:
            # The model learnt x = (level + noise) / levels; files have levels spread over bytes.
            share = (images * levels).floor().clamp(max=levels - 1) / (levels - 1)
            images = (share * 255).round() / 255
        yield images


def gather_batches(
    images: ImageLoader, rows: Rows, settings: EvaluateSettings, name: str
) -> Iterator[Images]:
    """Give chosen images, batch by batch; `name` is that of the noise, where there is any."""
    noise = rng_stream(settings.seed, f"evaluation/samples/{name}", images.device)
    return (images.gather(some, noise) for some in torch.split(rows, settings.batch_size))


def _shuffled_rows(images: int, seed: int, name: str) -> Rows:
    """Order a split's images at random: in their files they may be sorted."""
    return torch.randperm(images, generator=rng_stream(seed, f"evaluation/samples/{name}-rows"))


def _without_dequantization(images: ImageLoader) -> ImageLoader:
    """Give the same images without the noise that hides their grey levels."""
    stored = copy.copy(images)
    stored.dequantize_levels = None
    return stored


def _nearest(
    drawn: ImageSet, real: ImageSet, train: ImageLoader, settings: EvaluateSettings
) -> tuple[dict[str, float], dict[str, NDArray[Any]]]:
    """Look for training images behind the first 1,000 drawn ones and as many test images."""

    def nearest(images: Images) -> NearestImages:
        # Where training images are drawn at each access, both look at one draw.
        noise = rng_stream(settings.seed, "evaluation/samples/nearest", train.device)
        return nearest_images(images, train, noise, settings.batch_size)

    ours, theirs = nearest(drawn.kept), nearest(real.kept)
    metrics = {
        "nearest_training_distance": ours.distances.quantile(0.5).item(),
        "nearest_training_distance_real": theirs.distances.quantile(0.5).item(),
        "data_copying_z": data_copying_z(theirs.distances, ours.distances),
    }
    shown = (drawn.kept[:SHOWN_SAMPLES] * 255).round().byte()
    behind = train.array[ours.indices[:SHOWN_SAMPLES].cpu().numpy()]
    return metrics, {"samples_shown": latent_statistics.to_numpy(shown), "nearest_shown": behind}


def _provenance(
    spaces: Sequence[FeatureSpace], real: ImageSet, data: EvaluationData, rows: Rows
) -> Metrics:
    """Say how far the features can be trusted, and which network they are from."""
    found: Metrics = {}
    if real.predicted is not None and data.test_labels is not None:
        right = real.predicted.cpu().numpy() == data.test_labels[rows.numpy()]
        found["classifier_test_accuracy"] = float(right.mean())
    for space in spaces:
        if isinstance(space, InceptionSpace):
            found["inception_weights_sha256"] = space.weights_sha256
    return found


def _shares(drawn: ImageSet, real: ImageSet) -> dict[str, NDArray[Any]]:
    if drawn.class_shares is None or real.class_shares is None:
        return {}
    return {
        "class_shares": latent_statistics.to_numpy(drawn.class_shares),
        "class_shares_real": latent_statistics.to_numpy(real.class_shares),
    }
