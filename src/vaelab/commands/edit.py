"""Edit images: change each to another class, or add or remove an attribute.

A conditional model decodes what it has encoded under the new class. For another model, the latents
are shifted by the difference of the mean latents of two classes, of the images that it was trained
on, of its sampler, or of --examples, a folder with a folder of images for each class. An attribute
is what the images of --with have and those of --without lack.

Examples:
  vaelab edit models/model photos/ --class 8 --output eights/
  vaelab edit models/model photos/ --class cat --label folders --output cats.png
  vaelab edit models/model a.png --class cat --examples animals/ --output cat.png
  vaelab edit models/model a.png --with smiling/ --without serious/ --output smile.png
  vaelab edit models/model a.png --with smiling/ --without serious/ --strength -1 -o serious.png
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
from vaelab.commands.common.inputs import NamedImages, read_images, read_paths
from vaelab.commands.common.labels import FOLDERS, class_label, image_labels
from vaelab.commands.common.outputs import IMAGES, ImageOutput
from vaelab.config import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, IMAGES)
    change = parser.add_mutually_exclusive_group(required=True)
    change.add_argument(
        "--class",
        dest="target",
        metavar="CLASS",
        help="the class to change to, by number or name",
    )
    change.add_argument(
        "--with",
        dest="having",
        metavar="FOLDER",
        type=Path,
        help="images that have an attribute, to add it",
    )
    parser.add_argument(
        "--without", metavar="FOLDER", type=Path, help="images that lack the attribute of --with"
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="of the attribute: 1 adds it (default), 2 twice, -1 removes it",
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
    changes, examples = _change(arguments, model)
    found = np.asarray(model.edit(images.pixels, changes, labels, examples=examples))
    output.write(found, images.below, images.names, originals=images.pixels)


def _change(
    arguments: argparse.Namespace, model: "vaelab.TrainedModel"
) -> tuple[dict[str, object], tuple[object, object] | None]:
    """Return the change and the examples that it needs. Raises UserError."""
    names = model.description.labels
    if (arguments.having is None) != (arguments.without is None):
        raise UserError("an attribute needs both --with and --without")
    if arguments.having is not None:
        if arguments.examples is not None:
            raise UserError("--examples are of classes: leave them out, or use --class")
        pair = [_read(arguments, folder, model) for folder in (arguments.having, arguments.without)]
        has_it = np.repeat([1, 0], [len(part.pixels) for part in pair])
        examples = np.concatenate([part.pixels for part in pair]), has_it
        return {"attribute": arguments.strength}, examples
    changes: dict[str, object] = {"class": class_label(arguments.target, names)}
    if arguments.examples is None:
        return changes, None
    found = _read(arguments, arguments.examples, model)
    return changes, (found.pixels, image_labels(FOLDERS, found, names))


def _read(arguments: argparse.Namespace, folder: Path, model: "vaelab.TrainedModel") -> NamedImages:
    return read_paths([folder], model.network.image_shape, arguments.resize)
