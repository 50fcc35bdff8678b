"""Measure one member of the comparison: its bounds, its latents, and images drawn from it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import paths
from pipeline.artifacts import build_batches
from pipeline.comparison import paths as places
from pipeline.comparison.variants import Plan, run
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

# What the table takes from the report of the evaluation, beside all of the samples.
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


def measure(member: str) -> None:
    """Measure the models of all seeds."""
    Plan.load().each_seed(measure_seed, member)


def measure_seed(member: str, seed: int) -> str:
    """Measure one model, and keep pictures of it; say what matters most."""
    plan = Plan.load()
    device = choose_device(plan.settings(member, seed).machine)
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    model, _ = load_model(places.model(member, seed), device)
    drawn, kept = samples(plan, model, data), pictured(plan, model, data)
    write_json(places.metrics(member, seed), {"samples": drawn} | report(plan, model, data))
    write_pictures(places.pictures(member, seed), kept)
    return f"{member}, seed {seed}: Frechet {drawn['classifier_frechet_distance']:.1f}"


def samples(plan: Plan, model: Model, data: PreparedData) -> dict[str, Any]:
    """Compare images drawn from a model with real ones."""
    device = next(model.parameters()).device
    subjects = evaluation_data(plan, data, device)
    classifier, _ = load_classifier(paths.CLASSIFIER, device)
    settings = plan.common.evaluate
    whole = evaluate(model, subjects, settings, device, classifier, groups=["samples"])
    return whole.metrics["samples"]


def report(plan: Plan, model: Model, data: PreparedData) -> dict[str, Any]:
    """Give those metrics of the evaluation that apply to the model, by group."""
    device = next(model.parameters()).device
    subjects = evaluation_data(plan, data, device, plan.comparison.test_images)
    settings = plan.common.evaluate
    whole = evaluate(model, subjects, settings, device, groups=["test", "latent"])
    found: dict[str, Any] = {}
    for name in REPORTED:
        group, _, key = name.partition(".")
        if key in whole.metrics.get(group, {}):
            found.setdefault(group, {})[key] = whole.metrics[group][key]
    return found


def evaluation_data(
    plan: Plan, data: PreparedData, device: torch.device, most: int | None = None
) -> EvaluationData:
    """Give the splits, of the test split at most so many images."""
    train, test = (
        build_batches(data, split, plan.common.data.dequantize, device)
        for split in ("train", "test")
    )
    labels = data.labels("test")
    if most:
        rows = sample_rows(len(test), most, 0, "comparison").numpy()
        some = data.images("test")[rows]
        test = ImageLoader(some, device, dequantize_levels=test.dequantize_levels)
        labels = None if labels is None else labels[rows]
    return EvaluationData(data.info.name, data.info.levels, train, test, test_labels=labels)


def pictured(plan: Plan, model: Model, data: PreparedData) -> dict[str, Tensor]:
    """Give originals, their reconstructions where there are any, other real images, and samples."""
    device, count = next(model.parameters()).device, plan.comparison.pictures
    images = data.images("test")
    rows = sample_rows(len(images), 2 * count, 0, "comparison-pictures").numpy()
    originals, others = (torch.from_numpy(images[rows]).to(device).float() / 255).chunk(2)
    drawn = decoding.prior_samples(model, len(others), rng_stream(0, "comparison", device))
    kept = {"originals": originals, "real": others, "samples": drawn}
    if model.has("encoder"):
        kept["reconstructions"] = decoding.reconstructions(model, originals)
    return kept


def write_pictures(path: Path, pictures: dict[str, Tensor]) -> None:
    """Write images in [0, 1] as bytes."""
    as_bytes = {k: (v.clamp(0, 1) * 255).round().byte() for k, v in pictures.items()}
    write_arrays(path, {k: v.cpu().numpy() for k, v in as_bytes.items()})


if __name__ == "__main__":
    main()
