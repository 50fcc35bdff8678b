"""Decode latents: the image of each, as `vaelab encode` has written them.

LATENTS is a .csv or .npz of `vaelab encode`, of which the means are decoded, or an .npy file of
latents [count, dimension].

Examples:
  vaelab decode models/model latents.csv --output images/
  vaelab decode models/model latents.npy --output grid.png
"""

import argparse
from pathlib import Path

import numpy as np

from vaelab.commands.common.arguments import add_model, add_output, load_model
from vaelab.commands.common.labels import class_label, read_latents
from vaelab.commands.common.outputs import IMAGES, ImageOutput, numbered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    parser.add_argument("latents", metavar="LATENTS", type=Path, help="file of latents")
    add_output(parser, IMAGES)
    parser.add_argument(
        "--label", help="for a conditional model: the class of all, by number or name"
    )


def run(arguments: argparse.Namespace) -> None:
    """Decode the latents and write the images."""
    output = ImageOutput(arguments)
    latents, names = read_latents(arguments.latents)
    model = load_model(arguments)
    label = class_label(arguments.label, model.description.labels)
    images = np.asarray(model.decode(latents, label))
    files = [Path(Path(name).name) for name in names] or numbered("decoded", len(images))
    output.write(images, files, names)
