"""Published numbers, trained again with this library and printed beside ours.

    python -m benchmarks.published                    # on a CPU, Burda et al. shortened
    python -m benchmarks.published burda-vae burda-iwae-50 --device cuda --minutes 9
    python -m benchmarks.published --minutes 0        # only the table, of what is there

Downloads MNIST, through VAELAB_DATA_MIRROR where that is set. Every call goes on where the last
one stopped, with the result of a single call; it stops before an epoch that would end after
--minutes, but trains one at least. Two calls at a time may work on different configurations.

One core of a CPU takes 2 to 10 minutes for each of those, 25 for burda-iwae-50-short. The whole
protocol of Burda et al. is 9.8 million steps of 20 images. A GPU waits for their launches, some 200
a step whatever K is: at 2 to 3 ms a step, a model takes 5 to 8 hours (reckoned, not measured).
"""

import argparse
import os
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock

from benchmarks.published.configurations import CONFIGURATIONS, FULL, QUICK, SHORT
from benchmarks.published.measuring import Result, Splits, work
from benchmarks.published.table import listing, table
from benchmarks.published.training import Clock
from pipeline import cli
from vaelab.config import DataSettings, MachineSettings, UserError, parse_section
from vaelab.data import sources
from vaelab.data.fetch import Fetcher, mirror_urls
from vaelab.runtime.devices import choose_device, describe
from vaelab.runtime.files import write_text

DATA = DataSettings(name="mnist")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of --list (default: what suits the device)"
    )
    parser.add_argument("--list", action="store_true", help="the configurations, and no more")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this call at most")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument("--folder", type=Path, default=Path(".published"), help="what is kept")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/published.md"))
    arguments = parser.parse_args()
    if arguments.list:
        print(listing())
        return
    cli.run_command(lambda: run(arguments), resume_hint="the same command continues from here")


def run(arguments: argparse.Namespace) -> None:
    """Work on each configuration in turn, then print and write the table."""
    clock = Clock(arguments.minutes)
    device = choose_device(parse_section(MachineSettings, {"device": arguments.device}, "--device"))
    names = chosen(arguments.names, device.type)

    @cache
    def splits() -> Splits:
        return mnist(arguments.folder)

    results: dict[str, Result] = {}
    for name in names:
        training = CONFIGURATIONS[name].training
        folder = arguments.folder / f"{name}-{device.type}-{training.key}"
        print(f"{name} on {describe(device)}", flush=True)
        results[name] = work(CONFIGURATIONS[name], splits, device, folder, clock)
    print(text := table(results))
    write_text(arguments.output, text)


def chosen(names: list[str], device_type: str) -> list[str]:
    """Return the names on the command line; without any, those that suit the device.

    Raises UserError for a name that is none.
    """
    for name in names:
        if name not in CONFIGURATIONS:
            raise UserError(f"{name} is no configuration; there are {', '.join(CONFIGURATIONS)}")
    default = QUICK | (FULL if device_type == "cuda" else SHORT)
    return list(dict.fromkeys(names or default))


def mnist(folder: Path) -> Splits:
    """Download MNIST into the folder, unless it is there, and read both splits, in file order."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "raw.lock"):
        fetch = Fetcher(DATA.name, mirror_urls(os.environ, DATA.mirror), folder / "partial")
        sources.download(DATA, raw, fetch)
        source = sources.read(DATA, raw)
    assert source.test is not None
    train, test = (images.read(np.arange(images.count)) for images in (source.train, source.test))
    return train, test


if __name__ == "__main__":
    main()
