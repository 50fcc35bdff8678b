"""Edit images: change each to another class.

A conditional model decodes what it has encoded under the new class. For another model, the latents
are shifted by the difference of the mean latents of two classes, of the images that it was trained
on, of its sampler, or of --examples, a folder with a folder of images for each class.

Examples:
  vaelab edit models/model photos/ --class 8 --output eights/
  vaelab edit models/model photos/ --class cat --label folders --output cats.png
  vaelab edit models/model a.png --class cat --examples animals/ --output cat.png
"""

import argparse
from pathlib import Path

import numpy as np

import vaelab
from vaelab.commands.common.arguments import (
    add_images,
    add_label,
    add_model,
    add_output,
    load_model,
)
from vaelab.commands.common.inputs import read_images, read_paths
from vaelab.commands.common.labels import FOLDERS, class_label, image_labels
from vaelab.commands.common.outputs import IMAGES, ImageOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, IMAGES)
    parser.add_argument(
        "--class",
        dest="target",
        metavar="CLASS",
        required=True,
        help="the class to change to, by number or name",
    )
    add_label(parser)
    parser.add_argument(
        "--examples", metavar="FOLDER", type=Path, help="images of the classes, a folder for each"
    )


def run(arguments: argparse.Namespace) -> None:
    """Edit the images and write the results."""
    output = ImageOutput(arguments)
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    labels = image_labels(arguments.label, images, model.description.labels)
    target = class_label(arguments.target, model.description.labels)
    examples = _examples(arguments, model)
    found = np.asarray(model.edit(images.pixels, {"class": target}, labels, examples=examples))
    output.write(found, images.below, images.names, originals=images.pixels)


def _examples(
    arguments: argparse.Namespace, model: "vaelab.TrainedModel"
) -> tuple[object, object] | None:
    if arguments.examples is None:
        return None
    shape = model.network.image_shape
    found = read_paths([arguments.examples], shape, arguments.resize)
    return found.pixels, image_labels(FOLDERS, found, model.description.labels)
