"""Open optuna-dashboard on the storage of the studies."""

import argparse
import os
import sys

from sqlalchemy import make_url

from pipeline import stage
from pipeline.study.storage import open_storage, storage_url
from vaelab.config import load_settings


def main() -> None:
    """Make sure that the storage is there, then become `optuna-dashboard`."""
    parser = stage.parser(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port (default: %(default)s)")
    arguments = parser.parse_args()
    stage.run_command(lambda: show(arguments), again="the same command starts it again")


def show(arguments: argparse.Namespace) -> None:
    """Start the dashboard in this process's place."""
    tune = load_settings(arguments.params).tune
    open_storage(tune)
    url = storage_url(tune)
    shown = make_url(url).render_as_string()
    print(f"studies on http://{arguments.host}:{arguments.port}, of {shown}", flush=True)
    command = [url, "--host", arguments.host, "--port", str(arguments.port)]
    os.execv(sys.executable, [sys.executable, "-m", "optuna_dashboard", *command])


if __name__ == "__main__":
    main()
