"""Measure one variant of the comparison: its bounds, its latents and its samples."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import paths
from pipeline.artifacts import build_batches
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.variants import ComparisonConfig, run
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.evaluation.classifier import load_classifier
from vaelab.inference import decoding
from vaelab.models.model import Model
from vaelab.models.saving import load_model
from vaelab.runtime.devices import choose_device
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import write_arrays, write_json

# Metrics of the evaluation that the table has, besides all metrics of the samples.
REPORTED = (
    "test.mean_squared_error",
    "test.generation_loss_nats",
    "test.kl_loss_nats",
    "test.neg_elbo_nats",
    "test.nll_nats",
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
    of_samples, images = sample_metrics(config, model, data), example_images(config, model, data)
    write_json(
        variant_paths.metrics(variant, seed),
        {"samples": of_samples} | evaluation_metrics(config, model, data),
    )
    write_images(variant_paths.images(variant, seed), images)
    return f"{variant}, seed {seed}: Frechet {of_samples['classifier_frechet_distance']:.1f}"


def sample_metrics(config: ComparisonConfig, model: Model, data: PreparedData) -> dict[str, Any]:
    """Return the metrics that compare samples from the prior with real images."""
    device = next(model.parameters()).device
    evaluated = evaluation_data(config, data, device)
    classifier, _ = load_classifier(paths.CLASSIFIER, device)
    settings = config.base.evaluate
    result = evaluate(model, evaluated, settings, device, classifier, groups=["samples"])
    return result.metrics["samples"]


def evaluation_metrics(
    config: ComparisonConfig, model: Model, data: PreparedData
) -> dict[str, Any]:
    """Return the metrics of REPORTED that apply to the model, by group."""
    device = next(model.parameters()).device
    evaluated = evaluation_data(config, data, device, config.comparison.test_images)
    settings = config.base.evaluate
    result = evaluate(model, evaluated, settings, device, groups=["test", "latent"])
    found: dict[str, Any] = {}
    for name in REPORTED:
        group, _, key = name.partition(".")
        if key in result.metrics.get(group, {}):
            found.setdefault(group, {})[key] = result.metrics[group][key]
    return found


def evaluation_data(
    config: ComparisonConfig,
    data: PreparedData,
    device: torch.device,
    max_test_images: int | None = None,
) -> EvaluationData:
    """Return the splits, at most `max_test_images` of the test split."""
    train, test = (
        build_batches(data, split, config.base.data.dequantize, device)
        for split in ("train", "test")
    )
    labels = data.labels("test")
    if max_test_images:
        rows = sample_rows(len(test), max_test_images, 0, "comparison").numpy()
        labels = None if labels is None else labels[rows]
        test = ImageLoader(
            data.images("test")[rows],
            device,
            labels=labels,
            classes=test.classes,
            dequantize_levels=test.dequantize_levels,
        )
    return EvaluationData(data.info.name, data.info.levels, train, test, test_labels=labels)


def example_images(config: ComparisonConfig, model: Model, data: PreparedData) -> dict[str, Tensor]:
    """Return originals, their reconstructions if any, other real images, and samples."""
    device, count = next(model.parameters()).device, config.comparison.pictures
    images = data.images("test")
    rows = sample_rows(len(images), 2 * count, 0, "comparison-pictures").numpy()
    originals, others = (torch.from_numpy(images[rows]).to(device).float() / 255).chunk(2)
    generated = decoding.prior_samples(model, len(others), rng_stream(0, "comparison", device))
    images_by_kind = {"originals": originals, "real": others, "samples": generated}
    if model.has("encoder"):
        images_by_kind["reconstructions"] = decoding.reconstructions(model, originals)
    return images_by_kind


def write_images(path: Path, images: dict[str, Tensor]) -> None:
    """Write images in [0, 1] as uint8."""
    as_bytes = {k: (v.clamp(0, 1) * 255).round().byte() for k, v in images.items()}
    write_arrays(path, {k: v.cpu().numpy() for k, v in as_bytes.items()})


if __name__ == "__main__":
    main()
