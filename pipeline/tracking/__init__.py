"""MLflow, which nothing outside this folder imports: a projection of the files, not their source.

Training logs to its run as it goes and tags it with the SHA-256 of the weights. Evaluation
and rendering find the run by that tag and add to it, which leaves its status and times alone;
where it is not there, it is made anew from the files. `python -m pipeline.tracking sync` does
the same for all that a store has missed.
"""

import os

# Read when MLflow is imported: nothing is reported to anyone, and a dead server is noticed soon.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "2")

from pipeline.tracking.failures import STORE_ERRORS, shorten, warn_on_store_error
from pipeline.tracking.run import BACKFILLED_TAG, WEIGHTS_TAG, Run
from pipeline.tracking.store import Store, active_run, open_store

__all__ = [
    "BACKFILLED_TAG",
    "STORE_ERRORS",
    "WEIGHTS_TAG",
    "Run",
    "Store",
    "active_run",
    "open_store",
    "shorten",
    "warn_on_store_error",
]
