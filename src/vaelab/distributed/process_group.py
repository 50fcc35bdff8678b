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
from vaelab.distributed.environment import ALONE, Place
from vaelab.distributed.rank_messages import LOST

# How long one process waits for another that is alive: MLflow may be slow, or a picture large.
PATIENCE = timedelta(hours=1)
State = tuple[dict[str, Tensor], dict[str, Any]]


class Group:
    """The processes of one training, as one of them sees them.

    Each takes its share of every batch: rows rank, rank + count, ... Where a batch has fewer rows
    than there are processes, some of them compute with a row that does not count, so that all do
    the same steps.
    """

    def __init__(self, place: Place = ALONE, device: torch.device | None = None) -> None:
        self.rank, self.count = place.rank, place.count
        self.device = device or torch.device("cpu")
        # Of the batch at hand: the rows of this process that count, and those of all.
        self.kept: int | None = None
        self.total = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints, tracks and writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    def share(self, rows: Tensor) -> Tensor:
        """Give this process's part of a batch's rows."""
        mine = rows[self.rank :: self.count]
        return mine if len(mine) else rows[:1]

    def take_up(self, rows: Tensor) -> None:
        """Let a batch, of which this process has its share, be the one at hand."""
        if not self.is_alone:
            self.kept, self.total = len(rows[self.rank :: self.count]), len(rows)

    @property
    def turns(self) -> slice:
        """Which of many batches are this process's: numbers rank, rank + count, ..."""
        return slice(self.rank, None, self.count)

    def mean(self, losses: Tensor) -> Tensor:
        """Reduce the losses of a share, [rows], to what has the whole batch's gradient.

        That is, the average over processes of its gradients is the gradient of the mean loss of
        the batch at hand. One that is not finite has a gradient of NaN, so that all processes
        see it.
        """
        if self.is_alone:
            return losses.mean()
        share = losses.mean() * self._weight * self.count
        return share / share.isfinite()

    def batch_mean(self, mean: Tensor) -> Tensor:
        """Give the mean over the batch at hand, from that over this process's rows."""
        return mean if self.is_alone else cast(Tensor, _Sum.apply(mean * self._weight))

    def whole(self, rows: Tensor) -> Tensor:
        """Give the rows, [rows, ...], of all images of the batch at hand, from those here."""
        if self.is_alone:
            return rows
        placed = rows.new_zeros(self.total, *rows.shape[1:])
        placed[self.rank :: self.count] = rows[: self.kept]
        return cast(Tensor, _Sum.apply(placed))

    def add_up(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add up all processes' sums of the same names; nothing waits for the device."""
        if self.is_alone or not sums:
            return dict(sums)
        flat = self.sum(torch.cat([value.flatten() for value in sums.values()]))
        parts = torch.split(flat, [value.numel() for value in sums.values()])
        named = zip(sums.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in named}

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, in place."""
        if not self.is_alone:
            torch.distributed.all_reduce(tensor)
        return tensor

    def sum_and_count(self, total: Tensor, count: int) -> tuple[Tensor, Tensor | int]:
        """Add up a sum [] and what it is of, over the processes."""
        if self.is_alone:
            return total, count
        both = self.sum(torch.stack([total.double(), total.new_tensor(count, dtype=torch.double)]))
        return both[0], both[1]

    def of_main(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite tensors by the main process's, so that nothing differs by a rounding."""
        for tensor in () if self.is_alone else tensors.values():
            torch.distributed.broadcast(tensor, 0)

    def state_of_main(self, state: State | None) -> State | None:
        """Give the main process's tensors and JSON to all; other processes' are not looked at."""
        if self.is_alone:
            return state
        from safetensors.torch import load, save

        whole = self._bytes_of_main(json.dumps(state[1]).encode() if state else b"")
        tensors = self._bytes_of_main(save(state[0]) if state else b"")
        return (load(tensors), json.loads(whole)) if whole else None

    def wait(self) -> None:
        """Wait for all processes; what ends one of them ends the waiting of the others."""
        self.sum(torch.zeros(()))

    def averaged(
        self, parameters: list[nn.Parameter], forward: Callable[[Tensor], Any]
    ) -> Callable[[Tensor], Any]:
        """Let backward passes through what `forward` gives average these parameters' gradients.

        The averaging is DistributedDataParallel's own: bucket by bucket, while the backward pass
        goes on.
        """
        if self.is_alone:
            return forward
        held = _Held(parameters, forward)
        return nn.parallel.DistributedDataParallel(held, gradient_as_bucket_view=True)

    @property
    def _weight(self) -> float:
        assert self.kept is not None, "no batch is at hand"
        return self.kept / self.total

    def _bytes_of_main(self, content: bytes) -> bytes:
        """Give the main process's bytes to all."""
        size = torch.tensor(len(content))
        torch.distributed.broadcast(size, 0)
        held = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else None
        if held is None or not self.is_main:
            held = torch.empty(int(size), dtype=torch.uint8)
        torch.distributed.broadcast(held, 0)
        return held.numpy().tobytes()


SINGLE = Group()


class ProcessLostError(UserError):
    """Another process has ended, so that this one waited in vain."""


@contextmanager
def joined(place: Place, device: torch.device) -> Iterator[Group]:
    """Meet the other processes, if there are any, and part from them at the end.

    GPUs talk through NCCL, and CPUs, also those of processes with GPUs, through gloo. Raises
    ProcessLostError where another process ends before this one.
    """
    if place.count == 1:
        yield SINGLE
        return
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=PATIENCE)
        yield Group(place, device)
    except BaseException as error:
        # It ends already: what torchrun sends to all, once one of them fails, adds nothing.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _tells_of_loss(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise ProcessLostError(f"{LOST} ({reason})") from error
    torch.distributed.destroy_process_group()


def _tells_of_loss(error: BaseException) -> bool:
    words = ("gloo", "Connection closed by peer", "NCCL")
    told = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return told or isinstance(error, torch.distributed.DistError)


class _Held(nn.Module):
    """Parameters, and what is computed with them and others.

    These others are none of the module's own, and no buffer is: those change alike everywhere.
    """

    def __init__(self, parameters: list[nn.Parameter], forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)
        self._compute = (forward,)  # in a tuple, a module is no part of this one

    def forward(self, images: Tensor) -> Any:
        return self._compute[0](images)


class _Sum(torch.autograd.Function):
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
