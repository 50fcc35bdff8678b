"""How a training went, read from its losses of each epoch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TrainingCourse:
    """The losses of a training, in nats per image: what fell, what still fell, what rose again.

    `fall` is how much the validation loss has fallen since the first epoch, `late_fall` how much
    of it in the last tenth of the epochs (below 0 if it rose), `rise` how much the loss of the last
    epoch is above the best one. `train_neg_elbo` is that of the training images in the best epoch,
    None without a KL loss.
    """

    epochs: int
    best_epoch: int
    fall: float
    late_fall: float
    rise: float
    train_neg_elbo: float | None

    @classmethod
    def of(cls, history: Columns) -> "TrainingCourse | None":
        """Return the course of history.csv's columns, None without losses on validation images."""
        losses = _first(history, "validation.loss", "validation.neg_elbo_nats")
        if losses is None or not np.isfinite(losses).any():
            return None
        measured = np.flatnonzero(np.isfinite(losses))
        values = losses[measured]
        best, late = int(values.argmin()), math.ceil(len(values) / 10)
        return cls(
            epochs=len(losses),
            best_epoch=int(measured[best]) + 1,
            fall=float(values[0] - values[best]),
            late_fall=float(values[max(0, len(values) - 1 - late)] - values[-late:].min()),
            rise=float(values[-1] - values[best]),
            train_neg_elbo=_train_neg_elbo(history, int(measured[best])),
        )


def _train_neg_elbo(history: Columns, epoch: int) -> float | None:
    generation, kl = (history.get(f"train.{name}_loss_nats") for name in ("generation", "kl"))
    found = None if generation is None or kl is None else float(generation[epoch] + kl[epoch])
    return found if found is not None and math.isfinite(found) else None


def _first(history: Columns, *names: str) -> NDArray[np.floating] | None:
    return next((history[name] for name in names if name in history), None)
