"""A training step by each way to compute it: MKL, oneDNN, bfloat16, and PyTorch's compiler.

    python -m benchmarks.steps
    python -m benchmarks.steps --networks conv64 --ways oneDNN compiled --rounds 3

Each way runs in a process of its own, on one thread, with images of noise. Prints a row per network
and way, medians over the rounds: the CPU seconds of the first step, those of a process that finds
the compiler's cache on disk, the CPU milliseconds of a later step, and their ratio to MKL's, or to
the first of --ways. The libraries multiply matrices of float32; vaelab takes oneDNN where it gains.
`compiled` compiles encoder and decoder, each by itself; `compiled loss` all of the losses. Both
need a C++ compiler.
"""

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.runtime import memory
from vaelab.runtime.matmul import fast_matmul
from vaelab.training.build import build_trainer
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
WAYS = ("MKL", "oneDNN", "bfloat16", "compiled", "compiled loss")
# The model, the shape of an image, and the batch size.
Case = tuple[dict[str, Any], tuple[int, int, int], int]
MLP: dict[str, Any] = {"network": "mlp", "hidden": (400,), "latent_dim": 20}
NETWORKS: dict[str, Case] = {
    "mlp": (MLP | {"likelihood": "bernoulli"}, (1, 28, 28), 128),
    "mlp512": (MLP | {"likelihood": "bernoulli"}, (1, 28, 28), 512),
    "wide": ({"network": "mlp", "hidden": (500, 500)}, (1, 28, 28), 100),
    "small": ({"network": "mlp", "hidden": (128,)}, (1, 8, 8), 100),
    "conv8": ({"network": "conv"}, (1, 8, 8), 100),
    "conv16": ({"network": "conv"}, (1, 16, 16), 100),
    "conv28": ({"network": "conv"}, (1, 28, 28), 128),
    "conv64": ({"network": "conv", "channels": (32, 64, 128)}, (3, 64, 64), 32),
    "resnet8": ({"network": "resnet"}, (1, 8, 8), 100),
    "resnet28": ({"network": "resnet"}, (1, 28, 28), 128),
    "resnet64": ({"network": "resnet"}, (3, 64, 64), 32),
}


def main() -> None:
    """Print the table, or time one way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS[:3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of steps in each process")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        print(*timed(arguments.networks[0], arguments.ways[0], arguments.seconds))
        return
    print(
        "| network | way | first step, s | with the cache | step, ms | ratio |\n" + 6 * "|---" + "|"
    )
    for network in arguments.networks:
        rounds = [
            [measured(network, way, arguments.seconds) for way in arguments.ways]
            for _ in range(arguments.rounds)
        ]
        for number, way in enumerate(arguments.ways):
            own = [found[number] for found in rounds]
            cold, warm, step = (statistics.median(column) for column in zip(*own, strict=True))
            ratio = statistics.median(found[number][2] / found[0][2] for found in rounds)
            cells = f"{cold:.1f} | {warm:.1f} | {step:.2f} | {ratio:.2f}"
            print(f"| {network} | {way} | {cells} |", flush=True)


def measured(network: str, way: str, seconds: float) -> tuple[float, float, float]:
    """Return the seconds of a first step, cold and warm, and the milliseconds of a later one."""
    options = ["--once", "--networks", network, "--ways", way, "--seconds", str(seconds)]
    command = [sys.executable, "-m", "benchmarks.steps", *options]
    with tempfile.TemporaryDirectory() as cache:
        own = {"TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        found = [
            subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | own
            ).stdout.split()
            for _ in range(2 if "compiled" in way else 1)
        ]
    return float(found[0][0]), float(found[-1][0]), min(float(step) for _, step in found)


def timed(network: str, way: str, seconds: float) -> tuple[float, float]:
    """Return the CPU seconds of the first step, and the CPU milliseconds of a later one."""
    torch.set_num_threads(1)
    memory.tune_malloc()
    trainer = build(network, "bfloat16" if way == "bfloat16" else "float32")
    trainer.matmul = {"MKL": contextlib.nullcontext, "oneDNN": fast_matmul}.get(way, trainer.matmul)
    started = cpu_seconds()
    if way == "compiled":
        for part in trainer.live_model.networks.values():
            part.compile()
    if way == "compiled loss":
        trainer.updater.update_groups = [
            (names, torch.compile(losses)) for names, losses in trainer.updater.update_groups
        ]
    steps = endless(trainer)
    next(steps)
    first = cpu_seconds() - started
    for _ in range(3):
        next(steps)
    count, since, started = 0, time.perf_counter(), cpu_seconds()
    while time.perf_counter() < since + seconds:
        next(steps)
        count += 1
    return first, 1000 * (cpu_seconds() - started) / count


def build(network: str, precision: str) -> Trainer:
    """Build a trainer on noise."""
    model, shape, batch = NETWORKS[network]
    pixels = np.random.default_rng(0).integers(0, 256, (40 * batch, *shape)).astype(np.uint8)
    train = {"batch_size": batch, "precision": precision}
    settings = parse_settings({"model": model, "train": train})
    return build_trainer(settings, ImageLoader(pixels, CPU), ImageLoader(pixels[:10], CPU), CPU)


def endless(trainer: Trainer) -> Iterator[None]:
    """Take steps without end, and without validation."""
    while True:
        yield from trainer.steps_of_epoch()
        trainer.progress.step = 0


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has ended, as compilers are."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, kinds))


if __name__ == "__main__":
    main()
