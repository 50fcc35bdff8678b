"""Several processes of one stage on this machine, as `torchrun --standalone` would start them."""

import logging
import os
import signal
import sys
import uuid

import torch

from vaelab.config import MachineSettings, UserError
from vaelab.distributed.rank_messages import LAUNCHED_ENV

HERE = "localhost"
ELASTIC = "torch.distributed.elastic"


def processes_to_start(settings: MachineSettings) -> int:
    """Give how many processes to start: none where one is enough, or they are there already."""
    if "WORLD_SIZE" in os.environ:
        return 0
    wanted = settings.processes
    count = torch.cuda.device_count() if wanted == "auto" else wanted
    return count if count > 1 else 0


def launch(module: str, count: int) -> None:
    """Run a module, with this command line's options, in processes that know of each other.

    The first one that fails ends them all, and this one with its exit code; what there is to say
    it has said. A signal is passed on to all of them. Raises UserError for one that was killed.
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
        rdzv_endpoint=f"{HERE}:0",
        local_addr=HERE,
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *sys.argv[1:])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            sys.exit(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        raise UserError(f"process {rank + 1} of {count} was ended by {name}") from error
    except SignalException as error:
        sys.exit(128 + signal.Signals(error.sigval))
