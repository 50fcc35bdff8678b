"""Train a configuration stage by stage, in as many calls as it takes, exactly."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.published.configurations import Training
from vaelab.config import Settings, with_changes
from vaelab.data.loader import ImageLoader
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer


class OutOfTimeError(Exception):
    """The call's time is over; what was done is kept."""


@dataclass
class Clock:
    """Tells when a call has to stop: before a piece of work that would end too late."""

    minutes: float
    started: float = field(default_factory=time.monotonic)

    def check(self, next_seconds: float = 0.0) -> None:
        """Raise OutOfTimeError if work of `next_seconds` no longer fits."""
        if time.monotonic() - self.started + next_seconds >= 60 * self.minutes:
            raise OutOfTimeError


def train(
    training: Training,
    images: np.ndarray,
    device: torch.device,
    checkpoints: CheckpointFolder,
    clock: Clock,
) -> Trainer:
    """Train on from the last checkpoint; give the loop with the last epoch's weights.

    `images` are all of the training split, bytes [count, channel, height, width]. Raises
    OutOfTimeError, once all epochs that were trained are saved.
    """
    end = 0
    for stage in training.stages:
        end += stage.epochs
        changes = {"train.epochs": end, "train.learning_rate": stage.learning_rate}
        settings = with_changes(training.settings, changes)
        trainer = _trainer(training, settings, images, device)
        trainer.resume(checkpoints)
        if trainer.progress.epoch < end:
            clock.check()
            trainer.fit(_Keeper(trainer, checkpoints, clock), checkpoints)
    # `fit` ends with the weights that validate best; published are those of the last epoch.
    trainer.resume(checkpoints)
    return trainer


def _trainer(
    training: Training, settings: Settings, images: np.ndarray, device: torch.device
) -> Trainer:
    count = len(images) - training.held_out
    train, held_out = (
        ImageLoader(part, device, binarize=training.binarize)
        for part in (images[:count], images[count:])
    )
    trainer = build_trainer(settings, train, held_out, device)
    for optimizer in trainer.state.optimizers.values():
        optimizer.epsilon = training.epsilon
    return trainer


class _Keeper:
    """Saves a stage's last epoch, and the one after which the time is over."""

    def __init__(self, trainer: Trainer, checkpoints: CheckpointFolder, clock: Clock) -> None:
        self.trainer, self.checkpoints, self.clock = trainer, checkpoints, clock
        self.last = time.monotonic()

    def __call__(self, report: EpochReport) -> None:
        """Note an epoch's seconds. Raises OutOfTimeError if another such epoch does not fit."""
        now = time.monotonic()
        seconds, self.last = now - self.last, now
        self.trainer.progress.history[-1]["seconds"] = seconds
        if report.epoch == self.trainer.settings.epochs:
            self.trainer.save(self.checkpoints)
            return
        try:
            self.clock.check(seconds)
        except OutOfTimeError:
            self.trainer.save(self.checkpoints)
            raise
