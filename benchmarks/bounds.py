"""Which bound and which prior give the better likelihood, with one network and one budget.

    python -m benchmarks.bounds --epochs 10 --images 20000 --seeds 2

Needs the images that `make compare` prepared. They are binarised, afresh at each access for
training and once for the test; the network is the one-layer MLP of Burda et al. 2016, 2x200 tanh
with 50 latents. Prints a row a model: the bound from K = 500 samples of the encoder on 2,000 test
images, and the negative log-likelihood from proposals fitted to 100 of them, in nats, each with
its difference from the VAE's, paired by seed, and standard errors over seeds.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from pipeline import paths
from vaelab.config import EvaluateSettings, Settings, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.bounds import bound_metrics, score_test_images
from vaelab.evaluation.likelihood import fit_test_images, likelihood_metrics
from vaelab.training.build import build_trainer

MEMBERS = ("vae", "vae-vamp", "vae-flow", "iwae")
TEST_IMAGES = 2000
SAMPLES = 500
CPU = torch.device("cpu")


class Scores(NamedTuple):
    """Nats per image, and seconds of training."""

    bound: float
    nll: float
    seconds: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=20_000, help="of the training split")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    parser.add_argument("--members", nargs="+", default=MEMBERS, help="beside the VAE")
    arguments = parser.parse_args()
    members = tuple(dict.fromkeys(("vae", *arguments.members)))
    jobs = [
        (member, seed, arguments.epochs, arguments.images)
        for member in members
        for seed in range(arguments.seeds)
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        results = dict(zip(jobs, pool.map(score, jobs), strict=True))
    print("± is one standard error over seeds.")
    print("| model | bound, K = 500 | less the VAE's | NLL | less the VAE's | training, s |")
    print("|---|---|---|---|---|---|")
    reference = _by_seed(results, "vae")
    for member in members:
        print(row(member, _by_seed(results, member), reference))


def score(job: tuple[str, int, int, int]) -> Scores:
    """Train one model; return its bound, its NLL, both in nats, and the seconds of training."""
    torch.set_num_threads(1)
    member, seed, epochs, count = job
    data = PreparedData.load(paths.COMPARISON_PREPARED)
    train = ImageLoader(data.images("train")[:count], CPU, binarize=True)
    validation = ImageLoader(_binarised(data.images("validation")), CPU)
    trainer = build_trainer(settings(member, seed, epochs), train, validation, CPU)
    started = time.perf_counter()
    trainer.fit(show_progress=False)
    seconds = time.perf_counter() - started
    test = ImageLoader(_binarised(data.images("test")[:TEST_IMAGES]), CPU)
    model, chosen = trainer.model.eval(), EvaluateSettings(importance_samples=SAMPLES)
    bound = bound_metrics(score_test_images(model, test, chosen, CPU), model, 2, chosen)
    fitted = fit_test_images(model, test, chosen, CPU)
    assert fitted is not None
    likelihood = likelihood_metrics(fitted, chosen, CPU)
    found = Scores(float(bound["nll_nats"]), float(likelihood["nll_nats"]), seconds)
    print(f"{member}, seed {seed}: {found}, {likelihood}", flush=True)
    return found


def settings(member: str, seed: int, epochs: int) -> Settings:
    """Return a member's settings: all but objective and prior are the same."""
    objective, _, prior = member.partition("-")
    model = {
        "network": "mlp",
        "hidden": (200, 200),
        "activation": "tanh",
        "latent_dim": 50,
        "likelihood": "bernoulli",
        "prior": prior or "auto",
    }
    train = {"objective": objective, "epochs": epochs, "seed": seed}
    return parse_settings({"model": model, "train": train})


def row(member: str, values: list[Scores], reference: list[Scores]) -> str:
    """Write the means over seeds; differences are paired by seed."""
    cells = []
    for number in range(2):
        own = np.array([scores[number] for scores in values])
        others = np.array([scores[number] for scores in reference])
        cells += [_spread(own), _spread(own - others)]
    seconds = np.mean([scores.seconds for scores in values])
    return f"| {member} | {' | '.join(cells)} | {seconds:.0f} |"


def _by_seed(results: dict[tuple[str, int, int, int], Scores], member: str) -> list[Scores]:
    return [result for job, result in results.items() if job[0] == member]


def _spread(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{values.mean():.2f} ± {error:.2f}"


def _binarised(images: np.ndarray) -> np.ndarray:
    """Draw black or white pixels once."""
    uniform = np.random.default_rng(0).random(images.shape, np.float32)
    return (uniform * 255 < images).astype(np.uint8) * 255


if __name__ == "__main__":
    main()
