"""A line for a training whose validation loss rose long before its end."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vaelab.runtime.formatting import format_number

# So much of the training brought nothing better, in epochs too.
USELESS_SHARE, USELESS_EPOCHS = 1 / 3, 6
# The least of many noisy losses lies two or three times their noise below their mean.
NOISES = 5.0
PATIENCES = (5, 10, 20, 50, 100, 200, 500, 1000)


def overfitting_note(
    history: Sequence[Mapping[str, float]], selection: str | None, warmup_end: int = 0
) -> str | None:
    """Return a line if the loss that selects the weights rose after its best epoch; else None.

    It rose if the last third of the epochs brought none better, and its mean there is above the
    best one by several times the noise from epoch to epoch. `warmup_end` is the epoch from which
    early stopping counts.
    """
    losses = np.array([row[f"validation.{selection}"] for row in history if selection], np.float64)
    if not len(losses):
        return None
    best = int(losses.argmin())
    useless = len(losses) - best - 1
    if useless < max(USELESS_EPOCHS, USELESS_SHARE * len(losses)) or not _rose(losses, best):
        return None
    end = losses[-(len(losses) // 3) :].mean()
    line = (
        f"validation loss rose after epoch {best + 1}, whose weights are kept: from "
        f"{format_number(losses[best])} to {format_number(end)}, the mean of the last third of the "
        "epochs"
    )
    ending = _early_stopping(losses, best, warmup_end)
    return f"{line}; {ending}" if ending else line


def _rose(losses: NDArray[np.float64], best: int) -> bool:
    # The variance of differences of neighbors is twice that of the noise: it has no trend.
    noise = np.diff(losses[best:]).std() / np.sqrt(2)
    rise = losses[-(len(losses) // 3) :].mean() - losses[best]
    return bool(rise > NOISES * noise)


def _early_stopping(losses: NDArray[np.float64], best: int, warmup_end: int) -> str:
    """Return the setting that would have kept the same weights in fewer epochs, "" if none."""
    records = np.flatnonzero(losses == np.minimum.accumulate(losses)) + 1
    waits = (
        after - max(before, warmup_end) for before, after in itertools.pairwise(records.tolist())
    )
    longest = max(waits, default=0)
    for patience in PATIENCES:
        end = max(best + 1, warmup_end) + patience
        if patience > longest and end < len(losses):
            return (
                f"train.early_stopping_epochs: {patience} would have kept them too, and ended the "
                f"training after epoch {end}"
            )
    return ""
