"""One-class MNIST: ten models, each of one digit's training images, told from the other digits.

    python -m benchmarks.one_class --threads 1
    python -m benchmarks.one_class --table          # only the table, of what is there

Each model sees nine tenths of the training images of its digit; the rest is held out. The score
that decides is chosen for all ten at once, by how well it tells held-out images from synthetic
outliers that are made of them: no image of another class, and no test image, takes part. Then the
10,000 test images are scored: AUROC of the digit against the other nine, and the share of the
digit's test images above the thresholds for false-alarm rates of 1, 5 and 10 %. Beside it are the
numbers of Ruff et al. 2018, table 1. Models and scores are kept in the folder, so that an
interrupted run goes on with the next digit. MNIST is downloaded, or taken from
VAELAB_DATA_MIRROR.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score

import vaelab
from benchmarks.mnist import mnist
from pipeline import cli
from vaelab.data.dataset import PreparedData
from vaelab.inference.detection import SCORES, Reference, conformal_threshold, measure
from vaelab.runtime.serialization import write_json

FOLDER = Path(".benchmarks/one_class")
SETTINGS: dict[str, Any] = {"latent_dim": 16, "epochs": 30}
"""Of vaelab.train, the same for all digits; all others are the defaults."""
RATES = (0.01, 0.05, 0.1)
REFERENCE_IMAGES, SAMPLES = 2_000, 5
ONE_CLASS_DEEP_SVDD = (98.0, 99.7, 91.7, 91.9, 94.9, 88.5, 98.3, 94.6, 93.9, 96.5)
"""AUROC in %, digits 0 to 9: Ruff et al. 2018, table 1, the row One-Class Deep SVDD."""

Pixels = np.ndarray


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command goes on")


def run(arguments: argparse.Namespace) -> None:
    """Train and score the models that are missing, and print the table."""
    torch.set_num_threads(arguments.threads)
    for digit in () if arguments.table else arguments.digits:
        folder = arguments.folder / str(digit)
        if not (folder / "scores.json").is_file():
            write_json(folder / "scores.json", measured_digit(mnist(), digit, folder))
    found = [
        json.loads((arguments.folder / str(digit) / "scores.json").read_text())
        for digit in arguments.digits
    ]
    print(table(dict(zip(arguments.digits, found, strict=True))))


def measured_digit(data: PreparedData, digit: int, folder: Path) -> dict[str, Any]:
    """Train the model of a digit, and return what was measured of it by each score."""
    started = time.perf_counter()
    images = images_of(data, digit)
    held_out, own = images[: len(images) // 10], images[len(images) // 10 :]
    model = vaelab.train(own, device="cpu", progress=False, **SETTINGS)
    model.save(folder / "model")
    trained = time.perf_counter()
    network = model.network

    def scored(pixels: Pixels) -> Any:
        return measure(network, torch.from_numpy(as_floats(pixels)), samples=SAMPLES)

    reference = Reference(scored(own[:REFERENCE_IMAGES]))
    normal = reference.scores(scored(held_out))
    outliers = {
        kind: reference.scores(scored(pixels))
        for kind, pixels in synthetic_outliers(held_out, np.random.default_rng(digit)).items()
    }
    test = reference.scores(scored(np.asarray(data.images("test"))))
    labels = data.labels("test")
    assert labels is not None
    return {
        "train_seconds": trained - started,
        "score_seconds": time.perf_counter() - trained,
        "validation": {
            name: {kind: auroc(normal[name], found[name]) for kind, found in outliers.items()}
            for name in SCORES
        },
        "test": {
            name: auroc(values[labels == digit], values[labels != digit])
            for name, values in test.items()
        },
        "false_alarms": {
            name: [
                float((values[labels == digit] > conformal_threshold(normal[name], rate)).mean())
                for rate in RATES
            ]
            for name, values in test.items()
        },
    }


def images_of(data: PreparedData, digit: int) -> Pixels:
    """Return the training images of a digit, in random order."""
    parts = []
    for split in ("train", "validation"):
        labels = data.labels(split)
        parts.append(data.images(split)[labels == digit])
    images = np.concatenate(parts)
    return images[np.random.default_rng(digit).permutation(len(images))]


def as_floats(pixels: Pixels) -> Pixels:
    """Return bytes as floats from 0 to 1."""
    return pixels.astype(np.float32) / np.float32(255)


def auroc(normal: np.ndarray, odd: np.ndarray) -> float:
    """Return the probability in % that an odd image has a higher score than a normal one."""
    truth = np.repeat([0, 1], [len(normal), len(odd)])
    return 100 * float(roc_auc_score(truth, np.concatenate([normal, odd])))


def synthetic_outliers(images: Pixels, rng: np.random.Generator) -> dict[str, Pixels]:
    """Return images that are not of the class, made of images [N, 1, 28, 28] of the class alone."""
    others = images[rng.permutation(len(images))]
    return {
        "lower halves of two": np.concatenate([others[:, :, 14:], images[:, :, 14:]], axis=2),
        "patch of another": _patched(images, others, rng),
        "patch erased": _patched(images, np.zeros_like(others), rng),
        "half erased": _half_erased(images, rng),
        "mirrored": images[..., ::-1],
        "turned": np.rot90(images, axes=(2, 3)),
        "two overlaid": np.maximum(images, others),
        "warped": np.stack([_warped(image, rng) for image in images[:, 0]])[:, None],
    }


def _patched(images: Pixels, others: Pixels, rng: np.random.Generator) -> Pixels:
    """Put a patch of 9x9 pixels of another image at another place."""
    patched = images.copy()
    for row, other in enumerate(others):
        y, x, v, u = rng.integers(4, 15, 4)
        patched[row, :, y : y + 9, x : x + 9] = other[:, v : v + 9, u : u + 9]
    return patched


def _half_erased(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Erase the upper, lower, left or right half."""
    erased = images.copy()
    halves = [np.s_[:, :14], np.s_[:, 14:], np.s_[:, :, :14], np.s_[:, :, 14:]]
    for image, which in zip(erased, rng.integers(0, 4, len(images)), strict=True):
        image[halves[which]] = 0
    return erased


