"""Errors of an unavailable store, and the warning that replaces them."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

# What the client raises if a store is unavailable; the errors of requests are OSErrors.
STORE_ERRORS = (MlflowException, OSError)
REMEDY = "`python -m pipeline.tracking sync` uploads it from the files"


@contextmanager
def warn_on_store_error(what: str) -> Iterator[None]:
    """Print a warning for an error of the store, and continue: the files have the content."""
    try:
        yield
    except STORE_ERRORS as error:
        print(f"warning: could not log {what} to MLflow ({shorten(error)}); {REMEDY}", flush=True)


def shorten(error: Exception) -> str:
    """Return the first 160 characters of an error message; MLflow's may fill a page."""
    return textwrap.shorten(str(error), 160)
