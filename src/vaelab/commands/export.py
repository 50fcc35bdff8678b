"""Export a model to a folder that stands alone: ONNX, weights, and a card that says what it is.

The folder has the encoder and the decoder as ONNX, which run without PyTorch and this program, the
weights and the description that `vaelab` loads, preprocessing and labels for other programs, the
sampler where there is one, and README.md, a model card as hubs show it.

Examples:
  vaelab export models/model --output digits-vae
  vaelab export models/model --metrics results/evaluate/metrics.json --license mit -o digits-vae
  vaelab export models:/digits-vae@best --output digits-vae
"""

import argparse
import sys
from pathlib import Path

from vaelab.commands.common.arguments import add_model, add_output, load_model
from vaelab.commands.common.outputs import check_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_output(parser, "a folder")
    parser.add_argument(
        "--license", default="unknown", help="license of the weights, for the card: mit, cc-by-4.0"
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        type=Path,
        help="metrics.json of the evaluation of this model, for the card",
    )


def run(arguments: argparse.Namespace) -> None:
    """Export the model."""
    check_folder(arguments.output, arguments.force)
    model = load_model(arguments)
    model.export(arguments.output, license=arguments.license, metrics=arguments.metrics)
    files = sorted(path.name for path in arguments.output.iterdir())
    print(f"{arguments.output}: {', '.join(files)}")
    if arguments.metrics is None:
        print(
            "note: the card has no measured numbers; --metrics results/evaluate/metrics.json "
            "adds those of this model's evaluation",
            file=sys.stderr,
        )
