"""Train and measure a configuration in a folder of its own, where all that was done is kept."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.published.configurations import Configuration, Measure
from benchmarks.published.training import Clock, OutOfTimeError, train
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.scoring import score_images
from vaelab.models.model import Model
from vaelab.runtime.files import write_text
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.progress import Progress

# Images scored between two looks at the clock.
PART = 500

Splits = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Result:
    """How far a configuration has come, and in the end our number in nats.

    `standard_error` is that over test images; None where the number is no mean over them.
    """

    epochs: int
    training_seconds: float
    value: float | None = None
    standard_error: float | None = None


def work(
    configuration: Configuration,
    splits: Callable[[], Splits],
    device: torch.device,
    folder: Path,
    clock: Clock,
) -> Result:
    """Go on until the number is there or the time is over.

    `splits` gives the training and the test images, bytes [count, channel, height, width]. It is
    not asked where nothing is left to do. Raises UserError if another process works there.
    """
    wanted = configuration.measure
    scores = folder / f"{wanted.kind}_{wanted.samples}_{wanted.images}.json"
    result = scores.with_name(f"result_{scores.name}")
    if result.is_file():
        return Result(**json.loads(result.read_text()))
    with CheckpointFolder(folder) as checkpoints:
        try:
            clock.check()
            images, test = splits()
            trainer = train(configuration.training, images, device, checkpoints, clock)
            values = _values(trainer.model, configuration, test, device, scores, clock)
        except OutOfTimeError:
            return _so_far(checkpoints)
        done = _with_number(_so_far(checkpoints), trainer.progress, values)
        write_text(result, json.dumps(asdict(done)) + "\n")
    return done


def _values(
    model: Model,
    configuration: Configuration,
    test: np.ndarray,
    device: torch.device,
    path: Path,
    clock: Clock,
) -> list[float]:
    """Return nats of each test image, none where training itself is measured."""
    wanted = configuration.measure
    if wanted.kind == "train_loss":
        return []
    values: list[float] = json.loads(path.read_text()) if path.is_file() else []
    seconds = 0.0
    while len(values) < wanted.images:
        clock.check(seconds)
        started = time.monotonic()
        first, end = len(values), min(len(values) + PART, wanted.images)
        part = ImageLoader(test[first:end], device, binarize=configuration.training.binarize)
        values += _scored(model.eval(), part, wanted, first)
        write_text(path, json.dumps(values))
        seconds = time.monotonic() - started
    return values


def _scored(model: Model, images: ImageLoader, wanted: Measure, seed: int) -> list[float]:
    scores = score_images(model, images, wanted.samples, seed)
    bound = scores.generation_loss + scores.kl_loss
    found: list[float] = (scores.nll if wanted.kind == "test_nll" else bound).tolist()
    return found


def _so_far(checkpoints: CheckpointFolder) -> Result:
    found = checkpoints.load_latest()
    if found is None:
        return Result(0, 0.0)
    _, state = found
    return Result(state["epoch"], sum(row.get("seconds", 0.0) for row in state["history"]))


def _with_number(result: Result, progress: Progress, values: list[float]) -> Result:
    if not values:
        return replace(result, value=progress.history[-1]["train.loss"])
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return replace(result, value=float(np.mean(values)), standard_error=error)
