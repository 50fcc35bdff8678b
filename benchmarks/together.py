"""Trials an hour of a study whose trials train together, beside one after another.

    python -m benchmarks.together --cases digits wide mnist-sized

In a clone of the last commit, for each case, `python -m pipeline.tune` with --trials trials of
`mlp`, drawn at random over the latent size, the KL weight and the learning rate and none of them
pruned: the same ones both ways. The two ways take turns, in studies of their own on an own process;
the time is that from the first trial's beginning to the last one's end, so judging, the storage and
MLflow are in it. Prints a row for each case: its networks, threads, trials an hour of both ways and
their ratio, the median over the rounds, and the largest difference of a trial's score in nats.
"""

import argparse
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
    "| case | hidden | threads | trials | epochs | together, trials/h | in turn, trials/h "
    "| ratio | largest difference, nats |\n" + 9 * "|---" + "|"
)


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
    parser.add_argument("--rounds", type=int, default=3, help="of both ways, in turns")
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
    """Compare both ways in a clone."""
    run(Path.cwd(), "git", "clone", "--quiet", str(ROOT), str(clone))
    trials, threads = arguments.trials, arguments.threads
    sizes = [f"tune.trials={trials}", f"train.epochs={arguments.epochs}"]
    machine = [f"machine.threads={threads}", "machine.device=cpu"]
    settings = [*STUDY, *CASES[case], *sizes, *machine, *arguments.settings]
    change(clone / "params.yaml", settings)
    run(clone, sys.executable, "-m", "dvc", "repro", "--quiet", "prepare")
    rounds = [
        [search(clone, i, at_once) for at_once in (trials, 1)] for i in range(arguments.rounds)
    ]
    ratios = [in_turn.seconds / together.seconds for together, in_turn in rounds]
    rates = [
        3600 * trials / statistics.median(searched.seconds for searched in way)
        for way in zip(*rounds, strict=True)
    ]
    together, in_turn = rounds[0]
    difference = max(abs(together.scores[n] - score) for n, score in in_turn.scores.items())
    hidden = next(s for s in CASES[case] if s.startswith("model.hidden")).partition("=")[2]
    return (
        f"| {case} | {hidden} | {threads} | {trials} | {arguments.epochs} | {rates[0]:.0f} "
        f"| {rates[1]:.0f} | {statistics.median(ratios):.2f} | {difference:.2g} |"
    )


def search(clone: Path, number: int, at_once: int) -> Searched:
    """Run a study of its own, with so many trials at once."""
    name = f"round {number} {at_once} at once"
    change(clone / "params.yaml", [f"tune.study={name}", f"tune.trials_together={at_once}"])
    run(clone, sys.executable, "-m", "pipeline.tune", quiet=True)
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{clone}/optuna.db")
    begun = min(trial.datetime_start for trial in study.trials if trial.datetime_start)
    ended = max(trial.datetime_complete for trial in study.trials if trial.datetime_complete)
    scores = {trial.number: trial.values[0] for trial in study.trials if trial.values}
    return Searched((ended - begun).total_seconds(), scores)


if __name__ == "__main__":
    main()
