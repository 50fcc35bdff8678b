"""What a report is about: the files that evaluation wrote, and what the model is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.data.dataset import DatasetInfo
from vaelab.metrics.thresholds import BANDS, NEAR_CAP
from vaelab.models.saving import ModelDescription

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class EvaluationResult:
    """A model's evaluation; whatever does not apply to the model is not there.

    `metrics` is by group and name. `arrays` has what the figures draw, by the names of
    results/evaluate/arrays.npz; `dimensions` a column of length `latent` by name; `means` the
    posterior means [images, latent], `labels` their classes [images].
    """

    metrics: Mapping[str, Mapping[str, float | int | str]]
    description: ModelDescription
    info: DatasetInfo
    active_unit_threshold: float
    arrays: Arrays = field(default_factory=dict)
    dimensions: Arrays = field(default_factory=dict)
    means: NDArray[np.floating] | None = None
    labels: NDArray[np.int64] | None = None

    def value(self, name: str) -> float | None:
        """Give a number of metrics.json by group.name, None where it was not measured."""
        group, _, key = name.partition(".")
        found = self.metrics.get(group, {}).get(key)
        return None if found is None or isinstance(found, str) else float(found)

    def has(self, *names: str) -> bool:
        """Tell whether all numbers are there."""
        return all(self.value(name) is not None for name in names)

    @property
    def has_standard_prior(self) -> bool:
        """Whether p(z) = N(0, I)."""
        return self.description.model.prior == "standard_normal"

    @property
    def has_encoder(self) -> bool:
        """Whether images have latents."""
        return "encoder" in self.description.networks

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, none where images have no labels."""
        return self.info.class_names or ()

    @property
    def commonest_class_share(self) -> float | None:
        """How often a guess is right that always names the commonest class of the test images."""
        if self.labels is None or not len(self.labels):
            return None
        return float(np.unique(self.labels, return_counts=True)[1].max() / len(self.labels))

    @property
    def information_is_capped(self) -> bool:
        """Whether the mutual information is so near its cap that it is held down by it.

        Of few images the cap is itself near 0: there it takes half of the cap too.
        """
        found = self.value("latent.mutual_information_nats")
        cap = self.value("latent.mutual_information_cap_nats")
        if found is None or cap is None:
            return False
        return cap - found < NEAR_CAP and found >= cap / 2

    @property
    def is_uninformative(self) -> bool:
        """Whether latents were found to tell nothing of their images."""
        name = "latent.mutual_information_nats"
        found = self.value(name)
        poor = found is not None and BANDS[name].rating(found) == "poor"
        return poor and not self.information_is_capped
