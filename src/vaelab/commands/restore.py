"""Restore missing pixels of images, from what is left of them.

For each image the folder gets the mean (photo_mean.png), the spread (photo_spread.png, white where
the standard deviation is 0.5) and draws of what may have been there (photo_draw_0.png and so on);
restored.png has the first images side by side, restored.csv the share of missing pixels and the
effective sample size of each: where it is near 1, neither mean nor spread can be relied on.

Examples:
  vaelab restore models/model photos/ --mask mask.png --output restored/
  vaelab restore models/model photos/ --mask "#ff00ff" --draws 4 --output restored/
  vaelab restore models/model with_nan.npy --output restored/
"""

import argparse
from pathlib import Path

import numpy as np

from vaelab.commands.common.arguments import (
    add_count,
    add_images,
    add_label,
    add_model,
    add_output,
    add_seed,
    load_model,
)
from vaelab.commands.common.inputs import NamedImages, read_paths
from vaelab.commands.common.labels import image_labels
from vaelab.commands.common.outputs import ImageOutput, check_output, table_rows
from vaelab.figures.image_tiles import write_png
from vaelab.figures.restoration import LARGEST_STDDEV, restoration_rows
from vaelab.runtime.serialization import write_csv

FOLDER = "a folder (a name without ending)"
SHOWN = 20
"""Images that stand side by side."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    parser.add_argument(
        "--mask",
        help="what is missing: a picture or .npy that is not 0 there, for all images, a folder of "
        "one for each, or a color that the images have there, as '#ff00ff'; without, NaN in arrays",
    )
    add_count(parser, "--draws", 8, "how many draws of each image")
    parser.add_argument(
        "--pixel-noise",
        action="store_true",
        help="draws and spread of pixels with the noise of the likelihood, not of decoded means",
    )
    add_output(parser, FOLDER)
    add_label(parser)
    add_seed(parser, "the draws")


def run(arguments: argparse.Namespace) -> None:
    """Restore the images and write what they may have been."""
    from vaelab.api.incomplete import marking_color, read_incomplete, read_incomplete_item

    folder = arguments.output
    check_output(folder, ("",), FOLDER, arguments.force)
    side_by_side, table = folder / "restored.png", folder / "restored.csv"
    for path in (side_by_side, table):
        check_output(path, (path.suffix,), path.suffix, arguments.force)
    model = load_model(arguments)
    shape, color = model.network.image_shape, marking_color(arguments.mask)
    images = read_paths(
        arguments.images,
        shape,
        arguments.resize,
        lambda file: read_incomplete_item(file, shape, color, arguments.resize),
    )
    pixels = read_incomplete(images.pixels, None if color else arguments.mask, shape).numpy()
    found = model.restore(
        pixels,
        draws=arguments.draws,
        labels=image_labels(arguments.label, images, model.description.labels),
        pixel_noise=arguments.pixel_noise,
        seed=arguments.seed,
    )
    mean, stddev, draws = (np.asarray(part) for part in (found.mean, found.stddev, found.draws))
    shown = np.concatenate([mean[:, None], stddev[:, None] / LARGEST_STDDEV, draws], 1)
    ImageOutput(arguments).write(shown.reshape(-1, *shape), _files(images, arguments.draws))
    some, missing = slice(SHOWN), np.isnan(pixels)
    write_png(
        side_by_side,
        restoration_rows(pixels[some], ~missing[some], mean[some], draws[some], stddev[some]),
    )
    columns = {
        "missing_share": missing.mean((1, 2, 3)),
        "effective_sample_size": np.asarray(found.effective_sample_size),
    }
    write_csv(table, table_rows(images.names, columns))


def _files(images: NamedImages, draws: int) -> list[Path]:
    kinds = ["mean", "spread", *(f"draw_{number}" for number in range(draws))]
    return [path.with_name(f"{path.stem}_{kind}.png") for path in images.below for kind in kinds]
