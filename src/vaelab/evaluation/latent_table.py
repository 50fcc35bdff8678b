"""The latents of a data set's images as a table: file, split, class, means, standard deviations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.estimators.latent_statistics import sample_rows, to_numpy
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

MAX_IMAGES = 10_000
"""Of the training and of the validation split, chosen by the seed; the test split is whole."""

Columns = Float[NDArray[np.floating], "images latent"]


@dataclass(frozen=True)
class LatentRows:
    """The posteriors of images of a split, and the names of their files and classes."""

    split: SplitName
    names: Sequence[str]
    classes: Sequence[str]
    means: Columns
    stddevs: Columns

    def __iter__(self) -> Iterator[dict[str, str]]:
        """Return a row for each image, with six digits of each number."""
        dimensions = range(self.means.shape[1])
        headers = [f"{kind}_{d}" for kind in ("mean", "stddev") for d in dimensions]
        numbers = np.concatenate([self.means, self.stddevs], axis=1).tolist()
        for name, label, row in zip(self.names, self.classes, numbers, strict=True):
            cells = dict(zip(headers, (f"{value:.6g}" for value in row), strict=True))
            yield {"name": name, "split": self.split, "label": label, **cells}


def latent_rows(
    data: PreparedData, split: SplitName, means: Columns, stddevs: Columns, rows: np.ndarray
) -> LatentRows:
    """Return the latents of some images of a split with their names. Raises ArtifactError."""
    names, classes = data.names(split), class_of(data, split)
    chosen = [names[row] for row in rows], [classes[row] for row in rows]
    return LatentRows(split, *chosen, means, stddevs)


def class_of(data: PreparedData, split: SplitName) -> list[str]:
    """Return the name of the class of each image of a split, "" where it is unknown."""
    labels, classes = data.labels(split), data.info.class_names or ()
    if labels is None:
        return [""] * data.info.counts[split]
    return [classes[label] if label >= 0 else "" for label in labels]


@torch.inference_mode()
def encode_rows(
    model: Model, data: PreparedData, split: SplitName, images: ImageLoader, seed: int
) -> LatentRows:
    """Encode images of a split that are chosen by the seed."""
    chosen = sample_rows(len(images), MAX_IMAGES, seed, f"latents/{split}")
    pixels = rng_stream(seed, f"evaluation/latents/{split}", images.device)
    means, stddevs = _encode(model, images, chosen, pixels)
    return latent_rows(data, split, to_numpy(means), to_numpy(stddevs), chosen.numpy())


def _encode(
    model: Model, images: ImageLoader, rows: Int64[Tensor, "chosen"], pixels: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations, which are 0 of an encoder without noise."""
    found = [
        model.given(images.labels_at(batch)).encode(images.gather(batch, pixels))
        for batch in torch.split(rows, 500)
    ]
    stddevs = [getattr(each, "stddev", torch.zeros_like(each.mean)) for each in found]
    return torch.cat([each.mean for each in found]), torch.cat(stddevs)
