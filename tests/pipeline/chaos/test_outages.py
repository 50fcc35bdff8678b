"""A tracking server that dies at random moments costs no metric and no image."""

import csv
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from pipeline.tracking.metric_names import SCHEDULED, mlflow_name
from tests.pipeline.chaos.kills import LEFT, forget
from tests.pipeline.chaos.outages import Outages, Server
from tests.pipeline.conftest import Copy, make_copy

EPOCHS, EPOCHS_OF_THE_SHORT_FORM = 150, 40
IMAGES_EVERY_EPOCHS = 5


def settings(epochs: int) -> Mapping[str, Any]:
    return {"train__epochs": epochs, "train__images_every_epochs": IMAGES_EVERY_EPOCHS}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that answers."""
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a copy goes, beside the server's files."""
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


@pytest.mark.slow
def test_a_server_that_dies_while_training_misses_nothing(folder: Path, server: Server) -> None:
    """The short form: training alone, and a server that comes back when it is over."""
    copy = make_copy(folder, **settings(EPOCHS_OF_THE_SHORT_FORM))
    copy.repro("prepare")
    killing = threading.Thread(target=kill_in_training, args=(copy, server))
    killing.start()
    command = "python -m pipeline.train"
    printed = copy.run("sh", "-c", command, MLFLOW_TRACKING_URI=server.uri)
    killing.join(60)
    assert "`python -m pipeline.tracking sync` uploads it" in printed
    server.start()
    copy.run("python", "-m", "pipeline.tracking", "sync", MLFLOW_TRACKING_URI=server.uri)
    assert_complete(copy, server, EPOCHS_OF_THE_SHORT_FORM, folders=["train"])


@pytest.mark.chaos
def test_twenty_outages_lose_no_metric_and_no_picture(folder: Path, server: Server) -> None:
    copy = make_copy(folder, **settings(EPOCHS))
    passes, happened = 0, 0
    while happened < 20:
        forget(copy, *LEFT)
        copy.set_params(train__seed=passes)
        with Outages(server, passes, up=6.0, down=4.0, most=20 - happened) as attack:
            repro(copy, server)
        happened, passes = happened + attack.count, passes + 1
        copy.run("python", "-m", "pipeline.tracking", "sync", MLFLOW_TRACKING_URI=server.uri)
        assert_complete(copy, server, EPOCHS, folders=["train", "evaluate", "render"])
    print(f"{happened} outages in {passes} runs of the pipeline")


def kill_in_training(copy: Copy, server: Server) -> None:
    """Wait for the images of three epochs, then kill the server."""
    while len(list(copy.path.glob(".checkpoints/*/images/*.png"))) < 6:
        time.sleep(0.05)
    server.kill()


def repro(copy: Copy, server: Server) -> None:
    """Run the pipeline; where a stage finds no server as it starts, start it again."""
    while True:
        printed = copy.run("sh", "-c", "dvc repro || echo not yet", MLFLOW_TRACKING_URI=server.uri)
        if "not yet" not in printed:
            return
        assert "Traceback" not in printed, printed
        assert "error: the MLflow s" in printed, printed


def assert_complete(copy: Copy, server: Server, epochs: int, folders: Sequence[str]) -> None:
    """Hold the run against the files: every metric of every epoch once, every file."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name("vaelab")
    assert experiment is not None
    (run,) = client.search_runs(
        [experiment.experiment_id], "tags.`vaelab.weights_sha256` != ''", max_results=1
    )
    with (copy.path / "results/train/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == epochs
    for name in set(rows[0]) - {"epoch", *SCHEDULED}:
        found = client.get_metric_history(run.info.run_id, mlflow_name(name) or "")
        logged = {entry.step: entry.value for entry in found}
        assert len(found) == epochs, f"{name}: {Counter(e.step for e in found).most_common(3)}"
        assert logged == {int(row["epoch"]): pytest.approx(float(row[name])) for row in rows}
    drawn = {path.stem for path in (copy.path / "results/train/images").glob("*.png")}
    assert len(drawn) == 2 * (epochs // IMAGES_EVERY_EPOCHS + 1)
    names = [Path(f.path).name for f in client.list_artifacts(run.info.run_id, "images")]
    whole = [name.split("+") for name in names if name.endswith(".png")]
    # MLflow writes the key images/samples as images~samples.
    assert {f"{k.removeprefix('images~')}_{int(step):04d}" for k, _, step, *_ in whole} == drawn
    for folder in folders:
        made = {p.name for p in (copy.path / "results" / folder).glob("*.*")}
        found_files = client.list_artifacts(run.info.run_id, folder)
        assert made <= {Path(file.path).name for file in found_files}
