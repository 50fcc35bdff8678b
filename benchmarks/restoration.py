"""Missing pixels of MNIST test images: restored, reconstructed, and of the nearest neighbors.

    python -m benchmarks.restoration
    python -m benchmarks.restoration --picture docs/images/mnist_restoration.png

Pixels are black or white, sampled once with the gray value as probability, so that likelihoods are
probabilities: a density would reward whoever knows that most pixels are exactly black. A model is
trained once (24 CPU minutes), into .benchmarks/restoration. Hidden are the lower half, or half of
the pixels at random. Prints for each the squared error of a hidden pixel and ln p of the hidden
pixels given the others, in nats an image; ± is one standard error over images.

- restoration: the mean, and ln p(x) - ln p(x_observed) of fitted proposals
- reconstruction: the image with zeros for hidden pixels, encoded and decoded by its mean
- neighbors: the nearest of the 57,000 training images by their observed pixels; how many, their
  weights by distance, how gray values are smoothed, and whether the mixture of the neighbors or
  independent pixels of their mean are the likelihood, are those that are best on validation images,
  for each of the two numbers by itself
"""

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.mnist import FOLDER, mnist
from pipeline import cli
from vaelab.config import parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.statistics import standard_error
from vaelab.figures.restoration import restoration_rows
from vaelab.inference.restoration import Sampling, restore
from vaelab.models.bernoulli import bernoulli_log_prob
from vaelab.models.model import Model
from vaelab.models.saving import load_model, save_model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer
from vaelab.training.fingerprint import describe_model

CPU = torch.device("cpu")
MODEL = FOLDER.parent / "restoration" / "complete"
NEIGHBORS = (1, 3, 5, 10, 20, 50, 100, 200)
# Weights exp(-b distance^2) of neighbors, and flips of a pixel's probability p: e + (1 - 2 e) p
SHARPNESS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
SMOOTHING = (0.005, 0.01, 0.02, 0.05, 0.1)
VALIDATION_IMAGES = 200


@dataclass(frozen=True)
class Hidden:
    """Binary images and which of their pixels are hidden."""

    images: Tensor
    hidden: Tensor

    def error(self, guess: Tensor) -> Tensor:
        """Return the squared error of a hidden pixel, for each image."""
        squares = (guess - self.images).square() * self.hidden
        return squares.flatten(1).sum(1) / self.hidden.flatten(1).sum(1)

    def log_prob(self, pixels: Tensor) -> Tensor:
        """Sum log probabilities of pixels over the hidden ones."""
        return (pixels * self.hidden).flatten(-3).sum(-1)

    @property
    def incomplete(self) -> Tensor:
        """The images with NaN for hidden pixels."""
        return self.images.masked_fill(self.hidden, torch.nan)


Scores = tuple[Tensor, Tensor]
"""Squared error and log-likelihood of each image."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="draw a picture and measure nothing")
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Measure, or draw."""
    torch.set_num_threads(arguments.threads)
    data = mnist()
    model = trained(data, arguments.epochs)
    if arguments.picture:
        draw(model, data, arguments.picture)
        return
    train = torch.from_numpy(np.array(data.images("train"))).float() / 255
    print("| hidden | method | squared error of a pixel | log-likelihood, nats | note |")
    print("|---|---|---|---|---|", flush=True)
    for name in ("lower half", "half at random"):
        test = hide(data, "test", arguments.images, name)
        started = time.process_time()
        *scores, effective = restored(model, test)
        seconds = (time.process_time() - started) / len(test.images)
        note = f"effective samples {effective:.0f} of 1000, {seconds:.2f} CPU s an image"
        print(row(name, "restoration", (scores[0], scores[1]), note), flush=True)
        print(row(name, "reconstruction", reconstructed(model, test), ""), flush=True)
        found, chosen = neighbors(train, hide(data, "validation", VALIDATION_IMAGES, name), test)
        print(row(name, "neighbors", found, chosen), flush=True)
        gains = [float((a - b).mean()) for a, b in zip(found, scores, strict=True)]
        errors = [standard_error(a - b) for a, b in zip(found, scores, strict=True)]
        print(
            f"neighbors minus restoration: {gains[0]:.4f} ± {errors[0]:.4f}, "
            f"{gains[1]:.1f} ± {errors[1]:.1f} nats",
            flush=True,
        )


def trained(data: PreparedData, epochs: int) -> Model:
    """Load the model, or train it."""
    if not MODEL.is_dir():
        settings = parse_settings(
            {
                "model": {"network": "mlp", "latent_dim": 20, "likelihood": "bernoulli"},
                "train": {
                    "objective": "iwae",
                    "epochs": epochs,
                    "learning_rate_schedule": "cosine",
                },
                "objectives": {"iwae": {"importance_samples": 5}},
            }
        )
        train, validation = (
            ImageLoader(data.images(split), CPU, binarize=True) for split in ("train", "validation")
        )
        trainer = build_trainer(settings, train, validation, CPU)
        trainer.fit()
        save_model(MODEL, trainer.model, describe_model(settings, data.info, trainer))
    return load_model(MODEL, CPU)[0]


