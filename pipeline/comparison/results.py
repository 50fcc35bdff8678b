"""Load what the stages measured: each metric of each variant, with a value per seed."""

import json
from dataclasses import dataclass

from pipeline import paths
from pipeline.comparison import paths as variant_paths
from pipeline.comparison.variants import ComparisonConfig
from vaelab.runtime.serialization import flattened

Metrics = dict[str, list[float]]

# Group of the metrics of training images, which are the same for all variants.
REAL = "real."
SHARPNESS = ".sharpness_ratio"


@dataclass(frozen=True)
class Results:
    """`variants` has each variant's metrics by dotted name, with seeds in ascending order.

    `real_images` has the metrics of training images in place of samples, without the group's name.
    """

    variants: dict[str, Metrics]
    real_images: dict[str, float]

    @classmethod
    def load(cls) -> "Results":
        """Load the files of the train and measure stages, in the order of the settings."""
        names = ComparisonConfig.load().comparison.variants
        found = {
            name: _variant(name) for name in names if (paths.COMPARISON_MEASURED / name).is_dir()
        }
        real_images = {
            name.removeprefix(REAL): values[0]
            for name, values in next(iter(found.values()), {}).items()
            if name.startswith(REAL)
        }
        own = {
            variant: {k: v for k, v in metrics.items() if not k.startswith(REAL)}
            for variant, metrics in found.items()
        }
        return cls(own, real_images)

    def seeds(self, variant: str) -> int:
        """Return how many seeds of a variant were measured."""
        return len(variant_paths.measured_seeds(variant))


def seed_metrics(variant: str, seed: int) -> dict[str, float]:
    """Return the metrics of one model, with its training time, and what its sharpness means."""
    metrics = flattened(json.loads(variant_paths.metrics(variant, seed).read_text()))
    training = json.loads(variant_paths.training(variant, seed).read_text())
    timing = {k: v for k, v in training.items() if k == "training_seconds"}
    return metrics | blur_and_noise(metrics) | flattened({"timing": timing})


def blur_and_noise(metrics: dict[str, float]) -> dict[str, float]:
    """Split each sharpness, 1 for real images, into what is missing and what is too much of it.

    Noise is sharp too: sharpness beyond that of real images is no merit.
    """
    split = {}
    for name, sharpness in metrics.items():
        if name.endswith(SHARPNESS):
            group = name.removesuffix(SHARPNESS)
            split[f"{group}.blur"] = max(0.0, 1 - sharpness)
            split[f"{group}.excess_sharpness"] = max(0.0, sharpness - 1)
    return split


def _variant(name: str) -> Metrics:
    metrics: Metrics = {}
    for seed in variant_paths.measured_seeds(name):
        for key, value in seed_metrics(name, seed).items():
            metrics.setdefault(key, []).append(value)
    return metrics
