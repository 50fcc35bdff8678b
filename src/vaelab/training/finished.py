"""The ends of finished trainings, from which a training of more epochs continues.

Under a constant learning rate nothing that happens in an epoch depends on how many follow, so the
result is that of all epochs in one go. A cosine or linear learning rate does depend on it.
"""

import errno
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vaelab.config import Settings, TrainSettings
from vaelab.runtime.files import write_atomically
from vaelab.training.checkpoints import CheckpointFolder

IMAGES = "images"
# The number of CPU threads, on which the last bits of the results depend.
THREADS = "threads"
# So many are kept. Each has about four times the size of the weights, and its images.
KEPT = 3


@dataclass(frozen=True)
class FinishedTrainings:
    """The kept ends, in folders `<key>_<epochs>`; `key` names all settings but the epochs."""

    folder: Path
    key: str

    def longest_below(self, epochs: int) -> int | None:
        """Return the epochs of the longest kept training of fewer than so many.

        None if one of exactly so many is kept: whoever runs that again wants it anew.
        """
        found = self._kept()
        if epochs in found:
            return None
        return max((number for number in found if number < epochs), default=None)

    def copy(self, epochs: int, images_every: int, into: CheckpointFolder) -> None:
        """Copy the end of the training of so many epochs, and its images, as a checkpoint.

        The image of its last epoch, which a longer training may not have, is left out.
        """
        source = self.folder / f"{self.key}_{epochs}"
        (into.folder / IMAGES).mkdir(exist_ok=True)
        for path in (source / IMAGES).glob("*.png"):
            if int(path.stem.rpartition("_")[2]) % images_every == 0:
                shutil.copy(path, into.folder / IMAGES)
        states = list(source.glob("epoch_*"))
        if not states:  # another process has just replaced it
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        for path in [*states, *source.glob(THREADS)]:
            write_atomically(into.folder / path.name, partial(shutil.copyfile, path))

    def keep(self, epochs: int, checkpoints: CheckpointFolder) -> None:
        """Move the last checkpoint of a finished training, and its images, to the kept ends.

        It replaces those of fewer epochs.
        """
        target = self.folder / f"{self.key}_{epochs}"
        unfinished = self.folder / f".{target.name}"
        for old in (unfinished, target):
            shutil.rmtree(old, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for path in (
            checkpoints.latest(),
            checkpoints.folder / IMAGES,
            checkpoints.folder / THREADS,
        ):
            if path and path.exists():
                path.rename(unfinished / path.name)
        unfinished.rename(target)
        for shorter in self._kept():
            if shorter < epochs:
                shutil.rmtree(self.folder / f"{self.key}_{shorter}", ignore_errors=True)
        kept = sorted(self.folder.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _kept(self) -> set[int]:
        """Return the epochs of the kept trainings of this key."""
        return {int(path.name.rpartition("_")[2]) for path in self.folder.glob(f"{self.key}_*")}


def without_epochs(settings: Settings) -> Settings:
    """Return the settings such that those of trainings that differ in their epochs are equal."""
    return settings.model_copy(update={"train": settings.train.model_copy(update={"epochs": 1})})


def depends_on_epochs(settings: TrainSettings) -> bool:
    """Return whether the first epochs of a training depend on how many there are."""
    return settings.learning_rate_schedule != "constant"
