"""Reconstructions and samples of a folder, with given sizes and with `auto`, at equal CPU time.

    python -m benchmarks.reconstructions data/images --cpu-seconds 80 --size 64

Each model trains on one thread for so many seconds of CPU time, validation included, and keeps
the weights of the epoch of lowest validation loss, as the train stage does. PSNR is
10 log10(1 / MSE) of test images in [0, 1], reconstructed from the posterior's mean; the mean over
images. The grid is the pattern of a period of two pixels in an image's difference from its 3x3
mean, root mean square in gray levels: what is more than in the images themselves is a checkerboard.
The Fréchet distance is that of as many samples as there are test images, from flow matching on the
latents of the training images, in the space `pixels` of docs/evaluation.md; that of training images
is what to expect at best. Seconds of an epoch are CPU seconds; the memory is the largest of
the process so far, which has all images. Draws test images, and a row of reconstructions and one of
samples for each model.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from pipeline import cli
from pipeline.artifacts import build_batches
from pipeline.download import download
from pipeline.prepare import work as prepare
from vaelab.api.pictures import save_images
from vaelab.config import parse_settings
from vaelab.data.dataset import SPLITS, PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.image_quality import psnr_db, ssim
from vaelab.estimators.samples import PointSet, frechet_distance
from vaelab.evaluation.feature_spaces import PixelSpace
from vaelab.inference.sampling import samples
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import encode_posteriors, fit_sampler
from vaelab.training.build import build_trainer

MODELS: Mapping[str, dict[str, Any]] = {
    "[16, 32], 20 latents": {"channels": (16, 32), "latent_dim": 20},
    "[16, 32], 128 latents": {"channels": (16, 32), "latent_dim": 128},
    "auto": {},
}
CPU = torch.device("cpu")
SHOWN, BATCH = 12, 200
COLUMNS = (
    "PSNR, dB",
    "SSIM",
    "Fréchet distance of samples",
    "grid, gray levels",
    "weights",
    "epochs",
    "seconds an epoch",
    "memory, GB",
)
Images = Float[Tensor, "image channel height width"]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a folder of images")
    parser.add_argument("--cpu-seconds", type=float, default=80, help="of each training")
    parser.add_argument("--size", type=int, help="pixels a side; without, as prepare chooses")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/rows.png"))
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Train each model, print a row for it, and draw its reconstructions."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        loaders = splits(arguments.folder, arguments.size, Path(folder))
        images = all_images(loaders[2])
        print(f"| | {' | '.join(COLUMNS)} |\n|---{'|---' * len(COLUMNS)}|")
        known = all_images(loaders[0])
        chosen = torch.randperm(len(known), generator=rng_stream(0, "training"))[: len(images)]
        floor = f"{distance(known[chosen], images):.1f}"
        print(f"| the images | | | {floor} | {grid(images):.2f} | | | | |", flush=True)
        rows = [images[:SHOWN]]
        for name in arguments.models:
            started = time.process_time()
            model, epochs = trained(MODELS[name], loaders, arguments.cpu_seconds)
            seconds = (time.process_time() - started) / epochs
            decoded = reconstructed(model, images)
            sampled = sampled_images(model, loaders[0], len(images))
            rows += [decoded[:SHOWN], sampled[:SHOWN]]
            cells = f"{quality(images, decoded, sampled)} | {cost(model, epochs, seconds)}"
            print(f"| {name} | {cells} |", flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_images(torch.cat(rows), arguments.output, columns=SHOWN)
    print(arguments.output)


def splits(folder: Path, size: int | None, target: Path) -> list[ImageLoader]:
    """Prepare a folder of images; return its training, validation and test split."""
    sides = {"image_size": (size, size)} if size else {}
    settings = parse_settings({"data": {"name": "folder", "folder": folder} | sides})
    download(settings, target / "raw")
    prepare(settings, target / "raw", target / "prepared")
    data = PreparedData.load(target / "prepared")
    return [build_batches(data, name, False, CPU) for name in SPLITS]


def trained(model: dict[str, Any], loaders: list[ImageLoader], seconds: float) -> tuple[Model, int]:
    """Train for so many seconds of CPU time; return the model and its number of epochs."""
    settings = parse_settings({"model": model, "train": {"epochs": 1_000_000}})
    trainer = build_trainer(settings, loaders[0], loaders[1], CPU)
    started = time.process_time()
    while time.process_time() - started < seconds:
        for _ in trainer.steps_of_epoch():
            pass
        trainer.end_epoch()
    trainer.finalize()
    return trainer.model.eval(), trainer.progress.epoch


def all_images(loader: ImageLoader) -> Images:
    """Return all images of a split."""
    noise = rng_stream(0, "images")
    return torch.cat([batch.images for batch in loader.sequential(BATCH, noise)])


@torch.inference_mode()
def reconstructed(model: Model, images: Images) -> Images:
    """Return the reconstructions from the posterior's means."""
    parts = [model.decode(model.encode(part).mean).mean for part in torch.split(images, BATCH)]
    return torch.cat(parts).clamp(0, 1)


def sampled_images(model: Model, train: ImageLoader, count: int) -> Images:
    """Return samples from flow matching on the latents of the training images."""
    settings = parse_settings({})
    with torch.inference_mode():
        posteriors = encode_posteriors(model, train)
    fitted = fit_sampler(settings.sampler, settings.samplers, posteriors)
    noise = rng_stream(0, "samples")
    counts = [min(BATCH, count - done) for done in range(0, count, BATCH)]
    return torch.cat([samples(model, fitted.sampler, part, noise) for part in counts]).clamp(0, 1)


def quality(images: Images, decoded: Images, sampled: Images) -> str:
    """Return the measures of reconstructions and samples, as cells of a table."""
    decibels, similar = (measure(images, decoded).mean() for measure in (psnr_db, ssim))
    return f"{decibels:.2f} | {similar:.3f} | {distance(sampled, images):.1f} | {grid(decoded):.2f}"


def distance(first: Images, second: Images) -> float:
    """Return the Fréchet distance of two sets of images in pixels."""
    sets = [PointSet.from_features(PixelSpace().features(part), 5) for part in (first, second)]
    return frechet_distance(*sets).item()


def cost(model: Model, epochs: int, seconds: float) -> str:
    """Return what a model took, as cells of a table."""
    weights = sum(weight.numel() for weight in model.parameters())
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{weights:,} | {epochs} | {seconds:.1f} | {gigabytes:.1f}"


def grid(images: Images) -> float:
    """Return the amplitude, in gray levels, of the pattern of a period of two pixels."""
    details = images - functional.avg_pool2d(images, 3, 1, 1)
    means = [details[:, :, row::2, column::2].mean((2, 3)) for row in (0, 1) for column in (0, 1)]
    squares: Tensor = torch.stack(means).square().mean((0, 2))
    return 255 * squares.sqrt().mean().item()


if __name__ == "__main__":
    main()
