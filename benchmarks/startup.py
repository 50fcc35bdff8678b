"""How long each script takes to begin its work, and `dvc repro` to find nothing to do.

In a clone of the last commit whose pipeline has run once, on digits and briefly. "imports" is until
the script's own imports are done, "work begins" until its settings are read, its store and its data
are open; CPU is of the latter. The study's start has a `dvc repro prepare` in it. All are the
least of some runs, in seconds.

    python -m benchmarks.startup --runs 5
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.study import ROOT, change

# Where each script's work begins, on digits.
WORK = {
    "download": "vaelab.data.sources.digits:download",
    "prepare": "pipeline.prepare:prepare",
    "train": "vaelab.training.trainer:Trainer.fit",
    "classifier": "pipeline.classifier:train_on",
    "evaluate": "pipeline.evaluate:evaluate_model",
    "report": "pipeline.report:build_page",
    "render": "pipeline.render:figures",
    "tune": "pipeline.tune:Launch._train",
}
BRIEF = [
    "train.epochs=2",
    "evaluate.importance_samples=2",
    "evaluate.annealing_images=0",
    "evaluate.samples=100",
    "tracking.log_model=false",
]
# Run in place of the script: as `python -m` does it, up to the begin of the work.
CHILD = """
import importlib, operator, os, sys, time
script, place = sys.argv[1:]
sys.argv[:] = ["-m"]
sys.orig_argv[-2:] = ["-m", f"pipeline.{script}"]
main = importlib.import_module(f"pipeline.{script}").main
imported = time.time()

def begin(*arguments, **named):
    print(imported, time.time(), time.process_time(), flush=True)
    os._exit(0)

module, _, name = place.partition(":")
holder, _, function = name.rpartition(".")
owner = importlib.import_module(module)
setattr(operator.attrgetter(holder)(owner) if holder else owner, function, begin)
main()
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    runs = range(parser.parse_args().runs)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "vaelab"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        change(clone / "params.yaml", BRIEF)
        repro = sys.executable, "-m", "dvc", "repro"
        timed(clone, *repro)
        idle = least([timed(clone, *repro) for _ in runs])
        row("script", "--help", "imports", "work begins", "CPU")
        row("---", "---:", "---:", "---:", "---:")
        for script in WORK:
            usage = sys.executable, "-m", f"pipeline.{script}", "--help"
            shown = least([timed(clone, *usage) for _ in runs])[0]
            row(script, shown, *least([begun(clone, script) for _ in runs]))
        row("`dvc repro`, idle", "", "", *idle)


def begun(clone: Path, script: str) -> tuple[float, ...]:
    """Return a script's seconds until it is imported and until its work begins, and CPU seconds."""
    command = [sys.executable, "-c", CHILD, script, WORK[script]]
    started = time.time()
    found = subprocess.run(
        command, cwd=clone, env=environment(clone), check=True, text=True, stdout=subprocess.PIPE
    )
    imported, working, cpu = map(float, found.stdout.splitlines()[-1].split())
    return imported - started, working - started, cpu


def timed(clone: Path, *command: str) -> tuple[float, ...]:
    """Run a command and give its seconds, and those of the CPU."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=clone, env=environment(clone), check=True, stdout=quiet)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment(clone: Path) -> dict[str, str]:
    """Let commands run the clone's code, and the interpreter that runs this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(clone / "src")}


def least(runs: list[tuple[float, ...]]) -> list[float]:
    """Take the least of each measure: what is above it is other work of the machine."""
    return [min(values) for values in zip(*runs, strict=True)]


def row(name: str, *values: float | str) -> None:
    """Print a row of the table."""
    cells = [value if isinstance(value, str) else f"{value:.2f}" for value in values]
    print(f"| {' | '.join([name, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
