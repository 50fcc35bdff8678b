"""Record each epoch of a training: images on disk, and metrics and images in MLflow."""

import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.tracking.metric_names import without_constants
from pipeline.tracking.training_log import TrainingLog
from vaelab.config import TrainSettings
from vaelab.figures.image_tiles import progress_pairs, progress_samples
from vaelab.inference import decoding
from vaelab.runtime.files import annotate_oserror, write_atomically
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.progress import EpochReport
from vaelab.training.trainer import Trainer

# Images in a figure: 8 to 32, within the pixels of 32 images of 64 x 64.
MAX_PIXELS = 32 * 64 * 64
PRINTED_LINES = 10


class EpochLogger:
    """Called with each epoch's report. All images show the same latents and the same originals."""

    def __init__(
        self, trainer: Trainer, log: TrainingLog, folder: Path, settings: TrainSettings
    ) -> None:
        self.model, self.log, self.folder, self.settings = trainer.model, log, folder, settings
        noise = rng_stream(settings.seed, "pictures", trainer.device)
        height, width = self.model.image_shape[1:]
        self.count = min(32, max(8, MAX_PIXELS // (height * width)))
        self.originals, self.labels = next(trainer.validation.sequential(self.count, noise))
        self.before = dict[str, float]()
        self.folder.mkdir(parents=True, exist_ok=True)
        if trainer.progress.epoch == 0 and not any(self.folder.glob("*_0000.png")):
            self.log.log_epoch(0, {}, self._write_images(0))

    def __call__(self, report: EpochReport) -> None:
        """Write the images of an epoch, log it, and print its metrics."""
        due = report.epoch % self.settings.images_every_epochs == 0
        is_last = report.epoch == self.settings.epochs
        images = self._write_images(report.epoch) if due or is_last else {}
        varying = without_constants(report.metrics, self.before)
        self.log.log_epoch(report.epoch, varying, images)
        self.before = report.metrics
        if not sys.stderr.isatty():
            self._print(report)

    def _write_images(self, epoch: int) -> dict[str, np.ndarray]:
        """Write the images that the model draws now; those of epoch 0 are of the untrained one."""
        images = self._images()
        for key, image in images.items():
            path = self.folder / f"{key}_{epoch:04d}.png"
            write_atomically(path, partial(Image.fromarray(image).save, format="PNG"))
        return images

    def copy_images(self, folder: Path) -> None:
        """Copy all images to the stage's output; the originals stay until the checkpoints go."""
        shutil.rmtree(folder, ignore_errors=True)
        with annotate_oserror(folder):
            shutil.copytree(self.folder, folder)

    def _images(self) -> dict[str, np.ndarray]:
        self.model.eval()
        # The same noise each time, passed through the prior as it is now.
        noise = rng_stream(self.settings.seed, "pictures/prior", self.originals.device)
        samples = decoding.prior_samples(self.model, self.count, noise)
        images = {"samples": progress_samples(samples.cpu().numpy())}
        if self.model.has("encoder"):
            given = self.model.given(self.labels)
            decoded = decoding.reconstructions(given, self.originals)
            pair = self.originals.cpu().numpy(), decoded.cpu().numpy()
            images["reconstructions"] = progress_pairs(*pair)
        return images

    def _print(self, report: EpochReport) -> None:
        """Print about ten epochs of a training; a terminal has the progress bar instead."""
        every = max(1, self.settings.epochs // PRINTED_LINES)
        if report.epoch == 1 or report.epoch % every == 0:
            shown = {k: v for k, v in report.metrics.items() if k.startswith("validation.")}
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
            print(f"epoch {report.epoch}/{self.settings.epochs}: {numbers}", flush=True)
