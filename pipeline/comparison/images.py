"""Generated images against real ones, in numbers."""

import numpy as np
import torch
from torch import Tensor

from vaelab.classifier import Classifier, features_of
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.estimators import samples

# Of so many samples the classes are counted.
COUNTED = 1000


def rows_of(count: int, most: int) -> np.ndarray:
    """Choose at most `most` of `count` images, always the same, in ascending order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def real_images(data: PreparedData, split: SplitName, most: int, device: torch.device) -> Tensor:
    """Give at most `most` images of a split, as they are stored, in [0, 1]."""
    images = data.images(split)
    chosen = images[rows_of(len(images), most)]
    return torch.from_numpy(chosen).to(device).float() / 255


def compare(classifier: Classifier, generated: Tensor, real: Tensor) -> dict[str, float]:
    """Compare images [count, channel, height, width] with real ones, both in [0, 1]."""
    ours, predicted = features_of(classifier, generated)
    theirs, _ = features_of(classifier, real)
    manifold = samples.manifold_metrics(theirs, ours)
    shares = samples.class_shares(predicted[:COUNTED], classifier.classes)
    return {
        "sharpness_ratio": samples.sharpness_ratio(generated, real),
        "spectrum_slope": samples.spectrum_slope(generated),
        "frechet_distance": samples.frechet_distance(ours, theirs).item(),
        "precision": manifold.precision,
        "recall": manifold.recall,
        "density": manifold.density,
        "coverage": manifold.coverage,
        "classes_drawn": float((shares > 0).sum()),
        "largest_class_share": shares.max().item(),
    }
