"""What each epoch of a training leaves: pictures on disk, and a batch of metrics in MLflow."""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from pipeline.tracking.async_logging import AsyncRun
from vaelab.config import TrainSettings
from vaelab.figures.image_tiles import progress_pairs, progress_samples
from vaelab.inference import decoding
from vaelab.runtime.files import annotate_oserror, write_atomically
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

# Images in a picture: as many as 32 of 64 x 64 pixels take up, and from 8 to 32.
PIXELS = 32 * 64 * 64
LINES = 10


class EpochLogger:
    """Called with each epoch's report; pictures show the same latents and images every time."""

    def __init__(
        self, trainer: Trainer, background: AsyncRun, folder: Path, settings: TrainSettings
    ) -> None:
        self.model, self.settings, self.folder = trainer.model, settings, folder
        self.background = background
        noise = rng_stream(settings.seed, "pictures", trainer.device)
        height, width = self.model.image_shape[1:]
        pictured = min(32, max(8, PIXELS // (height * width)))
        self.originals = next(trainer.validation.sequential(pictured, noise))
        self.pictured = pictured

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        self.background.close()

    def __call__(self, report: EpochReport) -> None:
        """Draw, write and log an epoch."""
        due = report.epoch % self.settings.images_every_epochs == 0
        images = self._draw() if due or report.epoch == self.settings.epochs else {}
        for key, image in images.items():
            path = self.folder / f"{key}_{report.epoch:04d}.png"
            picture = Image.fromarray(image)
            write_atomically(path, partial(picture.save, format="PNG"))
        self.background.log_epoch(report.epoch, report.metrics, images)
        if not sys.stderr.isatty():
            self._say(report)

    def keep(self, folder: Path) -> None:
        """Copy the pictures to where the pipeline wants them; an interruption may still come."""
        shutil.rmtree(folder, ignore_errors=True)
        with annotate_oserror(folder):
            shutil.copytree(self.folder, folder)

    def _draw(self) -> dict[str, np.ndarray]:
        self.model.eval()
        # The same noise each time, through a prior that may have learned since.
        noise = rng_stream(self.settings.seed, "pictures/prior", self.originals.device)
        samples = decoding.prior_samples(self.model, self.pictured, noise)
        images = {"samples": progress_samples(samples.cpu().numpy())}
        if self.model.has("encoder"):
            decoded = decoding.reconstructions(self.model, self.originals)
            pair = self.originals.cpu().numpy(), decoded.cpu().numpy()
            images["reconstructions"] = progress_pairs(*pair)
        return images

    def _say(self, report: EpochReport) -> None:
        """Print now and then where no progress bar is shown."""
        every = max(1, self.settings.epochs // LINES)
        if report.epoch == 1 or report.epoch % every == 0:
            shown = {k: v for k, v in report.metrics.items() if k.startswith("validation.")}
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
            print(f"epoch {report.epoch}/{self.settings.epochs}: {numbers}", flush=True)
