"""The model that MLflow serves: `mlflow.pyfunc.load_model` and `mlflow models serve`.

`logged_model` copies this file into the logged model. It therefore imports nothing of `pipeline`,
and vaelab from the copy beside it where none is installed.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

if importlib.util.find_spec("vaelab") is None:
    sys.path.append(str(Path(__file__).parent / "library"))

from vaelab.config import MachineSettings
from vaelab.inference.tasks import Options, Result, run_task
from vaelab.models.model import Model
from vaelab.models.saving import load_model
from vaelab.runtime.devices import choose_device

# `class` is a word of Python
TARGET = {"class": "target"}


class RequestError(MlflowException):
    """A wrong request, in one line. MLflow's server would put all of its data in front."""

    def __init__(self, line: str) -> None:
        self.line = line
        super().__init__(line, error_code=INVALID_PARAMETER_VALUE)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, self.line if name == "message" else value)


class ServedModel:
    """A trained model with the interface that MLflow expects."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Result:
        """Do the task that `params` name; `data` may be {"images": ...} or {"latents": ...}."""
        default = "reconstruct" if self.model.has("encoder") else "decode"
        try:
            given = {TARGET.get(name, name): value for name, value in (params or {}).items()}
            options = Options(**{"task": default, **given})
            return run_task(self.model, _only_value(data), options)
        except ValueError as error:
            raise RequestError(str(error)) from error


def _only_value(data: Any) -> Any:
    """Return the array of a request that names it, else the request itself."""
    if not isinstance(data, Mapping):
        return data
    if len(data) != 1:
        raise ValueError(f"wanted one array, of images or latents, got {', '.join(data) or 'none'}")
    return next(iter(data.values()))


def _load_pyfunc(path: str, model_config: object = None) -> ServedModel:
    """Load the model of a folder; MLflow calls this, with a configuration that is not read."""
    device = os.environ.get("MLFLOW_DEFAULT_PREDICTION_DEVICE") or "auto"
    model, _ = load_model(Path(path), choose_device(MachineSettings(device=device)))
    return ServedModel(model)
