"""The store: where it is, who may come first, and what happens when it is not there."""

import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from pipeline import tracking
from pipeline.tracking.async_logging import AsyncWriter
from tests import ROOT
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import TrackingSettings, UserError


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)


def test_the_store_is_the_environments_then_the_settings_then_the_main_copys(
    tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = tmp_path / "main"
    for database in (main / "mlflow.db", tmp_path / "chosen.db", tmp_path / "first.db"):
        database.parent.mkdir(exist_ok=True)
        shutil.copy(empty_stores / "mlflow.db", database)
    monkeypatch.setenv("DVC_ROOT", str(main))
    assert tracking.open_store(TrackingSettings()).uri == f"sqlite:///{main}/mlflow.db"
    chosen = f"sqlite:///{tmp_path}/chosen.db"
    assert tracking.open_store(TrackingSettings(uri=chosen)).uri == chosen
    first = f"sqlite:///{tmp_path}/first.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", first)
    assert tracking.open_store(TrackingSettings(uri=chosen)).uri == first


def test_artifacts_lie_in_the_main_copy(tmp_path: Path) -> None:
    store = tracking.open_store(TrackingSettings())
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.artifact_location == (tmp_path / "mlruns").as_uri()


def test_a_server_that_does_not_answer_is_found_out_in_seconds() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(UserError, match=r"MLflow server 127.0.0.1:.* does not answer.*start it"):
        tracking.open_store(TrackingSettings(uri=uri))
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_simultaneous_first_uses_of_one_store_all_work(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").unlink()
    script = (
        "from pipeline import tracking\n"
        "from vaelab.config import TrackingSettings\n"
        "print('experiment', tracking.open_store(TrackingSettings()).experiment_id)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(4)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert {out.strip() for out, _ in results} == {"experiment 1"}, results


class Writes:
    """Writes that fail while the store is away; `attempted` has the numbers of those tried."""

    def __init__(self, failing: set[int]) -> None:
        self.failing, self.attempted = failing, list[int]()

    def write(self, number: int) -> None:
        self.attempted.append(number)
        if number in self.failing:
            raise MlflowException("connection refused")


def test_after_a_failed_write_the_store_is_not_tried_for_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    writes, writer = Writes({1}), AsyncWriter()
    for number in (0, 1, 2, 3):
        writer.submit(partial(writes.write, number))
    writer.close()
    assert writes.attempted == [0, 1]
    assert writer.unavailable
    printed = capsys.readouterr().out
    assert printed == (
        "warning: MLflow is not available (connection refused); training continues\n"
    )


def test_a_store_that_comes_back_is_written_to_again(capsys: pytest.CaptureFixture[str]) -> None:
    writes, writer = Writes({1, 2}), AsyncWriter(pause_seconds=0)
    for number in (1, 2, 3, 4):
        writer.submit(partial(writes.write, number))
    writer.close()
    assert writes.attempted == [1, 2, 3, 4]
    printed = capsys.readouterr().out
    assert printed.count("is not available") == printed.count("available again") == 1


def test_an_unreachable_server_is_done_without_where_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
    settings = TrackingSettings(uri=uri, on_unreachable="local")
    assert tracking.open_store(settings).uri == f"sqlite:///{tmp_path}/mlflow.db"
    printed = capsys.readouterr().out
    assert "does not answer" in printed
    assert "tracking in mlflow.db" in printed
    with pytest.raises(UserError, match="does not answer"):
        tracking.open_store(settings, local_instead=False)


def test_a_server_that_says_nothing_is_found_out_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://name:secret@127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(UserError, match="does not answer") as caught:
            tracking.open_store(TrackingSettings(uri=uri))
    assert time.monotonic() - started < 10
    assert "secret" not in str(caught.value)


def test_a_result_that_is_there_is_not_logged_again() -> None:
    store = tracking.open_store(TrackingSettings())
    with tracking.active_run(store, "results") as run:
        for value in (1.5, 1.5, 2.5):
            run.log_results({"test.nll_nats": value})
    history = store.client.get_metric_history(run.run_id, "test/nll_nats")
    assert sorted(entry.value for entry in history) == [1.5, 2.5]


def test_only_pictures_that_arrived_whole_are_there(tmp_path: Path) -> None:
    store = tracking.open_store(TrackingSettings())
    with tracking.active_run(store, "pictures") as run:
        for step in (1, 2):
            run.log_image(np.zeros((4, 4, 3), np.uint8), "samples", step)
        run.log_image(np.zeros((4, 4, 3), np.uint8), "with space", 1)
        assert len(run.logged_images()) == 3
        (small,) = (tmp_path / "mlruns").rglob("images~samples+step+2*.webp")
        small.unlink()
    assert run.logged_images() == {("samples", 1), ("with space", 1)}


def test_more_metrics_and_params_than_a_batch_holds() -> None:
    store = tracking.open_store(TrackingSettings())
    with tracking.active_run(store, "many") as run:
        run.log_params({f"p{i}": i for i in range(250)})
        run.log_history([(step, {f"m{i}": float(i) for i in range(30)}) for step in range(100)])
        run.log_image(np.zeros((4, 4, 3), np.uint8), "picture", 0)
    found = store.client.get_run(run.run_id)
    assert len(found.data.params) == 250
    assert len(found.data.metrics) == 30
    assert len(store.client.get_metric_history(run.run_id, "m7")) == 100
    assert found.info.status == "FINISHED"


def test_an_exception_leaves_the_run_failed() -> None:
    store = tracking.open_store(TrackingSettings())
    with (
        pytest.raises(ZeroDivisionError),
        tracking.active_run(store, "fails") as run,
    ):
        raise ZeroDivisionError
    assert store.client.get_run(run.run_id).info.status == "FAILED"


def test_an_interruption_leaves_the_run_killed() -> None:
    store = tracking.open_store(TrackingSettings())
    with pytest.raises(KeyboardInterrupt), tracking.active_run(store, "stopped") as run:
        raise KeyboardInterrupt
    assert store.client.get_run(run.run_id).info.status == "KILLED"


def test_the_newest_run_of_a_model_is_found() -> None:
    store = tracking.open_store(TrackingSettings())
    for _ in range(2):
        with tracking.active_run(store, "same") as run:
            run.log_tags({tracking.WEIGHTS_TAG: "abc"})
        time.sleep(0.01)
    assert store.find_run("abc") == run.run_id
    assert store.find_run("other") is None
