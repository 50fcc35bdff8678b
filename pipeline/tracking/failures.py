"""What happens when the store goes away: nothing is lost, and it is said."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

# What a store that has gone away makes the client raise; requests' errors are OSErrors.
STORE_ERRORS = (MlflowException, OSError)
REMEDY = "`python -m pipeline.tracking sync` adds it from the files"


@contextmanager
def warn_on_store_error(what: str) -> Iterator[None]:
    """Go on without what the store does not take, which the files have."""
    try:
        yield
    except STORE_ERRORS as error:
        print(f"warning: MLflow did not take {what} ({shorten(error)}); {REMEDY}", flush=True)


def shorten(error: Exception) -> str:
    """Give the start of a message; the client's go on for a page."""
    return textwrap.shorten(str(error), 160)
