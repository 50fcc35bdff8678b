"""Measure one member of the comparison: its bounds, its latents, and images drawn from it."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pipeline import paths
from pipeline.comparison import places
from pipeline.comparison.images import compare, real_images, rows_of
from pipeline.comparison.members import Plan, run
from pipeline.files import write_json
from vaelab import rendering
from vaelab.checkpoint import load_model
from vaelab.classifier import load_classifier
from vaelab.data.batches import ImageBatches
from vaelab.data.dataset import PreparedData
from vaelab.devices import choose_device
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.files import write_atomically
from vaelab.models import Model
from vaelab.randomness import stream

# What the table takes from the report of the evaluation.
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
    settings, comparison = plan.settings(member, seed), plan.comparison
    device = choose_device(settings.machine)
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    model, _ = load_model(places.model(member, seed), device)
    classifier, _ = load_classifier(paths.CLASSIFIER, device)
    real = real_images(data, "test", comparison.samples, device)
    drawn = rendering.prior_samples(model, comparison.samples, stream(0, "comparison", device))
    metrics = {"samples": compare(classifier, drawn, real)}
    metrics |= report(plan, model, data)
    write_json(places.metrics(member, seed), metrics)
    write_pictures(places.pictures(member, seed), model, real[: 2 * comparison.pictures], drawn)
    return f"{member}, seed {seed}: Frechet {metrics['samples']['frechet_distance']:.1f}"


def report(plan: Plan, model: Model, data: PreparedData) -> dict[str, Any]:
    """Give those metrics of the evaluation that apply to the model, by group."""
    device = next(model.parameters()).device
    images = data.images("test")
    test = images[rows_of(len(images), plan.comparison.test_images)]
    info, dequantize = data.info, plan.common.data.dequantize
    levels = info.levels if dequantize else None
    train = ImageBatches(data.images("train"), device, dequantize_levels=levels)
    some = ImageBatches(test, device, dequantize_levels=levels)
    settings = plan.common.evaluate
    whole = evaluate(model, EvaluationData(info.name, info.levels, train, some), settings, device)
    found: dict[str, Any] = {}
    for name in REPORTED:
        group, _, key = name.partition(".")
        if key in whole.metrics.get(group, {}):
            found.setdefault(group, {})[key] = whole.metrics[group][key]
    return found


def write_pictures(path: Path, model: Model, images: Tensor, drawn: Tensor) -> None:
    """Write, as bytes, originals, their reconstructions where there are any, and samples.

    One half of the images is restored, the other stands for itself, beside the samples.
    """
    originals, others = images.chunk(2)
    pictures = {"originals": originals, "real": others, "samples": drawn[: len(others)]}
    if model.has("encoder"):
        pictures["reconstructions"] = rendering.reconstructions(model, originals)
    arrays = {k: (v.clamp(0, 1) * 255).round().byte().cpu().numpy() for k, v in pictures.items()}

    def save(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    write_atomically(path, save)


if __name__ == "__main__":
    main()
