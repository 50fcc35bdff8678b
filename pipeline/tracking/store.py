"""Open the MLflow store of the runs: a server, a database or a file."""

import http.client
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
from filelock import FileLock
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.paths import workspace_root
from pipeline.tracking.failures import REMEDY, STORE_ERRORS, shorten
from pipeline.tracking.run import WEIGHTS_TAG, Run
from pipeline.tracking.status import status_after
from vaelab.config import TrackingSettings, UserError


@dataclass(frozen=True)
class Store:
    """An MLflow store and the experiment in it that the pipeline writes to."""

    client: MlflowClient
    uri: str
    experiment_id: str

    def find_run(self, weights: str) -> str | None:
        """Return the newest run of the model with this SHA-256, if there is one."""
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{WEIGHTS_TAG}` = '{weights}'",
            order_by=["attributes.start_time DESC"],
            max_results=1,
        )
        return found[0].info.run_id if found else None

    def has_run(self, run_id: str) -> bool:
        """Return whether a run exists and is not deleted."""
        try:
            return str(self.client.get_run(run_id).info.lifecycle_stage) == "active"
        except MlflowException:
            return False

    def children(self, parent: str, tag: str) -> dict[str, list[tuple["Run", str]]]:
        """Return the child runs of a run, each with its status, by their value of `tag`."""
        found: dict[str, list[tuple[Run, str]]] = {}
        query, token = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'", None
        while token != "":
            page = self.client.search_runs([self.experiment_id], query, page_token=token)
            for run in page:
                entry = Run(self.client, run.info.run_id), run.info.status
                found.setdefault(run.data.tags.get(tag, ""), []).append(entry)
            token = page.token or ""
        return found

    def create_run(self, name: str, tags: Mapping[str, Any], parent: str | None = None) -> "Run":
        """Create a run that is not MLflow's active one; `Run.end` ends it."""
        nested = {MLFLOW_PARENT_RUN_ID: parent} if parent else {}
        texts = {key: str(value) for key, value in tags.items()} | nested
        run = self.client.create_run(self.experiment_id, tags=texts, run_name=name)
        return Run(self.client, run.info.run_id)


def open_store(settings: TrackingSettings, *, local_instead: bool = True) -> Store:
    """Open the store that MLFLOW_TRACKING_URI or `tracking.uri` names, or mlflow.db.

    If a server does not answer within seconds, raises UserError, or opens mlflow.db if
    `tracking.on_unreachable` is "local" and `local_instead` is true.
    """
    root = workspace_root()
    local = f"sqlite:///{root}/mlflow.db"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or settings.uri or local
    _refuse_file_store(uri)
    if is_server(uri) and (reason := _unreachable_reason(uri)):
        if settings.on_unreachable == "fail" or not local_instead:
            raise UserError(
                f"{reason}; start it, unset MLFLOW_TRACKING_URI and tracking.uri to track in "
                "mlflow.db, or set tracking.on_unreachable: local to do so when this happens"
            )
        print(f"warning: {reason}; tracking in mlflow.db. When it is back, {REMEDY}", flush=True)
        uri = local
    _use(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs a page for each error that it raises, and that is then told in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        # Two processes that create the tables of an SQLite store at the same time collide.
        with FileLock(root / "mlflow.db.lock"):
            _create_sqlite_atomically(uri)
            client = MlflowClient(uri)
            artifacts = None if is_server(uri) else (root / "mlruns").as_uri()
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or settings.experiment
            return Store(client, uri, _experiment(client, name, artifacts))
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(
            f"the MLflow store {hide_password(uri)} cannot be used: {shorten(error)}"
        ) from error


def _create_sqlite_atomically(uri: str) -> None:
    """Create an SQLite file under a temporary name, as a killed process may leave a part."""
    database = make_url(uri).database if uri.startswith("sqlite:") else None
    if database in (None, "", ":memory:") or Path(database).exists():
        return
    unfinished = Path(f"{database}.unfinished")
    unfinished.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.rename(database)


def _refuse_file_store(uri: str) -> None:
    """Raise UserError for a folder: MLflow 3 no longer writes to one by default."""
    if urlsplit(uri).scheme in ("", "file") and "MLFLOW_ALLOW_FILE_STORE" not in os.environ:
        raise UserError(
            f"MLFLOW_TRACKING_URI or tracking.uri is {uri}, a folder, which MLflow no longer "
            "accepts as a store: use a database, such as sqlite:////folder/mlflow.db, or a server"
        )


def is_server(uri: str) -> bool:
    """Return whether a URI names a server, not a file or a database."""
    return uri.startswith(("http://", "https://"))


def hide_password(uri: str) -> str:
    """Return a URI with its password hidden."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1:***@", uri)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """Return the id of an experiment; create it if it does not exist.

    Raises UserError for one that is deleted, or that keeps its files in a folder that is gone.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        _check_experiment(found, name)
        return str(found.experiment_id)
    tags = {"mlflow.experimentKind": "custom_model_development"}  # not "GenAI"
    return str(client.create_experiment(name, artifacts, tags))


def _check_experiment(found: Experiment, name: str) -> None:
    if found.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {name} is deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {found.experiment_id}`, or set tracking.experiment to another name"
        )
    location = urlsplit(found.artifact_location)
    folder = Path(unquote(location.path)).parent
    if location.scheme == "file" and not folder.exists():
        raise UserError(
            f"the MLflow experiment {name} keeps its files in {location.path}, but {folder} does "
            "not exist: if the project was moved, set tracking.experiment to another name, or link "
            f"{folder} to the new place"
        )


def _use(uri: str) -> None:
    """Set the store of MLflow's active runs, and keep the environment variable unchanged.

    MLflow would set it, and a later call could not tell that from the user's choice.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    else:
        os.environ["MLFLOW_TRACKING_URI"] = before


def _unreachable_reason(uri: str) -> str | None:
    """Return why a server is considered unreachable; None if it answers."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()  # it answers; a login is up to MLflow's credentials
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"the MLflow server {urlsplit(hide_password(uri)).netloc} does not answer ({error})"
    return None


def start_run(store: Store, name: str, resumed: str | None = None, watch: bool = False) -> Run:
    """Start a run, or resume one; `watch` logs the load of CPU, memory and GPU meanwhile.

    Raises UserError if the store fails.
    """
    # MLflow would continue that run, whatever wrote it.
    if stale := os.environ.pop("MLFLOW_RUN_ID", None):
        print(f"MLFLOW_RUN_ID is ignored ({stale}): each training has a run of its own", flush=True)
    try:
        active = mlflow.start_run(
            run_id=resumed,
            experiment_id=store.experiment_id,
            run_name=None if resumed else name,
            log_system_metrics=watch,
        )
    except STORE_ERRORS as error:
        raise UserError(
            f"cannot start a run in the MLflow store {hide_password(store.uri)}: {shorten(error)}"
        ) from error
    return Run(store.client, active.info.run_id)


@contextmanager
def active_run(
    store: Store, name: str, resumed: str | None = None, watch: bool = False
) -> Iterator[Run]:
    """Start or resume a run as `start_run` does; it ends as `status_after` says."""
    run = start_run(store, name, resumed, watch)
    try:
        yield run
    except BaseException as error:
        end_run(status_after(error))
        raise
    end_run(status_after(None))


def end_run(status: str) -> None:
    """Set the final status of the run that was started; print a warning if the store fails."""
    try:
        mlflow.end_run(status)
    except STORE_ERRORS as error:
        print(
            f"warning: could not set the status {status} in MLflow ({shorten(error)})", flush=True
        )
