"""How far a training has come, and what stops it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from vaelab.config import UserError


@dataclass(frozen=True)
class EpochReport:
    """What an epoch (counted from 1) showed: means over images, by metric name."""

    epoch: int
    metrics: dict[str, float]


@dataclass
class Progress:
    """How far training has come: all that a checkpoint holds beside tensors.

    `epoch` counts whole epochs, `step` those of the next epoch that are done. `history` has a row
    of metrics an epoch, `per_dimension` a list of values an epoch by name.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)
    per_dimension: dict[str, list[list[float]]] = field(default_factory=dict)


def progress_bar(done: int, total: int, *, show: bool) -> "tqdm[Any]":
    """Open a bar of so many steps, with some of them done; it shows on terminals only."""
    return tqdm(total=total, initial=done, desc="train", unit="step", disable=not show or None)


class NonFiniteLossError(UserError):
    """A loss, a gradient or a validation metric stopped being finite.

    If it was in training, the weights are those from before that step, whose batch had `images`,
    numbers in the training split.
    """

    def __init__(self, message: str, epoch: int = 0, images: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.epoch, self.images = epoch, list(images)
