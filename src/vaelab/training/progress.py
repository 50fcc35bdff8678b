"""How far a training has come, what an epoch measured, and the check for finite numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from vaelab.config import UserError


@dataclass(frozen=True)
class EpochReport:
    """The metrics of an epoch (counted from 1): means over images, by name."""

    epoch: int
    metrics: dict[str, float]


@dataclass
class Progress:
    """How far training has come: everything in a checkpoint that is no tensor.

    `epoch` counts finished epochs, `step` the finished steps of the next one. `history` has one
    row of metrics per epoch, `per_dimension` one list of values per epoch, by name.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)
    per_dimension: dict[str, list[list[float]]] = field(default_factory=dict)


def progress_bar(done: int, total: int, *, show: bool) -> "tqdm[Any]":
    """Return a bar of `total` steps, `done` of them finished; it is shown on terminals only."""
    return tqdm(total=total, initial=done, desc="train", unit="step", disable=not show or None)


class NonFiniteLossError(UserError):
    """A loss, a gradient or a validation metric was not finite.

    In training, the weights are those before that step; `images` are the indices of its batch in
    the training split.
    """

    def __init__(self, message: str, epoch: int = 0, images: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.epoch, self.images = epoch, list(images)


def check_finite(
    metrics: Mapping[str, float], epoch: int, step: str = "", images: Sequence[int] | None = None
) -> None:
    """Raise NonFiniteLossError if a metric is not finite, or `images` of a bad step are given.

    `epoch` counts from 1; `step` says which one it was, such as "step 3 of 4".
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not bad and images is None:
        return
    where = f"epoch {epoch}, {step}" if step else f"epoch {epoch}"
    raise NonFiniteLossError(
        f"{where}: {', '.join(bad or ['the gradient'])} is not finite; training has stopped and "
        "written no weights since the last checkpoint. Try a lower train.learning_rate, or "
        "train.gradient_clip_norm: 1",
        epoch,
        images or (),
    )
