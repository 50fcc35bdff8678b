"""What only a GPU can show: the default network on MNIST, beside pythae and beside the bounds.

    python -m benchmarks.gpu

Trains the convolutional network of the defaults on MNIST for 10 epochs of batches of 100 (target:
under 10 s, at least 20 times pythae's trainer on the same GPU), then scores MNIST's test split with
K = 5,000 importance samples (target: under 20 s). Beside each time stands what arithmetic alone
would take at the float32 rate of this device's matrix products, and, for training, what starting
the kernels of its steps would take, one after another, at the rate measured for an empty one.
With --epochs, --images and --samples that suit, it runs on a CPU as well.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.mnist import mnist
from benchmarks.peers import install, run_with
from benchmarks.rates import flops, product_rate, training_flops
from pipeline import cli
from vaelab.config import MachineSettings, Settings, parse_section, parse_settings
from vaelab.data.dataset import PreparedData
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.scoring import score_images
from vaelab.runtime.devices import choose_device, describe
from vaelab.training.build import build_trainer
from vaelab.training.trainer import Trainer

BATCH = 100
LAUNCHES = 10_000


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--cuda-graph", action="store_true", help="as machine.cuda_graph: true")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=None, help="of each split (default: all)")
    parser.add_argument("--samples", type=int, default=5000, help="K")
    arguments = parser.parse_args()
    cli.run_command(lambda: run(arguments), resume_hint="the same command starts anew")


def run(arguments: argparse.Namespace) -> None:
    """Train and score, and print both times beside their bounds."""
    device = choose_device(parse_section(MachineSettings, {"device": arguments.device}, "--device"))
    data = mnist()
    install("pythae")
    model = {"network": "conv", "likelihood": "bernoulli"}
    train = {"epochs": arguments.epochs, "batch_size": BATCH, "precision": arguments.precision}
    machine = {"cuda_graph": arguments.cuda_graph}
    settings = parse_settings({"model": model, "train": train, "machine": machine})
    loop = trainer(settings, data, arguments.images, device)
    print(f"on {describe(device)}, {arguments.precision}", flush=True)
    rate = product_rate(device=device)
    print(f"matrix products: {rate / 1e12:.2f} TFLOP/s in float32", flush=True)
    report_training(loop, rate, arguments.epochs)
    report_scoring(loop, rate, split(data, "test", arguments.images, device), arguments.samples)


def report_training(loop: Trainer, rate: float, epochs: int) -> None:
    """Print how long training took, its bounds, its curve, and pythae's time."""
    count = len(loop.train)
    images = loop.train.gather(torch.arange(BATCH), loop.state.noise_rng)
    arithmetic = training_flops(loop.objective, loop.model, images) * count * epochs / rate
    launching = launch_seconds(loop) * loop.steps_per_epoch() * epochs
    started = time.perf_counter()
    loop.fit(show_progress=False)
    wait(loop.device)
    seconds = time.perf_counter() - started
    theirs = pythae(loop.train) * epochs
    curve = [f"{row['validation.neg_elbo_nats']:.2f}" for row in loop.progress.history]
    print(
        f"training, {epochs} epochs of {count:,}: {seconds:.2f} s; pythae {theirs:.1f} s, "
        f"{theirs / seconds:.1f} times as long; arithmetic alone {arithmetic:.2f} s, starting "
        f"kernels {launching:.2f} s\nvalidation, nats: {', '.join(curve)}",
        flush=True,
    )


def report_scoring(loop: Trainer, rate: float, images: ImageLoader, samples: int) -> None:
    """Print how long the importance-weighted likelihood took, and its bound."""
    arithmetic = flops(loop.model, "decoder") * len(images) * samples / rate
    model = loop.model.eval()
    score_images(model, images, 1, seed=0)
    wait(loop.device)
    started = time.perf_counter()
    nll = score_images(model, images, samples, seed=0).means()["nll_nats"]
    seconds = time.perf_counter() - started
    print(
        f"NLL of {len(images):,} images, K = {samples:,}: {nll:.2f} nats in {seconds:.2f} s; "
        f"arithmetic alone {arithmetic:.2f} s"
    )


def trainer(
    settings: Settings, data: PreparedData, images: int | None, device: torch.device
) -> Trainer:
    """Build the loop over MNIST, or some of it."""
    train, validation = (split(data, name, images, device) for name in ("train", "validation"))
    return build_trainer(settings, train, validation, device)


def split(data: PreparedData, name: str, images: int | None, device: torch.device) -> ImageLoader:
    """Open a split, or its first images."""
    return ImageLoader(np.array(data.arrays[f"{name}_images.npy"][:images]), device)


def launch_seconds(loop: Trainer) -> float:
    """Return what starting the kernels of a step takes, at the rate of empty ones; 0 on a CPU."""
    if loop.device.type != "cuda":
        return 0.0
    steps = loop.steps_of_epoch()
    next(steps)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        next(steps)
        wait(loop.device)
    kernels = sum(event.count for event in profiled.key_averages())
    nothing = torch.zeros((), device=loop.device)
    wait(loop.device)
    started = time.perf_counter()
    for _ in range(LAUNCHES):
        nothing.zero_()
    wait(loop.device)
    each = (time.perf_counter() - started) / LAUNCHES
    print(f"a step starts {kernels} kernels, {each * 1e6:.1f} us each at best")
    loop.progress.step = 0
    return kernels * each


def pythae(images: ImageLoader) -> float:
    """Let pythae train for an epoch on the same device; give its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "given.npz", Path(folder) / "result.json"
        np.savez(given, images=images.array.astype(np.float32) / 255)
        options = ["--network", "conv", "--batch", str(BATCH)]
        options += ["--threads", str(torch.get_num_threads()), "--device", images.device.type]
        run_with("pythae", "pythae_training", str(given), str(result), *options)
        return float(json.loads(result.read_text())["seconds"])


def wait(device: torch.device) -> None:
    """Wait for the device to have done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
