"""A training's run: the second process keeps it as the stage itself would."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run as MlflowRun

from pipeline.tracking import Store, active_run, training_mirror
from pipeline.tracking.run_info import logged_params
from pipeline.tracking.status import status_after
from pipeline.tracking.training_log import Training
from pipeline.tracking.training_mirror import CONTINUED_TAG, TrainingMirror
from tests import ROOT
from tests.pipeline.tracking.conftest import dataset_info
from vaelab.config import Settings, UserError
from vaelab.training.fingerprint import training_settings

IMAGES = {"samples": np.zeros((4, 4, 3), np.uint8)}


def training(run_id: str | None = None) -> Training:
    known = training_settings(Settings())
    params = logged_params(known)
    return Training("digits vae", run_id, params, known, dataset_info("a"), "cpu", 7)


def only_run(store: Store) -> MlflowRun:
    (run,) = store.client.search_runs([store.experiment_id])
    found: MlflowRun = run
    return found


def steps(store: Store, run_id: str) -> list[int]:
    history = store.client.get_metric_history(run_id, "curves/train/loss")
    return [entry.step for entry in history]


def test_epochs_that_a_resumed_run_has_are_not_logged_again(store: Store) -> None:
    with active_run(store, "interrupted") as run:
        run.log_history([(epoch, {"train.loss": 1.0}) for epoch in (1, 2)])
    with TrainingMirror(Settings()) as log:
        assert log.begin(training(run.run_id)) == run.run_id
        for epoch in (2, 3, 4):
            log.log_epoch(epoch, {"train.loss": 2.0}, IMAGES)
    assert steps(store, run.run_id) == [1, 2, 3, 4]
    assert run.logged_images() == {("samples", 3), ("samples", 4)}
    found = only_run(store)
    assert found.info.status == "FINISHED"
    assert found.data.tags["device"] == "cpu"
    assert found.data.tags[CONTINUED_TAG] == "7"
    assert found.data.params["data.name"] == "digits"


@pytest.mark.parametrize("gone", ["deleted", "0" * 32])
def test_a_run_that_is_gone_is_not_gone_on_with(store: Store, gone: str) -> None:
    with active_run(store, "interrupted") as run:
        pass
    store.client.delete_run(run.run_id)
    with TrainingMirror(Settings()) as log:
        begun = log.begin(training(run.run_id if gone == "deleted" else gone))
    assert begun not in (run.run_id, gone)
    assert only_run(store).info.run_name == "digits vae"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(143), "KILLED"),
        (UserError("no"), "FAILED"),
    ],
)
def test_a_run_ends_with_the_status_of_its_training(
    error: BaseException | None, status: str
) -> None:
    assert status_after(error) == status


STAGE = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from pipeline.tracking import mirror
mirror.start("train")
from pipeline.tracking.training_log import Training
from pipeline.train import open_log
from vaelab.config import Settings
from vaelab.data.dataset import DatasetInfo
from vaelab.training.fingerprint import training_settings

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
settings = Settings()
log = open_log(settings)
info = DatasetInfo.model_validate_json(sys.argv[1])
known = training_settings(settings)
run_id = log.begin(Training("digits vae", None, known, known, info, "cpu", None))
print("begun", flush=True)
with log:
    for epoch in (1, 2, 3):
        log.log_epoch(epoch, {"train.loss": 1.0}, {"samples": np.zeros((4, 4, 3), np.uint8)})
    %s
"""


def stage(folder: Path, last: str) -> "subprocess.Popen[str]":
    """Start a stage that logs three epochs through a second process, and then does `last`."""
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    command = [sys.executable, "-c", STAGE % last, dataset_info("a").model_dump_json()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=-1, text=True
    )


@pytest.mark.parametrize(
    ("last", "code", "status"),
    [
        ("pass", 0, "FINISHED"),
        ("sys.exit(143)", 143, "KILLED"),
        ("raise ValueError", 1, "FAILED"),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT, "KILLED"),
        ("log.log_epoch(4, None, None); sys.exit(1)", 1, "KILLED"),
    ],
)
def test_the_second_process_logs_a_training(
    store: Store, tmp_path: Path, last: str, code: int, status: str
) -> None:
    with stage(tmp_path, last) as process:
        printed, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert printed.startswith("begun\n")
    found = only_run(store)
    assert found.info.status == status
    assert steps(store, found.info.run_id) == [1, 2, 3]
    assert found.data.tags["mlflow.source.name"].endswith("pipeline/train.py")


def test_the_second_process_leaves_the_run_of_a_killed_training_as_it_is(
    store: Store, tmp_path: Path
) -> None:
    """It is resumed, perhaps at once."""
    with stage(tmp_path, "time.sleep(600)") as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        time.sleep(1)
        process.kill()
        process.communicate(timeout=30)  # until the second process, which prints there, has ended
    assert only_run(store).info.status == "RUNNING"


@pytest.mark.parametrize("leaves_cores", [True, False])
def test_what_the_model_needs_is_imported_once_and_early_where_cores_are_left(
    leaves_cores: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list[str]()
    monkeypatch.setattr(training_mirror, "warm_up", lambda: order.append("import"))
    monkeypatch.setattr(
        training_mirror, "finish_training", lambda run, settings: order.append("finish")
    )
    with TrainingMirror(Settings(), is_second=True) as log:
        monkeypatch.setattr(log, "_log_epoch", lambda *epoch: order.append("epoch"))
        log.begin(training()._replace(leaves_cores=leaves_cores))
        log.log_epoch(1, {}, {})
        log.finish()
    early = ["import", "epoch", "finish"]
    assert order == (early if leaves_cores else ["epoch", "import", "finish"])
