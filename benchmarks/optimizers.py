"""What PyTorch's Adam class costs against the function beneath it: start-up and step.

    python -m benchmarks.optimizers

Each way runs in a process of its own, on one thread: the CPU seconds of the first step, which
include the imports that it causes, and the CPU microseconds of a later step on the weights of the
network 784-500-40, 20-500-784. Prints a row per way, the medians over --rounds.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

SHAPES = ((500, 784), (500,), (40, 500), (40,), (500, 20), (500,), (784, 500), (784,))
STEPS = 500


def main() -> None:
    """Print the table, or time one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes (default: %(default)s)")
    parser.add_argument("--way", choices=("class", "function"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        first, step = seconds(arguments.way)
        print(first, step)
        return
    print("| optimizer | first step, s | step, us |\n|---|---|---|")
    for way in ("class", "function"):
        rounds = [measured(way) for _ in range(arguments.rounds)]
        first, step = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {way} | {first:.2f} | {1e6 * step:.0f} |", flush=True)


def measured(way: str) -> list[float]:
    """Return the seconds of the first and of a later step, of a new process."""
    command = [sys.executable, "-m", "benchmarks.optimizers", "--way", way]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in printed.split()]


def seconds(way: str) -> tuple[float, float]:
    """Return the CPU seconds of the first and of a later step."""
    torch.set_num_threads(1)
    parameters = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    started = time.process_time()
    optimizer = AdamClass(parameters) if way == "class" else AdamFunction(parameters)
    optimizer.step()
    first = time.process_time()
    for _ in range(STEPS):
        optimizer.step()
    return first - started, (time.process_time() - first) / STEPS


class AdamClass:
    """torch.optim.Adam."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.adam = torch.optim.Adam(parameters, lr=torch.tensor(1e-3), fused=True)

    def step(self) -> None:
        """Take a step."""
        self.adam.step()


class AdamFunction:
    """The function that torch.optim.Adam calls."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.moments = [[torch.zeros_like(p) for p in parameters] for _ in range(2)]
        self.steps = [torch.zeros(()) for _ in parameters]
        self.rate = torch.tensor(1e-3)

    @torch.no_grad()
    def step(self) -> None:
        """Take a step."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        adam(
            self.parameters,
            gradients,
            *self.moments,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


if __name__ == "__main__":
    main()
