"""Images of a model, from its prior, from fitted samplers and reconstructed, beside real ones."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipeline.comparison.variants import ComparisonConfig
from vaelab.config import EvaluateSettings, SamplerSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import Classifier
from vaelab.evaluation.feature_spaces import ClassifierSpace
from vaelab.evaluation.image_sets import (
    ImageSet,
    compare_image_sets,
    describe_image_set,
    extract_features,
)
from vaelab.inference import decoding
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler, encode_posteriors, fit_sampler

Images = Float[Tensor, "count channel height width"]
Stored = Callable[[Images], Images]


@dataclass(frozen=True)
class RealImages:
    """Test images, in random order, with which all others are compared by a classifier's features.

    `labels` are the images' own, if there are any. `floor` compares as many training images with
    them.
    """

    images: Images
    labels: Int64[Tensor, "count"] | None
    space: ClassifierSpace
    statistics: ImageSet
    floor: dict[str, float]

    @classmethod
    def load(
        cls,
        train: ImageLoader,
        test: ImageLoader,
        classifier: Classifier,
        settings: EvaluateSettings,
    ) -> "RealImages":
        """Compute the features of `settings.samples` images, or of the smaller split's number."""
        count, space = min(settings.samples, len(test), len(train)), ClassifierSpace(classifier)
        (images, labels), (others, _) = (_random(split, count, settings) for split in (test, train))
        real, floor = (
            extract_features(torch.split(x, settings.batch_size), [space], keep=0)
            for x in (images, others)
        )
        measured = compare_image_sets(floor, real) | describe_image_set(real)
        if labels is not None and real.predicted is not None:
            measured["classifier_accuracy"] = (real.predicted == labels).double().mean().item()
        return cls(images, labels, space, real, measured)

    def compare(self, batches: Iterable[Images]) -> dict[str, float]:
        """Return Fréchet and kernel distance, precision, recall, sharpness and slope of images."""
        images = extract_features(iter(batches), [self.space], keep=0)
        return compare_image_sets(images, self.statistics) | describe_image_set(images)


def fit_samplers(
    config: ComparisonConfig, model: Model, train: ImageLoader, seed: int
) -> dict[str, Sampler]:
    """Fit each of `comparison.samplers` to the training images' latents, without their labels."""
    if not model.has("encoder"):
        return {}
    posteriors = encode_posteriors(model, train, batch_size=config.base.evaluate.batch_size)
    settings = {name: SamplerSettings(name=name, seed=seed) for name in config.comparison.samplers}
    return {
        name: fit_sampler(chosen, config.base.samplers, posteriors).sampler
        for name, chosen in settings.items()
    }


def samples(
    model: Model, sampler: Sampler | None, count: int, settings: EvaluateSettings, stored: Stored
) -> Iterator[Images]:
    """Decode latents from a sampler, or from the model's prior, batch by batch.

    A conditional model's labels are sampled independently of the latents. `stored` turns means into
    pixels as they are in the data set's files.
    """
    device = model.output_offset.device
    noise = rng_stream(settings.seed, "comparison/samples", device)
    given = model.with_sampled_labels(count, rng_stream(settings.seed, "comparison/labels", device))
    with torch.inference_mode():
        if sampler is None:
            latents = given.prior(count, noise)
        else:
            latents = model.quantize(sampler.sample(count, noise))
        for rows in torch.split(torch.arange(count, device=device), settings.batch_size):
            yield stored(decoding.decode_means(given.given_rows(rows), latents[rows]))


def reconstructions(
    model: Model, real: RealImages, settings: EvaluateSettings, stored: Stored
) -> Iterator[Images]:
    """Decode the posterior means of the test images, batch by batch, to pixels as in the files."""
    for rows in torch.split(torch.arange(len(real.images)), settings.batch_size):
        given = model.given(None if real.labels is None else real.labels[rows])
        yield stored(decoding.reconstructions(given, real.images[rows]))


def _random(
    split: ImageLoader, count: int, settings: EvaluateSettings
) -> tuple[Images, Int64[Tensor, "count"] | None]:
    """Return random images and their labels: files may be sorted."""
    order = torch.randperm(len(split), generator=rng_stream(settings.seed, "comparison/rows"))
    rows, noise = order[:count], rng_stream(settings.seed, "comparison/pixels", split.device)
    return split.gather(rows, noise), split.labels_at(rows)
