"""The processes that train one model: which rows of a batch are whose, and what they add up.

A single process has nothing to communicate, and never initializes torch.distributed.
"""

import json
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from vaelab.config import UserError
from vaelab.distributed.collectives import AllReduceSum, DDPModule, broadcast_bytes
from vaelab.distributed.environment import SINGLE_PROCESS, DistributedEnv
from vaelab.distributed.rank_messages import PEER_EXITED

# How long one process waits for another that is alive: logging or a large image may take a while.
TIMEOUT = timedelta(hours=1)
State = tuple[dict[str, Tensor], dict[str, Any]]


class BatchRows(NamedTuple):
    """Of a batch that is split over processes: the rows of this one that count, and those of all.

    None and 0 where it is not split.
    """

    local: int | None = None
    total: int = 0


class ProcessGroup:
    """The processes of one training, as one of them sees them.

    Each process computes rows rank, rank + world_size, ... of every batch. Where a batch has fewer
    rows than there are processes, the others compute a row that does not count, so that all take
    the same steps.
    """

    def __init__(
        self, env: DistributedEnv = SINGLE_PROCESS, device: torch.device | None = None
    ) -> None:
        self.rank, self.world_size = env.rank, env.world_size
        self.local_world_size = env.local_world_size
        self.device = device or torch.device("cpu")
        self.batch_rows = BatchRows()

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that prints, logs and writes files."""
        return self.rank == 0

    def local_rows(self, rows: Tensor) -> Tensor:
        """Return this process's part of a batch's rows."""
        mine = rows[self.rank :: self.world_size]
        return mine if len(mine) else rows[:1]

    def set_batch(self, rows: Tensor) -> None:
        """Set the current batch, of which this process computes its part."""
        if self.world_size > 1:
            self.batch_rows = BatchRows(len(rows[self.rank :: self.world_size]), len(rows))

    @property
    def local_count(self) -> int | None:
        """How many rows of the current batch are this process's and count."""
        return self.batch_rows.local

    @property
    def batch_count(self) -> int:
        """How many rows the current batch has in all processes."""
        return self.batch_rows.total

    @property
    def rank_slice(self) -> slice:
        """Which of many batches are this process's: rank, rank + world_size, ..."""
        return slice(self.rank, None, self.world_size)

    def ddp_loss(self, losses: Tensor) -> Tensor:
        """Reduce the losses of this process's rows, [rows], to a scalar for DDP.

        The average over processes of its gradients is the gradient of the mean loss of the
        current batch. A loss that is not finite gets a gradient of NaN, so that every process
        sees it.
        """
        if self.world_size == 1:
            return losses.mean()
        part = losses.mean() * self._batch_share * self.world_size
        return part / part.isfinite()

    def batch_mean(self, mean: Tensor) -> Tensor:
        """Return the mean over the current batch, from that over this process's rows.

        Gradients pass through.
        """
        if self.world_size == 1:
            return mean
        return cast(Tensor, AllReduceSum.apply(mean * self._batch_share))

    def gather_batch(self, rows: Tensor) -> Tensor:
        """Return the rows [batch, ...] of the current batch, from this process's [rows, ...].

        Gradients pass through.
        """
        if self.world_size == 1:
            return rows
        batch = rows.new_zeros(self.batch_count, *rows.shape[1:])
        batch[self.rank :: self.world_size] = rows[: self.local_count]
        return cast(Tensor, AllReduceSum.apply(batch))

    def all_reduce_sums(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum tensors of the same names over processes, without a device sync."""
        if self.world_size == 1 or not sums:
            return dict(sums)
        flat = self.all_reduce(torch.cat([value.flatten() for value in sums.values()]))
        parts = torch.split(flat, [value.numel() for value in sums.values()])
        named = zip(sums.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in named}

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over processes, in place."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def all_reduce_sum_and_count(self, total: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Sum a total [] and its count over processes."""
        if self.world_size == 1:
            return total, count
        counted = total.new_tensor(count, dtype=torch.double)
        both = self.all_reduce(torch.stack([total.double(), counted]))
        return both[0], both[1]

    def broadcast(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors by those of rank 0, so that nothing differs by rounding."""
        for tensor in () if self.world_size == 1 else tensors.values():
            torch.distributed.broadcast(tensor, 0)

    def broadcast_state(self, state: State | None) -> State | None:
        """Return the tensors and JSON of rank 0; those of other ranks are ignored."""
        if self.world_size == 1:
            return state
        from safetensors.torch import load, save

        contents = (json.dumps(state[1]).encode(), save(state[0])) if state else (b"", b"")
        values, tensors = (broadcast_bytes(c, is_source=self.is_rank_zero) for c in contents)
        return (load(tensors), json.loads(values)) if values else None

    def barrier(self) -> None:
        """Wait for all processes; an error that ends one of them ends the wait of the others."""
        self.all_reduce(torch.zeros(()))

    def wrap_ddp(
        self, parameters: list[nn.Parameter], forward: Callable[[Any], Any]
    ) -> Callable[[Any], Any]:
        """Return `forward` such that backward passes average these parameters' gradients.

        DistributedDataParallel averages them bucket by bucket while the backward pass runs.
        """
        if self.world_size == 1:
            return forward
        module = DDPModule(parameters, forward)
        return nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True)

    @property
    def _batch_share(self) -> float:
        assert self.local_count is not None, "no batch has been set"
        return self.local_count / self.batch_count


SINGLE_GROUP = ProcessGroup()


class PeerExitedError(UserError):
    """Another process of the group has exited."""


@contextmanager
def process_group(env: DistributedEnv, device: torch.device) -> Iterator[ProcessGroup]:
    """Initialize the process group, if there are other processes, and destroy it at the end.

    GPUs communicate through NCCL, CPUs through gloo. Raises PeerExitedError where another process
    exits before this one.
    """
    if env.world_size == 1:
        yield SINGLE_GROUP
        return
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=TIMEOUT)
        yield ProcessGroup(env, device)
    except BaseException as error:
        # torchrun sends SIGTERM to all processes once one has failed; this one is exiting.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _is_peer_failure(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise PeerExitedError(f"{PEER_EXITED} ({reason})") from error
    torch.distributed.destroy_process_group()


def _is_peer_failure(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "NCCL")
    named = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return named or isinstance(error, torch.distributed.DistError)
