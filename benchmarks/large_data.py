"""Data ten times larger than memory: it trains, at what rate, and in how much memory.

    python -m benchmarks.large_data --gigabytes 10 --limit 1

Writes images of 64x64 pixels to a file of so many gigabytes, then trains a small network on them
for an epoch in a process whose own memory the system limits (RLIMIT_DATA), so that they are read
from the memory-mapped file; then, the same number of steps on as many images as fit. Prints images
a second of both and the process's own memory after each tenth of the epoch, which should not grow.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from pipeline import cli

# Not the system's folder for temporary files, which may be in memory.
FOLDER = Path(".benchmarks")
GIGA = 10**9
SIDE = 64
IMAGE = SIDE * SIDE
BATCH = 256
PART = 20_000


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=10, help="of images")
    parser.add_argument("--limit", type=float, default=1, help="gigabytes of memory")
    parser.add_argument("--steps", type=int, default=None, help="at most (default: an epoch)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments.train, arguments.steps)
        return
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Train on the large file and on a small one, in processes of limited memory."""
    print("| images | size | read from | images/s | memory, MB, after each tenth |")
    print("|---|---|---|---|---|")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        for gigabytes in (arguments.gigabytes, arguments.limit / 5):
            file = Path(folder) / "images.npy"
            count = int(gigabytes * GIGA / IMAGE)
            write(file, count)
            found = limited(file, arguments.limit, arguments.steps)
            place = "memory" if found["resident"] else "the file"
            memory = ", ".join(f"{used:.0f}" for used in found["megabytes"])
            print(
                f"| {count:,} | {gigabytes:g} GB | {place} | {found['rate']:,.0f} | {memory} |",
                flush=True,
            )


def write(file: Path, count: int) -> None:
    """Write images of noise, part by part."""
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 1, SIDE, SIDE))
    generator = np.random.default_rng(0)
    for start in range(0, count, PART):
        images[start : start + PART] = generator.integers(
            0, 256, images[start : start + PART].shape, np.uint8
        )


def limited(file: Path, gigabytes: float, steps: int | None) -> dict[str, object]:
    """Train in a process that may take so much memory of its own."""
    most = int(gigabytes * GIGA)
    command = [sys.executable, "-m", "benchmarks.large_data", "--train", str(file)]
    command += ["--steps", str(steps)] if steps else []
    ran = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)),
    )
    found: dict[str, object] = json.loads(ran.stdout)
    return found


def train(file: Path, steps: int | None) -> None:
    """Train for an epoch, or so many steps, and print what was found as JSON."""
    import torch

    from vaelab.config import parse_settings
    from vaelab.data.loader import ImageLoader
    from vaelab.runtime.devices import choose_device
    from vaelab.training.build import build_trainer

    model = {"network": "mlp", "hidden": (64,), "latent_dim": 8}
    settings = parse_settings({"model": model, "train": {"epochs": 1, "batch_size": BATCH}})
    choose_device(settings.machine)
    images = np.load(file, mmap_mode="r")
    cpu = torch.device("cpu")
    batches = ImageLoader(images, cpu)
    few = ImageLoader(np.array(images[:500]), cpu)
    loop = build_trainer(settings, batches, few, cpu)
    total = min(steps or len(images), len(images) // BATCH)
    megabytes, started = [], time.perf_counter()
    for step, _ in enumerate(loop.steps_of_epoch(), 1):
        if step % max(1, total // 10) == 0:
            megabytes.append(own_megabytes())
        if step == total:
            break
    rate = total * BATCH / (time.perf_counter() - started)
    resident = batches.bytes is not None
    print(json.dumps({"rate": rate, "megabytes": megabytes, "resident": resident}))


def own_megabytes() -> float:
    """Return the memory that is the process's own: no pages of files."""
    taken = psutil.Process().memory_info()
    return float(taken.rss - taken.shared) / 1e6


if __name__ == "__main__":
    main()
