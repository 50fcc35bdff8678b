"""The groups `samples` and `sampler`: samples of the prior, and of a sampler that was fitted to the
model's latents, compared with test images in several feature spaces.

Comparing training images with test images instead gives the floor, the best value to expect. All
three sets have one size, so value and floor have the same bias; the floor is an estimate too, and
a good model's value may be slightly on either side of it. Features fitted to training images
describe those better than test images, which raises the floor slightly.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
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
    NEIGHBORS,
    ImageSet,
    compare_image_sets,
    describe_image_set,
    extract_features,
)
from vaelab.evaluation.types import Arrays, EvaluationData, GroupMetrics, Metrics
from vaelab.inference import decoding
from vaelab.inference.sampling import sample_latents
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler

Images = Float[Tensor, "count channel height width"]
Rows = Int64[Tensor, "chosen"]

SHOWN_SAMPLES = 36
# Metrics of a single set that are reported for test images too
REAL_IMAGE_METRICS = ("spectrum_slope", "largest_class_share")
# Limit on the training images to which principal components are fit_batches
MAX_FITTED_IMAGES = 10_000


@dataclass(frozen=True)
class Reference:
    """What samples are compared with: test images, and as many training images for the floor."""

    spaces: Sequence[FeatureSpace]
    real: ImageSet
    floor: ImageSet
    nearest_to_real: NearestImages


def sample_metrics(
    model: Model,
    data: EvaluationData,
    classifier: Classifier | None,
    settings: EvaluateSettings,
    device: torch.device,
    sampler: Sampler | None = None,
) -> tuple[Metrics, Arrays]:
    """Compute the group `samples`, and `sampler` if there is one; and arrays for figures.

    Arrays of the sampler begin with `sampler_`. `settings.samples` images are sampled, or as many
    as the smaller of the splits train and test has. Both results are empty for fewer than six, and
    where pixels are missing. Test images must be the same at each access. Raises UserError where
    samples are not finite, and for a file without Inception weights.
    """
    count = min(settings.samples, len(data.test), len(data.train))
    if count <= NEIGHBORS or data.train.missing is not None or data.test.missing is not None:
        return {}, {}
    train, test = (_without_dequantization(images) for images in (data.train, data.test))
    test_rows = _shuffled_rows(len(test), settings.seed, "test")[:count]
    train_rows = _shuffled_rows(len(train), settings.seed, "train")
    # If the split is large enough, components are fitted to images outside of the floor's.
    fit_rows = train_rows[count:] if len(train) >= 2 * count else train_rows
    with torch.inference_mode():
        fit_batches = gather_batches(train, fit_rows[:MAX_FITTED_IMAGES], settings, "fitted")
        spaces = feature_spaces(fit_batches, classifier, settings, device)
        generated = extract_features(sample_images(model, data, count, settings, device), spaces)
        real = extract_features(gather_batches(test, test_rows, settings, "test"), spaces)
        floor = extract_features(
            gather_batches(train, train_rows[:count], settings, "train"), spaces, keep=0
        )
        reference = Reference(spaces, real, floor, _nearest(real.kept, train, settings))
        own, arrays = _of_set(generated, reference, train, settings)
        samples: GroupMetrics = {"count": count, **own}
        samples |= _of_real_images(reference) | _provenance(spaces, real, data, test_rows)
        if sampler is None:
            return {"samples": samples}, arrays
        images = sample_images(model, data, count, settings, device, sampler)
        own, more = _of_set(extract_features(images, spaces), reference, train, settings)
    arrays |= {f"sampler_{name}": array for name, array in more.items() if "real" not in name}
    return {"samples": samples, "sampler": {"name": sampler.name, **own}}, arrays


def _of_set(
    generated: ImageSet, reference: Reference, train: ImageLoader, settings: EvaluateSettings
) -> tuple[GroupMetrics, Arrays]:
    """Compare one set of samples with the reference; return its metrics, and arrays for figures."""
    nearest = _nearest(generated.kept, train, settings)
    distances = nearest.distances
    metrics: GroupMetrics = {
        **compare_image_sets(generated, reference.real),
        **describe_image_set(generated),
        "nearest_training_distance": distances.quantile(0.5).item(),
        "data_copying_z": data_copying_z(reference.nearest_to_real.distances, distances),
    }
    shown = (generated.kept[:SHOWN_SAMPLES] * 255).round().byte()
    arrays = {
        "samples_shown": latent_statistics.to_numpy(shown),
        "nearest_shown": train.array[nearest.indices[:SHOWN_SAMPLES].cpu().numpy()],
        "nearest_rows": latent_statistics.to_numpy(nearest.indices[:SHOWN_SAMPLES]),
    }
    return metrics, arrays | _shares(generated, reference.real)


def _of_real_images(reference: Reference) -> GroupMetrics:
    """Return the same quantities of training images (the floor) and of test images."""
    real = reference.real
    metrics: GroupMetrics = {
        f"{name}_floor": value for name, value in compare_image_sets(reference.floor, real).items()
    }
    metrics |= {
        f"{name}_real": value
        for name, value in describe_image_set(real).items()
        if name in REAL_IMAGE_METRICS
    }
    distances = reference.nearest_to_real.distances
    return metrics | {"nearest_training_distance_real": distances.quantile(0.5).item()}


def feature_spaces(
    training_images: Batches,
    classifier: Classifier | None,
    settings: EvaluateSettings,
    device: torch.device,
) -> list[FeatureSpace]:
    """Return the available feature spaces, principal components fitted to training images.

    Pixels are always available; the classifier's space needs a classifier, principal components
    need images that differ, Inception needs `settings.inception_weights`. Raises UserError for a
    file without these weights.
    """
    weights = settings.inception_weights
    inception = [InceptionSpace.load(weights, device)] if weights else []
    learned = [ClassifierSpace(classifier)] if classifier else []
    pca = PCASpace.fit(training_images)
    components = [pca] if pca.axes.numel() else []
    return [*learned, PixelSpace(), *components, *inception]


def sample_images(
    model: Model,
    data: EvaluationData,
    count: int,
    settings: EvaluateSettings,
    device: torch.device,
    sampler: Sampler | None = None,
) -> Iterator[Images]:
    """Sample images from the prior, or from a sampler, batch by batch, as `decoded_batches`.

    A conditional model samples labels by their frequency in the training split.
    """
    labels_rng = rng_stream(settings.seed, "evaluation/samples/labels", device)
    given = model.with_sampled_labels(count, labels_rng)
    rng = rng_stream(settings.seed, "evaluation/samples", device)
    return decoded_batches(*sample_latents(given, sampler, count, rng), data, settings)


def decoded_batches(
    given: Model,
    latents: Float[Tensor, "count latent"],
    data: EvaluationData,
    settings: EvaluateSettings,
) -> Iterator[Images]:
    """Decode latents batch by batch, to images with pixels as in the data set's files.

    They are means of p(x|z), in [0, 1]. Binary data get binary pixels, sampled with these means as
    probabilities, and dequantized gray levels are quantized again. Raises UserError where a pixel
    is not finite.
    """
    noise = rng_stream(settings.seed, "evaluation/samples/pixels", latents.device)
    levels = data.test.dequantize_levels
    for rows in torch.split(torch.arange(len(latents), device=latents.device), settings.batch_size):
        images = decoding.decode_means(given.given_rows(rows), latents[rows])
        if not images.isfinite().all():
            raise UserError("samples: the images sampled from the model are not finite")
        yield as_stored(images, data.levels, levels, noise)


def as_stored(
    means: Images, levels: int, dequantize_levels: int | None, noise: torch.Generator
) -> Images:
    """Turn means of p(x|z) into images with pixels as in the data set's files.

    Of `levels` gray levels, two are sampled, with the means as probabilities. Means of a model that
    was trained on dequantized pixels, of `dequantize_levels`, are quantized.
    """
    if levels == 2:
        return torch.bernoulli(means, generator=noise)
    if not dequantize_levels:
        return means
    # The model was trained on x = (level + noise) / levels; files spread levels over bytes.
    highest = dequantize_levels - 1
    fraction = (means * dequantize_levels).floor().clamp(max=highest) / highest
    return (fraction * 255).round() / 255


def gather_batches(
    images: ImageLoader, rows: Rows, settings: EvaluateSettings, name: str
) -> Iterator[Images]:
    """Return an iterator over batches of chosen rows; `name` names the noise stream, if any."""
    noise = rng_stream(settings.seed, f"evaluation/samples/{name}", images.device)
    return (images.gather(batch, noise) for batch in torch.split(rows, settings.batch_size))


def _shuffled_rows(images: int, seed: int, name: str) -> Rows:
    """Shuffle a split's rows: files may be sorted."""
    return torch.randperm(images, generator=rng_stream(seed, f"evaluation/samples/{name}-rows"))


