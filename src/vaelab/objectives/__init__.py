"""Objectives: what each player minimises. A file each; its name is the setting's value."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from vaelab.config import TrainSettings
from vaelab.models import Model

Images = Float[Tensor, "batch channel height width"]


@dataclass(frozen=True)
class PlayerLoss:
    """What one player minimises, and the terms to watch, all unreduced: a value an image."""

    loss: Float[Tensor, "batch"]
    terms: Mapping[str, Float[Tensor, "batch"]]


class Objective(BaseModel):
    """An objective; its fields are its hyper-parameters, filled from `train` by name.

    `players` says which networks each optimiser owns; a player's loss reaches no others.
    `update_order` says whether all players' gradients are taken from one evaluation of
    `losses`, or each moves in turn and the next one sees its new weights.
    `selection` names the validation metric whose lowest value marks the best weights,
    None where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    players: ClassVar[Mapping[str, tuple[str, ...]]]
    update_order: ClassVar[Literal["together", "in_turn"]] = "together"
    selection: ClassVar[str | None] = None

    @classmethod
    def networks(cls) -> tuple[str, ...]:
        """Name every network that a player owns, each once, in order."""
        return tuple(dict.fromkeys(name for names in cls.players.values() for name in names))

    def at(self, epoch: float) -> dict[str, float]:
        """Give the fields that change over training their values at a time, in epochs.

        The loop keeps these as tensors on the device: inside `losses` such a field is one.
        """
        return {}

    def losses(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, PlayerLoss]:
        """Give each player's loss and terms for a batch."""
        raise AssertionError("each objective defines its own")

    def validate_batch(
        self, model: Model, images: Images, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Measure a batch that is not trained on: metrics [batch] or [batch, dimension].

        Called on the objective as it was set, whatever the schedule of its fields.
        """
        return {}


def build_objective(settings: TrainSettings) -> Objective:
    """Build the objective that `train.objective` names from the fields of `train`."""
    module = importlib.import_module(f"vaelab.objectives.{settings.objective}")
    cls: type[Objective] = module.OBJECTIVE
    return cls(**{name: getattr(settings, name) for name in cls.model_fields})
