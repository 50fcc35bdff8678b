"""The batches of one process: whole batches, or its part of each where several processes train.

With several processes the noise is reseeded at every step from the step and the rank. A worker
rank thus has no random state to save: a checkpoint of rank 0 is enough, and any number of
processes can resume from it.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from vaelab.config import TrainSettings, UserError
from vaelab.data.augmentation import Transform, augment, draw_uniforms, is_augmenting
from vaelab.data.loader import AS_STORED, Batch, ImageLoader
from vaelab.distributed.process_group import ProcessGroup
from vaelab.objectives import LossOutput, Objective
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.optimizers import GroupOptimizer

VALIDATION_BATCH = 500

Losses = Callable[[Batch], dict[str, LossOutput]]


class ShardedLoader:
    """Read this process's part of a split's batches.

    Raises UserError for a `train.batch_size` below the number of processes.
    """

    def __init__(self, settings: TrainSettings, group: ProcessGroup) -> None:
        self.settings, self.group = settings, group
        self.size, self.seed = settings.batch_size, settings.seed
        if self.size < group.world_size:
            raise UserError(
                f"train.batch_size is {self.size}, and must be at least the number of processes, "
                f"{group.world_size}"
            )

    def train_batches(
        self,
        split: ImageLoader,
        shuffle_rng: torch.Generator,
        noise: torch.Generator,
        epoch: int,
        first: int,
    ) -> Iterator[Batch]:
        """Return the batches of an epoch from index `first` on, in an order from `shuffle_rng`.

        They are augmented; those of `validation_batches` and `calibration_batches` never are.
        """
        augmented = self._transforms(split, epoch, first)
        if self.group.world_size == 1:
            return split.shuffled(self.size, shuffle_rng, noise, first, augmented)
        rows = torch.split(split.permutation(shuffle_rng), self.size)
        return self._shards(split, rows, f"noise/{epoch}", noise, first, augmented)

    def validation_batches(self, split: ImageLoader) -> Iterator[tuple[Batch, torch.Generator]]:
        """Return all images in batches, each with the generator of its noise.

        The noise is the same in every epoch, so that epochs differ by their weights alone.
        """
        noise = rng_stream(self.seed, "validation", split.device)
        if self.group.world_size == 1:
            batches = split.sequential(VALIDATION_BATCH, noise)
        else:
            rows = torch.split(torch.arange(len(split)), VALIDATION_BATCH * self.group.world_size)
            batches = self._shards(split, rows, "validation", noise)
        return ((batch, noise) for batch in batches)

    def calibration_batches(
        self, split: ImageLoader, limit: int | None
    ) -> tuple[Iterator[Batch], torch.Generator]:
        """Return about `limit` images, or all, for closed-form fits, and their noise."""
        name = "fit" if self.group.world_size == 1 else f"fit/{self.group.rank}"
        noise = rng_stream(self.seed, name, split.device)
        return split.subsample(VALIDATION_BATCH, noise, limit, self.group.rank_slice), noise

    def _transforms(self, split: ImageLoader, epoch: int, first: int) -> Iterable[Transform]:
        """Return how the images of each batch from index `first` on are augmented."""
        return (
            self._augmentations(split, epoch, first) if is_augmenting(self.settings) else AS_STORED
        )

    def _augmentations(self, split: ImageLoader, epoch: int, first: int) -> Iterator[Transform]:
        channels = split.array.shape[1]
        for batch in range(first, math.ceil(len(split) / self.size)):
            count = min(self.size, len(split) - batch * self.size)
            drawn = self.group.local_rows(draw_uniforms(self.seed, epoch, batch, count))
            yield partial(augment, uniforms=drawn, settings=self.settings, channels=channels)

    def _shards(
        self,
        split: ImageLoader,
        rows: tuple[Tensor, ...],
        name: str,
        noise: torch.Generator,
        first: int = 0,
        transforms: Iterable[Transform] = AS_STORED,
    ) -> Iterator[Batch]:
        """Return this process's part of each batch, with noise of the step and the rank."""
        rows = rows[first:]
        local = map(self.group.local_rows, rows)
        parts = split.batches_at(local, self._reseeded(name, noise, first), transforms)
        # Parts are prefetched: the batch is set when it is used.
        for batch, part in zip(rows, parts, strict=True):
            self.group.set_batch(batch)
            yield part

    def _reseeded(self, name: str, noise: torch.Generator, first: int) -> Iterator[torch.Generator]:
        """Return the generator again and again, reseeded at each step."""
        for step in itertools.count(first):
            own = f"{name}/{step}/{self.group.rank}"
            yield noise.manual_seed(rng_stream(self.seed, own).initial_seed())


def update_groups(objective: Objective) -> list[list[str]]:
    """Return the names of the optimizers that step from the same losses, group by group."""
    names = list(objective.optimizers)
    return [names] if objective.update_order == "simultaneous" else [[name] for name in names]


def wrap_ddp(
    losses: Losses, names: list[str], optimizers: dict[str, GroupOptimizer], group: ProcessGroup
) -> Losses:
    """Return the function of losses, wrapped so that these optimizers' gradients are averaged."""
    for name in names:
        losses = group.wrap_ddp(optimizers[name].parameters, losses)
    return losses
