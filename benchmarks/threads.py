"""A training while other programs use every core: threads as chosen, and as many as there are cores.

The default model of the 8x8 digits, for some epochs, each time in a process of its own. The other
programs are one busy loop a core, started here.

    python -m benchmarks.threads --epochs 5
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CHILD = """
import sys, time
from sklearn.datasets import load_digits
from vaelab import train
from vaelab.config import MachineSettings
from vaelab.runtime.devices import choose_device
import torch
epochs, threads = int(sys.argv[1]), int(sys.argv[2])
choose_device(MachineSettings(device="cpu", threads=threads or None))
images = load_digits().images / 16
train(images, epochs=1, device="cpu", progress=False)
begin = time.perf_counter()
train(images, epochs=epochs, device="cpu", progress=False)
print(torch.get_num_threads(), time.perf_counter() - begin)
"""


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep some cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]  # noqa: S603  fixed arguments
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(epochs: int, threads: int) -> tuple[int, float]:
    """Return the threads that were used and the seconds that training took; 0 lets vaelab choose."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", CHILD, str(epochs), str(threads)]
    printed = subprocess.run(  # noqa: S603  fixed arguments
        command, capture_output=True, check=True, text=True, env=environment
    ).stdout
    used, seconds = printed.split()
    return int(used), float(seconds)


def main() -> None:
    """Print the seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5, help="default: %(default)s")
    epochs = parser.parse_args().epochs
    cores = os.cpu_count() or 1
    with busy_cores(cores):
        used, chosen = measure(epochs, 0)
        _, forced = measure(epochs, cores)
    print(f"{epochs} epochs beside {cores} busy loops on {cores} cores")
    print(f"threads as chosen ({used}): {chosen:.1f} s; machine.threads={cores}: {forced:.1f} s")
    print(f"ratio: {forced / chosen:.1f}")


if __name__ == "__main__":
    main()
