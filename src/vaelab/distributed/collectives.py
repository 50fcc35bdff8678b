"""Collective operations that gradients pass through, and modules that average gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class AllReduceSum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of every process's gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


class DDPModule(nn.Module):
    """Parameters, and a function that uses them, as a module for DistributedDataParallel.

    Other parameters and buffers that the function uses are not registered: they change in the
    same way in every process.
    """

    def __init__(self, parameters: list[nn.Parameter], forward: Callable[[Any], Any]) -> None:
        super().__init__()
        self.held = nn.ParameterList(parameters)
        self._compute = (forward,)  # in a tuple, a module is not registered as a child

    def forward(self, batch: Any) -> Any:
        return self._compute[0](batch)


def broadcast_bytes(content: bytes, *, is_source: bool) -> bytes:
    """Return the bytes of rank 0 in every process."""
    size = torch.tensor(len(content))
    torch.distributed.broadcast(size, 0)
    if is_source and content:
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    else:
        buffer = torch.empty(int(size), dtype=torch.uint8)
    torch.distributed.broadcast(buffer, 0)
    return buffer.numpy().tobytes()
