"""Reconstruct images: encode and decode them.

In a single .png, each image stands above its reconstruction. PSNR and SSIM say how close they are,
and .npz has them of each image.

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
from vaelab.commands.common.outputs import IMAGES, ImageOutput, described_quality


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, IMAGES)
    add_label(parser)


def run(arguments: argparse.Namespace) -> None:
    """Reconstruct the images and write the reconstructions."""
    import torch

    from vaelab.estimators.latent_statistics import to_numpy
    from vaelab.evaluation.reconstructions import compare_images, reconstruction_metrics

    output = ImageOutput(arguments)
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    labels = image_labels(arguments.label, images, model.description.labels)
    found = np.asarray(model.reconstruct(images.pixels, labels))
    scores = compare_images(torch.as_tensor(images.pixels), torch.as_tensor(found))
    of_each = {name: to_numpy(values) for name, values in scores.items()}
    output.write(found, images.below, images.names, images.pixels, of_each)
    print(described_quality(reconstruction_metrics(scores)))
