"""Open optuna-dashboard on the storage of the studies."""

import argparse

from optuna_dashboard import run_server
from sqlalchemy import make_url

from pipeline import cli
from pipeline.study.storage import open_storage, storage_url


def main() -> None:
    """Run the command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="port (default: %(default)s)")
    arguments = parser.parse_args()
    cli.run_command(lambda: show(arguments), resume_hint="run the same command to start it again")


def show(arguments: argparse.Namespace) -> None:
    """Serve the dashboard until it is interrupted."""
    tune = cli.load_params(arguments.params).tune
    storage, shown = open_storage(tune), make_url(storage_url(tune)).render_as_string()
    print(f"studies on http://{arguments.host}:{arguments.port}, of {shown}", flush=True)
    run_server(storage, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
