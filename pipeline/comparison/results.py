"""Load what the stages measured: each metric of each variant, with a value per seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import paths
from pipeline.comparison import paths as variant_paths
from vaelab.config import read_yaml
from vaelab.runtime.serialization import flattened

Metrics = dict[str, list[float]]

# Suffixes of the metrics of real images, which are the same for all variants.
OF_REAL_IMAGES = ("_floor", "_real")


@dataclass(frozen=True)
class Results:
    """`variants` has each variant's metrics by dotted name, with seeds in ascending order.

    `real_images` has the values for test images in place of samples, by the same names.
    """

    variants: dict[str, Metrics]
    real_images: dict[str, float]

    @classmethod
    def load(cls) -> "Results":
        """Load the files of the train and measure stages."""
        found = {name: _variant(name) for name in variant_names()}
        real_images = _of_real_images(next(iter(found.values()), {}))
        return cls({name: _own(metrics) for name, metrics in found.items()}, real_images)

    def seeds(self, variant: str) -> int:
        """Return how many seeds of a variant were measured."""
        return len(variant_paths.seeds(variant))


def variant_names() -> list[str]:
    """Return the measured variants, in the order of pipeline/comparison/dvc.yaml."""
    stages: Any = read_yaml(paths.COMPARISON_STAGES)
    names: list[str] = stages["vars"][0]["variants"]
    return [name for name in names if (paths.COMPARISON_MEASURED / name).is_dir()]


def seed_metrics(variant: str, seed: int) -> dict[str, float]:
    """Return the metrics of one model, with its training time."""
    metrics = flattened(json.loads(variant_paths.metrics(variant, seed).read_text()))
    timing = json.loads(variant_paths.timing(variant, seed).read_text())
    return metrics | flattened({"timing": timing})


def _variant(name: str) -> Metrics:
    metrics: Metrics = {}
    for seed in variant_paths.seeds(name):
        for key, value in seed_metrics(name, seed).items():
            metrics.setdefault(key, []).append(value)
    return metrics


def _own(metrics: Metrics) -> Metrics:
    return {name: v for name, v in metrics.items() if not name.endswith(OF_REAL_IMAGES)}


def _of_real_images(metrics: Mapping[str, list[float]]) -> dict[str, float]:
    return {
        name.removesuffix(end): values[0]
        for name, values in metrics.items()
        for end in OF_REAL_IMAGES
        if name.endswith(end)
    }
