"""Measure one variant: its bounds, its reconstructions, and samples from its prior and samplers."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import paths
from pipeline.artifacts import build_batches
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.images import (
    Images,
    RealImages,
    Stored,
    fit_samplers,
    reconstructions,
    samples,
)
from pipeline.comparison.variants import ComparisonConfig, run
from vaelab.config import EvaluateSettings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.evaluation.classifier import load_classifier
from vaelab.evaluation.samples import as_stored
from vaelab.models.model import Model
from vaelab.models.saving import load_model
from vaelab.runtime.devices import choose_device
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import write_arrays, write_json
from vaelab.samplers import Sampler

# Metrics of the evaluation that the tables have, besides all metrics of images.
REPORTED = (
    "test.mean_squared_error",
    "test.generation_loss_nats",
    "test.kl_loss_nats",
    "test.neg_elbo_nats",
    "test.nll_nats",
    "test.nll_effective_sample_size",
    "likelihood.nll_nats",
    "likelihood.nll_standard_error_nats",
    "likelihood.effective_sample_size",
    "likelihood.uneven_share",
    "likelihood.images",
    "latent.mmd_squared",
    "latent.marginal_kl_nats",
)


def main() -> None:
    """Run the stage."""
    run(measure, __doc__)


def measure(variant: str) -> None:
    """Measure the models of all seeds, each in a process of its own."""
    ComparisonConfig.load().each_seed(measure_seed, variant)


def measure_seed(variant: str, seed: int) -> str:
    """Measure one model, write its metrics and images, and return a line to print."""
    config = ComparisonConfig.load()
    device = choose_device(config.variant_settings(variant, seed).machine)
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    model, _ = load_model(variant_paths.model(variant, seed), device)
    metrics, images = image_metrics(config, model, data, seed)
    metrics |= evaluation_metrics(config, model, data)
    write_json(variant_paths.metrics(variant, seed), metrics)
    write_images(variant_paths.images(variant, seed), images)
    distances = {
        name: group["classifier_frechet_distance"]
        for name, group in metrics.items()
        if "classifier_frechet_distance" in group
    }
    listed = ", ".join(f"{name} {value:.1f}" for name, value in distances.items())
    return f"{variant}, seed {seed}: Frechet distances: {listed}"


def image_metrics(
    config: ComparisonConfig, model: Model, data: PreparedData, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Compare each kind of a model's images with real ones; return the first images too.

    The groups are `samples` from the prior, `sampler.<name>` from a fitted sampler,
    `reconstructions`, and `real`: training images, with the classifier's accuracy.
    """
    settings, count = config.base.evaluate, config.comparison.pictures
    device = model.output_offset.device
    train, test = (
        build_batches(data, split, dequantize=False, device=device) for split in ("train", "test")
    )
    classifier, _ = load_classifier(paths.CLASSIFIER, device)
    real = RealImages.load(train, test, classifier, settings)
    info, noise = data.info, rng_stream(settings.seed, "comparison/stored", device)
    dequantized = info.levels if config.base.data.dequantize else None
    stored = partial(as_stored, levels=info.levels, dequantize_levels=dequantized, noise=noise)
    metrics: dict[str, Any] = {"real": real.floor}
    # The first ones are those that are reconstructed.
    shown = {"real": real.images[: 3 * count]}
    samplers = fit_samplers(config, model, train, seed)
    for name, batches in generated_images(model, samplers, real, settings, stored).items():
        images = list(batches)
        metrics[name], shown[name] = real.compare(images), torch.cat(images)[:count]
    return metrics, shown


def generated_images(
    model: Model,
    samplers: Mapping[str, Sampler],
    real: RealImages,
    settings: EvaluateSettings,
    stored: Stored,
) -> dict[str, Iterator[Images]]:
    """Return the batches of each kind of images that the model generates, by group of metrics."""
    sources = {"samples": None} | {f"sampler.{name}": s for name, s in samplers.items()}
    generated = {
        group: samples(model, sampler, len(real.images), settings, stored)
        for group, sampler in sources.items()
    }
    if model.has("encoder"):
        generated["reconstructions"] = reconstructions(model, real, settings, stored)
    return generated


def evaluation_metrics(
    config: ComparisonConfig, model: Model, data: PreparedData
) -> dict[str, Any]:
    """Return the metrics of REPORTED that apply to the model, by group."""
    device = model.output_offset.device
    evaluated = evaluation_data(config, data, device)
    settings = config.base.evaluate
    result = evaluate(model, evaluated, settings, device, groups=["test", "latent", "likelihood"])
    found: dict[str, Any] = {}
    for name in REPORTED:
        group, _, key = name.partition(".")
        if key in result.metrics.get(group, {}):
            found.setdefault(group, {})[key] = result.metrics[group][key]
    return found


def evaluation_data(
    config: ComparisonConfig, data: PreparedData, device: torch.device
) -> EvaluationData:
    """Return the training split and `comparison.test_images` of the test split."""
    train, test = (
        build_batches(data, split, config.base.data.dequantize, device)
        for split in ("train", "test")
    )
    labels = data.labels("test")
    rows = sample_rows(len(test), config.comparison.test_images, 0, "comparison").numpy()
    labels = None if labels is None else labels[rows]
    test = ImageLoader(
        data.images("test")[rows],
        device,
        labels=labels,
        classes=test.classes,
        dequantize_levels=test.dequantize_levels,
    )
    return EvaluationData(data.info.name, data.info.levels, train, test, test_labels=labels)


def write_images(path: Path, images: dict[str, Tensor]) -> None:
    """Write images in [0, 1] as uint8."""
    as_bytes = {k: (v.clamp(0, 1) * 255).round().byte() for k, v in images.items()}
    write_arrays(path, {k: v.cpu().numpy() for k, v in as_bytes.items()})


if __name__ == "__main__":
    main()
