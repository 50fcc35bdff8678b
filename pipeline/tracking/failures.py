"""Errors of an unavailable store, and the warning that replaces them."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

# What the client raises if a store is unavailable; the errors of requests are OSErrors.
STORE_ERRORS = (MlflowException, OSError)
REMEDY = "`python -m pipeline.tracking sync` uploads it from the files"
FILES_REMEDY = (
    "They stay on disk. Make that location writable from here, or start the server with "
    "`mlflow server --serve-artifacts --artifacts-destination <folder>` and use a new "
    "tracking.experiment, so that files are sent through it; then `python -m pipeline.tracking "
    "sync` uploads them"
)
MAX_CHARACTERS = 400


@contextmanager
def warn_on_store_error(what: str) -> Iterator[None]:
    """Print a warning for an error of the store, and continue: the files have the content."""
    try:
        yield
    except STORE_ERRORS as error:
        print(f"warning: could not log {what} to MLflow ({shorten(error)}); {REMEDY}", flush=True)


def shorten(error: Exception) -> str:
    """Return an error message, at most 400 characters of it; MLflow's may fill a page.

    Where more has to go, it is from the middle: what happened comes first, the remedy last.
    """
    text = " ".join(str(error).split())
    if len(text) <= MAX_CHARACTERS:
        return text
    half = MAX_CHARACTERS // 2 - 3
    return f"{text[:half].rsplit(' ', 1)[0]} ... {text[-half:].split(' ', 1)[-1]}"
