"""Tables of test images edited to other classes, and with attributes added or removed."""

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
    """Images edited to other classes: [i, 0] is image i, [i, 1] its reconstruction.

    [i, 2 + k] is image i, whose class is source[i], edited to class target[k].
    """

    images: ImageGrid
    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class AttributeTable:
    """An attribute a row: added to an image in `added`, removed from an image in `removed`.

    Row i is the factor columns[i], of effect size effect_sizes[i]. The real image comes first,
    then the image shifted by each step.
    """

    added: ImageGrid
    removed: ImageGrid
    columns: list[int]
    effect_sizes: list[float]


@dataclass(frozen=True)
class AttributeEditor:
    """Edits test images along directions computed from training images' latents."""

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
        # The names of the random streams determine which images are shown.
        rows, noise = subsample_rows(len(train)), rng_stream(seed, "asked", train.device)
        order = torch.randperm(len(test), generator=rng_stream(seed, "asked images"))
        return cls(model, data, test, noise, rows, encode_rows(model, train, rows, noise), order)

    def classes(self, limit: int) -> ClassTable | None:
        """Edit an image of each class to every class; None without labels of two classes.

        Of more than `limit` classes, those of most training images are used.
        """
        labels = self._labeled_rows(self.data.labels)
        if labels is None:
            return None
        train, test = labels
        target = most_frequent(train, limit)
        source = [label for label in target if (test == label).any()]
        if len(target) < 2 or not source:
            return None
        directions = class_directions(self.latents, train, source, target)
        unchanged = torch.zeros_like(directions[:, :1])
        shifts = torch.cat([unchanged, directions], dim=1)
        images = self._edit([test == label for label in source], shifts)
        return ClassTable(images, source, target)

    def attributes(self, limit: int, steps: Sequence[float]) -> AttributeTable | None:
        """Add attributes to images and remove them; None where no factor is an attribute.

        At most `limit` attributes, those of largest effect size for which the test split has
        images with and without.
        """
        factors = self._labeled_rows(self.data.factors)
        if factors is None:
            return None
        train, test = factors
        sizes = strongest_attributes(self.latents, train, train.shape[1])
        columns = [c for c in sizes if (test[:, c] == 1).any() and (test[:, c] == 0).any()][:limit]
        if not columns:
            return None
        directions = torch.stack(
            [attribute_direction(self.latents, train[:, c] == 1) for c in columns]
        )
        shifts = torch.tensor(steps)[:, None] * directions[:, None]
        added, removed = (
            self._edit([test[:, c] == value for c in columns], sign * shifts)
            for value, sign in ((0, 1), (1, -1))
        )
        return AttributeTable(added, removed, columns, [sizes[c] for c in columns])

    def _labeled_rows(
        self, values: Callable[[SplitName], np.ndarray | None]
    ) -> tuple[Tensor, Tensor] | None:
        """Return labels of the encoded training images and of the shuffled test images, if any."""
        train, test = values("train"), values("test")
        if train is None or test is None:
            return None
        rows = self.train_rows.numpy(), self.test_rows.numpy()
        return torch.from_numpy(train[rows[0]]), torch.from_numpy(test[rows[1]])

    def _edit(self, masks: Sequence[Tensor], shifts: Tensor) -> ImageGrid:
        """Return, for each mask, its first test image and that image decoded with each shift."""
        rows = torch.stack([self.test_rows[mask][0] for mask in masks])
        images = self.test.gather(rows, self.noise)
        given = self.model.given(self.test.labels_at(rows))
        return torch.cat([images[:, None], edit_each(given, images, shifts)], dim=1)
