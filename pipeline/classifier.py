"""Train the classifier whose features compare generated images with real ones."""

import shutil
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from pipeline import cli, paths
from pipeline.artifacts import build_batches
from vaelab.config import Settings
from vaelab.data.dataset import PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import (
    Classifier,
    accuracy,
    min_epochs,
    save_classifier,
    train_classifier,
)
from vaelab.runtime.devices import choose_device

# Not train.seed: models of all seeds are compared with the same features.
SEED = 0
# Training images, about, of which the accuracy is written beside the weights.
TRAINING_IMAGES = 5_000


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings) -> None:
    """Train and save the classifier. Raises UserError."""
    data = PreparedData.load(paths.PREPARED)
    device = choose_device(settings.machine)
    epochs = settings.evaluate.classifier_epochs
    if not train_on(data, paths.EVALUATION_CLASSIFIER, epochs, device):
        lacking = "whole images" if data.info.missing else "labels of two classes or more"
        print(f"{data.info.name}: no {lacking} to train a classifier on")


def train_on(data: PreparedData, folder: Path, epochs: int, device: torch.device) -> bool:
    """Train on the labels of a data set, save the classifier, and print its accuracy.

    Returns False, and leaves the folder empty, if there are fewer than two classes, or if pixels
    are missing. A small data set is trained for more than `epochs` epochs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    test = _labeled(data, "test", device)
    classifier = None if test is None else trained_classifier(data, epochs, device)
    train = _labeled(data, "train", device)
    if classifier is None or train is None or test is None:
        return False
    epochs = min_epochs(len(train[0]), epochs)
    trained = accuracy(classifier, *train, TRAINING_IMAGES)
    save_classifier(folder, classifier, epochs=epochs, seed=SEED, training_accuracy=trained)
    print(f"classifier: {accuracy(classifier, *test):.2%} accuracy on the test images")
    return True


def trained_classifier(data: PreparedData, epochs: int, device: torch.device) -> Classifier | None:
    """Train a classifier on the training split.

    None if it has fewer than two classes, and where pixels are missing: its features would be
    those of images with holes.
    """
    names, train = data.info.class_names, _labeled(data, "train", device)
    if data.info.missing or names is None or train is None or len(np.unique(train[1])) < 2:
        return None
    images, labels = train
    epochs = min_epochs(len(images), epochs)
    return train_classifier(images, labels, len(names), epochs=epochs, seed=SEED, device=device)


def _labeled(
    data: PreparedData, split: SplitName, device: torch.device
) -> tuple[ImageLoader, Int64[np.ndarray, "known"]] | None:
    """Return the images of a split whose labels are known, and these; None if there are none.

    Images of classes that the training split lacks are left out.
    """
    labels = data.labels(split)
    train = data.labels("train")
    if labels is None or train is None:
        return None
    known = (labels >= 0) & np.isin(labels, train)
    if not known.any():
        return None
    images = build_batches(data, split, False, device)
    if not known.all():
        images = ImageLoader(data.images(split)[known], device, binarize=images.binarize)
    return images, labels[known]


if __name__ == "__main__":
    main()
