"""The input of a report: the files that the evaluation wrote, and the model's description."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.data.dataset import DatasetInfo
from vaelab.metrics import SPECS
from vaelab.models.priors import PriorKind, prior_class
from vaelab.models.saving import ModelDescription

Arrays = Mapping[str, NDArray[Any]]

# An estimate of the mutual information less than this below its upper limit is too low, in nats:
# at this distance by half a nat already.
NEAR_CAP_NATS = 2.0


@dataclass(frozen=True)
class EvaluationResult:
    """A model's evaluation; what does not apply to the model is absent.

    `metrics` is by group and name. `objective_settings` names the settings that the model's
    objective uses, such as train.kl_weight. `arrays` has the arrays of the figures, by their names
    in results/evaluate/arrays.npz; `dimensions` a column of length `latent` by name; `means` the
    posterior means [images, latent], `labels` their classes [images], -1 where unknown. `history`
    has the columns of results/train/history.csv, NaN where an epoch has no value. `train_names` are
    the files of the training images, where these are known; `worst_names` those of the test images
    that are reconstructed worst, whose pixels and scores `arrays` has as `worst_*`.
    """

    metrics: Mapping[str, Mapping[str, float | int | str]]
    description: ModelDescription
    info: DatasetInfo
    active_unit_threshold: float
    objective_settings: frozenset[str] = frozenset()
    arrays: Arrays = field(default_factory=dict)
    dimensions: Arrays = field(default_factory=dict)
    means: NDArray[np.floating] | None = None
    labels: NDArray[np.int64] | None = None
    history: Arrays = field(default_factory=dict)
    train_names: Sequence[str] = ()
    worst_names: Sequence[str] = ()

    def value(self, name: str) -> float | None:
        """Return a number of metrics.json by its full name, None if it was not measured."""
        group, _, key = name.partition(".")
        found = self.metrics.get(group, {}).get(key)
        return None if found is None or isinstance(found, str) else float(found)

    def has(self, *names: str) -> bool:
        """Return whether all of these numbers were measured."""
        return all(self.value(name) is not None for name in names)

    @property
    def bound_is_of_a_part(self) -> bool:
        """Whether the K-sample bound is of fewer images than the other losses."""
        part, images = self.value("test.nll_images"), self.value("dataset.test_images")
        return part is not None and images is not None and part < images

    @property
    def prior_kind(self) -> PriorKind:
        """How the model's prior takes part in training, such as "standard_normal" for N(0, I)."""
        return prior_class(self.description.model.prior).kind

    @property
    def has_standard_prior(self) -> bool:
        """Whether p(z) = N(0, I)."""
        return self.prior_kind == "standard_normal"

    @property
    def has_encoder(self) -> bool:
        """Whether the model has an encoder, so that images have latents."""
        return "encoder" in self.description.networks

    @property
    def has_discriminator(self) -> bool:
        """Whether a discriminator's features replace the likelihood of pixels."""
        return "discriminator" in self.description.networks

    @property
    def sees_labels(self) -> bool:
        """Whether the model is conditional, so that its bounds are of p(x|y), given the label y."""
        return bool(self.description.class_names)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, empty if images have no labels."""
        return self.info.class_names or ()

    @property
    def majority_class_share(self) -> float | None:
        """The accuracy of always predicting the most frequent class of the test images."""
        known = np.empty(0) if self.labels is None else self.labels[self.labels >= 0]
        if not len(known):
            return None
        return float(np.unique(known, return_counts=True)[1].max() / len(known))

    @property
    def information_is_capped(self) -> bool:
        """Whether the estimate of the mutual information is too low because of its upper limit.

        With few images the limit itself is near 0: then the estimate must also be at least half
        of it.
        """
        found = self.value("latent.mutual_information_nats")
        cap = self.value("latent.mutual_information_cap_nats")
        if found is None or cap is None:
            return False
        return cap - found < NEAR_CAP_NATS and found >= cap / 2

    @property
    def is_uninformative(self) -> bool:
        """Whether the latents were measured to carry no information about their images."""
        name = "latent.mutual_information_nats"
        found = self.value(name)
        poor = found is not None and SPECS[name].rating(found) == "poor"
        return poor and not self.information_is_capped
