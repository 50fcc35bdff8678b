"""Images a second in training: vaelab's loop beside a plain one, PyTorch's example, and pythae.

    python -m benchmarks.training                        # the rows of docs/speed.md
    python -m benchmarks.training --networks mlp --batches 128 512 --rounds 5

Downloads MNIST the first time, through VAELAB_DATA_MIRROR where that is set, and pythae from the
package index, both into .benchmarks/. All train the same network by Adam, with the same losses, on
the same images for an epoch: the plain loop slices a tensor, the example takes a DataLoader of
torchvision's MNIST and reads each loss, pythae is its BaseTrainer; vaelab's epoch includes its
validation, of 500 images. They take turns; a ratio is the median over the rounds. Below: the share
of what the matrix products' own rate on this machine would allow.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.loops import over_loader, over_slices
from benchmarks.mnist import mnist
from benchmarks.peers import install, run_with
from benchmarks.rates import product_rate, training_flops
from pipeline import cli
from vaelab.config import Settings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.runtime import memory
from vaelab.training.build import build_trainer

CPU = torch.device("cpu")
VALIDATION = 500
PRECISIONS = ("float32", "bfloat16")
OTHERS = ("plain loop", "example", "pythae")
Rates = Mapping[str, float]
HEADER = (
    "| network | batch | vaelab, images/s | in bfloat16 | plain loop | example | pythae "
    "| to the plain loop | to the example | to pythae | bfloat16 to pythae |\n" + 11 * "|---" + "|"
)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=("mlp", "conv"), default=["mlp", "conv"])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=20_000, help="of an epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.images, arguments.threads, *arguments.batches) < 1:
        parser.error("--rounds, --images, --threads and --batches must be 1 or more")
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Print a row for each network and batch size."""
    torch.set_num_threads(arguments.threads)
    memory.tune_malloc()
    data = mnist()
    install("pythae")
    pixels = np.array(data.images("train")[: arguments.images])
    validation = ImageLoader(data.images("validation")[:VALIDATION], CPU)
    print(HEADER, flush=True)
    notes = []
    for network in arguments.networks:
        for size in arguments.batches:
            ours = {p: partial(vaelab, settings(network, size, p)) for p in PRECISIONS}
            contenders = ours | others(network, size, arguments.threads)
            rounds = [
                take_turns(contenders, ImageLoader(pixels, CPU), validation)
                for _ in range(arguments.rounds)
            ]
            print(row(network, size, rounds), flush=True)
            notes.append(limit(network, size, rounds, ImageLoader(pixels, CPU)))
    print("\n" + "\n".join(notes))


def settings(network: str, size: int, precision: str) -> Settings:
    """Return the settings that train the networks of `benchmarks.loops` for an epoch."""
    model = {"network": network, "hidden": (400,), "latent_dim": 20, "likelihood": "bernoulli"}
    train = {"epochs": 1, "batch_size": size, "precision": precision}
    return parse_settings({"model": model, "train": train})


Contender = Callable[[ImageLoader, ImageLoader], float]


def others(network: str, size: int, threads: int) -> dict[str, Contender]:
    """Return the other tools' epochs, by name: each takes images and gives its seconds."""
    return {
        "plain loop": lambda images, _: over_slices(network, floats(images), size),
        "example": lambda images, _: over_loader(network, floats(images), size),
        "pythae": lambda images, _: pythae(network, floats(images), size, threads),
    }


def vaelab(chosen: Settings, images: ImageLoader, validation: ImageLoader) -> float:
    """Train for an epoch; give the seconds."""
    trainer = build_trainer(chosen, images, validation, CPU)
    started = time.perf_counter()
    trainer.fit(show_progress=False)
    return time.perf_counter() - started


def pythae(network: str, images: Tensor, size: int, threads: int) -> float:
    """Let pythae train for an epoch, in a process of its own; give the epoch's seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "given.npz", Path(folder) / "result.json"
        np.savez(given, images=images.numpy())
        options = ["--network", network, "--batch", str(size), "--threads", str(threads)]
        run_with("pythae", "pythae_training", str(given), str(result), *options)
        return float(json.loads(result.read_text())["seconds"])


def floats(images: ImageLoader) -> Tensor:
    """Return all images as floats in [0, 1]."""
    return torch.from_numpy(images.array).float() / 255


def take_turns(
    contenders: Mapping[str, Contender], images: ImageLoader, validation: ImageLoader
) -> Rates:
    """Return each contender's images a second."""
    return {name: len(images) / train(images, validation) for name, train in contenders.items()}


def ratio(rounds: list[Rates], ours: str, theirs: str) -> float:
    """Return the median over rounds of one rate over another."""
    return statistics.median(rates[ours] / rates[theirs] for rates in rounds)


def row(network: str, size: int, rounds: list[Rates]) -> str:
    """Write medians of rates and of ratios."""
    rates = [statistics.median(r[name] for r in rounds) for name in (*PRECISIONS, *OTHERS)]
    ratios = [ratio(rounds, "float32", other) for other in OTHERS]
    ratios.append(ratio(rounds, "bfloat16", "pythae"))
    cells = [f"{rate:,.0f}" for rate in rates] + [f"{value:.2f}" for value in ratios]
    return f"| {network} | {size} | {' | '.join(cells)} |"


def limit(network: str, size: int, rounds: list[Rates], images: ImageLoader) -> str:
    """Write what this machine's float32 matrix products would allow."""
    chosen = settings(network, size, "float32")
    trainer = build_trainer(chosen, images, images, CPU)
    operations = training_flops(trainer.objective, trainer.model, floats(images)[:size])
    possible = product_rate() / operations
    shares = [statistics.median(r[name] for r in rounds) / possible for name in PRECISIONS]
    return (
        f"{network}, batch {size}: {operations / 1e6:.2f} MFLOP an image make {possible:,.0f} "
        f"images/s at most in float32; vaelab reaches {shares[0]:.0%}, {shares[1]:.0%} in bfloat16"
    )


if __name__ == "__main__":
    main()
