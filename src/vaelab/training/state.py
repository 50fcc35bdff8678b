"""All that changes while a model trains, and so all that a checkpoint holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaelab.models.model import Model
from vaelab.training.optimizers import GroupOptimizer
from vaelab.training.progress import Progress
from vaelab.training.running_means import RunningMeans

Tensors = dict[str, Tensor]


@dataclass
class TrainingState:
    """Weights, optimizers, random generators and progress of one training.

    `averaged` has the moving average of the weights, None if there is none.
    `epoch_rng_state` is the state of `shuffle_rng` before this epoch's order was drawn: an epoch
    that is resumed in the middle draws the same order again.
    """

    model: Model
    optimizers: dict[str, GroupOptimizer]
    shuffle_rng: torch.Generator
    noise_rng: torch.Generator
    averaged: Model | None = None
    progress: Progress = field(default_factory=Progress)
    running_means: RunningMeans = field(default_factory=RunningMeans)
    best_weights: Tensors = field(init=False)
    epoch_rng_state: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.best_weights = copy_weights(self.model)
        self.epoch_rng_state = self.shuffle_rng.get_state()

    def state_dict(self) -> tuple[Tensors, dict[str, Any]]:
        """Return all tensors by name, and the rest as JSON types."""
        groups = {
            "model": copy_weights(self.model),
            "best": self.best_weights,
            "sum": self.running_means.sums,
            "rng": {"shuffle": self.epoch_rng_state, "noise": self.noise_rng.get_state()},
        }
        if self.averaged:
            groups["averaged"] = copy_weights(self.averaged)
        groups |= {f"optimizer.{name}": o.state_dict() for name, o in self.optimizers.items()}
        tensors = {f"{group}.{k}": v for group, named in groups.items() for k, v in named.items()}
        # Files of tensors are sorted by name; the metrics keep the order in which they came.
        means = {"images": self.running_means.count, "terms": list(self.running_means.sums)}
        return tensors, vars(self.progress) | means

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; tensors may be on another device."""
        device = self.shuffle_rng.device

        def on_device(group: str) -> Tensors:
            return {name: tensor.to(device) for name, tensor in _under(group, tensors).items()}

        sums, progress = on_device("sum"), dict(values)
        terms = {name: sums[name] for name in progress.pop("terms")}
        self.running_means = RunningMeans(terms, progress.pop("images"))
        self.progress = Progress(**progress)
        self.model.load_state_dict(_under("model", tensors))
        if self.averaged:
            self.averaged.load_state_dict(_under("averaged", tensors))
        self.best_weights = on_device("best")
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(_under(f"optimizer.{name}", tensors))
        self.epoch_rng_state = tensors["rng.shuffle"]
        self.shuffle_rng.set_state(self.epoch_rng_state)
        self.noise_rng.set_state(tensors["rng.noise"])


def copy_weights(model: Model) -> Tensors:
    """Return a copy of a model's weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
