"""Whether a beta-TC-VAE disentangles the factors of sprites better than a plain VAE.

    python -m benchmarks.disentanglement

Draws its images itself. Both objectives get the same images, network and budget; a seed changes
the first weights, the order and the noise. Measures the posterior means of 10,000 test images and
prints, for each metric and model, its mean over seeds, the standard error and each seed's value,
and which model has the larger mutual information gap with each seed.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vaelab.config import DataSettings, Settings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.data.sources import sprites
from vaelab.estimators.disentanglement import disentanglement_metrics
from vaelab.estimators.statistics import mean_and_standard_error
from vaelab.inference.attributes import encode_rows, subsample_rows
from vaelab.models.model import Model
from vaelab.training.build import build_trainer

PLAIN, PENALISED = MEMBERS = ("vae", "beta_tc_vae")
GAP = "mutual_information_gap"
VALIDATION_IMAGES = 1_000
TEST_IMAGES = 10_000
CPU = torch.device("cpu")

Metrics = dict[str, float]
Splits = dict[str, tuple[ImageLoader, np.ndarray]]
"""The images of each split, and their factors [images, factors]."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=50_000, help="of the training split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time")
    parser.add_argument("--weight", type=float, default=20.0, help="of the total correlation")
    chosen = parser.parse_args()
    if min(chosen.epochs, chosen.images, chosen.seeds, chosen.workers) < 1:
        parser.error("--epochs, --images, --seeds and --workers must be 1 or more")
    jobs = [(member, seed) for seed in range(chosen.seeds) for member in MEMBERS]
    work = partial(measure, epochs=chosen.epochs, images=chosen.images, weight=chosen.weight)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.workers, mp_context=context) as pool:
        results = dict(zip(jobs, pool.map(work, jobs), strict=True))
    seeds = range(chosen.seeds)
    by_member = {member: [results[member, seed] for seed in seeds] for member in MEMBERS}
    print("± is one standard error over seeds.")
    print(table(by_member))
    print(conclusion(by_member))


def measure(job: tuple[str, int], *, epochs: int, images: int, weight: float) -> Metrics:
    """Train one model, and hold its latents against the factors."""
    torch.set_num_threads(1)
    member, seed = job
    data = drawn(images)
    chosen = settings(member, seed, epochs, weight)
    trainer = build_trainer(chosen, data["train"][0], data["validation"][0], CPU)
    started = time.perf_counter()
    progress = trainer.fit(show_progress=False)
    seconds = time.perf_counter() - started
    found = disentanglement(trainer.model.eval(), data, seed)
    validated = progress.history[-1]
    for name in ("generation_loss_nats", "kl_loss_nats"):
        found[name] = validated[f"validation.{name}"]
    found["seconds"] = seconds
    print(
        f"{member}, seed {seed}: {', '.join(f'{k} {v:.4g}' for k, v in found.items())}", flush=True
    )
    return found


def drawn(images: int) -> Splits:
    """Draw the images of every split, the same for every model."""
    counts = {"train": images, "validation": VALIDATION_IMAGES, "test": TEST_IMAGES}
    total = sum(counts.values())
    every = sprites.read(DataSettings(name="sprites", sprites_images=total), Path()).train
    assert every.factors is not None
    order = np.random.default_rng(0).permutation(total)
    found: Splits = {}
    for name, count in counts.items():
        rows, order = order[:count], order[count:]
        found[name] = ImageLoader(every.read(rows), CPU), every.factors[rows]
    return found


def settings(member: str, seed: int, epochs: int, weight: float) -> Settings:
    """Return a member's settings: all but the objective is the same."""
    model = {
        "network": "conv",
        "channels": (8, 16, 32),
        "latent_dim": 10,
        "likelihood": "bernoulli",
    }
    train = {
        "objective": member,
        "epochs": epochs,
        "batch_size": 128,
        "precision": "bfloat16",
        "seed": seed,
    }
    own = {"beta_tc_vae": {"total_correlation_weight": weight}}
    return parse_settings({"model": model, "train": train, "objectives": own})


def disentanglement(model: Model, data: Splits, seed: int) -> Metrics:
    """Measure test images' latents; what has to be fitted is fitted on 10,000 training images."""
    codes, factors = [], []
    for batches, known in (data["train"], data["test"]):
        rows = subsample_rows(len(batches), TEST_IMAGES)
        codes.append(encode_rows(model, batches, rows, torch.Generator()).numpy())
        factors.append(known[rows.numpy()])
    return dict(disentanglement_metrics(codes[0], factors[0], codes[1], factors[1], seed).metrics)


def table(by_member: dict[str, list[Metrics]]) -> str:
    """Write a row a metric, and a column a model."""
    lines = [f"| | {' | '.join(by_member)} |", "|" + "---|" * (len(by_member) + 1)]
    for name in by_member[PLAIN][0]:
        cells = [_spread([seed[name] for seed in seeds]) for seeds in by_member.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def conclusion(by_member: dict[str, list[Metrics]]) -> str:
    """Say with how many seeds the beta-TC-VAE is ahead, and by how much."""
    plain, penalised = ([seed[GAP] for seed in by_member[name]] for name in MEMBERS)
    ahead = [b - a for a, b in zip(plain, penalised, strict=True)]
    wins = sum(difference > 0 for difference in ahead)
    return (
        f"{PENALISED} has the larger {GAP} with {wins} of {len(ahead)} seeds; "
        f"difference {_spread(ahead)}"
    )


def _spread(values: list[float]) -> str:
    mean, error = mean_and_standard_error(values)
    digits = 0 if abs(mean) >= 100 else 3
    each = ", ".join(f"{value:.{digits}f}" for value in values)
    return f"{mean:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}") + f" ({each})"


if __name__ == "__main__":
    main()
