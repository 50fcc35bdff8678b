"""The data that an evaluation needs, and its result."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.data.loader import ImageLoader

GroupMetrics = dict[str, float | int | str]
Metrics = dict[str, GroupMetrics]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EvaluationData:
    """The data set that a model is evaluated on; test images must be the same at each access.

    `levels` is the number of gray levels of a pixel: 256 for 8-bit images, 2 for binary ones.
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

    `means` and `stddevs` are [images, latent]; the columns of `dimension_table`, of length
    `latent`, are those of `estimators.latent_statistics.dimension_table`.
    """

    means: NDArray[np.float32]
    stddevs: NDArray[np.float32]
    dimension_table: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Evaluation:
    """Metrics by group and name, latents if the model has an encoder, and arrays for figures."""

    metrics: Metrics
    latents: LatentPosteriors | None
    arrays: Arrays = field(default_factory=dict)
