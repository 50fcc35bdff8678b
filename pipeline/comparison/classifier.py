"""Train the classifier whose features compare generated with real images."""

from pipeline import cli, paths
from pipeline.classifier import train_on
from pipeline.comparison.variants import ComparisonConfig
from vaelab.config import UserError
from vaelab.data.dataset import PreparedData
from vaelab.runtime.devices import choose_device


def main() -> None:
    """Run the stage."""
    cli.run_command(train, resume_hint="`make compare` continues from here")


def train() -> None:
    """Write the classifier. Raises UserError for data without labels of two classes."""
    base = ComparisonConfig.load().base
    data, device = PreparedData.load(paths.COMPARISON_PREPARED), choose_device(base.machine)
    if not train_on(data, paths.CLASSIFIER, base.evaluate.classifier_epochs, device):
        raise UserError("the comparison needs labeled images, of two classes or more")


if __name__ == "__main__":
    main()
