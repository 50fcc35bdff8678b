"""Training images' latents, on which what reads the test images' is fitted."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageBatches
from vaelab.estimators import latent_statistics
from vaelab.models.model import Model
from vaelab.runtime.random_streams import stream

# Chosen by the seed, at most so many images.
TRAIN_IMAGES = 10_000


@dataclass(frozen=True)
class TrainingCodes:
    """Rows of the training split, and the means of their posteriors, [rows, latent]."""

    rows: NDArray[np.int64]
    means: NDArray[np.float32]


def encode_training(model: Model, train: ImageBatches, settings: EvaluateSettings) -> TrainingCodes:
    """Encode training images chosen by the seed."""
    rows = latent_statistics.choose(len(train), TRAIN_IMAGES, settings.seed, "probe")
    pixels = stream(settings.seed, "evaluation/train-pixels", train.device)
    batches = torch.split(rows, settings.batch_size)
    means = torch.cat([model.encode(train.take(some, pixels)).mean for some in batches])
    return TrainingCodes(rows.numpy(), latent_statistics.array(means))
