"""Test images asked for classes and attributes: which ones, and what becomes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.inference.attributes import (
    Latents,
    attribute_direction,
    class_directions,
    edit_each,
    encode_rows,
    most_frequent,
    strongest_attributes,
    subsample_rows,
)
from vaelab.inference.decoding import ImageGrid
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream


@dataclass(frozen=True)
class ClassTable:
    """Images asked to be of other classes: [i, 0] is image i, [i, 1] its reconstruction.

    [i, 2 + k] is image i, whose class is own[i], as one of class asked[k].
    """

    images: ImageGrid
    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class AttributeTable:
    """An attribute a row: in `given` an image gains it, in `taken` an image loses it.

    Row i is about the factor columns[i], of effect size effect_sizes[i]. The real image comes
    first, then the image moved by each step.
    """

    added: ImageGrid
    removed: ImageGrid
    columns: list[int]
    effect_sizes: list[float]


@dataclass(frozen=True)
class AttributeEditor:
    """Training images' latents, which give directions, and test images, which move along them."""

    model: Model
    data: PreparedData
    test: ImageLoader
    noise: torch.Generator
    train_rows: Tensor
    latents: Latents
    test_rows: Tensor

    @classmethod
    def create(
        cls, model: Model, data: PreparedData, train: ImageLoader, test: ImageLoader, seed: int
    ) -> "AttributeEditor":
        """Encode at most 10,000 training images; the seed chooses the test images."""
        rows, noise = subsample_rows(len(train)), rng_stream(seed, "asked", train.device)
        order = torch.randperm(len(test), generator=rng_stream(seed, "asked images"))
        return cls(model, data, test, noise, rows, encode_rows(model, train, rows, noise), order)

    def classes(self, limit: int) -> ClassTable | None:
        """Ask an image of each class to be of each other; None without labels or two classes.

        Of more classes than `limit` those of most training images are taken.
        """
        known = self._labeled_rows(self.data.labels)
        if known is None:
            return None
        train, test = known
        asked = most_frequent(train, limit)
        own = [label for label in asked if (test == label).any()]
        if len(asked) < 2 or not own:
            return None
        directions = class_directions(self.latents, train, own, asked)
        stay = torch.zeros_like(directions[:, :1])
        moves = torch.cat([stay, directions], dim=1)
        return ClassTable(self._edit([test == label for label in own], moves), own, asked)

    def attributes(self, limit: int, steps: Sequence[float]) -> AttributeTable | None:
        """Give attributes to images and take them away; None where no factor is an attribute.

        At most `limit` are shown, those of largest effect size, and of those only the ones that
        the test split has images with and without.
        """
        known = self._labeled_rows(self.data.factors)
        if known is None:
            return None
        train, test = known
        sizes = strongest_attributes(self.latents, train, train.shape[1])
        columns = [c for c in sizes if (test[:, c] == 1).any() and (test[:, c] == 0).any()][:limit]
        if not columns:
            return None
        directions = torch.stack(
            [attribute_direction(self.latents, train[:, c] == 1) for c in columns]
        )
        moves = torch.tensor(steps)[:, None] * directions[:, None]
        given, taken = (
            self._edit([test[:, c] == value for c in columns], sign * moves)
            for value, sign in ((0, 1), (1, -1))
        )
        return AttributeTable(given, taken, columns, [sizes[c] for c in columns])

    def _labeled_rows(
        self, values: Callable[[SplitName], np.ndarray | None]
    ) -> tuple[Tensor, Tensor] | None:
        """Give what is known of the training images and of the test images, if anything is."""
        train, test = values("train"), values("test")
        if train is None or test is None:
            return None
        chosen = train[self.train_rows.numpy()], test[self.test_rows.numpy()]
        return torch.from_numpy(chosen[0]), torch.from_numpy(chosen[1])

    def _edit(self, wanted: Sequence[Tensor], moves: Tensor) -> ImageGrid:
        """Take the first wanted image for each row of moves: itself, then moved along each."""
        rows = torch.stack([self.test_rows[among][0] for among in wanted])
        images = self.test.gather(rows, self.noise)
        return torch.cat([images[:, None], edit_each(self.model, images, moves)], dim=1)
