"""How well a folder's images are reconstructed with given sizes and with `auto`, at equal CPU time.

    python -m benchmarks.reconstructions data/images --cpu-seconds 80 --size 64

Each model trains on one thread for so many seconds of CPU time, validation included, and keeps
the weights of the epoch of lowest validation loss, as the train stage does. PSNR is
10 log10(1 / MSE) of test images in [0, 1], reconstructed from the posterior's mean; the mean over
images. The grid is the pattern of a period of two pixels in an image's difference from its 3x3
mean, root mean square in gray levels: what is more than in the images themselves is a checkerboard.
Draws test images, and a row of reconstructions for each model.
"""

import argparse
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
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer

MODELS: Mapping[str, dict[str, Any]] = {
    "[16, 32], 20 latents": {"channels": (16, 32), "latent_dim": 20},
    "[16, 32], 128 latents": {"channels": (16, 32), "latent_dim": 128},
    "auto": {},
}
CPU = torch.device("cpu")
SHOWN, BATCH = 12, 200
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
        print("| | PSNR, dB | epochs | weights | grid, gray levels |\n|---|---|---|---|---|")
        print(f"| the images | | | | {grid(images):.2f} |", flush=True)
        rows = [images[:SHOWN]]
        for name in arguments.models:
            model, epochs = trained(MODELS[name], loaders, arguments.cpu_seconds)
            decoded = reconstructed(model, images)
            weights = sum(weight.numel() for weight in model.parameters())
            print(
                f"| {name} | {psnr(images, decoded):.2f} | {epochs} | {weights:,} | "
                f"{grid(decoded):.2f} |",
                flush=True,
            )
            rows.append(decoded[:SHOWN])
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


def psnr(images: Images, decoded: Images) -> float:
    """Return the peak signal-to-noise ratio in dB, the mean over images."""
    errors = (decoded - images).square().flatten(1).mean(1)
    decibels: Tensor = -10 * errors.log10()
    return decibels.mean().item()


def grid(images: Images) -> float:
    """Return the amplitude, in gray levels, of the pattern of a period of two pixels."""
    details = images - functional.avg_pool2d(images, 3, 1, 1)
    means = [details[:, :, row::2, column::2].mean((2, 3)) for row in (0, 1) for column in (0, 1)]
    squares: Tensor = torch.stack(means).square().mean((0, 2))
    return 255 * squares.sqrt().mean().item()


if __name__ == "__main__":
    main()
