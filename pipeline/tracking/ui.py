"""Open MLflow on the pipeline's store, at the table of runs sorted by the bound."""

import argparse
import os
import signal
import socket
import sys
import time
import urllib.request
import webbrowser

import psutil

from pipeline import cli, paths
from pipeline.tracking import STORE_ERRORS, Store, open_store, shorten
from pipeline.tracking.descriptions import describe_experiment
from pipeline.tracking.store import is_server
from pipeline.tracking.view import link, save_view
from vaelab.config import UserError


def main() -> None:
    """Check the port, check or create the store, then replace this process by `mlflow ui`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    arguments = parser.parse_args()
    try:
        start(arguments.host, arguments.port, browser=not arguments.no_browser)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def start(host: str, port: int, *, browser: bool) -> None:
    """Open the store's table of runs; serve it if the store has no server. Raises UserError."""
    settings = cli.load_params(paths.PARAMS).tracking
    uri = os.environ.get("MLFLOW_TRACKING_URI") or settings.uri or ""
    if not is_server(uri):
        check_port(host, port)
    store = open_store(settings)
    prepare(store)
    if is_server(store.uri):
        address = f"{store.uri.rstrip('/')}/{link(store.experiment_id)}"
        print(f"the server has its own UI: {address}", flush=True)
        return open_page(address) if browser else None
    server = f"http://{host}:{port}"
    print(f"starting MLflow on {store.uri} ...", flush=True)
    announce_when_up(server, f"{server}/{link(store.experiment_id)}", browser=browser)
    serve(store.uri, host, port)


def check_port(host: str, port: int) -> None:
    """Raise UserError if something listens on a port already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"port {port} of {host} is not free ({reason}): end what uses it, or take another "
                f"with `make ui PORT={port + 1}`"
            ) from error


def prepare(store: Store) -> None:
    """Store the view and the description of the experiment; a read-only store opens without."""
    try:
        save_view(store.client, store.experiment_id)
        describe_experiment(store.client, store.experiment_id)
    except STORE_ERRORS as error:
        print(f"warning: the view could not be stored in MLflow ({shorten(error)})", flush=True)


def serve(uri: str, host: str, port: int) -> None:
    """Replace this process by MLflow's server: one worker, without the jobs of its GenAI part."""
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    command = ["ui", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", host, "--port", str(port)]
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *command], environment)  # noqa: S606  no shell is wanted


def has_screen() -> bool:
    """Return whether a browser would open a window, not take over the terminal."""
    return sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())


def open_page(address: str) -> None:
    """Open a page in the browser, if there is a screen."""
    if has_screen():
        webbrowser.open(address)


def announce_when_up(server: str, address: str, *, browser: bool) -> None:
    """Let a process of its own announce the page of the server that this process becomes."""
    pid = os.getpid()
    if child := os.fork():
        os.waitpid(child, 0)
        return
    if os.fork() == 0:  # no child of the server, which would not wait for its end
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        announce(server, address, pid, browser=browser)
    os._exit(0)


def announce(server: str, address: str, pid: int, *, browser: bool) -> None:
    """Print and open the page once the server, of process `pid`, answers; not if it ends."""
    while psutil.pid_exists(pid):
        try:
            urllib.request.urlopen(f"{server}/health", timeout=5).close()  # noqa: S310
        except OSError:
            time.sleep(0.5)
        else:
            print(f"MLflow on {address}; Ctrl-C ends it", flush=True)
            return open_page(address) if browser else None
    return None


if __name__ == "__main__":
    main()
