"""Which of a study's scores ranks KL weights as the likelihood does.

    python -m benchmarks.judges --weights 0.5 1 2 4 --epochs 4 --images 24

Trains the default model on MNIST with each KL weight and scores it on validation images by the
negative ELBO, by the importance-weighted NLL with K = 100, and by annealed importance sampling,
all with the Gaussian's variance fitted to the training split. Prints a row a weight: each score
less that of weight 1, in nats, with the standard error over images, compared in pairs.
"""

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.mnist import mnist
from vaelab.config import EvaluateSettings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation.ais_metrics import AisEvaluator
from vaelab.evaluation.scoring import score_images, with_fitted_variance
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer

SAMPLES, LATENTS = 100, 20
CPU = torch.device("cpu")


class Scores(NamedTuple):
    """Nats of each image by the three scores, and the effective sample sizes of the second."""

    bound: np.ndarray
    weighted: np.ndarray
    annealed: np.ndarray
    sample_sizes: np.ndarray


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=24, help="that are annealed")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args()
    mnist()  # prepared once, before the workers open it
    weights = list(dict.fromkeys((1.0, *arguments.weights)))
    measure = partial(score, epochs=arguments.epochs, annealed=arguments.images)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        found = dict(zip(weights, pool.map(measure, weights), strict=True))
    print("| KL weight | negative ELBO | NLL, K = 100 | annealing | effective sample size |")
    print("|---|---|---|---|---|")
    for weight in sorted(found):
        print(row(weight, found[weight], found[1.0]))


def score(weight: float, epochs: int, annealed: int) -> Scores:
    """Train with a KL weight; return the scores of validation images."""
    torch.set_num_threads(1)
    data = mnist()
    train, validation = (ImageLoader(data.images(split), CPU) for split in ("train", "validation"))
    chosen = {"kl_weight": weight, "epochs": epochs}
    settings = parse_settings({"model": {"latent_dim": LATENTS}, "train": chosen})
    trainer = build_trainer(settings, train, validation, CPU)
    trainer.fit(show_progress=False)
    model = trainer.model.eval()
    with with_fitted_variance(model, train, seed=0):
        scores = score_images(model, validation, SAMPLES, seed=0)
        nats = _annealed(model, validation, annealed)
    bound = scores.neg_elbo
    found = Scores(bound.numpy(), scores.nll.numpy(), nats, scores.effective_sample_size.numpy())
    means = ", ".join(f"{name} {v.mean():.2f}" for name, v in found._asdict().items())
    print(f"weight {weight:g}: {means}", flush=True)
    return found


def row(weight: float, scores: Scores, reference: Scores) -> str:
    """Write a weight's differences to weight 1, and its mean effective sample size."""
    cells = [_difference(*pair) for pair in zip(scores[:3], reference[:3], strict=True)]
    size = f"{scores.sample_sizes.mean():.1f} of {SAMPLES}"
    return f"| {' | '.join([f'{weight:g}', *cells, size])} |"


def _annealed(model: Model, images: ImageLoader, count: int) -> np.ndarray:
    settings = EvaluateSettings()
    rows = sample_rows(len(images), count, settings.seed, "annealing")
    pixels, noise = (rng_stream(settings.seed, f"judges/{name}", CPU) for name in ("pixels", "z"))
    with torch.no_grad():
        (lower,) = AisEvaluator(model, None, settings, noise).bounds(images.gather(rows, pixels))
    nats: np.ndarray = -lower.numpy()
    return nats


def _difference(values: np.ndarray, reference: np.ndarray) -> str:
    paired = values - reference
    if not paired.any():
        return f"0 ({values.mean():.1f})"
    return f"{paired.mean():+.1f} ± {paired.std(ddof=1) / len(paired) ** 0.5:.1f}"


if __name__ == "__main__":
    main()
