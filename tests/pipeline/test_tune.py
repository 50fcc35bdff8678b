"""Studies by the real command: killed, joined by several workers, applied."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tests.pipeline import postgresql
from tests.pipeline.conftest import Copy, make_copy

pytestmark = pytest.mark.slow

# Trials of about half a second, of which the start-up ones are random.
SMALL_STUDY: dict[str, Any] = {
    "train__epochs": 6,
    "train__learning_rate": 0.003,
    "tune__trials": 10,
    "tune__startup_trials": 8,
    "tune__importance_samples": 5,
    "tune__final_importance_samples": 10,
    "tune__finalists": 2,
    "tune__seeds": 2,
    "tune__smaller_sizes": 0,
    "tune__heartbeat_seconds": 1,
}
COMMAND = (sys.executable, "-m", "pipeline.tune")


def start(copy: Copy, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a process group of its own, its output in a file."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
    with (copy.path / "output").open("a") as output:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=copy.path,
            env=inherited
            | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
            | {"PYTHONPATH": str(copy.path / "src")}
            | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@contextmanager
def opened(copy: Copy, url: str) -> Iterator[RDBStorage]:
    """Open a storage beside a study that may be creating it."""
    with FileLock(copy.path / "optuna.db.lock"):
        storage = RDBStorage(url)
    yield storage
    storage.engine.dispose()


def trials(storage: RDBStorage) -> list[FrozenTrial]:
    """Return the search.s trials; none before there is a study."""
    for study in storage.get_all_studies():
        if not study.study_name.endswith("finalists"):
            return storage.get_all_trials(study._study_id)
    return []


def started(storage: RDBStorage) -> int:
    """Count the trials that were begun."""
    return sum(t.user_attrs.get("started") == t.number for t in trials(storage))


def wait_for(copy: Copy, process: subprocess.Popen[str], storage: RDBStorage, number: int) -> None:
    """Wait until so many trials were begun."""
    for _ in range(6000):
        if started(storage) >= number:
            return
        assert process.poll() is None, (copy.path / "output").read_text()
        time.sleep(0.05)
    raise AssertionError("no trial was started within five minutes")


def finished(found: list[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in found if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def settings(trial: FrozenTrial) -> tuple[Any, ...]:
    return tuple(sorted(trial.params.items()))


def assert_each_finished_once(found: list[FrozenTrial], total: int) -> None:
    assert len(finished(found)) == total
    assert not [t for t in found if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    assert set(Counter(map(settings, finished(found))).values()) == {1}, "none is doubled"


# Four at a time are one batched model.
TOGETHER: dict[str, Any] = {
    "model__network": "mlp",
    "model__hidden": [64],
    "train__epochs": 60,
    "tune__trials_together": 4,
}


@pytest.mark.parametrize(
    ("changes", "kills"), [({}, 3), (TOGETHER, 1)], ids=["in turn", "together"]
)
def test_a_killed_study_ends_with_its_number_of_trials(
    tmp_path: Path, changes: dict[str, Any], kills: int
) -> None:
    copy = make_copy(tmp_path / "copy", **SMALL_STUDY | changes)
    chance = random.Random(0)
    with opened(copy, f"sqlite:///{copy.path}/optuna.db") as storage:
        for kill in range(kills):
            before, process = started(storage), start(copy)
            wait_for(copy, process, storage, before + 1 + kill % 2)
            time.sleep(chance.uniform(0, 0.5))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert len(finished(trials(storage))) < 10, "it was killed before its end"
        copy.run(*COMMAND)
        found = trials(storage)
    assert_each_finished_once(found, 10)
    again = {t.number for t in found if t.system_attrs.get("retry_history")}
    drawn = [settings(t) for t in found if t.params and t.number not in again]
    assert len(set(drawn)) == len(drawn), "start-up points are all different"
    states = [run.data.tags.get("vaelab.trial_state") for run in copy.runs()]
    assert "running" not in states
    assert {run.info.status for run in copy.runs()} <= {"FINISHED", "KILLED"}
    parents = [run for run in copy.runs() if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert states.count("complete") + states.count("pruned") == 10 + 4 + 2


def test_workers_whose_coordinator_was_killed_end_and_queue_their_trials_again(
    tmp_path: Path,
) -> None:
    copy = make_copy(tmp_path / "copy", **SMALL_STUDY | {"train__epochs": 2000})
    with opened(copy, f"sqlite:///{copy.path}/optuna.db") as storage:
        process = start(copy, "--workers", "2")
        wait_for(copy, process, storage, 2)
        workers = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
        found = trials(storage)
    assert {t.state for t in found} == {TrialState.FAIL, TrialState.WAITING}
    assert {run.info.status for run in copy.runs()} == {"KILLED"}
    assert len(copy.runs()) == 3, "two trials, and the study"


@pytest.fixture
def postgres() -> Iterator[str]:
    with postgresql.server() as url:
        yield url


def test_four_workers_on_postgresql_of_which_one_is_killed(tmp_path: Path, postgres: str) -> None:
    copy = make_copy(tmp_path / "copy", **SMALL_STUDY)
    with opened(copy, postgres) as storage:
        process = start(copy, "--workers", "4", OPTUNA_STORAGE=postgres)
        wait_for(copy, process, storage, 4)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert process.wait(timeout=300) == 0, (copy.path / "output").read_text()
        assert_each_finished_once(trials(storage), 10)
    output = (copy.path / "output").read_text()
    assert "a worker exited with -9; its trial is re-queued" in output
    assert len({run.data.tags.get("mlflow.parentRunId") for run in copy.runs()}) == 2
