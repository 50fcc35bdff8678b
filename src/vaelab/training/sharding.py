"""The batches that a process computes: all of them, or its share of each.

The noise of several processes is seeded anew at each step, by the step and the process. So none of
them has a state to keep: a checkpoint has nothing to say of any but the main one, and as many
processes or more or fewer can go on from it.
"""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vaelab.config import TrainSettings, UserError
from vaelab.data.loader import ImageLoader, Images
from vaelab.distributed.process_group import ProcessGroup
from vaelab.objectives import LossOutput, Objective
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.optimizers import GroupOptimizer

VALIDATION_BATCH = 500

Losses = Callable[[Images], dict[str, LossOutput]]


class ShardedLoader:
    """Deals a split's batches out over the processes of a group.

    Raises UserError for a `train.batch_size` below the number of processes.
    """

    def __init__(self, settings: TrainSettings, group: ProcessGroup) -> None:
        self.size, self.seed, self.group = settings.batch_size, settings.seed, group
        if self.size < group.world_size:
            raise UserError(
                f"train.batch_size: {self.size} gives each of {group.world_size} processes less "
                f"than "
                "one image a step; a larger one, or fewer processes, would not"
            )

    def train_batches(
        self,
        split: ImageLoader,
        order: torch.Generator,
        noise: torch.Generator,
        epoch: int,
        first: int,
    ) -> Iterator[Images]:
        """Give the batches of an epoch from number `first` on, in an order drawn from `order`."""
        if self.group.world_size == 1:
            return split.shuffled(self.size, order, noise, first)
        rows = torch.split(split.permutation(order), self.size)
        return self._shards(split, rows, f"noise/{epoch}", noise, first)

    def validation_batches(self, split: ImageLoader) -> Iterator[tuple[Images, torch.Generator]]:
        """Give all images in batches, and the noise that they are measured with.

        The same noise at each epoch: epochs are compared by their weights alone.
        """
        noise = rng_stream(self.seed, "validation", split.device)
        if self.group.world_size == 1:
            batches = split.sequential(VALIDATION_BATCH, noise)
        else:
            rows = torch.split(torch.arange(len(split)), VALIDATION_BATCH * self.group.world_size)
            batches = self._shards(split, rows, "validation", noise)
        return ((images, noise) for images in batches)

    def calibration_batches(
        self, split: ImageLoader, limit: int | None
    ) -> tuple[Iterator[Images], torch.Generator]:
        """Give about `limit` images, or all, for what is fitted in closed form, and its noise."""
        name = "fit" if self.group.world_size == 1 else f"fit/{self.group.rank}"
        noise = rng_stream(self.seed, name, split.device)
        return split.subsample(VALIDATION_BATCH, noise, limit, self.group.rank_slice), noise

    def _shards(
        self,
        split: ImageLoader,
        rows: tuple[Tensor, ...],
        name: str,
        noise: torch.Generator,
        first: int = 0,
    ) -> Iterator[Images]:
        """Give this process's share of each batch, with noise that only step and process decide."""
        rows = rows[first:]
        shares = split.batches_at(map(self.group.shard, rows), self._reseeded(name, noise, first))
        # Shares are read ahead; which batch is at hand is said as its turn comes.
        for whole, images in zip(rows, shares, strict=True):
            self.group.set_batch(whole)
            yield images

    def _reseeded(self, name: str, noise: torch.Generator, first: int) -> Iterator[torch.Generator]:
        """Give the noise again and again, seeded anew at each step."""
        for step in itertools.count(first):
            own = f"{name}/{step}/{self.group.rank}"
            yield noise.manual_seed(rng_stream(self.seed, own).initial_seed())


def update_groups(objective: Objective) -> list[list[str]]:
    """Name the players that move at once, turn by turn."""
    players = list(objective.optimizers)
    return [players] if objective.update_order == "simultaneous" else [[p] for p in players]


def wrap_ddp(
    losses: Losses, moving: list[str], optimisers: dict[str, GroupOptimizer], group: ProcessGroup
) -> Losses:
    """Give what computes the losses so that the moving players' gradients are averaged."""
    for player in moving:
        losses = group.wrap_ddp(optimisers[player].parameters, losses)
    return losses
