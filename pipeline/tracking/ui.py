"""Open the MLflow UI on the pipeline's store."""

import argparse
import os
import sys

from pipeline import paths
from pipeline.tracking import open_store
from vaelab.config import UserError, load_settings


def main() -> None:
    """Check or create the store, then replace this process by `mlflow ui`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        store = open_store(load_settings(paths.PARAMS).tracking)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if store.uri.startswith(("http://", "https://")):
        print(f"the server has its own UI: {store.uri}")
        return
    print(f"MLflow on http://{arguments.host}:{arguments.port}, showing {store.uri}", flush=True)
    command = ["ui", "--backend-store-uri", store.uri]
    command += ["--host", arguments.host, "--port", str(arguments.port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
