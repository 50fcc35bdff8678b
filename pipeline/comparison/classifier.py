"""Train the classifier whose features compare the members' images with real ones."""

from pipeline import cli, paths
from pipeline.classifier import train_on
from pipeline.comparison.variants import Plan
from vaelab.config import UserError
from vaelab.data.dataset import PreparedData
from vaelab.runtime.devices import choose_device


def main() -> None:
    """Run the stage."""
    cli.run_command(train, resume_hint="`make compare` goes on from here")


def train() -> None:
    """Write the classifier. Raises UserError for data without labels of two classes."""
    common = Plan.load().common
    data, device = PreparedData.load(paths.COMPARISON_PREPARED), choose_device(common.machine)
    if not train_on(data, paths.CLASSIFIER, common.evaluate.classifier_epochs, device):
        raise UserError("the comparison needs labelled images, to learn its features from them")


if __name__ == "__main__":
    main()
