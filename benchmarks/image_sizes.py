"""What the sizes that `auto` chooses cost: for images of 28 to 256 pixels, on one core.

    python -m benchmarks.image_sizes

Trains the default model on images of noise, which costs what any image does, each size in a process
of its own. The seconds are CPU time of the steps of an epoch of 1,000 images, without validation;
the memory of a step is what the process needs above what it had before its first one. Prints a row
a size, of `--sizes` only if set, such as `--sizes 1x28 3x64`.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from pipeline import cli
from vaelab.config import UserError, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.models.networks import Shape
from vaelab.models.sizes import resolve_sizes
from vaelab.training.build import build_trainer

SIZES = ("1x28", "3x32", "3x64", "3x128", "3x256")
IMAGES = 1000
# Steps whose time is measured, after one that is not.
STEPS = 3
KIB, GB = 1024, 1e9


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="CHANNELSxSIDE")
    parser.add_argument("--network", default="conv", help="conv (the default), mlp or resnet")
    parser.add_argument("--batch-size", type=int, default=100, help="images per step")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        work = measure(shape_of(arguments.one), arguments.network, arguments.batch_size)
        print(json.dumps(work))
        return
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Measure each size in a process of its own, and print a table."""
    print("| images | latents | channels | weights | 1,000 images | memory of a step |")
    print("|---|---|---|---|---|---|", flush=True)
    own = ["--network", arguments.network, "--batch-size", str(arguments.batch_size)]
    for size in arguments.sizes:
        channels, height, width = shape_of(size)
        command = [sys.executable, "-m", "benchmarks.image_sizes", "--one", size, *own]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        kind = "grey" if channels == 1 else "colour"
        print(
            f"| {height}x{width}, {kind} | {found['latents']} | {found['channels']} | "
            f"{found['weights']:,} | {found['seconds']:.1f} s | {found['bytes'] / GB:.2f} GB |",
            flush=True,
        )


def measure(shape: Shape, network: str, batch_size: int) -> dict[str, object]:
    """Take a few steps on images of a shape; return the sizes, and what they cost."""
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, ((STEPS + 1) * batch_size, *shape), np.uint8)
    device = torch.device("cpu")
    settings = parse_settings(
        {"model": {"network": network}, "train": {"batch_size": batch_size, "epochs": 1}}
    )
    few = ImageLoader(pixels[:10], device)
    trainer = build_trainer(settings, ImageLoader(pixels, device), few, device)
    sizes, before = resolve_sizes(settings.model, shape), peak_bytes()
    steps = trainer.steps_of_epoch()
    next(steps)
    started = time.process_time()
    taken = sum(1 for _ in steps)
    return {
        "latents": sizes.latent_dim,
        "channels": list(sizes.channels),
        "weights": sum(weight.numel() for weight in trainer.model.parameters()),
        "seconds": (time.process_time() - started) / (taken * batch_size) * IMAGES,
        "bytes": peak_bytes() - before,
    }


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def shape_of(size: str) -> Shape:
    """Return the shape that CHANNELSxSIDE stands for. Raises UserError."""
    found = re.fullmatch(r"([13])x([1-9]\d{0,3})", size)
    if not found:
        raise UserError(f"--sizes: {size} is not of the form CHANNELSxSIDE, such as 3x64")
    return int(found[1]), int(found[2]), int(found[2])


if __name__ == "__main__":
    main()
