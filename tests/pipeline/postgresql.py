"""A PostgreSQL server of the test's own, from Debian's package, on loopback."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"


@contextmanager
def server() -> Iterator[str]:
    """Start an empty server, give the URL of its database, and end it; skip without one."""
    programs = _programs()
    # A server refuses to run as root; Debian's package makes a user for it.
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        if as_user:
            shutil.chown(folder, USER)
        with _running(programs, as_user, Path(folder) / "data") as url:
            yield url


@contextmanager
def _running(programs: Path, as_user: list[str], data: Path) -> Iterator[str]:
    port = _free_port()
    _run([*as_user, f"{programs}/initdb", "-D", str(data), "-U", USER, "-A", "trust", "-N"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    control = [*as_user, f"{programs}/pg_ctl", "-D", str(data)]
    _run([*control, "-w", "-o", options, "-l", f"{data}.log", "start"])
    try:
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        _run([*control, "-m", "immediate", "stop"])


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("Debian's package postgresql is not installed")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("a PostgreSQL server does not run as root, and there is no runuser")
    return found[-1].parent


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=120)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
