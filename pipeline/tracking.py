"""The only file that imports MLflow: a projection of the files, never their source.

Training logs to its run as it goes and tags it with the SHA-256 of the weights. Evaluation
and rendering find the run by that tag and add to it, which leaves its status and times alone;
where it is not there, it is made anew from the files.
"""

import hashlib
import http.client
import json
import logging
import os
import textwrap
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import torch
from filelock import FileLock

# Read when MLflow is imported: nothing is reported to anyone, and a dead server is noticed soon.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")

import mlflow
import mlflow.pytorch
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.paths import main_copy
from vaelab.config import TrackingSettings, UserError
from vaelab.data.dataset import DatasetInfo

WEIGHTS_TAG = "vaelab.weights_sha256"
BACKFILLED_TAG = "vaelab.backfilled"
# What a store that has gone away makes the client raise; requests' errors are OSErrors.
STORE_ERRORS = (MlflowException, OSError)
BATCH_METRICS = 1_000
BATCH_PARAMS = 100


@dataclass(frozen=True)
class Store:
    """An MLflow store and the experiment in it that the pipeline writes to."""

    client: MlflowClient
    uri: str
    experiment_id: str

    def find_run(self, weights: str) -> str | None:
        """Give the newest run of the model with these weights, if there is one."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{WEIGHTS_TAG}` = '{weights}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def has_run(self, run_id: str) -> bool:
        """Tell whether a run is there, and not deleted."""
        try:
            return str(self.client.get_run(run_id).info.lifecycle_stage) == "active"
        except MlflowException:
            return False

    def unfinished_runs(self, tag: str, value: str) -> list["Run"]:
        """Give the runs with a tag that nobody ended."""
        found = self.client.search_runs(
            [self.experiment_id], f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
        )
        return [Run(self, run.info.run_id) for run in found]

    def create_run(self, name: str, tags: Mapping[str, Any], parent: str | None = None) -> "Run":
        """Start a run that no process has to keep active; `Run.end` ends it."""
        nested = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        texts = {key: str(value) for key, value in tags.items()} | nested
        run = self.client.create_run(self.experiment_id, tags=texts, run_name=name)
        return Run(self, run.info.run_id)


def open_store(settings: TrackingSettings) -> Store:
    """Open the store that MLFLOW_TRACKING_URI or `tracking.uri` names, or mlflow.db.

    Raises UserError, within seconds, for a server that does not answer.
    """
    root = main_copy()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or settings.uri or f"sqlite:///{root}/mlflow.db"
    remote = uri.startswith(("http://", "https://"))
    if remote:
        _refuse_silent_server(uri)
    _use(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    artifacts = None if remote else (root / "mlruns").as_uri()
    try:
        # Simultaneous first uses of an SQLite store collide while its tables are made.
        with FileLock(root / "mlflow.db.lock"):
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(settings.experiment)
            if experiment is None:
                tags = {"mlflow.experimentKind": "custom_model_development"}  # not "GenAI"
                identity = client.create_experiment(settings.experiment, artifacts, tags)
            else:
                identity = experiment.experiment_id
    except MlflowException as error:
        raise UserError(f"the MLflow store {uri} cannot be used: {error}") from error
    return Store(client, uri, identity)


def _use(uri: str) -> None:
    """Let MLflow's active runs go to a store, and leave the environment as it was.

    MLflow would export its choice, which a later reader would take for the user's.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def _refuse_silent_server(uri: str) -> None:
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()  # it answers; whether it lets us in, MLflow's credentials will tell
    except (OSError, http.client.HTTPException, ValueError) as error:
        host = urlsplit(uri).netloc
        raise UserError(
            f"the MLflow server {host} does not answer ({error}); start it, or unset "
            "MLFLOW_TRACKING_URI and tracking.uri to track in mlflow.db"
        ) from error


