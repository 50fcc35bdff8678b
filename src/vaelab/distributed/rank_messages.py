"""Messages between the ranks of one training, through torchrun's store.

A single process has no store, and exchanges none.
"""

import hashlib
import os
import socket
from datetime import timedelta
from functools import cache
from typing import Any

import torch

from vaelab.config import UserError
from vaelab.distributed.environment import from_environ

PEER_EXITED = "another process of this training has ended"
STOPPED = "stopped"
# Set in the environment of processes that this package has launched itself.
LAUNCHED_ENV = "VAELAB_WATCHED"
STORE_TIMEOUT = timedelta(seconds=5)


def should_print(message: str) -> bool:
    """Return whether this rank should print an error: only the first rank that has it does.

    That a peer exited is printed only where no rank has printed why, and no launcher reports it.
    """
    if PEER_EXITED in message and (_count("lines") or LAUNCHED_ENV in os.environ):
        return False
    _add("lines")
    return _add(hashlib.sha256(message.encode()).hexdigest()) <= 1


def signal_stop() -> None:
    """Tell the other ranks that rank 0 stops here, after its checkpoint."""
    _add("lines")
    _add(STOPPED)


def stop_requested() -> bool:
    """Return whether rank 0 has stopped after a checkpoint."""
    return _count(STOPPED) > 0


def _count(name: str) -> int:
    return _add(name, 0)


def _add(name: str, number: int = 1) -> int:
    store = _store()
    try:
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return 0 if store is None else int(store.add(f"vaelab/{restarts}/{name}", number))
    except RuntimeError:
        return 0  # its host has exited


@cache
def _store() -> Any:
    try:
        if from_environ().world_size == 1:
            return None
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # Where nothing listens any more, the store would try for ten seconds and print tracebacks.
        socket.create_connection((host, port), STORE_TIMEOUT.total_seconds()).close()
        return torch.distributed.TCPStore(  # type: ignore[attr-defined, unused-ignore]
            host, port, is_master=False, timeout=STORE_TIMEOUT, wait_for_workers=False
        )
    except (UserError, ValueError, OSError, RuntimeError):
        return None
