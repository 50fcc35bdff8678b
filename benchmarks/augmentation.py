"""Whether samples of a conditional model improve a classifier that has few labelled images.

    python -m benchmarks.augmentation --images 50 --seeds 5
    python -m benchmarks.augmentation --samples-from sampler

MNIST, of whose training split only --images a class have labels; a seed chooses them, and the first
weights, order and noise of all networks. The generator learns from these labelled images alone
(`few`), from all images of which only these have labels (`partly`), or from all images with all
labels (`all`, which knows more than the classifier without samples: an upper limit). It is a
conditional VAE (--samples-from model), whose prior is sampled for each label, or a VAE that sees no
labels with a conditional sampler fitted to its latents (--samples-from sampler).

The classifier is the one that the evaluation compares images with. It is trained on the labelled
images, with --samples samples a class added or without, for the same number of steps. Prints the
accuracy on the test split of each, the mean over seeds with its standard error and each seed's, and
the difference that the samples make, paired by seed.
"""

import argparse
import math
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.mnist import mnist
from pipeline import cli
from vaelab.config import SamplerSettings, Settings, UserError, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.evaluation.classifier import BATCH, accuracy, train_classifier
from vaelab.inference.sampling import samples_by_label
from vaelab.models.conditional import UNKNOWN
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.samplers import Sampler, encode_posteriors, fit_sampler
from vaelab.training.build import build_trainer

CPU = torch.device("cpu")
CLASSES = 10
GENERATORS = ("few", "partly", "all")
# Steps of the classifier, with and without samples: it no longer gains.
STEPS = 1_500


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=50, help="labelled images a class")
    parser.add_argument("--samples", type=int, default=500, help="samples a class")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5_700, help="of the generator, of 100 images")
    parser.add_argument("--samples-from", choices=("model", "sampler"), default="model")
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=GENERATORS)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    counts = (arguments.images, arguments.samples, arguments.seeds, arguments.steps)
    if min(*counts, arguments.threads) < 1:
        parser.error("--images, --samples, --seeds, --steps and --threads must be 1 or more")
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Measure every seed, and print a row a generator."""
    torch.set_num_threads(arguments.threads)
    data = mnist()
    found: dict[str, list[float]] = {name: [] for name in ("none", *arguments.generators)}
    for seed in range(arguments.seeds):
        rows = labeled_rows(data, arguments.images, seed)
        found["none"].append(classify(data, rows, None, seed))
        for name in arguments.generators:
            started = time.perf_counter()
            samples = generate(data, rows, name, seed, arguments)
            found[name].append(classify(data, rows, samples, seed))
            seconds = time.perf_counter() - started
            print(f"seed {seed}, {name}: {found[name][-1]:.2%}, {seconds:.0f} s", flush=True)
    print("± is one standard error over seeds.")
    print(table(found))


def labeled_rows(data: PreparedData, images: int, seed: int) -> np.ndarray:
    """Choose as many training images of each class."""
    labels, rng = data.labels("train"), np.random.default_rng([seed, *b"augmentation"])
    assert labels is not None
    own = [rng.permutation(np.flatnonzero(labels == k))[:images] for k in range(CLASSES)]
    return np.sort(np.concatenate(own))


def generate(
    data: PreparedData, rows: np.ndarray, name: str, seed: int, arguments: argparse.Namespace
) -> Tensor:
    """Train a generator and return its samples as bytes, [samples, class, channel, ...]."""
    images, labels = known_images(data, rows, name)
    sees_labels = arguments.samples_from == "model"
    epochs = math.ceil(arguments.steps / math.ceil(len(images) / 100))
    train = ImageLoader(images, CPU, labels=labels, classes=CLASSES)
    # The weights that validate best on images that the classifier may see too.
    count = min(len(images), 3_000)
    validation = ImageLoader(images[:count], CPU, labels=labels[:count], classes=CLASSES)
    trainer = build_trainer(settings(epochs, seed, sees_labels=sees_labels), train, validation, CPU)
    trainer.fit(show_progress=False)
    model, noise = trainer.model.eval(), rng_stream(seed, "augmentation")
    sampler = None if sees_labels else conditional_sampler(model, train, labels, seed)
    grid = samples_by_label(model, sampler, range(CLASSES), arguments.samples, noise)
    return (grid * 255).round().byte()


def known_images(data: PreparedData, rows: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that a generator learns from, and their labels or -1."""
    labels = data.labels("train")
    assert labels is not None
    if name == "few":
        return data.images("train")[rows], labels[rows]
    if name == "partly":
        hidden = np.full_like(labels, UNKNOWN)
        hidden[rows] = labels[rows]
        labels = hidden
    return data.images("train"), labels


def settings(epochs: int, seed: int, *, sees_labels: bool) -> Settings:
    """Return the default network with a Bernoulli likelihood, with or without labels."""
    model = {"likelihood": "bernoulli", "conditional": "labels" if sees_labels else "none"}
    return parse_settings({"model": model, "train": {"epochs": epochs, "seed": seed}})


def conditional_sampler(model: Model, train: ImageLoader, labels: np.ndarray, seed: int) -> Sampler:
    """Fit a sampler that takes labels to the latents. Raises UserError for too few images."""
    fitted = fit_sampler(SamplerSettings(seed=seed), {}, encode_posteriors(model, train, labels))
    if not fitted.sampler.classes:
        raise UserError("too few images for a conditional sampler: use --generators partly all")
    return fitted.sampler


def classify(data: PreparedData, rows: np.ndarray, samples: Tensor | None, seed: int) -> float:
    """Return the test accuracy of a classifier trained on the labelled images and samples."""
    labels, test_labels = data.labels("train"), data.labels("test")
    assert labels is not None
    assert test_labels is not None
    images, own = data.images("train")[rows], labels[rows]
    if samples is not None:
        drawn = samples.flatten(0, 1).numpy()
        # The real images are half of every epoch.
        copies = max(1, len(drawn) // len(images))
        images = np.concatenate([np.tile(images, (copies, 1, 1, 1)), drawn])
        own = np.concatenate([np.tile(own, copies), np.tile(np.arange(CLASSES), len(samples))])
    epochs = math.ceil(STEPS / math.ceil(len(images) / BATCH))
    classifier = train_classifier(
        ImageLoader(images, CPU), own, CLASSES, epochs=epochs, seed=seed, device=CPU
    )
    return accuracy(classifier, ImageLoader(data.images("test"), CPU), test_labels)


def table(found: dict[str, list[float]]) -> str:
    """Write a row a generator: the accuracy, and the difference to none."""
    lines = ["| samples of | test accuracy, % | difference, points |", "|---|---|---|"]
    for name, values in found.items():
        difference = [a - b for a, b in zip(values, found["none"], strict=True)]
        gain = "" if name == "none" else _spread(difference)
        lines.append(f"| {name} | {_spread(values)} | {gain} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    mean, error = mean_and_standard_error([100 * value for value in values])
    each = ", ".join(f"{100 * value:.2f}" for value in values)
    return f"{mean:.2f}" + ("" if error is None else f" ± {error:.2f}") + f" ({each})"


if __name__ == "__main__":
    main()
