"""Find the images that do not belong, by a model that was trained on normal ones.

A page ranks them, the oddest first, with a heat map of where, and a table beside it (.csv) has the
scores of all. Held-out normal images set the threshold for the false-alarm rate; half of them say
what is usual, unless --training has the images of the training.

Examples:
  vaelab detect models/model photos/ --normal good/ --output odd.html
  vaelab detect models/model photos/ --normal good/ --rate 0.01 --score latent_distance -o odd.html
  vaelab detect models/model new.npy --normal held_out.npy --training train.npy -o odd.html
"""

import argparse
from pathlib import Path

import numpy as np

from vaelab.commands.common.arguments import (
    add_images,
    add_model,
    add_output,
    add_seed,
    load_model,
)
from vaelab.commands.common.inputs import read_images, read_paths
from vaelab.commands.common.outputs import check_output, table_rows
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_csv

PAGE = ".html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    for name, wanted, text in (
        ("--normal", True, "normal images that the model was not trained on"),
        ("--training", False, "images that it was trained on"),
    ):
        parser.add_argument(
            name, metavar="IMAGES", nargs="+", type=Path, required=wanted, help=text
        )
    parser.add_argument(
        "--rate",
        type=float,
        default=0.05,
        help="false-alarm rate: share of normal images that may be called odd (default: 0.05)",
    )
    parser.add_argument(
        "--score",
        default="combination",
        help="what decides: combination (default), neg_elbo, nll, complexity, reconstruction, "
        "surprise or latent_distance",
    )
    add_output(parser, PAGE)
    add_seed(parser, "the noise")


def run(arguments: argparse.Namespace) -> None:
    """Rank the images, and write the page and the table."""
    from vaelab.api.detection import detection_page

    table = arguments.output.with_suffix(".csv")
    check_output(arguments.output, (PAGE,), PAGE, arguments.force)
    check_output(table, (".csv",), ".csv", arguments.force)
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    normal, training = (
        _others(arguments, paths, model.network.image_shape)
        for paths in (arguments.normal, arguments.training)
    )
    found = model.detect(
        images.pixels,
        normal,
        training=training,
        false_alarm_rate=arguments.rate,
        score=arguments.score,
        seed=arguments.seed,
    )
    order = found.order
    columns = {
        "rank": np.arange(1, len(order) + 1),
        "odd": found.is_odd[order].astype(int),
        "p_value": found.p_values[order],
        **{name: values[order] for name, values in found.all_scores.items()},
    }
    write_csv(table, table_rows([images.names[row] for row in order], columns))
    page = detection_page(model.network, images.pixels, found, images.names)
    write_text(arguments.output, page)
    odd, count = int(found.is_odd.sum()), len(found)
    print(f"{arguments.output}: {odd:,} of {count:,} images are odd; all scores are in {table}")


def _others(
    arguments: argparse.Namespace, paths: list[Path] | None, shape: tuple[int, int, int]
) -> np.ndarray | None:
    if paths is None:
        return None
    return read_paths(paths, shape, arguments.resize).pixels
