"""What the stages measured, read back: every metric of every member, a value a seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline import paths
from pipeline.comparison import paths as places
from vaelab.config import read_yaml
from vaelab.runtime.serialization import flattened

Metrics = dict[str, list[float]]

# How the names end of what real images reach, the same beside every member.
OF_REAL_IMAGES = ("_floor", "_real")


@dataclass(frozen=True)
class Results:
    """`members` has each member's metrics by dotted name, seeds in ascending order.

    `floor` has what real images reach in the place of samples, by the same names.
    """

    variants: dict[str, Metrics]
    floor: dict[str, float]

    @classmethod
    def load(cls) -> "Results":
        """Read the files of the train and measure stages."""
        found = {name: _member(name) for name in variant_names()}
        floor = _floor(next(iter(found.values()), {}))
        return cls({name: _own(metrics) for name, metrics in found.items()}, floor)

    def seeds(self, member: str) -> int:
        """Count a member's seeds."""
        return len(places.seeds(member))


def variant_names() -> list[str]:
    """Name those who take part, in the order of pipeline/comparison/dvc.yaml."""
    stages: Any = read_yaml(paths.COMPARISON_STAGES)
    names: list[str] = stages["vars"][0]["members"]
    return [name for name in names if (paths.COMPARISON_MEASURED / name).is_dir()]


def seed_metrics(member: str, seed: int) -> dict[str, float]:
    """Give the numbers of one model, its time among them."""
    metrics = flattened(json.loads(places.metrics(member, seed).read_text()))
    timing = json.loads(places.timing(member, seed).read_text())
    return metrics | flattened({"timing": timing})


def _member(name: str) -> Metrics:
    metrics: Metrics = {}
    for seed in places.seeds(name):
        for key, value in seed_metrics(name, seed).items():
            metrics.setdefault(key, []).append(value)
    return metrics


def _own(metrics: Metrics) -> Metrics:
    return {name: v for name, v in metrics.items() if not name.endswith(OF_REAL_IMAGES)}


def _floor(metrics: Mapping[str, list[float]]) -> dict[str, float]:
    return {
        name.removesuffix(end): values[0]
        for name, values in metrics.items()
        for end in OF_REAL_IMAGES
        if name.endswith(end)
    }
