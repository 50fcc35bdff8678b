"""pipeline.train in two processes: stopped, resumed in one, and logged to one run."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.pipeline.conftest import Copy, make_copy

pytestmark = pytest.mark.slow

EPOCHS = 60


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy with prepared data."""
    copy = make_copy(
        tmp_path_factory.mktemp("processes"),
        machine__processes=2,
        tracking__log_model=False,
        tracking__system_metrics=False,
        train__epochs=EPOCHS,
        train__images_every_epochs=EPOCHS,
    )
    copy.run("python", "-m", "pipeline.download")
    copy.run("python", "-m", "pipeline.prepare")
    return copy


def test_a_training_stopped_with_two_processes_resumes_with_one(copy: Copy) -> None:
    """SIGTERM to the stage reaches both; the main one writes a checkpoint, in the same folder."""
    output = copy.path / "stdout"
    with output.open("w") as file:
        training = subprocess.Popen(
            [sys.executable, "-m", "pipeline.train"],
            cwd=copy.path,
            env=copy.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    _wait_for(output, "epoch 1/")
    training.send_signal(signal.SIGTERM)
    assert training.wait(60) == 128 + signal.SIGTERM
    printed = output.read_text()
    assert "rank 0 of 2 processes" in printed
    assert "error:" not in printed
    assert "Traceback" not in printed
    (folder,) = (copy.path / ".checkpoints").iterdir()
    assert list(folder.glob("epoch_*.safetensors"))

    copy.set_params(machine__processes=1)
    resumed = copy.run("python", "-m", "pipeline.train")
    assert "training from epoch" in resumed
    (run,) = copy.runs()
    assert run.info.status == "FINISHED"
    history = copy.client().get_metric_history(run.info.run_id, "curves/train/loss")
    assert sorted(entry.step for entry in history) == list(range(1, EPOCHS + 1))
    assert not folder.exists()


def test_ranks_whose_launcher_was_killed_end_with_a_checkpoint(copy: Copy) -> None:
    copy.set_params(machine__processes=2, train__epochs=10_000, train__images_every_epochs=10_000)
    output = copy.path / "killed"
    with output.open("w") as file:
        training = subprocess.Popen(
            [sys.executable, "-m", "pipeline.train"],
            cwd=copy.path,
            env=copy.environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    _wait_for(output, "epoch 1/")
    ranks = psutil.Process(training.pid).children()
    assert len(ranks) == 2
    training.kill()
    training.wait()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive
    printed = output.read_text()
    assert f"stopped: the process that started this one, {training.pid}, has ended" in printed
    assert "Traceback" not in printed
    assert "error:" not in printed
    assert copy.runs()[0].info.status == "KILLED"
    (folder,) = (copy.path / ".checkpoints").iterdir()
    assert list(folder.glob("epoch_*.safetensors"))
    shutil.rmtree(folder)
    copy.set_params(train__epochs=EPOCHS, train__images_every_epochs=EPOCHS)


def test_an_unreachable_store_is_one_line_and_ends_all_processes(copy: Copy) -> None:
    copy.set_params(machine__processes=2)
    away = "http://127.0.0.1:9"
    printed = copy.run("python", "-m", "pipeline.train", code=2, MLFLOW_TRACKING_URI=away)
    (line,) = printed.splitlines()
    assert line.startswith("error: the MLflow server 127.0.0.1:9 does not answer")


def _wait_for(output: Path, text: str) -> None:
    for _ in range(600):
        if text in output.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"{text!r} never came: {output.read_text()}")
