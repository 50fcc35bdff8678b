"""Seconds to a validation bound of 105 nats on MNIST: vaelab beside others, in turns.

    python -m benchmarks.time_to_bound --rounds 3

The others are PyTorch's VAE example, pythae, and a plain VAE with Lightning's trainer. All train
the example's network, 784-400-20, on the same 57,000 images in whole epochs, each validated as its
tool does on the same 3,000 images; vaelab with its defaults, the others with the example's batches
of 128 and learning rate of 0.001. Each is a process of its own; its imports do not count. Downloads
MNIST, through VAELAB_DATA_MIRROR where that is set, and the other tools the first time.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.bound_contender import CONTENDERS
from benchmarks.mnist import mnist
from benchmarks.peers import PACKAGES, install, run_with
from pipeline import cli

Epochs = list[tuple[float, float]]
"""Seconds and validation bound after each epoch."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", type=float, default=105.0, help="nats an image")
    parser.add_argument("--epochs", type=int, default=40, help="at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Print a table."""
    for tool in PACKAGES:
        install(tool)
    data = mnist()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "images.npz"
        np.savez(given, **{split: data.images(split) for split in ("train", "validation")})  # type: ignore[arg-type]
        rounds = [
            {name: train(name, given, arguments) for name in CONTENDERS}
            for _ in range(arguments.rounds)
        ]
    print("| tool | seconds to the bound | epochs | seconds an epoch | vaelab is faster by |")
    print("|---|---|---|---|---|")
    for name in CONTENDERS:
        print(row(name, rounds, arguments.target))


def train(name: str, images: Path, arguments: argparse.Namespace) -> Epochs:
    """Let a tool train; return what it notes after each epoch."""
    result = images.with_name("result.json")
    options = ["target", "epochs", "threads"]
    words = [text for key in options for text in (f"--{key}", str(getattr(arguments, key)))]
    tool = name if name in PACKAGES else None
    run_with(tool, "bound_contender", name, str(images), str(result), *words)
    found: Epochs = json.loads(result.read_text())
    return found


def row(name: str, rounds: list[dict[str, Epochs]], target: float) -> str:
    """Return a tool's medians, and the median of its seconds over vaelab's, in one round each."""
    own = [found[name] for found in rounds]
    if any(epochs[-1][1] > target for epochs in own):
        last = statistics.median(epochs[-1][1] for epochs in own)
        return f"| {name} | not reached: {last:.2f} nats | {len(own[0])} | | |"
    seconds = statistics.median(epochs[-1][0] for epochs in own)
    count = statistics.median(len(epochs) for epochs in own)
    each = statistics.median(epochs[-1][0] / len(epochs) for epochs in own)
    ratio = statistics.median(found[name][-1][0] / found["vaelab"][-1][0] for found in rounds)
    return f"| {name} | {seconds:.1f} | {count:g} | {each:.2f} | {ratio:.2f} |"


if __name__ == "__main__":
    main()
