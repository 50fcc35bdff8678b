"""What a study costs beside the same trials as experiments of DVC, each to its end.

In a clone of the last commit: `python -m pipeline.tune`, then a few of its trials, evenly
chosen, one after another as `dvc exp run`. Prints both times and their ratio.

    python benchmarks/study.py --trials 40 --sample 6 -S data.name=mnist -S train.epochs=5
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40, help="of the study (default: 40)")
    parser.add_argument("--sample", type=int, default=6, help="of them as experiments")
    parser.add_argument("--workers", type=int, default=1, help="of the study (default: 1)")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "vaelab"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        compare(clone, arguments)


def compare(clone: Path, arguments: argparse.Namespace) -> None:
    """Time the study and the experiments in a clone."""
    change(clone / "params.yaml", [*arguments.settings, f"tune.trials={arguments.trials}"])
    run(clone, sys.executable, "-m", "dvc", "repro", "prepare")
    study = run(clone, sys.executable, "-m", "pipeline.tune", "--workers", str(arguments.workers))
    with (clone / "results/tune/trials.csv").open(newline="") as file:
        trials = [row for row in csv.DictReader(file) if row["state"] in ("complete", "pruned")]
    searching = sum(float(row["seconds"]) for row in trials) / arguments.workers
    chosen = trials[:: max(1, len(trials) // arguments.sample)][: arguments.sample]
    names = [name for name in chosen[0] if name.startswith(("model.", "train."))]
    seconds = []
    for row in chosen:
        settings = [option for name in names for option in ("-S", f"{name}={row[name]}")]
        seconds.append(run(clone, sys.executable, "-m", "dvc", "exp", "run", *settings))
    whole = sum(seconds) / len(seconds) * len(trials)
    print(f"study: {study:.0f} s in all, of which its {len(trials)} trials {searching:.0f} s")
    print(f"experiments: {sum(seconds) / len(seconds):.1f} s each, {whole:.0f} s for all")
    print(f"ratio: {study / whole:.2f} in all, {searching / whole:.2f} for the trials alone")


def change(params: Path, settings: list[str]) -> None:
    """Set settings, given as NAME=VALUE, in a params.yaml."""
    yaml = YAML()
    content = yaml.load(params)
    for setting in settings:
        name, _, value = setting.partition("=")
        section, _, key = name.partition(".")
        content[section][key] = yaml.load(value)
    yaml.dump(content, params)


def run(folder: Path, *command: str, quiet: bool = False) -> float:
    """Run a command and give its seconds; its output is shown unless `quiet`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")}
    started = time.monotonic()
    output = subprocess.DEVNULL if quiet else None
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=output)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
