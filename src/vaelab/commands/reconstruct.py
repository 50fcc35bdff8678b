"""Reconstruct images: encode and decode them.

In a single .png, each image stands above its reconstruction.

Examples:
  vaelab reconstruct models/model photos/ --output pairs.png
  vaelab reconstruct models/model photos/ --output reconstructions/
"""

import argparse

import numpy as np

from vaelab.commands.common.arguments import (
    add_images,
    add_label,
    add_model,
    add_output,
    load_model,
)
from vaelab.commands.common.inputs import read_images
from vaelab.commands.common.labels import image_labels
from vaelab.commands.common.outputs import IMAGES, ImageOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, IMAGES)
    add_label(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reconstruct the images and write the reconstructions."""
    output = ImageOutput(arguments)
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    labels = image_labels(arguments.label, images, model.description.labels)
    found = np.asarray(model.reconstruct(images.pixels, labels))
    output.write(found, images.below, images.names, originals=images.pixels)