class Run:
    """A run that is written to, by its id alone: its status and its times stay as they are."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.client, self.run_id = store.client, run_id

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Set its status, and its end to now."""
        self.client.set_terminated(self.run_id, status)

    def reopen(self) -> None:
        """Let it be running again."""
        self.client.update_run(self.run_id, status="RUNNING")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings; nothing may have been logged under their names with another value."""
        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), BATCH_PARAMS):
            self.client.log_batch(self.run_id, params=entries[start : start + BATCH_PARAMS])

    def log_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; those of the same name are replaced."""
        self.client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log all metrics of a step in one call."""
        self.log_history([(step, metrics)])

    def log_history(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log metrics of many steps in as few calls as MLflow allows."""
        now = int(time.time() * 1000)
        entries = [
            Metric(name, float(value), now, step)
            for step, row in rows
            for name, value in row.items()
        ]
        for start in range(0, len(entries), BATCH_METRICS):
            self.client.log_batch(self.run_id, metrics=entries[start : start + BATCH_METRICS])

    def logged_steps(self, metric: str) -> set[int]:
        """Give the steps at which a metric has been logged."""
        return {entry.step for entry in self.client.get_metric_history(self.run_id, metric)}

    def forget_source(self) -> None:
        """Remove what MLflow noted of the code at hand, which is not the code of the run."""
        for tag in ("mlflow.source.git.commit", "mlflow.source.git.branch"):
            if tag in self.client.get_run(self.run_id).data.tags:
                self.client.delete_tag(self.run_id, tag)

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Add a picture, uint8 [height, width, 3], to the grid of a key by step."""
        self.client.log_image(self.run_id, image, key=key, step=step)

    def log_files(self, folder: Path, under: str) -> None:
        """Log a folder's files as artifacts."""
        self.client.log_artifacts(self.run_id, str(folder), under)

    def log_file(self, path: Path, under: str | None = None) -> None:
        """Log one file as an artifact, in a folder of the run's if one is named."""
        self.client.log_artifact(self.run_id, str(path), under)

    def log_model(self, module: torch.nn.Module, example: np.ndarray) -> None:
        """Store a module, one tensor in and one out, as `runs:/<id>/model`, without a pickle.

        Only for the active run. `example` is a batch of more than one, so that the exported
        program takes batches of any size.
        """
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            mlflow.pytorch.log_model(
                module,
                name="model",
                input_example=example,
                pip_requirements=[
                    f"torch=={torch.__version__.partition('+')[0]}",
                    f"mlflow=={mlflow.__version__}",
                ],
            )

    def log_dataset(self, info: DatasetInfo) -> None:
        """Log which data set it was, by the hash of its arrays."""
        described = Dataset(
            name=info.name,
            digest=_digest(info),
            source_type="local",
            source=json.dumps({"origin": info.origin}),
            profile=info.model_dump_json(include={"image_shape", "counts", "levels"}),
        )
        entry = DatasetInput(described, [InputTag("mlflow.data.context", "training")])
        self.client.log_inputs(self.run_id, [entry])


@contextmanager
def active_run(
    store: Store, name: str, resumed: str | None = None, watch: bool = False
) -> Iterator[Run]:
    """Start a run, or go on with one; it ends FINISHED, KILLED if interrupted, or FAILED.

    `watch` records the load of CPU, memory and GPU while it is active.
    """
    active = mlflow.start_run(
        run_id=resumed,
        experiment_id=store.experiment_id,
        run_name=None if resumed else name,
        log_system_metrics=watch,
    )
    try:
        yield Run(store, active.info.run_id)
    except BaseException as error:
        _end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED")
        raise
    _end("FINISHED")


def _end(status: str) -> None:
    try:
        mlflow.end_run(status)
    except STORE_ERRORS as error:
        print(f"warning: MLflow was not told that the run is {status} ({brief(error)})", flush=True)


def brief(error: Exception) -> str:
    """Give the start of a message; the client's go on for a page."""
    return textwrap.shorten(str(error), 160)


def _digest(info: DatasetInfo) -> str:
    """Hash the hashes of a data set's arrays, to as many characters as MLflow keeps."""
    return hashlib.sha256(json.dumps(info.sha256, sort_keys=True).encode()).hexdigest()[:36]