def hide(data: PreparedData, split: str, count: int, name: str) -> Hidden:
    """Return the first images of a split, binarized, with pixels to hide."""
    loader = ImageLoader(data.images(split), CPU, binarize=True)  # type: ignore[arg-type]
    images = loader.gather(torch.arange(count), rng_stream(0, f"{split} pixels"))
    if name == "lower half":
        hidden = torch.zeros_like(images, dtype=torch.bool)
        hidden[:, :, images.shape[2] // 2 :] = True
    else:
        hidden = torch.rand(images.shape, generator=rng_stream(0, f"{split} hidden")) < 0.5
    return Hidden(images, hidden)


def restored(model: Model, test: Hidden) -> tuple[Tensor, Tensor, float]:
    """Return the scores of the restored images, and the mean effective sample size."""
    found = restore(
        model, test.incomplete, Sampling(), rng_stream(0, "restoration"), truth=test.images
    )
    assert found.log_likelihood is not None
    effective = float(found.effective_sample_size.mean())
    return test.error(found.mean), found.log_likelihood, effective


@torch.no_grad()
def reconstructed(model: Model, test: Hidden) -> Scores:
    """Return the scores of the images encoded with zeros for hidden pixels."""
    pixels = model.decode(model.encode(test.images.masked_fill(test.hidden, 0)).mean)
    return test.error(pixels.mean), test.log_prob(pixels.pixel_log_prob(test.images))


def neighbors(train: Tensor, validation: Hidden, test: Hidden) -> tuple[Scores, str]:
    """Return the scores of the nearest neighbors, at what is best on validation images."""
    choices, results = [], []
    for part in (validation, test):
        nearest, distances = find_neighbors(train, part)
        errors = neighbor_errors(part, nearest, distances)
        likelihoods = neighbor_likelihoods(part, nearest, distances)
        if part is validation:
            best_error = min(errors, key=lambda key: float(errors[key].mean()))
            best_likelihood = max(likelihoods, key=lambda key: float(likelihoods[key].mean()))
            choices = [best_error, best_likelihood]
        else:
            results = [errors[best_error], likelihoods[best_likelihood]]
    (k, b), (kind, k2, b2, e2) = choices
    note = f"error: k {k}, b {b}; likelihood: {kind}, k {k2}, b {b2}, e {e2}"
    return (results[0], results[1].float()), note


def find_neighbors(train: Tensor, part: Hidden) -> tuple[Tensor, Tensor]:
    """Return the nearest training images by observed pixels, and their squared distances."""
    flat, seen = train.flatten(1), (~part.hidden).flatten(1).float()
    images = part.images.flatten(1) * seen
    # |seen (x - t)|^2 = |seen x|^2 - 2 (seen x) t + seen t^2
    distances = images.square().sum(1, keepdim=True) - 2 * images @ flat.T + seen @ flat.square().T
    found = distances.topk(max(NEIGHBORS), largest=False)
    return train[found.indices], found.values


def neighbor_errors(
    part: Hidden, nearest: Tensor, distances: Tensor
) -> dict[tuple[int, float], Tensor]:
    """Return the squared errors of weighted means of neighbors, for each number and sharpness."""
    found = {}
    for k, b in itertools.product(NEIGHBORS, SHARPNESS):
        weights = (-b * distances[:, :k]).softmax(1)
        found[k, b] = part.error(torch.einsum("nk,nkchw->nchw", weights, nearest[:, :k]))
    return found


def neighbor_likelihoods(
    part: Hidden, nearest: Tensor, distances: Tensor
) -> dict[tuple[str, int, float, float], Tensor]:
    """Return the log-likelihoods of mixtures of neighbors, and of their mean's pixels."""
    found = {}
    for e in SMOOTHING:
        smooth = (e + (1 - 2 * e) * nearest).logit()
        each = part.images[:, None], part.hidden[:, None]
        log_probs = Hidden(*each).log_prob(bernoulli_log_prob(each[0], smooth))
        for k, b in itertools.product(NEIGHBORS, SHARPNESS):
            log_weights = (-b * distances[:, :k]).log_softmax(1)
            found["mixture", k, b, e] = (log_weights + log_probs[:, :k]).logsumexp(1)
            mean = torch.einsum("nk,nkchw->nchw", log_weights.exp(), nearest[:, :k])
            pixels = bernoulli_log_prob(part.images, (e + (1 - 2 * e) * mean).logit())
            found["mean", k, b, e] = part.log_prob(pixels)
    return found


def row(name: str, method: str, scores: Scores, note: str) -> str:
    """Write a row of the table."""
    error, likelihood = scores
    return (
        f"| {name} | {method} | {float(error.mean()):.4f} ± {standard_error(error):.4f} | "
        f"{float(likelihood.mean()):.1f} ± {standard_error(likelihood):.1f} | {note} |"
    )


def draw(model: Model, data: PreparedData, path: Path) -> None:
    """Draw one image of each digit with its lower half hidden, and with half of the pixels."""
    labels = torch.from_numpy(np.array(data.labels("test")))
    rows = [int((labels == digit).nonzero()[3]) for digit in range(10)]
    pictures = []
    for name in ("lower half", "half at random"):
        every = hide(data, "test", max(rows) + 1, name)
        part = Hidden(every.images[rows], every.hidden[rows])
        found = restore(model, part.incomplete, Sampling(draws=4), rng_stream(0, "picture"))
        arrays = (part.images, ~part.hidden, found.mean, found.draws, found.stddev, part.images)
        pictures.append(restoration_rows(*(array.numpy() for array in arrays)))
    gap = np.full((pictures[0].shape[0], 24, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([pictures[0], gap, pictures[1]], 1)).save(path)


if __name__ == "__main__":
    main()
