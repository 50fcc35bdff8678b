"""Score images: how well the model explains each, in nats. Lower is better.

psnr_db and ssim compare each image with its reconstruction. Higher is better.

neg_elbo_nats and nll_nats are upper bounds of -ln p(x). Where the effective sample size is a small
share of the importance samples, `--proposal fitted` is closer, and takes a second or so an image.

Examples:
  vaelab score models/model photos/
  vaelab score models/model photos/ --output scores.csv
  vaelab score models/model digits.npz --proposal fitted --output scores.npz
"""

import argparse

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
from vaelab.commands.common.inputs import read_images
from vaelab.commands.common.labels import image_labels
from vaelab.commands.common.outputs import TABLE, TableOutput, described_quality

COLUMNS = ("neg_elbo_nats", "nll_nats", "effective_sample_size", "psnr_db", "ssim")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_model(parser)
    add_images(parser)
    add_output(parser, f"{TABLE}; without, only the mean is printed", required=False)
    add_label(parser)
    add_count(parser, "--importance-samples", 100, "latents that are weighted, of each image")
    parser.add_argument(
        "--proposal",
        choices=("encoder", "fitted"),
        default="encoder",
        help="where these are from: the encoder's Gaussian (the default), or a distribution that "
        "is fitted to each image's posterior",
    )
    add_seed(parser, "the latents")


def run(arguments: argparse.Namespace) -> None:
    """Score the images, print the mean and write the scores."""
    output = TableOutput(arguments) if arguments.output else None
    model = load_model(arguments)
    images = read_images(arguments, model.network.image_shape)
    scores = model.score(
        images.pixels,
        image_labels(arguments.label, images, model.description.labels),
        importance_samples=arguments.importance_samples,
        proposal=arguments.proposal,
        seed=arguments.seed,
        progress=True,
    )
    if output:
        columns = {name: getattr(scores, name) for name in COLUMNS}
        known = {name: np.asarray(column) for name, column in columns.items() if column is not None}
        output.write(images.names, known)
    found = scores.mean()
    count = f"{len(images.names):,} {'image' if len(images.names) == 1 else 'images'}"
    print(f"{count}, nats per image:")
    for name in ("neg_elbo", "nll"):
        error = found.get(f"{name}_standard_error_nats")
        print(f"  {name}_nats {found[f'{name}_nats']:.2f}", end="")
        print("" if error is None else f" ± {error:.2f}")
    effective = found["effective_sample_size"]
    print(f"  effective sample size {effective:.1f} of {scores.importance_samples}")
    print(described_quality(found))
