"""What the processes of one training tell each other beside their tensors: torchrun's store.

A process alone has nobody to tell.
"""

import hashlib
import os
from datetime import timedelta
from functools import cache
from typing import Any

import torch

from vaelab.config import UserError
from vaelab.distributed.environment import from_environ

PEER_EXITED = "another process of this training has ended"
STOPPED = "stopped"
# In the environment of processes that the stage itself has started.
LAUNCHED_ENV = "VAELAB_WATCHED"
STORE_TIMEOUT = timedelta(seconds=5)


def should_print(message: str) -> bool:
    """Tell whether no other process has printed this line, and note that this one will.

    That another process has ended is said only where nobody has said why, and nobody watches.
    """
    if PEER_EXITED in message and (_count("lines") or LAUNCHED_ENV in os.environ):
        return False
    _add("lines")
    return _add(hashlib.sha256(message.encode()).hexdigest()) <= 1


def signal_stop() -> None:
    """Tell the others that the main process ends here, its checkpoint written."""
    _add("lines")
    _add(STOPPED)


def stop_requested() -> bool:
    """Tell whether the main process has ended after a checkpoint."""
    return _count(STOPPED) > 0


def _count(name: str) -> int:
    return _add(name, 0)


def _add(name: str, number: int = 1) -> int:
    store = _store()
    try:
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return 0 if store is None else int(store.add(f"vaelab/{restarts}/{name}", number))
    except RuntimeError:
        return 0  # its host is gone


@cache
def _store() -> Any:
    try:
        if from_environ().world_size == 1:
            return None
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return torch.distributed.TCPStore(  # type: ignore[attr-defined, unused-ignore]
            host, port, is_master=False, timeout=STORE_TIMEOUT, wait_for_workers=False
        )
    except (UserError, ValueError, RuntimeError):
        return None
