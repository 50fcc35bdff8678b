"""The registered models: each training's model is a version, and an alias marks the best."""

import json
from dataclasses import dataclass
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from pipeline.tracking.failures import REMEDY, STORE_ERRORS, shorten
from pipeline.tracking.metric_names import mlflow_name
from pipeline.tracking.run import Run
from pipeline.tracking.run_info import model_name
from vaelab.config import UserError

ALIAS = "best"
MODELS = "models:/"


def register(run: Run) -> None:
    """Register the run's logged model, if it has one, as a version; say if the store cannot."""
    try:
        if model := run.logged_model():
            _register(run, model)
    except STORE_ERRORS as error:
        print(f"warning: could not register the model ({shorten(error)}); {REMEDY}", flush=True)


def _register(run: Run, model: LoggedModel) -> None:
    client, logged = run.client, run.client.get_run(run.run_id)
    name = model_name(logged.data.params)
    source = f"{MODELS}{model.model_id}"
    if any(version.source == source for version in versions(client, name)):
        return
    try:
        client.create_registered_model(
            name, description="Models of the same data and objective; a version is a training."
        )
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    version = client.create_model_version(
        name,
        source=source,
        run_id=run.run_id,
        model_id=model.model_id,
        description=logged.info.run_name,
        await_creation_for=0,
    )
    # The page of the logged model shows this.
    known = json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    known.append({"name": name, "version": str(version.version)})
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(known)})


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return the versions of a registered model, newest first; [] if there is none."""
    found: list[ModelVersion] = []
    token = None
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found, token = found + list(page), page.token or ""
    return sorted(found, key=lambda version: -int(version.version))


@dataclass(frozen=True)
class Scored:
    """A version with its score, and what it must share with others to be compared with them."""

    version: ModelVersion
    value: float
    comparable: tuple[Any, ...]


def scored_versions(client: MlflowClient, name: str, metric: str) -> list[Scored]:
    """Return the versions that have a metric, newest first. Raises UserError if none has it."""
    registered = versions(client, name)
    if not registered:
        raise UserError(
            f"no model {name} is registered: train and evaluate one with tracking.log_model: true, "
            f"or name another with --model{_known(client)}"
        )
    found = [scored for version in registered for scored in _scores(client, version, metric)]
    if not found:
        raise UserError(
            f"none of the {len(registered)} versions of {name} has the metric {metric}: "
            "`dvc repro` measures the current model"
        )
    return found


def _scores(client: MlflowClient, version: ModelVersion, metric: str) -> list[Scored]:
    source = version.source or ""
    if not version.run_id or not source.startswith(MODELS):  # registered by hand
        return []
    params = client.get_run(version.run_id).data.params
    found = client.get_logged_model(source.removeprefix(MODELS)).metrics or []
    # Likelihoods of different kinds of pixels cannot be compared; the default is not logged.
    kind = params.get("model.likelihood") if metric.endswith("_nats") else None
    own = [m for m in found if m.key == mlflow_name(metric)]
    newest = sorted(own, key=lambda entry: -entry.timestamp)[:1]
    return [Scored(version, m.value, (m.dataset_digest, kind)) for m in newest]


def _known(client: MlflowClient) -> str:
    names = [model.name for model in client.search_registered_models()]
    return f" ({', '.join(names)})" if names else ""
