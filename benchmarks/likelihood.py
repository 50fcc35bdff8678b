"""The importance-weighted likelihood beside pythae's `get_nll`: same weights, images and K.

    python -m benchmarks.likelihood --samples 500 5000 --networks mlp conv

Needs the images that `make compare` prepared (--data: another folder of the kind, of MNIST) and,
the first time, the package index: pythae goes into a folder of its own, .benchmarks/. The model is
trained for three epochs on binarised images, and its weights go over as arrays. The two take turns,
and each turn gives a ratio; the median counts. Prints a row for each network and K: what both say
in nats, their mean difference with its standard error, the root mean square of an image's
difference and, beside it, of two seeds of vaelab's, images a second and their ratio. Below it, the
most that the ratio could be if only the decoder's arithmetic took time, at the rate of this
machine's matrix products.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import install, run_with
from benchmarks.rates import flops, product_rate
from pipeline import cli, paths
from vaelab.config import Settings, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.models.model import Model
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer

ROUNDS = 3
BATCH = 500
CPU = torch.device("cpu")
HEADER = (
    "| network | K | images | NLL | pythae's | difference | RMS | of seeds "
    "| images/s | pythae's | ratio |\n" + 11 * "|---" + "|"
)


@dataclass(frozen=True)
class Round:
    """What both made of the same images: log-likelihoods in nats, and images a second."""

    ours: np.ndarray
    ours_again: np.ndarray
    theirs: np.ndarray
    our_rate: float
    their_rate: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, nargs="+", default=[500], help="K, in hundreds")
    parser.add_argument("--networks", nargs="+", choices=("mlp", "conv"), default=["mlp"])
    parser.add_argument("--seconds", type=float, default=60, help="of pythae, for each row")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--data", type=Path, default=paths.COMPARISON_PREPARED)
    parser.add_argument("--images", type=int, default=20_000, help="of the training split")
    arguments = parser.parse_args()
    if any(samples < 100 or samples % 100 for samples in arguments.samples):
        parser.error("--samples must be hundreds: pythae rounds others to hundreds")
    if min(arguments.threads, arguments.images) < 1:
        parser.error("--threads and --images must be 1 or more")
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Compare the two, a row for each network and number of samples."""
    torch.set_num_threads(arguments.threads)
    data = PreparedData.load(arguments.data)
    install("pythae")
    test = ImageLoader(data.images("test"), CPU, binarize=True)
    images = test.gather(torch.arange(len(test)), rng_stream(0, "pixels"))
    print("± is one standard error over images.")
    print(HEADER, flush=True)
    notes = []
    for network in arguments.networks:
        model = train(network, data, arguments.images)
        for samples in sorted(arguments.samples):
            rounds = compare(model, network, images, samples, arguments)
            print(row(network, samples, rounds), flush=True)
            notes.append(limit(model, network, samples, rounds))
    print("\n" + "\n".join(notes))


def settings(network: str) -> Settings:
    """Return the settings: pythae's default widths, or vaelab's default filters."""
    model = {"network": network, "hidden": (512,), "latent_dim": 20, "likelihood": "bernoulli"}
    return parse_settings({"model": model, "train": {"objective": "vae", "epochs": 3}})


def train(network: str, data: PreparedData, count: int) -> Model:
    """Train a model for three epochs, so that its posterior is one worth sampling from."""
    images = ImageLoader(data.images("train")[:count], CPU, binarize=True)
    validation = ImageLoader(data.images("validation"), CPU, binarize=True)
    trainer = build_trainer(settings(network), images, validation, CPU)
    trainer.fit(show_progress=False)
    return trainer.model.eval()


