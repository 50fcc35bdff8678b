"""What tracking, progress and checkpoints cost: the train stage's loop beside the bare one.

    python -m benchmarks.overhead --epochs 5 --rounds 3

Trains the default network on MNIST: once with all that the train stage does around the loop (an
MLflow run in an SQLite store with metrics, images and system metrics, a progress bar,
checkpoints), once with none of it, the two in turns. Prints both times and the median of what the
first takes more; the store's own end, after training, is not in it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from benchmarks.mnist import mnist
from pipeline import cli
from pipeline.artifacts import build_batches
from pipeline.tracking.training_log import Training
from pipeline.tracking.training_mirror import TrainingMirror
from pipeline.train import fit
from vaelab.config import Settings, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.runtime.devices import choose_device, describe
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.fingerprint import training_settings
from vaelab.training.trainer import Trainer


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Let the two take turns, and print what they took."""
    watched = {"tracking": {"system_metrics": True}}
    settings = parse_settings({"train": {"epochs": arguments.epochs}} | watched)
    data = mnist()
    choose_device(settings.machine)
    seconds: dict[Callable[[Settings, PreparedData], float], list[float]] = {bare: [], whole: []}
    for _ in range(arguments.rounds):
        for work, taken in seconds.items():
            taken.append(work(settings, data))
    more = [taken / alone - 1 for alone, taken in zip(seconds[bare], seconds[whole], strict=True)]
    print("| epochs | the bare loop | with everything | more |\n|---|---|---|---|")
    print(
        f"| {arguments.epochs} | {statistics.median(seconds[bare]):.2f} s "
        f"| {statistics.median(seconds[whole]):.2f} s | {statistics.median(more):.1%} |"
    )


def bare(settings: Settings, data: PreparedData) -> float:
    """Train with nothing around it; give the seconds."""
    loop = trainer(settings, data)
    started = time.perf_counter()
    loop.fit(show_progress=False)
    return time.perf_counter() - started


def whole(settings: Settings, data: PreparedData) -> float:
    """Train as the stage does; give the seconds from the first step to the last."""
    loop = trainer(settings, data)
    with (
        tempfile.TemporaryDirectory() as folder,
        chdir(folder),
        CheckpointFolder(Path("checkpoints")) as checkpoints,
        TrainingMirror(settings) as log,
    ):
        known, device = training_settings(settings), describe(loop.device)
        log.begin(Training("overhead", None, known, known, data.info, device, None))
        started = time.perf_counter()
        fit(loop, log, settings, checkpoints)
        return time.perf_counter() - started


def trainer(settings: Settings, data: PreparedData) -> Trainer:
    """Build the loop anew."""
    device = choose_device(settings.machine)
    splits = [build_batches(data, split, False, device) for split in ("train", "validation")]
    return build_trainer(settings, *splits, device)


if __name__ == "__main__":
    main()
