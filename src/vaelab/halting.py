"""What stops a training: numbers that are no longer finite, and where they arose."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from vaelab.progress import NonFiniteLossError

if TYPE_CHECKING:
    from vaelab.training import Trainer


def refuse_non_finite(trainer: "Trainer", metrics: Mapping[str, float]) -> None:
    """Raise NonFiniteLossError if a metric, or a loss or gradient of the epoch, was not finite."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    halted = int(trainer.steps_halted)
    if not (bad or halted):
        return
    progress = trainer.progress
    step = progress.step - halted
    where = f", step {step + 1} of {trainer.steps()}" if halted else ""
    raise NonFiniteLossError(
        f"epoch {progress.epoch + 1}{where}: {', '.join(bad or ['the gradient'])} is not "
        "finite; training has stopped and written no weights since the last checkpoint. A "
        "lower train.learning_rate, or train.gradient_clip_norm: 1, usually mends it",
        progress.epoch + 1,
        _images_of(trainer, step) if halted else (),
    )


def _images_of(trainer: "Trainer", step: int) -> list[int]:
    """Give the numbers of the images in a step of this epoch."""
    order = torch.Generator(trainer.order.device)
    order.set_state(trainer.order_at_start)
    size = trainer.settings.batch_size
    return trainer.train.permutation(order)[step * size : (step + 1) * size].tolist()
