"""What an evaluation takes, and what it gives."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.data.loader import ImageLoader

Metrics = dict[str, dict[str, float | int | str]]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EvaluationData:
    """What a model is measured on; the test split's images must be the same at each access.

    `levels` is how many grey levels a pixel can have: 256 for 8-bit images, 2 for binary ones.
    Labels are [images], known factors [images, factors], where there are any.
    """

    name: str
    levels: int
    train: ImageLoader
    test: ImageLoader
    train_labels: NDArray[np.int64] | None = None
    test_labels: NDArray[np.int64] | None = None
    train_factors: NDArray[np.int64] | None = None
    test_factors: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class LatentPosteriors:
    """The posterior of every test image, in the order of the files, and a table by dimension.

    `means` and `stddevs` are [images, latent]; `dimensions` has the columns, of length
    `latent`, that `estimators.summary.dimension_table` names.
    """

    means: NDArray[np.float32]
    stddevs: NDArray[np.float32]
    dimension_table: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Evaluation:
    """Metrics by group and name, the latents where the model has an encoder, and what to draw."""

    metrics: Metrics
    latents: LatentPosteriors | None
    arrays: Arrays = field(default_factory=dict)