def compare(
    model: Model, network: str, images: Tensor, samples: int, arguments: argparse.Namespace
) -> list[Round]:
    """Let the two take turns, each time with other images."""
    rounds = []
    for index, part in enumerate(images.chunk(ROUNDS)):
        theirs, their_seconds = run_pythae(model, network, part, samples, index, arguments)
        count = len(theirs)
        ours, seconds = run_vaelab(model, part[:count], samples, seed=0)
        ours_again, seconds_again = run_vaelab(model, part[:count], samples, seed=1)
        our_rate = 2 * count / (seconds + seconds_again)
        rounds.append(Round(ours, ours_again, theirs, our_rate, count / their_seconds))
    return rounds


def run_vaelab(model: Model, images: Tensor, samples: int, seed: int) -> tuple[np.ndarray, float]:
    """Return the log-likelihood of each image, and the seconds."""
    noise = rng_stream(seed, "likelihood")
    with torch.inference_mode():
        model.decode(model.encode(images[:BATCH]).mean)
        started = time.perf_counter()
        estimates = [
            importance_weighted_log_likelihood(model, batch, model.encode(batch), samples, noise)
            for batch in torch.split(images, BATCH)
        ]
        seconds = time.perf_counter() - started
    return torch.cat([estimate.log_likelihood for estimate in estimates]).numpy(), seconds


def run_pythae(
    model: Model,
    network: str,
    images: Tensor,
    samples: int,
    seed: int,
    arguments: argparse.Namespace,
) -> tuple[np.ndarray, float]:
    """Return the log-likelihoods of as many images as its share of the seconds allows."""
    state = {name.removeprefix("networks."): value for name, value in model.state_dict().items()}
    arrays = {name: value.contiguous().numpy() for name, value in state.items()}
    arrays |= {"offset": model.output_offset.numpy(), "images": images.numpy()}
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "given.npz", Path(folder) / "result.npz"
        np.savez(given, **arrays)
        options = ["--network", network, "--samples", str(samples), "--seed", str(seed)]
        options += ["--seconds", str(arguments.seconds / ROUNDS)]
        options += ["--threads", str(arguments.threads)]
        run_with("pythae", "pythae_likelihood", str(given), str(result), *options)
        with np.load(result) as arrays_back:
            return arrays_back["log_likelihood"], float(arrays_back["seconds"])


def row(network: str, samples: int, rounds: list[Round]) -> str:
    """Write what the rounds say: values over all images, rates as medians over rounds."""
    ours, again, theirs = (
        np.concatenate([getattr(one, name) for one in rounds])
        for name in ("ours", "ours_again", "theirs")
    )
    difference = ours - theirs
    error = difference.std(ddof=1) / np.sqrt(len(ours))
    our_rate = statistics.median(one.our_rate for one in rounds)
    their_rate = statistics.median(one.their_rate for one in rounds)
    ratio = statistics.median(one.our_rate / one.their_rate for one in rounds)
    return (
        f"| {network} | {samples} | {len(ours)} | {-ours.mean():.3f} | {-theirs.mean():.3f} "
        f"| {difference.mean():+.4f} ± {error:.4f} "
        f"| {_root_mean_square(difference):.3f} | {_root_mean_square(ours - again):.3f} "
        f"| {our_rate:.1f} | {their_rate:.1f} | {ratio:.1f} |"
    )


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def limit(model: Model, network: str, samples: int, rounds: list[Round]) -> str:
    """Write what the machine's matrix products would allow, and the memory taken so far."""
    rate, decoded, encoded = product_rate(), flops(model, "decoder"), flops(model, "encoder")
    possible = rate / (samples * decoded)
    ratio = statistics.median(possible / one.their_rate for one in rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{network}, K = {samples}: {decoded / 1e6:.2f} MFLOP to decode a sample, at "
        f"{rate / 1e9:.0f} GFLOP/s, make {possible:.1f} images/s at most, {ratio:.1f} times "
        f"pythae's, which also encodes each sample ({encoded / 1e6:.2f} MFLOP); "
        f"peak memory so far {memory:.0f} MiB"
    )


if __name__ == "__main__":
    main()
