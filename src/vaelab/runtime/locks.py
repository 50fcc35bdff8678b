"""A lock file that names its holder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vaelab.config import UserError


@contextmanager
def exclusive_lock(lock: Path, name: str) -> Iterator[None]:
    """Hold a lock that no other process can take; it ends with the process, however that ends.

    Raises UserError, with the name and process id of the holder, where another process has it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = lock.with_suffix(".holder")
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{lock.parent.resolve()}: {_described(holder)} is already training here; "
            "wait until it has finished, or stop it"
        ) from error
    try:
        me = {"name": name, "process": os.getpid(), "host": socket.gethostname()}
        holder.write_text(json.dumps(me), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        held.release()


def _described(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f"{found['name']} (process {found['process']} on {found['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
