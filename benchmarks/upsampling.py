"""Transposed convolutions of stride 2 beside the ordinary ones that decoders use for them on CPUs.

    python -m benchmarks.upsampling --maps 1000

CPU milliseconds for so many feature maps, in alternation: to decode alone, to differentiate by the
maps, as Hamiltonian Monte Carlo does, and by the weights too, as training does; medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vaelab.models.layers import upsample
from vaelab.models.layers.upsample import SubPixelConvTranspose2d
from vaelab.runtime import memory

# Channels in and out, and the side of the maps, which is doubled
LAYERS = ((32, 16, 2), (32, 16, 7), (64, 32, 7))
KERNEL = 5


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    memory.tune_malloc()
    # Both are measured for any number of channels.
    upsample.FEW_CHANNELS = upsample.MORE_CHANNELS = 1_000
    print("| layer | data type | | transposed, ms | ordinary, ms | ratio |")
    print("|---|---|---|---:|---:|---:|")
    for inputs, outputs, side in LAYERS:
        maps = torch.randn(arguments.maps, inputs, side, side)
        maps = maps.to(memory_format=torch.channels_last)
        layer = SubPixelConvTranspose2d(inputs, outputs, KERNEL, (1, 1))
        for precision in (torch.float32, torch.bfloat16):
            for name, task in TASKS.items():
                found = milliseconds(layer, maps, task, precision, arguments.rounds)
                title = f"{inputs}x{side}x{side} to {outputs}x{2 * side}x{2 * side}"
                ratio = found[False] / found[True]
                cells = f"{found[True]:.2f} | {found[False]:.2f} | {ratio:.2f}"
                print(f"| {title} | {str(precision)[6:]} | {name} | {cells} |", flush=True)


def decode(layer: nn.Module, maps: Tensor) -> None:
    """Apply the layer without gradients."""
    with torch.inference_mode():
        layer(maps)


def differentiate(layer: nn.Module, maps: Tensor) -> None:
    """Apply the layer, with the gradient by the maps."""
    leaf = maps.detach().requires_grad_()
    torch.autograd.grad(layer(leaf).sum(), leaf)


def train(layer: nn.Module, maps: Tensor) -> None:
    """Apply the layer, with the gradients by maps and weights."""
    leaf = maps.detach().requires_grad_()
    torch.autograd.grad(layer(leaf).sum(), [leaf, *layer.parameters()])


Task = Callable[[nn.Module, Tensor], None]
TASKS: dict[str, Task] = {
    "decode": decode,
    "by the maps": differentiate,
    "by the weights too": train,
}


def milliseconds(
    layer: SubPixelConvTranspose2d, maps: Tensor, task: Task, precision: torch.dtype, rounds: int
) -> dict[bool, float]:
    """Return the median CPU time of a task: transposed (True) and ordinary."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 1):
        for layer.transposes in times:
            started = time.process_time()
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                task(layer, maps)
            if number:
                times[layer.transposes].append(1000 * (time.process_time() - started))
    return {transposes: statistics.median(found) for transposes, found in times.items()}


if __name__ == "__main__":
    main()
