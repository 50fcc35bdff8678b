"""Train a model on images, and write it to a folder that the other commands load.

The weights that are kept are those of the epoch of lowest loss on a tenth of the images, which are
not trained on. With --label, `vaelab edit` can change the class; with model.conditional=labels the
model sees it, and `vaelab sample --label` draws images of it.

Examples:
  vaelab train photos/ --size 32 --output model
  vaelab train photos/ --recipe faces_64 --output model
  vaelab train photos/ --label folders --latent-dim 16 --epochs 20 --output model
  vaelab train digits.npz --label digits.npz --set model.conditional=labels --output model
  vaelab train digits.npy --set model.network=resnet --set train.kl_weight=2 --output model
"""

import argparse
import re
from pathlib import Path
from typing import Any

import vaelab
from vaelab.commands.common.arguments import (
    add_device,
    add_images,
    add_label,
    add_output,
    whole_number,
)
from vaelab.commands.common.inputs import NamedImages, read_to_train
from vaelab.commands.common.labels import ARRAY_FILES, FOLDERS, image_labels
from vaelab.commands.common.outputs import check_folder, described
from vaelab.config import UserError
from vaelab.config.choices import NO_SAMPLER, sampler_names
from vaelab.config.yaml_file import parse_assignment
from vaelab.recipes import read_recipe, recipe_names

OWN = {
    "latent-dim": ("model.latent_dim", "dimensions of the latent"),
    "epochs": ("train.epochs", "how often all images are trained on"),
    "seed": ("train.seed", "the same seed gives the same model"),
}
FORM = "settings have the form section.key=value, such as model.network=resnet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_images(parser, "crop (the default), pad or stretch pictures to --size")
    add_output(parser, "a folder for the model")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="WIDTHxHEIGHT",
        help="size of the images, such as 32 or 64x48; without, all have to be of one size",
    )
    add_label(parser, "")
    for name, (setting, text) in OWN.items():
        parser.add_argument(
            f"--{name}", dest=setting, metavar="N", type=whole_number, help=f"{text} ({setting})"
        )
    parser.add_argument(
        "--recipe",
        choices=recipe_names(),
        help="settings for a kind of images, with their size; other options have priority",
    )
    parser.add_argument(
        "--sampler",
        choices=(NO_SAMPLER, *sampler_names()),
        default=NO_SAMPLER,
        help="density to fit to the latents after training, to draw better images from",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="any other setting of model, train, objectives or samplers, as in params.yaml",
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train a model and write it."""
    check_folder(arguments.output, arguments.force)
    settings = _settings(arguments)
    images = read_to_train(arguments.images, _image_size(arguments), arguments.resize)
    model = vaelab.train(
        images.pixels,
        _labels(arguments.label, images),
        sampler=arguments.sampler,
        device=arguments.device,
        recipe=arguments.recipe,
        settings=settings,
    )
    model.save(arguments.output)
    print(f"trained on {described(images.pixels)}")
    print(f"{arguments.output}: {str(model).strip('<>')}")


def _image_size(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Return --size, else the recipe's, as height and width."""
    if arguments.size is not None or arguments.recipe is None:
        return arguments.size  # type: ignore[no-any-return]
    size = read_recipe(arguments.recipe).get("data.image_size")
    return tuple(size) if size else None


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    """Return the settings by dotted name. Raises UserError for one that is given twice."""
    found: dict[str, object] = {}
    own = [(name, getattr(arguments, name)) for name, _ in OWN.values()]
    given = [parse_assignment(text, FORM) for text in arguments.settings]
    for name, value in [*((n, v) for n, v in own if v is not None), *given]:
        if name in found:
            raise UserError(f"{name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found


def _labels(text: str | None, images: NamedImages) -> Any:
    if text == FOLDERS:
        return [Path(name).parent.name for name in images.names]
    if text is not None and Path(text).suffix not in ARRAY_FILES:
        raise UserError(f"--label {text}: wanted {FOLDERS}, or an .npy or .npz file of labels")
    return image_labels(text, images, ())


def _size(text: str) -> tuple[int, int]:
    """Return height and width of WIDTHxHEIGHT, or of one number for both."""
    found = re.fullmatch(r"([1-9]\d{0,3})(?:x([1-9]\d{0,3}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} is no size such as 32 or 64x48")
    width, height = found[1], found[2] or found[1]
    return int(height), int(width)
