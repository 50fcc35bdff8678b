"""Start, join or resume an Optuna study of the settings in `tune.search_space`.

It writes its results to results/tune (report.md, best.yaml, trials.csv, figures).
Settings such as tune.trials=10 train.epochs=5 replace those of params.yaml for this study.
`make dashboard` shows it while it runs; --apply writes the best settings into params.yaml.
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
from pipeline.study.overrides import load_with_overrides
from pipeline.study.run_info import ended_runs
from pipeline.study.runs import StudyRuns, parent_run
from pipeline.study.sample_sizes import NLL_WARNING
from pipeline.study.scorer import TrialScorer
from pipeline.study.search_space import few_points, total_trials
from pipeline.study.storage import open_storage, open_study, set_metric_names, study_lock
from pipeline.study.trial_runner import TrialRunner
from pipeline.study.trial_states import finished_trials
from pipeline.study.worker import Worker
from pipeline.tracking import Run, Store, open_store
from vaelab.config import Settings, UserError
from vaelab.data.dataset import PreparedData
from vaelab.models.sizes import sizes_note, with_sizes
from vaelab.runtime.devices import choose_device, describe
from vaelab.runtime.threads import busy_cores_note


def main() -> None:
    """Run the command."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--workers", type=int, default=1, help="worker processes on this machine (default: 1)"
    )
    parser.add_argument(
        "--apply",
        nargs="?",
        const="best",
        choices=apply.CHOICES,
        help="only write the best settings in results/tune into params.yaml, or those of the "
        "smallest latent size that is as good",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="section.key=value",
        help="settings in place of those of the settings file; values are YAML",
    )
    parser.add_argument("--worker", type=float, metavar="DEADLINE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cli.run_command(
        lambda: run(arguments),
        resume_hint="run the same command to resume",
        watched=cli.host(with_parent=arguments.worker is not None),
    )


def run(arguments: argparse.Namespace) -> None:
    """Apply a winner, work as one of several workers, or run the study."""
    cli.params_file(arguments.params)
    if arguments.apply:
        if arguments.settings:
            raise UserError(f"--apply: takes no settings (got {' '.join(arguments.settings)})")
        apply.apply_winner(arguments.params, arguments.apply)
        return
    if arguments.workers < 1:
        raise UserError(f"--workers: must be 1 or more (got {arguments.workers})")
    settings = cli.load_params(
        arguments.params, lambda path: load_with_overrides(path, arguments.settings)
    )
    if arguments.worker is not None:
        Launch(settings).run_worker(arguments.worker)
        return
    prepare_data()
    tune(settings, arguments)


class Launch:
    """A process of a study, with its storage, data, device and MLflow runs."""

    def __init__(self, settings: Settings) -> None:
        self.store: Store = open_store(settings.tracking)
        self.data = PreparedData.load(paths.PREPARED)
        self.settings = settings = with_sizes(settings, self.data.info.image_shape)
        self.study = open_study(open_storage(settings.tune), settings, self.data.info)
        self.device: torch.device = choose_device(settings.machine)
        self.runner = TrialRunner(TrialScorer(settings, self.data, self.device))
        set_metric_names(self.study, self.runner.scorer.value_names)
        self.parent: Run = parent_run(self.store, self.study, settings, self.data.info)
        self.runs = StudyRuns(self.store, self.parent, self.study.study_name)

    def coordinate(self, arguments: argparse.Namespace, deadline: float) -> None:
        """Run `arguments.workers` workers until all have ended."""
        try:
            if arguments.workers > 1:
                run_worker_processes(arguments, deadline)
            self._train(deadline)
        finally:
            self.runs.reconcile(ended_runs(self.study, self.settings))
            self.runs.close()

    def run_worker(self, deadline: float) -> None:
        """Work as one of several workers until no trial is left or the deadline has passed.

        If the coordinator is gone, this worker ends the runs that it would have ended.
        """
        coordinator = os.getppid()
        try:
            self._train(deadline)
        finally:
            if os.getppid() != coordinator:
                self.runs.reconcile(ended_runs(self.study, self.settings))
                self.runs.end_study()
            self.runs.close()

    def _train(self, deadline: float) -> None:
        """Run trials, none of which starts after time.time() passes the deadline."""
        monotonic = time.monotonic() + deadline - time.time()
        Worker(self.settings, self.study, self.runner, self.runs).work(monotonic)


def tune(settings: Settings, arguments: argparse.Namespace) -> None:
    """Run the study with `arguments.workers` workers, then write its results."""
    limit = settings.tune.time_limit_minutes
    deadline = time.time() + 60 * limit if limit else float("inf")
    launch = Launch(settings)
    if note := sizes_note(settings.model, launch.data.info.image_shape):
        print(note)
    total = total_trials(settings.tune)
    done = len(finished_trials(launch.study))
    if busy := busy_cores_note():
        print(busy)
    print(
        f"study {launch.study.study_name}: {done} of {total} trials are finished; "
        f"workers: {arguments.workers}, on {describe(launch.device)}",
        flush=True,
    )
    if settings.tune.objective == "nll":
        print(f"warning: {NLL_WARNING}", flush=True)
    if few := few_points(settings.tune):
        print(f"{few}; the study ends when all are tried", flush=True)
    try:
        launch.coordinate(arguments, deadline)
    except (KeyboardInterrupt, SystemExit):
        print("interrupted; writing the results so far", flush=True)
        results.write_results(launch.study, launch.runner, launch.parent)
        raise
    with study_lock():
        results.write_results(launch.study, launch.runner, launch.parent)
    if few and len(finished_trials(launch.study)) >= total:
        print(f"the study has ended: {few}")
    if limit and time.time() > deadline:
        print(f"tune.time_limit_minutes: {limit:g} reached; run the same command to resume")


def run_worker_processes(arguments: argparse.Namespace, deadline: float) -> None:
    """Start worker processes and wait for them; a warning is printed for one that fails."""
    # More threads than cores would slow all of them down; machine.threads has precedence.
    threads = max(1, torch.get_num_threads() // arguments.workers)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "pipeline.tune", "--params", str(arguments.params)]
    command += ["--worker", str(deadline), *arguments.settings]
    # Ctrl-C reaches the whole process group: workers ignore it and are ended once, by SIGTERM.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes = [subprocess.Popen(command, env=environment) for _ in range(arguments.workers)]  # noqa: S603
    signal.signal(signal.SIGINT, handler)
    try:
        for process in processes:
            if process.wait() != 0:
                print(f"warning: a worker exited with {process.returncode}; its trial is re-queued")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def prepare_data() -> None:
    """Bring the prepared data up to date with DVC. Raises UserError if that fails."""
    with study_lock():
        result = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--quiet", "prepare"], check=False
        )
    if result.returncode:
        raise UserError("could not prepare the data; `dvc repro prepare` prints the reason")


if __name__ == "__main__":
    main()
