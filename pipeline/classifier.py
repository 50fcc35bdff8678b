"""Train the classifier whose features compare generated images with real ones."""

import shutil
from pathlib import Path

import numpy as np
import torch

from pipeline import cli, paths
from pipeline.artifacts import build_batches
from vaelab.config import Settings
from vaelab.data.dataset import PreparedData
from vaelab.evaluation.classifier import accuracy, min_epochs, save_classifier, train_classifier
from vaelab.runtime.devices import choose_device

# Not train.seed: models of all seeds are compared with the same features.
SEED = 0


def main() -> None:
    """Run the stage."""
    cli.run(work, __doc__)


def work(settings: Settings) -> None:
    """Train and save the classifier. Raises UserError."""
    data = PreparedData.load(paths.PREPARED)
    device = choose_device(settings.machine)
    epochs = settings.evaluate.classifier_epochs
    if not train_on(data, paths.EVALUATION_CLASSIFIER, epochs, device):
        print(f"{data.info.name}: no labels of two classes or more to train a classifier on")


def train_on(data: PreparedData, folder: Path, epochs: int, device: torch.device) -> bool:
    """Train on the labels of a data set, save the classifier, and print its accuracy.

    Returns False, and leaves the folder empty, if there are fewer than two classes. A small data
    set is trained for more than `epochs` epochs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    labels, names, test_labels = data.labels("train"), data.info.class_names, data.labels("test")
    if labels is None or names is None or test_labels is None or len(np.unique(labels)) < 2:
        return False
    images, test = (build_batches(data, split, False, device) for split in ("train", "test"))
    epochs = min_epochs(len(images), epochs)
    classifier = train_classifier(
        images, labels, len(names), epochs=epochs, seed=SEED, device=device
    )
    trained = accuracy(classifier, images, labels)
    save_classifier(folder, classifier, epochs=epochs, seed=SEED, training_accuracy=trained)
    print(f"classifier: {accuracy(classifier, test, test_labels):.2%} accuracy on the test images")
    return True


if __name__ == "__main__":
    main()
