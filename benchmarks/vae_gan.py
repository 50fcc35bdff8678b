"""Whether a VAE-GAN's encoder is in use on color images of 64 pixels, beside a VAE's.

    python -m benchmarks.vae_gan --folder photos/ --seeds 0 1 2

The images are prepared at 64x64 pixels. Both objectives have the default network and as many
epochs at batch size 50. Of the test images are printed, by objective and seed:
active units, the PSNR of reconstructions from posterior means, that of the mean training image,
and sharpness: the median variance of the Laplacian, divided by that of the test images; last, of
the 12 images that are drawn, after 2x2 pixels were averaged, which removes a checkerboard. Each
trained model leaves its numbers and a picture (images, reconstructions, samples) in `--output`, and
is not trained again.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import vaelab
from pipeline import cli
from pipeline.download import download
from pipeline.prepare import work as prepare
from vaelab.config import Settings, parse_settings
from vaelab.data.dataset import INFO_FILE, PreparedData, SplitName
from vaelab.data.loader import ImageLoader
from vaelab.estimators.samples import sharpness, sharpness_ratio
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.runtime.serialization import write_json
from vaelab.training.build import build_trainer

CPU, OUTPUT = torch.device("cpu"), Path(".benchmarks/vae_gan")
OBJECTIVES = ("vae", "vae_gan")
SIZE, SHOWN, ACTIVE = 64, 12, 0.01
MEASURES = (
    "active_units",
    "psnr_decibels",
    "mean_image_decibels",
    "sharpness",
    "halved_sharpness",
    "cpu_seconds",
)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command goes on")


def run(arguments: argparse.Namespace) -> None:
    """Train and measure the models that are missing, and print a row for each."""
    torch.set_num_threads(arguments.threads)
    data = prepared(arguments.folder, arguments.output)
    print(
        "| objective | seed | " + " | ".join(MEASURES) + " |\n" + "|---" * (2 + len(MEASURES)) + "|"
    )
    for objective in arguments.objectives:
        for seed in arguments.seeds:
            path = arguments.output / f"{objective}-{seed}-{arguments.epochs}.json"
            if not path.is_file():
                write_json(path, measure(data, settings(objective, seed, arguments.epochs), path))
            found = json.loads(path.read_text())
            cells = " | ".join(f"{found[name]:.4g}" for name in MEASURES)
            print(f"| {objective} | {seed} | {cells} |", flush=True)


def prepared(folder: Path, output: Path) -> PreparedData:
    """Open the images of a folder, prepared the first time."""
    if not (output / "prepared" / INFO_FILE).is_file():
        data = {"name": "folder", "folder": str(folder), "image_size": [SIZE, SIZE]}
        chosen = parse_settings({"data": data})
        download(chosen, output / "raw")
        prepare(chosen, output / "raw", output / "prepared")
    return PreparedData.load(output / "prepared")


def settings(objective: str, seed: int, epochs: int) -> Settings:
    """Return a model's settings: all but the objective and the seed is the same."""
    train = {"objective": objective, "epochs": epochs, "batch_size": 50, "seed": seed}
    return parse_settings({"train": train})


def measure(data: PreparedData, chosen: Settings, path: Path) -> dict[str, float]:
    """Train one model; return the measures of its reconstructions of all test images."""
    train, validation = (ImageLoader(data.images(s), CPU) for s in ("train", "validation"))
    trainer = build_trainer(chosen, train, validation, CPU)
    started = time.process_time()
    trainer.fit(show_progress=False)
    seconds = time.process_time() - started
    model, images = trainer.model.eval(), pixels(data, "test")
    with torch.inference_mode():
        posterior = model.encode(images)
        decoded = model.decode(posterior.mean).mean
    assert isinstance(posterior, DiagonalGaussian)
    halved = (avg_pool2d(part[:SHOWN], 2) for part in (decoded, images))
    draw(model, images[:SHOWN], decoded[:SHOWN], path.with_suffix(".png"))
    return {
        "active_units": int((posterior.mean.var(0) > ACTIVE).sum()),
        "psnr_decibels": psnr(decoded, images),
        "mean_image_decibels": psnr(train.mean_image(), images),
        "sharpness": relative_sharpness(decoded, images),
        "halved_sharpness": relative_sharpness(*halved),
        "cpu_seconds": seconds,
    }


def pixels(data: PreparedData, split: SplitName) -> Tensor:
    """Return the images of a split, in [0, 1]."""
    return torch.from_numpy(np.asarray(data.images(split), np.float32) / 255)


def relative_sharpness(found: Tensor, images: Tensor) -> float:
    """Return the median sharpness over that of the images."""
    return sharpness_ratio(sharpness(found), sharpness(images)) or 0.0


def psnr(found: Tensor, images: Tensor) -> float:
    """Return the mean over images of the peak signal-to-noise ratio, in decibels."""
    return (-10 * (found - images).square().flatten(1).mean(1).log10()).mean().item()


def draw(model: Model, images: Tensor, decoded: Tensor, path: Path) -> None:
    """Save images, reconstructions and samples of the prior in rows."""
    with torch.inference_mode():
        noise = rng_stream(0, "benchmark/vae_gan")
        samples = model.decode(model.prior(len(images), noise)).mean
    rows = torch.cat([images, decoded, samples]).numpy()
    vaelab.save_images(rows, path, columns=SHOWN)


if __name__ == "__main__":
    main()
