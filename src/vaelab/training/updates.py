"""A step of an objective's optimizers, from the gradient of one batch or of several.

With several, the gradients are added, each weighted by its share of the images: that of the mean
loss of all images, in the memory of one batch. What an objective computes from a whole batch, such
as a fitted variance, is that of each batch by itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from vaelab.data.loader import Batch
from vaelab.distributed.process_group import BatchRows, ProcessGroup
from vaelab.objectives import LossOutput, Objective
from vaelab.training.optimizers import GroupOptimizer
from vaelab.training.sharding import Losses, update_groups, wrap_ddp

Masks = Mapping[str, Tensor | None]


class Part(NamedTuple):
    """A batch of a step, and which of its rows are whose."""

    batch: Batch
    rows: BatchRows = BatchRows()

    @property
    def images(self) -> int:
        """The number of its images, in all processes."""
        return self.rows.total or len(self.batch.images)


class Updater:
    """Updates the networks that each optimizer owns, with the losses of an objective."""

    def __init__(
        self,
        losses: Losses,
        objective: Objective,
        optimizers: dict[str, GroupOptimizer],
        group: ProcessGroup,
    ) -> None:
        self.optimizers, self.group = optimizers, group
        self.is_only_one = len(optimizers) == 1
        # For each group of networks that are updated at once: their names, and their losses.
        self.update_groups = [
            (names, wrap_ddp(losses, names, optimizers, group))
            for names in update_groups(objective)
        ]

    def step(self, parts: Sequence[Part]) -> list[dict[str, Tensor]]:
        """Update every group of networks once; return each part's losses and terms, [batch].

        Whether an optimizer skips the step, the first part decides.
        """
        watched: list[dict[str, Tensor]] = [{} for _ in parts]
        images = sum(part.images for part in parts)
        for names, losses_of in self.update_groups:
            masks: Masks = {}
            for number, part in enumerate(parts):
                self.group.batch_rows = part.rows
                losses = losses_of(part.batch)
                self.backward(names, losses, part.images / images, add=number > 0)
                masks = masks or {name: losses[name].update_mask for name in names}
                watched[number] |= self._watched(names, losses)
                del losses  # its graph, before the next one is built
            self.take_step(names, masks)
        return watched

    def backward(
        self,
        names: list[str],
        losses: Mapping[str, LossOutput],
        share: float = 1.0,
        *,
        add: bool = False,
    ) -> None:
        """Compute the gradients of all these optimizers, `share` times those of the mean loss.

        `add` them to those that were computed before.
        """
        for name in names:
            loss = self.group.ddp_loss(losses[name].loss)
            loss = loss if share == 1 else share * loss
            keep_graph, averaged = name != names[-1], self.group.world_size > 1
            optimizer = self.optimizers[name]
            optimizer.backward(loss, keep_graph=keep_graph, averaged=averaged, add=add)

    def take_step(self, names: list[str], masks: Masks) -> None:
        """Let each of these optimizers take its step, where its mask is not 0."""
        for name in names:
            if (update_mask := masks[name]) is not None:
                self.group.broadcast({"update_mask": update_mask})
            self.optimizers[name].step(update_mask)

    def _watched(self, names: list[str], losses: Mapping[str, LossOutput]) -> dict[str, Tensor]:
        watched: dict[str, Tensor] = {}
        for name in names:
            label = "loss" if self.is_only_one else f"{name}_loss"
            watched |= {label: losses[name].loss} | dict(losses[name].terms)
        return {name: values.detach() for name, values in watched.items()}
