"""Launch, join or go on with an Optuna study of the settings that `tune.search_space` names.

It ends with the best settings in results/tune (report.md, best.yaml, trials.csv, figures).
`make dashboard` shows it while it runs; --apply writes the winner into params.yaml.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

import torch

from pipeline import cli, paths
from pipeline.study import apply, results
from pipeline.study.run_info import ended_trials
from pipeline.study.runs import StudyRuns, parent_run
from pipeline.study.samplers import total_trials
from pipeline.study.scorer import TrialScorer
from pipeline.study.storage import open_storage, open_study, study_lock
from pipeline.study.trial_queue import finished_trials
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.worker import Worker
from pipeline.tracking import Run, Store, open_store
from vaelab.config import Settings, UserError, load_settings
from vaelab.data.dataset import PreparedData
from vaelab.runtime.devices import choose_device, describe


def main() -> None:
    """Run the command."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workers", type=int, default=1, help="processes on this machine (default: 1)"
    )
    parser.add_argument(
        "--apply",
        nargs="?",
        const="best",
        choices=apply.CHOICES,
        help="write the finished study's winner into params.yaml, and do nothing else: the best, "
        "or the smallest latent size within one standard error of it",
    )
    parser.add_argument("--worker", type=float, metavar="DEADLINE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cli.run_command(lambda: command(arguments), resume_hint="the same command goes on from here")


def command(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if arguments.apply:
        apply.apply_winner(arguments.params, arguments.apply)
        return
    if arguments.workers < 1:
        raise UserError(f"--workers: must be 1 or more (it is {arguments.workers})")
    settings = load_settings(arguments.params)
    if arguments.worker is not None:
        Launch(settings).work(arguments.worker)
        return
    prepare()
    tune(settings, arguments)


class Launch:
    """One process's part in a study: the storage, the data and the device."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: Store = open_store(settings.tracking)
        self.data = PreparedData.load(paths.PREPARED)
        self.study = open_study(open_storage(settings.tune), settings, self.data.info)
        self.device: torch.device = choose_device(settings.machine)
        self.laboratory = TrialRunner(TrialScorer(settings, self.data, self.device))
        self.parent: Run = parent_run(self.store, self.study, settings, self.data.info)
        self.runs = StudyRuns(self.store, self.parent, self.study.study_name)

    def coordinate(self, arguments: argparse.Namespace, deadline: float) -> None:
        """Search with as many workers as were asked for; all are over when it returns."""
        try:
            if arguments.workers > 1:
                run_workers(arguments, deadline)
            self._train(deadline)
        finally:
            self.runs.reconcile(ended_trials(self.study, self.settings))
            self.runs.close()

    def work(self, deadline: float) -> None:
        """Take part, as one of several workers, until nothing is left or the deadline is over."""
        try:
            self._train(deadline)
        finally:
            self.runs.close()

    def _train(self, deadline: float) -> None:
        """Train until time.time() passes the deadline, at most."""
        left = time.monotonic() + deadline - time.time()
        Worker(self.settings, self.study, self.laboratory, self.runs).work(left)


def tune(settings: Settings, arguments: argparse.Namespace) -> None:
    """Search with as many workers as were asked for, then report."""
    limit = settings.tune.time_limit_minutes
    deadline = time.time() + 60 * limit if limit else float("inf")
    launch = Launch(settings)
    total = total_trials(settings.tune)
    done = len(finished_trials(launch.study))
    print(
        f"study {launch.study.study_name}: {done} of {total} trials are there; "
        f"{arguments.workers} at a time on {describe(launch.device)}",
        flush=True,
    )
    try:
        launch.coordinate(arguments, deadline)
    except (KeyboardInterrupt, SystemExit):
        print("interrupted; writing what there is", flush=True)
        results.write(launch.study, launch.laboratory, launch.parent)
        raise
    with study_lock():
        results.write(launch.study, launch.laboratory, launch.parent)
    if limit and time.time() > deadline:
        print(f"ended by tune.time_limit_minutes: {limit:g}; the same command goes on from here")


def run_workers(arguments: argparse.Namespace, deadline: float) -> None:
    """Start worker processes and wait for them; one that dies is said, the others go on."""
    # More threads than cores would make each far slower; machine.threads, if set, goes first.
    threads = max(1, torch.get_num_threads() // arguments.workers)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "pipeline.tune", "--params", str(arguments.params)]
    command += ["--worker", str(deadline)]
    # Ctrl-C reaches the whole group: workers inherit to ignore it, and are ended by SIGTERM, once.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes = [subprocess.Popen(command, env=environment) for _ in range(arguments.workers)]  # noqa: S603
    signal.signal(signal.SIGINT, handler)
    try:
        for process in processes:
            if process.wait() != 0:
                print(f"warning: a worker ended with {process.returncode}; its trial is run again")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def prepare() -> None:
    """Let DVC bring the data up to date. Raises UserError if it cannot."""
    with study_lock():
        found = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--quiet", "prepare"], check=False
        )
    if found.returncode:
        raise UserError("the data could not be prepared; `dvc repro prepare` says why")


if __name__ == "__main__":
    main()
