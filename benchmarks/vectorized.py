"""Trials per hour of a study whose trials are vectorized, against one after another.

    python -m benchmarks.vectorized --cases digits wide mnist-sized

In a clone of the last commit, for each case: `python -m pipeline.tune` with --trials trials of
`mlp`, sampled at random over the latent size, the KL weight and the learning rate, without pruning;
the same trials in each mode. The modes run in turn, in studies of their own: all trials as one
batch in one process with all threads; one worker per thread, each with a part of the trials as a
batch; and one trial after another, with all threads. The time is that between the start of the
first trial and the end of the last, with scoring, storage and MLflow. Prints a row per case: its
networks, threads, trials per hour of each mode, the ratios to one after another (medians over the
rounds), and the largest difference in nats of a trial's score between the first and the last mode.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import optuna

from benchmarks.study import ROOT, change, run

# Settings by case; 28 x 28 digits are as large as MNIST's, and need no network.
CASES = {
    "digits": ["model.hidden=[128]", "train.batch_size=100"],
    "wide": ["model.hidden=[500, 500]", "train.batch_size=100"],
    "mnist-sized": ["data.image_size=[28, 28]", "model.hidden=[400]", "train.batch_size=128"],
}
STUDY = [
    "model.network=mlp",
    "tune.sampler=random",
    "tune.pruner=none",
    "tune.finalists=1",
    "tune.seeds=0",
    "tune.search_space={"
    "model.latent_dim: {type: int, low: 2, high: 64, log: true}, "
    "train.kl_weight: {type: float, low: 0.01, high: 10.0, log: true}, "
    "train.learning_rate: {type: float, low: 0.0003, high: 0.003, log: true}}",
]
HEADER = (
    "| case | hidden | threads | trials | epochs | batched, trials/h | and one worker per thread "
    "| sequential | batched / sequential | workers / sequential | largest difference, nats |\n"
    + 11 * "|---"
    + "|"
)


@dataclass(frozen=True)
class Mode:
    """How a study is searched: trials trained at once by each worker, and workers."""

    at_once: int
    workers: int


@dataclass(frozen=True)
class Searched:
    """A study's search: its seconds, and its trials' scores in nats by number."""

    seconds: float
    scores: dict[int, float]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["digits"])
    parser.add_argument("--trials", type=int, default=32, help="of each study, all together")
    parser.add_argument("--epochs", type=int, default=30, help="of a trial")
    parser.add_argument("--rounds", type=int, default=3, help="of each mode, in turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    if min(arguments.trials, arguments.epochs, arguments.rounds, arguments.threads) < 1:
        parser.error("--trials, --epochs, --rounds and --threads must be 1 or more")
    print(HEADER, flush=True)
    for case in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            print(row(case, Path(folder) / "vaelab", arguments), flush=True)


def row(case: str, clone: Path, arguments: argparse.Namespace) -> str:
    """Compare the modes in a clone."""
    run(Path.cwd(), "git", "clone", "--quiet", str(ROOT), str(clone))
    trials, threads = arguments.trials, arguments.threads
    sizes = [f"tune.trials={trials}", f"train.epochs={arguments.epochs}"]
    settings = [*STUDY, *CASES[case], *sizes, "machine.device=cpu", *arguments.settings]
    change(clone / "params.yaml", settings)
    run(clone, sys.executable, "-m", "dvc", "repro", "--quiet", "prepare")
    modes = Mode(trials, 1), Mode(math.ceil(trials / threads), threads), Mode(1, 1)
    rounds = [
        [search(clone, f"round {number}", mode, threads) for mode in modes]
        for number in range(arguments.rounds)
    ]
    seconds = [[searched.seconds for searched in mode] for mode in zip(*rounds, strict=True)]
    rates = [f"{3600 * trials / statistics.median(mode):.0f}" for mode in seconds]
    ratios = [
        f"{statistics.median(alone / s for s, alone in zip(mode, seconds[-1], strict=True)):.2f}"
        for mode in seconds[:-1]
    ]
    batched, *_, sequential = rounds[0]
    difference = max(abs(batched.scores[n] - score) for n, score in sequential.scores.items())
    hidden = next(s for s in CASES[case] if s.startswith("model.hidden")).partition("=")[2]
    return (
        f"| {case} | {hidden} | {threads} | {trials} | {arguments.epochs} "
        f"| {' | '.join(rates)} | {' | '.join(ratios)} | {difference:.2g} |"
    )


def search(clone: Path, name: str, mode: Mode, threads: int) -> Searched:
    """Run a study of its own, in such a mode."""
    name = f"{name} {mode.at_once} at once {mode.workers} workers"
    settings = [f"tune.study={name}", f"tune.trials_together={mode.at_once}"]
    change(clone / "params.yaml", [*settings, f"machine.threads={threads // mode.workers}"])
    run(clone, sys.executable, "-m", "pipeline.tune", "--workers", str(mode.workers), quiet=True)
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{clone}/optuna.db")
    begun = min(trial.datetime_start for trial in study.trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in study.trials if trial.datetime_complete)
    scores = {trial.number: trial.values[0] for trial in study.trials if trial.values}
    return Searched((ended - begun).total_seconds(), scores)


if __name__ == "__main__":
    main()
