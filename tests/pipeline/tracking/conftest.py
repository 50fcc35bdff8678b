"""A store of a few trainings, each with a model, its measurements and its files."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Pipe
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.tracking import Run, Store, active_run, open_store
from pipeline.tracking.descriptions import describe_run
from pipeline.tracking.mirror import Asked
from pipeline.tracking.registry import register
from pipeline.tracking.run_info import logged_params, run_name
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import Settings, TrackingSettings, with_changes
from vaelab.data.dataset import DatasetInfo
from vaelab.training.fingerprint import training_settings

MakeRun = Callable[..., Run]
Start = Callable[[str], Asked]
CONNECT = """
import os, sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
"""


@pytest.fixture
def store(tmp_path: Path, empty_stores: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    change_directory(tmp_path, monkeypatch)
    copy_stores(empty_stores, tmp_path)
    return open_store(TrackingSettings())


@pytest.fixture
def make_run(store: Store, tmp_path: Path) -> MakeRun:
    """Record a training; `data` tells data sets apart, `bound` is its negative ELBO."""

    def make(
        bound: float | None = None, data: str = "a", model: bool = True, **changes: object
    ) -> Run:
        dotted = {name.replace("__", "."): value for name, value in changes.items()}
        settings = training_settings(with_changes(Settings(), dotted))
        with active_run(store, run_name(settings)) as run:
            run.log_params(logged_params(settings))
            run.log_dataset(dataset_info(data))
            losses = [(epoch, {"train.loss": 9.0 / epoch}) for epoch in (1, 2, 3)]
            run.log_history([(e, row | {"validation.loss": 8.0}) for e, row in losses])
            for epoch in (0, 1):
                run.log_image(np.full((8, 8, 3), 99, np.uint8), "samples", epoch)
            if model:
                logged = store.client.create_logged_model(
                    store.experiment_id, "model", source_run_id=run.run_id
                )
                store.client.finalize_logged_model(logged.model_id, "READY")
                register(run)
        if bound is not None:
            measure(run, tmp_path, bound)
        return run

    return make


def measure(run: Run, folder: Path, bound: float) -> None:
    """Log an evaluation, a report and a picture."""
    run.log_model_results(
        {
            "test.neg_elbo_nats": bound,
            "test.neg_elbo_standard_error_nats": 0.1,
            "test.kl_loss_nats": 3.0,
            "latent.active_units": 5.0,
            "samples.classifier_recall": 0.5,
            "samples.count": 100.0,
        }
    )
    (folder / "report.html").write_text("<h1>Report</h1>")
    Image.new("RGB", (40, 20), "navy").save(folder / "samples.png")
    run.log_file(folder / "report.html", "evaluate")
    run.log_file(folder / "samples.png", "render")
    describe_run(run.client, run.run_id)


def dataset_info(data: str) -> DatasetInfo:
    return DatasetInfo(
        name="digits",
        image_shape=(1, 8, 8),
        counts={"train": 5, "validation": 2, "test": 2},
        class_names=None,
        factor_names=None,
        levels=17,
        binarization="none",
        seed=0,
        sha256={"train_images": data},
        origin="made up",
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that stands in for the second one of a stage."""
    with ExitStack() as stack:

        def start(script: str) -> Asked:
            own, other = Pipe()
            with other:
                process = subprocess.Popen(
                    [sys.executable, "-c", CONNECT + script, str(other.fileno())],
                    pass_fds=[other.fileno()],
                )
            asked = Asked(process, own)
            stack.callback(asked.end)
            stack.enter_context(own)
            return asked

        yield start
