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
from vaelab.data.loader import ImageBatches, Images
from vaelab.distributed.process_group import Group
from vaelab.objectives import Objective, PlayerLoss
from vaelab.runtime.random_streams import stream
from vaelab.training.optimizers import PlayerOptimiser

VALIDATION_BATCH = 500

Losses = Callable[[Images], dict[str, PlayerLoss]]


class Dealer:
    """Deals a split's batches out over the processes of a group.

    Raises UserError for a `train.batch_size` below the number of processes.
    """

    def __init__(self, settings: TrainSettings, group: Group) -> None:
        self.size, self.seed, self.group = settings.batch_size, settings.seed, group
        if self.size < group.count:
            raise UserError(
                f"train.batch_size: {self.size} gives each of {group.count} processes less than "
                "one image a step; a larger one, or fewer processes, would not"
            )

    def training(
        self,
        split: ImageBatches,
        order: torch.Generator,
        noise: torch.Generator,
        epoch: int,
        first: int,
    ) -> Iterator[Images]:
        """Give the batches of an epoch from number `first` on, in an order drawn from `order`."""
        if self.group.is_alone:
            return split.shuffled(self.size, order, noise, first)
        rows = torch.split(split.permutation(order), self.size)
        return self._shares(split, rows, f"noise/{epoch}", noise, first)

    def validation(self, split: ImageBatches) -> Iterator[tuple[Images, torch.Generator]]:
        """Give all images in batches, and the noise that they are measured with.

        The same noise at each epoch: epochs are compared by their weights alone.
        """
        noise = stream(self.seed, "validation", split.device)
        if self.group.is_alone:
            batches = split.ordered(VALIDATION_BATCH, noise)
        else:
            rows = torch.split(torch.arange(len(split)), VALIDATION_BATCH * self.group.count)
            batches = self._shares(split, rows, "validation", noise)
        return ((images, noise) for images in batches)

    def fitting(
        self, split: ImageBatches, limit: int | None
    ) -> tuple[Iterator[Images], torch.Generator]:
        """Give about `limit` images, or all, for what is fitted in closed form, and its noise."""
        name = "fit" if self.group.is_alone else f"fit/{self.group.rank}"
        noise = stream(self.seed, name, split.device)
        return split.spread(VALIDATION_BATCH, noise, limit, self.group.turns), noise

    def _shares(
        self,
        split: ImageBatches,
        rows: tuple[Tensor, ...],
        name: str,
        noise: torch.Generator,
        first: int = 0,
    ) -> Iterator[Images]:
        """Give this process's share of each batch, with noise that only step and process decide."""
        rows = rows[first:]
        shares = split.chosen(map(self.group.share, rows), self._seeded(name, noise, first))
        # Shares are read ahead; which batch is at hand is said as its turn comes.
        for whole, images in zip(rows, shares, strict=True):
            self.group.take_up(whole)
            yield images

    def _seeded(self, name: str, noise: torch.Generator, first: int) -> Iterator[torch.Generator]:
        """Give the noise again and again, seeded anew at each step."""
        for step in itertools.count(first):
            own = f"{name}/{step}/{self.group.rank}"
            yield noise.manual_seed(stream(self.seed, own).initial_seed())


def turns(objective: Objective) -> list[list[str]]:
    """Name the players that move at once, turn by turn."""
    players = list(objective.players)
    return [players] if objective.update_order == "together" else [[p] for p in players]


def averaging(
    losses: Losses, moving: list[str], optimisers: dict[str, PlayerOptimiser], group: Group
) -> Losses:
    """Give what computes the losses so that the moving players' gradients are averaged."""
    for player in moving:
        losses = group.averaged(optimisers[player].parameters, losses)
    return losses
