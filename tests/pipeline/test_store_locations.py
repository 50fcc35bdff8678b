"""Stores that take numbers but no files, and names and places in the environment or in a store."""

import logging
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from pipeline import paths, tracking
from pipeline.tracking import FILES_MISSING_TAG, Run, Store
from pipeline.tracking.__main__ import sync
from pipeline.tracking.failures import MAX_CHARACTERS, shorten
from pipeline.tracking.sync import finish_training
from tests.bad_input.sandbox import write_model, write_prepared
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import Settings, TrackingSettings, UserError
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import write_json

NO_MODEL = TrackingSettings(log_model=False)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_directory(tmp_path, monkeypatch)
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    copy_stores(empty_stores, tmp_path)


@pytest.fixture
def without_files(tmp_path: Path) -> Store:
    """A store whose experiment keeps files in a place where nobody can write: below a file."""
    write_text(tmp_path / "occupied/place", "a file")
    location = (tmp_path / "occupied/place/artifacts").as_uri()
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("no files", location)
    return tracking.open_store(TrackingSettings(experiment="no files"))


def write_training() -> None:
    write_prepared()
    write_model()
    write_text(paths.HISTORY, "epoch,validation.neg_elbo_nats,learning_rate\n1,5,0.1\n2,4,0.1\n")
    write_json(paths.TIMING, {"timing": {"training_seconds": 3.0}})


def test_numbers_and_status_do_not_depend_on_files(
    without_files: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training()
    with tracking.active_run(without_files, "trained") as run:
        for epoch in (1, 2):
            run.log_image(np.zeros((4, 4, 3), np.uint8), "samples", epoch)
        finish_training(run, NO_MODEL)
    logged = without_files.client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["curves/validation/neg_elbo_nats"] == 4
    assert logged.data.metrics["timing/training_seconds"] == 3
    assert logged.data.tags[FILES_MISSING_TAG] == "true"
    printed = capsys.readouterr().out
    assert printed.count("warning: MLflow takes the numbers of this run, but not its files") == 1
    assert "occupied/place/artifacts" in printed
    assert "mlflow server --serve-artifacts" in printed


def test_sync_sends_files_when_the_place_can_be_written_to(
    without_files: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training()
    settings = Settings(tracking=TrackingSettings(experiment="no files"))
    with tracking.active_run(without_files, "trained") as run:
        finish_training(run, settings.tracking)
    ended = without_files.client.get_run(run.run_id).info.end_time
    place = tmp_path / "occupied/place"
    place.unlink()
    # Now the folder of the artifacts is a file.
    write_text(place / "artifacts", "another file")
    with pytest.raises(UserError, match=f"run {run.run_id} has all numbers, but not all files"):
        sync(settings)
    (tmp_path / "occupied/place/artifacts").unlink()
    sync(settings)
    assert f"run {run.run_id} is complete" in capsys.readouterr().out
    client = without_files.client
    assert client.list_artifacts(run.run_id, "model_files")
    completed = client.get_run(run.run_id)
    assert FILES_MISSING_TAG not in completed.data.tags
    assert (completed.info.status, completed.info.end_time) == ("FINISHED", ended)
    (logged,) = client.search_logged_models([completed.info.experiment_id])
    assert logged.source_run_id == run.run_id
    assert logged.status == "READY"


def test_a_store_that_is_away_is_no_store_without_files(tmp_path: Path) -> None:
    run = Run(MlflowClient(f"sqlite:///{tmp_path}/mlflow.db"), "no-such-run")
    write_text(tmp_path / "file", "text")
    with pytest.raises(tracking.STORE_ERRORS, match="no-such-run"):
        run.log_file(tmp_path / "file")
    assert run.files_failed == ""


def test_a_deleted_experiment_is_named_with_the_remedy() -> None:
    store = tracking.open_store(TrackingSettings())
    store.client.delete_experiment(store.experiment_id)
    message = rf"experiment vaelab is deleted: .*--experiment-id {store.experiment_id}`, or set"
    with pytest.raises(UserError, match=message):
        tracking.open_store(TrackingSettings())


def test_a_project_that_was_moved_is_told_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    (tmp_path / "mlflow.db").rename(before / "mlflow.db")
    monkeypatch.chdir(before)
    tracking.open_store(TrackingSettings())
    after = before.rename(tmp_path / "after")
    monkeypatch.chdir(after)
    message = rf"keeps its files in {before}/mlruns, but {before} does not exist: if the project"
    with pytest.raises(UserError, match=message):
        tracking.open_store(TrackingSettings())
    assert tracking.open_store(TrackingSettings(experiment="anew")).experiment_id


def test_the_experiments_name_in_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    store = tracking.open_store(TrackingSettings())
    assert store.client.get_experiment(store.experiment_id).name == "elsewhere"


def test_a_run_id_in_the_environment_is_ignored_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tracking.open_store(TrackingSettings())
    other = store.create_run("other", {}).run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", other)
    with tracking.active_run(store, "own") as run:
        assert run.run_id != other
    assert f"MLFLOW_RUN_ID is ignored ({other})" in capsys.readouterr().out


@pytest.mark.parametrize("uri", ["mlruns", "/somewhere/mlruns", "file:///somewhere/mlruns"])
def test_a_folder_is_refused_with_what_would_be_right(uri: str) -> None:
    with pytest.raises(UserError, match=r"a folder, which MLflow no longer accepts .*sqlite:///"):
        tracking.open_store(TrackingSettings(uri=uri))


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    error = ValueError("it failed because " + "of this and that " * 60 + "; do the right thing")
    text = shorten(error)
    assert text.startswith("it failed because of this")
    assert text.endswith("; do the right thing")
    assert len(text) <= MAX_CHARACTERS
    assert shorten(ValueError("two\nlines")) == "two lines"


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    write_text(tmp_path / "text.db", "no database at all")
    with pytest.raises(
        UserError, match=r"text\.db cannot be used: .*file is not a database"
    ) as caught:
        tracking.open_store(TrackingSettings(uri=f"sqlite:///{tmp_path}/text.db"))
    assert "\n" not in str(caught.value)


def test_a_database_that_is_deleted_later_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tracking.open_store(TrackingSettings())
    (tmp_path / "mlflow.db").unlink()
    monkeypatch.setattr(logging.getLogger("mlflow.store.db.utils"), "handlers", [caplog.handler])
    capsys.readouterr()
    with tracking.warn_on_store_error("an epoch"):
        store.create_run("lost", {})
    printed = capsys.readouterr().out
    assert printed.startswith("warning: could not log an epoch to MLflow (")
    assert len(printed.splitlines()) == 1
    assert not caplog.records, "a page for each error"
