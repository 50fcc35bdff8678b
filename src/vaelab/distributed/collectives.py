"""What a loss computes from all images of a batch, where several processes have parts of it.

In one process, and outside of a training step, the batch is what is at hand.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Dealt(Protocol):
    """Who knows which part of the batch is here, and can ask for the rest."""

    def batch_mean(self, mean: Tensor) -> Tensor:
        """Give the mean over the batch, from that over the rows here."""
        ...

    def whole(self, rows: Tensor) -> Tensor:
        """Give the rows of the batch, from those here."""
        ...

    def shard(self, rows: Tensor) -> Tensor:
        """Give the rows here, from those of the batch."""
        ...


_at_work: list[Dealt] = []


@contextmanager
def dealt_out(dealt: Dealt) -> Iterator[None]:
    """Let the functions below mean the batch of a training step."""
    _at_work.append(dealt)
    try:
        yield
    finally:
        _at_work.pop()


def over_the_batch(mean: Tensor) -> Tensor:
    """Give the mean over the whole batch, from that over the images here; gradients pass."""
    return _at_work[-1].batch_mean(mean) if _at_work else mean


def whole_batch(rows: Tensor) -> Tensor:
    """Give a row for each image of the batch, from those of the images here; gradients pass."""
    return _at_work[-1].whole(rows) if _at_work else rows


def rows_here(rows: Tensor) -> Tensor:
    """Give the rows of the images here, from those of the whole batch."""
    return _at_work[-1].shard(rows) if _at_work else rows
