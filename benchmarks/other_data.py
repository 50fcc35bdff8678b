"""A model of MNIST's digits against other data: which scores call them odd.

    python -m benchmarks.other_data --threads 1

Trains the default model on MNIST's training split for a few epochs, and prints the AUROC of each
score: MNIST's test images against as many images of other kinds. 50 % is chance, below 50 % the
score calls the other images more normal than MNIST's own. Takes MNIST from VAELAB_DATA_MIRROR.
"""

import argparse
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

import vaelab
from benchmarks.mnist import FOLDER, mnist
from benchmarks.one_class import as_floats, auroc
from pipeline import cli
from vaelab.config import DataSettings
from vaelab.data.sources import sprites
from vaelab.inference.detection import SCORES, Measured, Reference, measure

COUNT, SAMPLES, REFERENCE_IMAGES = 1_000, 5, 2_000
SIDE = 28


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Train the model, score every kind of images, and print the table."""
    torch.set_num_threads(arguments.threads)
    data = mnist()
    model = _model(np.asarray(data.images("train")), arguments.epochs)

    def scored(pixels: np.ndarray) -> Measured:
        images = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
        return measure(model.network, images, samples=SAMPLES)

    reference = Reference(scored(as_floats(data.images("train")[:REFERENCE_IMAGES])))
    test = as_floats(data.images("test")[: 2 * COUNT])
    normal = reference.scores(scored(test[:COUNT]))
    print("| AUROC, % | " + " | ".join(SCORES) + " |\n" + "|---" * (len(SCORES) + 1) + "|")
    for kind, pixels in other_images(test[COUNT:], np.random.default_rng(0)):
        found = reference.scores(scored(pixels))
        print(_row(kind, {name: auroc(normal[name], found[name]) for name in SCORES}), flush=True)


def _model(images: np.ndarray, epochs: int) -> vaelab.TrainedModel:
    """Return the trained model, kept for the next time."""
    folder = FOLDER.parent / f"other_data/{epochs}"
    if not (folder / "config.json").is_file():
        vaelab.train(images, device="cpu", epochs=epochs, progress=False).save(folder)
    return vaelab.load(folder, device="cpu")


def _row(kind: str, values: Mapping[str, float]) -> str:
    return f"| {kind} | " + " | ".join(f"{value:.1f}" for value in values.values()) + " |"


def other_images(digits: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of a kind, and images [count, 1, 28, 28] from 0 to 1 of it."""
    shape = digits.shape
    yield "digits turned by 90 degrees", np.rot90(digits, axes=(2, 3))
    yield "digits upside down", digits[:, :, ::-1]
    yield "digits inverted", 1 - digits
    yield "digits at half the contrast", digits / 2
    small = load_digits().images[: len(digits)] / 16
    yield "scikit-learn's digits, 8x8 enlarged", np.stack([_resized(image) for image in small])
    yield "sprites, 64x64 reduced", np.stack([_resized(image) for image in _sprites()])
    yield "black", np.zeros((1, 1, SIDE, SIDE)).repeat(len(digits), 0)
    yield "one gray level each", rng.uniform(size=(len(digits), 1, 1, 1)) * np.ones(shape)
    yield "noise", rng.uniform(size=shape)
    shuffled = rng.permuted(digits.reshape(len(digits), -1), axis=1)
    yield "digits' pixels shuffled", shuffled.reshape(shape)


def _sprites() -> np.ndarray:
    source = sprites.read(DataSettings(name="sprites", sprites_images=COUNT), FOLDER)
    pixels: np.ndarray = source.train.read(np.arange(source.train.count))[:, 0] / 255
    return pixels


def _resized(image: np.ndarray) -> np.ndarray:
    """Return a gray image of [28, 28] as [1, 28, 28]."""
    picture = Image.fromarray((image * 255).round().astype(np.uint8))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[None] / 255


if __name__ == "__main__":
    main()
