"""Train the classifier whose features compare images, and measure real images against real ones.

What real training images reach against the test split is the floor: no model can be asked for more.
"""

from pipeline import paths, stage
from pipeline.comparison.images import compare, real_images
from pipeline.comparison.members import Plan
from pipeline.files import write_json
from vaelab.classifier import accuracy, save_classifier, train_classifier
from vaelab.config import UserError
from vaelab.data.batches import ImageBatches
from vaelab.data.dataset import PreparedData
from vaelab.devices import choose_device


def main() -> None:
    """Run the stage."""
    stage.run_command(train, again="`make compare` goes on from here")


def train() -> None:
    """Write the classifier and the floor. Raises UserError for data without labels."""
    plan = Plan.load()
    epochs, device = plan.comparison.classifier_epochs, choose_device(plan.common.machine)
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    labels, names, test_labels = data.labels("train"), data.info.class_names, data.labels("test")
    if labels is None or names is None or test_labels is None:
        raise UserError("the comparison needs labelled images, to learn its features from them")
    images = ImageBatches(data.images("train"), device)
    classifier = train_classifier(images, labels, len(names), epochs=epochs, seed=0, device=device)
    trained = accuracy(classifier, images, labels)
    tested = accuracy(classifier, ImageBatches(data.images("test"), device), test_labels)
    description = save_classifier(
        paths.CLASSIFIER, classifier, epochs=epochs, seed=0, training_accuracy=trained
    )
    some = real_images(data, "train", plan.comparison.samples, device)
    real = real_images(data, "test", plan.comparison.samples, device)
    floor = compare(classifier, some, real)
    content = {"classifier_test_accuracy": tested, "weights_sha256": description.weights_sha256}
    write_json(paths.FLOOR, content | {"samples": floor})
    print(f"classifier: {tested:.2%} of the test images right")


if __name__ == "__main__":
    main()