def _without_dequantization(images: ImageLoader) -> ImageLoader:
    """Return the same images without the noise that dequantizes gray levels."""
    stored = copy.copy(images)
    stored.dequantize_levels = None
    return stored


def _nearest(images: Images, train: ImageLoader, settings: EvaluateSettings) -> NearestImages:
    """Find the nearest training image of each image."""
    # Training images that are sampled at each access must be the same for all sets.
    noise = rng_stream(settings.seed, "evaluation/samples/nearest", train.device)
    return nearest_images(images, train, noise, settings.batch_size)


def _provenance(
    spaces: Sequence[FeatureSpace], real: ImageSet, data: EvaluationData, rows: Rows
) -> GroupMetrics:
    """Return the classifier's test accuracy, and the SHA-256 of Inception's weights."""
    metrics: GroupMetrics = {}
    if real.predicted is not None and data.test_labels is not None:
        labels = data.test_labels[rows.numpy()]
        correct = real.predicted.cpu().numpy() == labels
        if (labels >= 0).any():
            metrics["classifier_test_accuracy"] = float(correct[labels >= 0].mean())
    for space in spaces:
        if isinstance(space, InceptionSpace):
            metrics["inception_weights_sha256"] = space.weights_sha256
    return metrics


def _shares(generated: ImageSet, real: ImageSet) -> Arrays:
    if generated.class_shares is None or real.class_shares is None:
        return {}
    return {
        "class_shares": latent_statistics.to_numpy(generated.class_shares),
        "class_shares_real": latent_statistics.to_numpy(real.class_shares),
    }
