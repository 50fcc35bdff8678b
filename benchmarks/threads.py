"""A training while other programs use every core: threads as chosen, and one for each core.

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

# It ends with the process that started it, however that ends.
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
CHILD = """
import sys, time
import numpy as np, torch
from sklearn.datasets import load_digits
from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.runtime.devices import choose_device
from vaelab.training.build import build_trainer
epochs, threads = int(sys.argv[1]), int(sys.argv[2]) or None
settings = parse_settings(
    {"machine": {"device": "cpu", "threads": threads}, "train": {"epochs": epochs}}, "benchmark"
)
device = choose_device(settings.machine)
images = np.rint(load_digits().images * 255 / 16).astype(np.uint8)[:, None]
loaders = ImageLoader(images[:1366], device), ImageLoader(images[1366:1438], device)
begin = time.perf_counter()
build_trainer(settings, *loaders, device).fit(show_progress=False)
print(torch.get_num_threads(), time.perf_counter() - begin)
"""


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep some cores busy."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(epochs: int, threads: int) -> tuple[int, float]:
    """Return the threads that were used and the seconds of training; 0 lets vaelab choose."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", CHILD, str(epochs), str(threads)]
    printed = subprocess.run(
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
        print(f"{epochs} epochs beside {cores} busy loops on {cores} cores", flush=True)
        used, chosen = measure(epochs, 0)
        print(f"threads as chosen ({used}): {chosen:.1f} s", flush=True)
        _, forced = measure(epochs, cores)
    print(f"machine.threads={cores}: {forced:.1f} s")
    print(f"ratio: {forced / chosen:.1f}")


if __name__ == "__main__":
    main()
