"""What the stages measured, read back: every metric of every member, a value a seed."""

import json
from dataclasses import dataclass
from typing import Any

from pipeline import paths
from pipeline.comparison import places
from pipeline.files import flattened
from vaelab.config import read_yaml

Metrics = dict[str, list[float]]


@dataclass(frozen=True)
class Results:
    """`members` has each member's metrics by dotted name, seeds in ascending order."""

    members: dict[str, Metrics]
    floor: dict[str, Any]

    @classmethod
    def load(cls) -> "Results":
        """Read the files of the train, measure and classifier stages."""
        members = {name: _member(name) for name in member_names()}
        return cls(members, json.loads(paths.FLOOR.read_text()))

    def seeds(self, member: str) -> int:
        """Count a member's seeds."""
        return len(places.seeds(member))


def member_names() -> list[str]:
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
