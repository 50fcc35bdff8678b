"""Where the seconds of `dvc repro` go: in each stage its start, loading, work and writing.

In a clone of each commit, `dvc repro` from nothing, in alternation. "start" is the interpreter and
the script's imports, "load" the settings, the store, the model and the data, "write" files and
MLflow, "work" the rest; "DVC" is its own start, hashing, git, and the ends of the processes. In
seconds, wall and CPU, of the run with the least CPU seconds.

    python -m benchmarks.pipeline -S data.name=mnist -S train.epochs=10 --commits HEAD~5 HEAD
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.startup import row, timed
from benchmarks.study import ROOT, change

TIMER = Path(__file__).with_name("timed_stage.py")
PHASES = ("start", "load", "work", "write")
Seconds = dict[str, list[float]]
"""Wall and CPU seconds by phase."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commits", nargs="+", default=["HEAD"], help="(default: HEAD)")
    parser.add_argument("--runs", type=int, default=1, help="of each (default: 1)")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    runs: dict[str, list[dict[str, Seconds]]] = {commit: [] for commit in arguments.commits}
    for _ in range(arguments.runs):
        for commit, found in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                found.append(reproduced(Path(folder), commit, arguments.settings))
    for commit, found in runs.items():
        show(commit, min(found, key=lambda stages: total(stages.values())[1]))


def reproduced(folder: Path, commit: str, settings: list[str]) -> dict[str, Seconds]:
    """Return the seconds of each stage and of DVC, by phase, of one `dvc repro` in a clone."""
    clone, results = folder / "vaelab", folder / "seconds.jsonl"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    git = ["git", "-C", str(clone), "checkout", "--quiet", "--detach", commit]
    subprocess.run(git, check=True)
    if settings:
        change(clone / "params.yaml", settings)
    stages = clone / "dvc.yaml"
    timer = rf"cmd: python {TIMER} \1 {results}"
    stages.write_text(re.sub(r"cmd: python -m pipeline\.(\w+)", timer, stages.read_text()))
    whole = timed(clone, sys.executable, "-m", "dvc", "repro")
    found = {}
    for line in results.read_text().splitlines():
        seconds = json.loads(line)
        found[seconds.pop("stage")] = seconds
    rest = [all_ - own for all_, own in zip(whole, total(found.values()), strict=True)]
    return found | {"DVC": {"work": rest}}


def total(stages: Iterable[Seconds]) -> list[float]:
    """Return the wall and the CPU seconds of all phases of all stages."""
    return [sum(times[i] for stage in stages for times in stage.values()) for i in range(2)]


def show(commit: str, stages: dict[str, Seconds]) -> None:
    """Print a table with a row a stage, wall seconds before CPU seconds."""
    row(commit, *PHASES, "all", *(f"CPU {phase}" for phase in PHASES), "CPU")
    row("---", *["---:"] * 10)
    for stage, seconds in stages.items():
        sums = total([seconds])
        cells = [[seconds[p][i] if p in seconds else "" for p in PHASES] for i in range(2)]
        row(stage, *cells[0], sums[0], *cells[1], sums[1])
    sums = total(stages.values())
    row("all", *[""] * 4, sums[0], *[""] * 4, sums[1])


if __name__ == "__main__":
    main()
