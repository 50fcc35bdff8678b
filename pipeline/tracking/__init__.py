"""Log to MLflow; nothing outside this folder imports it.

The files are authoritative; MLflow mirrors them. Training logs to its run and tags it with the
SHA-256 of the weights. The later stages find the run by that tag and add to it, without a change
of its status and times; a missing run is created from the files. `python -m pipeline.tracking
sync` uploads everything that a store has missed.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# MLflow reads these when it is imported: no telemetry, and short timeouts for a dead server.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")

if TYPE_CHECKING:
    from pipeline.tracking.failures import STORE_ERRORS, shorten, warn_on_store_error
    from pipeline.tracking.run import BACKFILLED_TAG, FILES_MISSING_TAG, WEIGHTS_TAG, Run
    from pipeline.tracking.store import Store, active_run, open_store

__all__ = [
    "BACKFILLED_TAG",
    "FILES_MISSING_TAG",
    "STORE_ERRORS",
    "WEIGHTS_TAG",
    "Run",
    "Store",
    "active_run",
    "open_store",
    "shorten",
    "warn_on_store_error",
]


def __getattr__(name: str) -> Any:
    """Import MLflow with the first name that needs it: it takes a second."""
    if name in __all__:
        for module in ("failures", "run", "store"):
            found = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__} has no attribute {name}")
