"""Several processes that train one model: who they are, what they share, what they add up.

A process alone adds nothing up, and never joins a group of PyTorch's.
"""

import json
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn

from vaelab.config import UserError
from vaelab.distributed.environment import SINGLE_PROCESS, DistributedEnv
from vaelab.distributed.rank_messages import PEER_EXITED

# How long one process waits for another that is alive: MLflow may be slow, or a picture large.
TIMEOUT = timedelta(hours=1)
State = tuple[dict[str, Tensor], dict[str, Any]]


class ProcessGroup:
    """The processes of one training, as one of them sees them.

    Each takes its share of every batch: rows rank, rank + count, ... Where a batch has fewer rows
    than there are processes, some of them compute with a row that does not count, so that all do
    the same steps.
    """

    def __init__(
        self, place: DistributedEnv = SINGLE_PROCESS, device: torch.device | None = None
    ) -> None:
        self.rank, self.world_size = place.rank, place.world_size
        self.device = device or torch.device("cpu")
        # Of the batch at hand: the rows of this process that count, and those of all.
        self.local_count: int | None = None
        self.batch_count = 0

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that prints, tracks and writes."""
        return self.rank == 0

    def shard(self, rows: Tensor) -> Tensor:
        """Give this process's part of a batch's rows."""
        mine = rows[self.rank :: self.world_size]
        return mine if len(mine) else rows[:1]

    def set_batch(self, rows: Tensor) -> None:
        """Let a batch, of which this process has its share, be the one at hand."""
        if self.world_size > 1:
            self.local_count, self.batch_count = len(rows[self.rank :: self.world_size]), len(rows)

    @property
    def rank_slice(self) -> slice:
        """Which of many batches are this process's: numbers rank, rank + count, ..."""
        return slice(self.rank, None, self.world_size)

    def ddp_loss(self, losses: Tensor) -> Tensor:
        """Reduce the losses of a share, [rows], to what has the whole batch's gradient.

        That is, the average over processes of its gradients is the gradient of the mean loss of
        the batch at hand. One that is not finite has a gradient of NaN, so that all processes
        see it.
        """
        if self.world_size == 1:
            return losses.mean()
        share = losses.mean() * self._loss_weight * self.world_size
        return share / share.isfinite()

    def batch_mean(self, mean: Tensor) -> Tensor:
        """Give the mean over the batch at hand, from that over this process's rows."""
        return (
            mean
            if self.world_size == 1
            else cast(Tensor, _AllReduceSum.apply(mean * self._loss_weight))
        )

    def whole(self, rows: Tensor) -> Tensor:
        """Give the rows, [rows, ...], of all images of the batch at hand, from those here."""
        if self.world_size == 1:
            return rows
        placed = rows.new_zeros(self.batch_count, *rows.shape[1:])
        placed[self.rank :: self.world_size] = rows[: self.local_count]
        return cast(Tensor, _AllReduceSum.apply(placed))

    def all_reduce_sums(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add up all processes' sums of the same names; nothing waits for the device."""
        if self.world_size == 1 or not sums:
            return dict(sums)
        flat = self.all_reduce(torch.cat([value.flatten() for value in sums.values()]))
        parts = torch.split(flat, [value.numel() for value in sums.values()])
        named = zip(sums.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in named}

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place."""
        if self.world_size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def all_reduce_sum_and_count(self, total: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Add up a sum [] and what it is of, over the processes."""
        if self.world_size == 1:
            return total, count
        both = self.all_reduce(
            torch.stack([total.double(), total.new_tensor(count, dtype=torch.double)])
        )
        return both[0], both[1]

    def broadcast(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors by the main process's, so that nothing differs by a rounding."""
        for tensor in () if self.world_size == 1 else tensors.values():
            torch.distributed.broadcast(tensor, 0)

    def broadcast_state(self, state: State | None) -> State | None:
        """Give the main process's tensors and JSON to all; other processes' are not looked at."""
        if self.world_size == 1:
            return state
        from safetensors.torch import load, save

        whole = self._broadcast_bytes(json.dumps(state[1]).encode() if state else b"")
        tensors = self._broadcast_bytes(save(state[0]) if state else b"")
        return (load(tensors), json.loads(whole)) if whole else None

    def barrier(self) -> None:
        """Wait for all processes; what ends one of them ends the waiting of the others."""
        self.all_reduce(torch.zeros(()))

    def wrap_ddp(
        self, parameters: list[nn.Parameter], forward: Callable[[Tensor], Any]
    ) -> Callable[[Tensor], Any]:
        """Let backward passes through what `forward` gives average these parameters' gradients.

        The averaging is DistributedDataParallel's own: bucket by bucket, while the backward pass
        goes on.
        """
        if self.world_size == 1:
            return forward
        held = _DDPModule(parameters, forward)
        return nn.parallel.DistributedDataParallel(held, gradient_as_bucket_view=True)

    @property
    def _loss_weight(self) -> float:
        assert self.local_count is not None, "no batch is at hand"
        return self.local_count / self.batch_count

    def _broadcast_bytes(self, content: bytes) -> bytes:
        """Give the main process's bytes to all."""
        size = torch.tensor(len(content))
        torch.distributed.broadcast(size, 0)
        held = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else None
        if held is None or not self.is_rank_zero:
            held = torch.empty(int(size), dtype=torch.uint8)
        torch.distributed.broadcast(held, 0)
        return held.numpy().tobytes()


SINGLE_GROUP = ProcessGroup()


class PeerExitedError(UserError):
    """Another process has ended, so that this one waited in vain."""


@contextmanager
def process_group(place: DistributedEnv, device: torch.device) -> Iterator[ProcessGroup]:
    """Meet the other processes, if there are any, and part from them at the end.

    GPUs talk through NCCL, and CPUs, also those of processes with GPUs, through gloo. Raises
    ProcessLostError where another process ends before this one.
    """
    if place.world_size == 1:
        yield SINGLE_GROUP
        return
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=TIMEOUT)
        yield ProcessGroup(place, device)
    except BaseException as error:
        # It ends already: what torchrun sends to all, once one of them fails, adds nothing.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _is_peer_failure(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise PeerExitedError(f"{PEER_EXITED} ({reason})") from error
    torch.distributed.destroy_process_group()


def _is_peer_failure(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "NCCL")
    told = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return told or isinstance(error, torch.distributed.DistError)


class _DDPModule(nn.Module):
    """Parameters, and what is computed with them and others.

    These others are none of the module's own, and no buffer is: those change alike everywhere.
    """

    def __init__(self, parameters: list[nn.Parameter], forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)
        self._compute = (forward,)  # in a tuple, a module is no part of this one

    def forward(self, images: Tensor) -> Any:
        return self._compute[0](images)


class _AllReduceSum(torch.autograd.Function):
    """The sum over processes; what each of them does with it, its gradient counts."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        whole = value.clone()
        torch.distributed.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].clone()
        torch.distributed.all_reduce(whole)
        return whole
