"""Validation bounds by MKL, by oneDNN and in bfloat16, of several seeds: is the loss the same?

    python -m benchmarks.precision mlp --epochs 6
    python -m benchmarks.precision conv --epochs 6 --images 12000
    python -m benchmarks.precision pictures --folder FOLDER --epochs 8 --batch 32

`mlp` is 784-400-20 on MNIST (downloaded the first time), with a Bernoulli likelihood, `conv` the
default network, `pictures` that of `benchmarks.pictures`, with flips, on 64x64 pixels of a folder
of 1,000 images or more. Prints a row per seed and way: the CPU seconds, and the negative ELBO of
the validation split in nats after each epoch. One thread.
"""

import argparse
import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.mnist import mnist
from benchmarks.pictures import FLIP, MODEL, VALIDATION
from benchmarks.steps import MLP
from vaelab.commands.common.inputs import read_to_train
from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.runtime import memory
from vaelab.training.build import build_trainer

CPU = torch.device("cpu")
MODELS: dict[str, dict[str, Any]] = {
    "mlp": MLP | {"likelihood": "bernoulli"},
    "conv": {},
    "pictures": MODEL,
}
WAYS = ("MKL", "oneDNN", "bfloat16")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=MODELS)
    parser.add_argument("--folder", type=Path, help="of pictures")
    parser.add_argument("--images", type=int, help="at most, to train on (default: all)")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    memory.tune_malloc()
    splits = pictures(arguments.folder) if arguments.network == "pictures" else digits()
    splits = splits[0][: arguments.images], splits[1]
    print("| seed | way | CPU s | nats after each epoch |\n|---|---|---|---|")
    for seed in range(arguments.seeds):
        for way in arguments.ways:
            print(f"| {seed} | {way} | {train(way, splits, seed, arguments)} |", flush=True)


Splits = tuple[np.ndarray, np.ndarray]


def digits() -> Splits:
    """Return MNIST's images to train on and to validate."""
    data = mnist()
    return np.array(data.images("train")), np.array(data.images("validation"))


def pictures(folder: Path) -> Splits:
    """Return a folder's images to train on and to validate."""
    pixels = read_to_train([folder], (64, 64), "crop").pixels
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    return pixels[VALIDATION:], pixels[:VALIDATION]


def train(way: str, splits: Splits, seed: int, arguments: argparse.Namespace) -> str:
    """Return the CPU seconds and the bounds of a training."""
    own: dict[str, Any] = dict(FLIP) if arguments.network == "pictures" else {}
    own |= {"epochs": arguments.epochs, "batch_size": arguments.batch, "seed": seed}
    own |= {"precision": "bfloat16" if way == "bfloat16" else "float32"}
    settings = parse_settings({"model": MODELS[arguments.network], "train": own})
    trainer = build_trainer(settings, *(ImageLoader(part, CPU) for part in splits), CPU)
    if way == "MKL":
        trainer.matmul = contextlib.nullcontext
    started = time.process_time()
    history = trainer.fit(show_progress=False).history
    bounds = [f"{row['validation.neg_elbo_nats']:,.2f}" for row in history]
    return f"{time.process_time() - started:.1f} | {'  '.join(bounds)}"


if __name__ == "__main__":
    main()
