"""Encode images: the mean and the standard deviation of each image's latent.

Examples:
  vaelab encode models/model photos/ --output latents.csv
  vaelab encode models/model a.png b.png --output latents.npz
  vaelab encode models/model images.npy --resize crop --output latents.csv
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
from vaelab.commands.common.outputs import TABLE, TableOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, TABLE)
    add_label(parser)


def run(arguments: argparse.Namespace) -> None:
    """Encode the images and write their latents."""
    output = TableOutput(arguments)
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    labels = image_labels(arguments.label, images, model.description.labels)
    latents = model.encode(images.pixels, labels)
    found = {"mean": latents.mean, "stddev": latents.stddev}
    columns = {name: np.asarray(values) for name, values in found.items() if values is not None}
    output.write(images.names, columns)
