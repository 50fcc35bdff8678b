"""Launch several ranks of one module on this machine, as `torchrun --standalone` does."""

import logging
import os
import signal
import sys
import uuid

import torch

from vaelab.config import MachineSettings, UserError
from vaelab.distributed.rank_messages import LAUNCHED_ENV

LOCALHOST = "localhost"
ELASTIC = "torch.distributed.elastic"


def processes_to_start(settings: MachineSettings) -> int:
    """Return how many processes to launch: 0 if one is enough or torchrun has launched them."""
    if "WORLD_SIZE" in os.environ:
        return 0
    wanted = settings.processes
    count = torch.cuda.device_count() if wanted == "auto" else wanted
    return count if count > 1 else 0


def launch(module: str, count: int) -> None:
    """Run a module, with this command line's options, in `count` ranks of one process group.

    The first rank that fails ends all others, and this process with its exit code; that rank has
    printed the error. A signal is forwarded to all ranks. Raises UserError for a rank that was
    killed by a signal.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in [name for name in logging.root.manager.loggerDict if name.startswith(ELASTIC)]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ[LAUNCHED_ENV] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{LOCALHOST}:0",
        local_addr=LOCALHOST,
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            sys.exit(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        raise UserError(f"process {rank + 1} of {count} was killed by {name}") from error
    except SignalException as error:
        sys.exit(128 + signal.Signals(error.sigval))
