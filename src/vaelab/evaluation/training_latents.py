"""Latents of training images, to which probes, clusters and factor metrics are fitted."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators import latent_statistics
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream

# Limit on the training images that are encoded, chosen by the seed
MAX_TRAIN_IMAGES = 10_000


@dataclass(frozen=True)
class TrainingLatents:
    """Rows of the training split, and their posterior means, [rows, latent]."""

    rows: NDArray[np.int64]
    means: NDArray[np.float32]


def encode_training_images(
    model: Model, train: ImageLoader, settings: EvaluateSettings
) -> TrainingLatents:
    """Encode training images chosen by the seed."""
    rows = latent_statistics.sample_rows(len(train), MAX_TRAIN_IMAGES, settings.seed, "probe")
    pixels = rng_stream(settings.seed, "evaluation/train-pixels", train.device)
    batches = torch.split(rows, settings.batch_size)
    means = torch.cat(
        [
            model.given(train.labels_at(batch)).encode(train.gather(batch, pixels)).mean
            for batch in batches
        ]
    )
    return TrainingLatents(rows.numpy(), latent_statistics.to_numpy(means))