def _warped(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Move pixels by a smooth random field of 3.5 pixels' standard deviation."""
    field = ndimage.gaussian_filter(rng.normal(size=(2, *image.shape)), (0, 3, 3))
    field *= 3.5 / field.std()
    moved: Pixels = ndimage.map_coordinates(image, np.indices(image.shape) + field, order=1)
    return moved


def chosen_score(found: Mapping[int, Mapping[str, Any]]) -> tuple[str, dict[str, float]]:
    """Return the score that is best on the synthetic outliers, and the mean AUROC of each."""
    means = {
        name: float(np.mean([list(each["validation"][name].values()) for each in found.values()]))
        for name in SCORES
    }
    return max(means, key=lambda name: means[name]), means


def table(found: Mapping[int, Mapping[str, Any]]) -> str:
    """Return the results in Markdown."""
    chosen, validation = chosen_score(found)
    digits = list(found)
    lines = [
        "| AUROC, % | synthetic | " + " | ".join(map(str, digits)) + " | mean |",
        "|---" * (len(digits) + 3) + "|",
    ]
    for name in SCORES:
        values = [found[digit]["test"][name] for digit in digits]
        title = f"**{name}** (chosen)" if name == chosen else name
        lines.append(_row(title, f"{validation[name]:.1f}", values))
    published = [ONE_CLASS_DEEP_SVDD[digit] for digit in digits]
    lines.append(_row("One-Class Deep SVDD (Ruff et al. 2018)", "", published))
    rates = np.array([found[digit]["false_alarms"][chosen] for digit in digits]).mean(0)
    alarms = ", ".join(
        f"{100 * r:.2f} % for {100 * t:g} %" for r, t in zip(rates, RATES, strict=True)
    )
    seconds = [sum(e[f"{k}_seconds"] for e in found.values()) for k in ("train", "score")]
    return "\n".join(
        [
            *lines,
            "",
            f"False alarms on the digits' test images, mean over the models: {alarms}.",
            f"Wall time, minutes: {seconds[0] / 60:.1f} training, {seconds[1] / 60:.1f} scoring.",
        ]
    )


def _row(title: str, validation: str, values: list[float]) -> str:
    cells = " | ".join(f"{value:.1f}" for value in values)
    return f"| {title} | {validation} | {cells} | {np.mean(values):.1f} |"


if __name__ == "__main__":
    main()
