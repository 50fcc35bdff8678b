"""Draw new images from a model.

They are decoded from latents of the sampler that was fitted to the model, where there is one,
and of its prior otherwise.

Examples:
  vaelab sample models/model --output samples.png
  vaelab sample models/model --count 1000 --seed 1 --output samples/
  vaelab sample models:/digits-vae@best --label 7 --output sevens.npz
"""

import argparse

import numpy as np

from vaelab.commands.common.arguments import (
    add_count,
    add_model,
    add_output,
    add_seed,
    load_model,
)
from vaelab.commands.common.labels import class_label
from vaelab.commands.common.outputs import IMAGES, ImageOutput, numbered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_output(parser, IMAGES)
    add_count(parser, "--count", 16, "how many images")
    parser.add_argument(
        "--label",
        help="class to draw, by number or name: needs a conditional model, or a sampler that was "
        "fitted to labeled images",
    )
    parser.add_argument(
        "--source",
        choices=("auto", "sampler", "prior"),
        default="auto",
        help="where latents are from (default: the sampler where there is one)",
    )
    add_seed(parser, "the samples")


def run(arguments: argparse.Namespace) -> None:
    """Draw images and write them."""
    output = ImageOutput(arguments)
    model = load_model(arguments)
    label = class_label(arguments.label, model.description.labels)
    images = model.sample(
        arguments.count, label=label, seed=arguments.seed, source=arguments.source
    )
    output.write(np.asarray(images), numbered("sample", len(images)))
