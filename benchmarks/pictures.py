"""What flips, averaged weights, schedules and bfloat16 bring to a training on pictures.

    python -m benchmarks.pictures FOLDER

Trains `conv` with channels [32, 64, 128] and 64 latents on the images of a folder, cut to 64x64,
but for 300 of them, on which it prints the best validation loss in nats per image and the PSNR of
its epoch: of the averaged weights, and of those that are trained; and the CPU seconds, validation
included.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelab.commands.common.inputs import read_to_train
from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.training.build import build_trainer
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
MODEL = {"channels": [32, 64, 128], "kernel_size": 3, "latent_dim": 64}
TRAIN = {"batch_size": 50, "ema_decay": 0.99}
FLIP, COSINE = {"augment_flip": 0.5}, {"learning_rate_schedule": "cosine"}
WARM = FLIP | COSINE | {"kl_warmup_epochs": 5}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "flip": FLIP,
    "cosine": FLIP | COSINE,
    "warm": WARM,
    "clipped": WARM | {"gradient_clip_norm": 100},
    "bfloat16": {"precision": "bfloat16"},
}
VALIDATION = 300


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pixels = read_to_train([arguments.folder], (64, 64), "crop").pixels
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    for name in arguments.variants:
        print(name, measure(name, pixels, arguments.epochs, arguments.seed), flush=True)


def measure(name: str, pixels: np.ndarray, epochs: int, seed: int) -> str:
    """Train a variant; return its numbers."""
    train = TRAIN | {"epochs": epochs, "seed": seed} | VARIANTS[name]
    settings = parse_settings({"model": MODEL, "train": train})
    splits = (ImageLoader(part, CPU) for part in (pixels[VALIDATION:], pixels[:VALIDATION]))
    trainer, live = build_trainer(settings, *splits, CPU), list[dict[str, float]]()
    started = time.process_time()

    def on_epoch(report: EpochReport) -> None:
        live.append(validate_live(trainer))

    trainer.fit(on_epoch, show_progress=False)
    seconds = time.process_time() - started
    averaged = [
        {k.removeprefix("validation."): v for k, v in row.items()}
        for row in trainer.progress.history
    ]
    return f"averaged {best(averaged)}, trained {best(live)}, {seconds:.0f} CPU s"


def validate_live(trainer: Trainer) -> dict[str, float]:
    """Validate the weights that are trained, without a change to those that are averaged."""
    kept = trainer.model, trainer.average
    trainer.model, trainer.average = trainer.live_model, None
    metrics = trainer._validate()[0]
    trainer.model, trainer.average = kept
    return metrics


def best(rows: list[dict[str, float]]) -> str:
    """Return the lowest loss, its epoch, and the PSNR there."""
    row = min(rows, key=lambda each: each["loss"])
    psnr = -10 * math.log10(row["mean_squared_error"])
    return f"{row['loss']:.0f} nats in epoch {rows.index(row) + 1}, {psnr:.2f} dB"


if __name__ == "__main__":
    main()
