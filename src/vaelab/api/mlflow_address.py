"""The files of a model that MLflow knows by an address. Only this module imports MLflow."""

from pathlib import Path

from vaelab.config import UserError, reason

SCHEMES = ("runs:/", "models:/", "mlflow-artifacts:/")
MODEL_FILES = "model_files"
"""The folder within a logged model that has its weights and description."""
LOCAL_STORES = ("mlflow.db", "mlruns")
"""What MLflow looks for in the working folder if it is not told a store."""


def download(address: str) -> Path:
    """Return the folder of a model's files, downloaded where it is not on this machine.

    Raises UserError where MLflow is not installed, or has no such model.
    """
    try:
        from mlflow import is_tracking_uri_set
        from mlflow.artifacts import download_artifacts
    except ImportError as error:
        raise UserError(f"{address}: needs MLflow: pip install mlflow") from error
    known = is_tracking_uri_set()  # type: ignore[no-untyped-call]
    if not known and not any(Path(name).exists() for name in LOCAL_STORES):
        # MLflow would make an empty database here.
        raise UserError(
            f"{address}: no MLflow store here ({' or '.join(LOCAL_STORES)}): set "
            "MLFLOW_TRACKING_URI, such as http://127.0.0.1:5000 or sqlite:////path/mlflow.db"
        )
    try:
        return Path(download_artifacts(artifact_uri=address))
    except Exception as error:  # of MLflow, of its server, or of the network
        raise UserError(
            f"{address}: MLflow has no such model, or does not answer ({reason(error)}); "
            "MLFLOW_TRACKING_URI says where it looks"
        ) from error
