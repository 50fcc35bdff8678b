"""Which library multiplies float32 matrices on a CPU, and whether it has units for bfloat16."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn

# Relative error of a product: of float32 it is below 1e-6, of bfloat16 above 1e-3.
EXACT = 1e-5
# Multiplications of a network's average matrix product from which training gains (docs/speed.md).
LARGE = 3_000_000

mkldnn: Any = torch.backends.mkldnn


@contextmanager
def fast_matmul() -> Iterator[None]:
    """Let oneDNN multiply float32 matrices on the CPU, where that is as exact as MKL.

    On a CPU that is not Intel's, MKL leaves AVX-512 unused and takes twice as long. PyTorch hands
    matrices to oneDNN only where bfloat16 is allowed. Where the CPU has units for it, oneDNN would
    round to bfloat16 indeed, so one product is tried, and nothing changes if it is rounded.

    For products of more than about a million operations: smaller ones take longer. The setting is
    the whole process's, so nothing may be yielded inside.
    """
    matmul = mkldnn.matmul
    before = matmul.fp32_precision
    if is_exact():
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def matmul_for(
    network: nn.Module, rows: int, device: torch.device
) -> Callable[[], AbstractContextManager[None]]:
    """Return `fast_matmul` if a network trained on `rows` inputs at a time gains, else no change.

    Beside convolutions, products of matrices are too small a part of a step.
    """
    convolves = any(isinstance(layer, nn.Conv2d) for layer in network.modules())
    gains = device.type == "cpu" and not convolves and mean_product(network, rows) >= LARGE
    return fast_matmul if gains else nullcontext


def mean_product(network: nn.Module, rows: int) -> float:
    """Return the multiplications of a linear layer's product with so many inputs, on average."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    # Not the weight's size: to read one that is normalized is to normalize it again.
    work = sum(rows * layer.in_features * layer.out_features for layer in layers)
    return work / max(1, len(layers))


@cache
def is_exact() -> bool:
    """Return whether oneDNN computes in float32 although bfloat16 is allowed."""
    if not mkldnn.is_available():
        return False
    matmul = mkldnn.matmul
    values = torch.linspace(0.1, 1, 512 * 256).reshape(512, 256)
    expected = values.double() @ values[:256].double().T
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        found = values @ values[:256].T
    finally:
        matmul.fp32_precision = before
    error: torch.Tensor = (found - expected).norm() / expected.norm()
    return error.item() < EXACT


def bfloat16_products(device: torch.device) -> torch.autocast:
    """Return a context in which layers multiply in bfloat16, where a CPU has units for it."""
    gains = device.type == "cpu" and has_bfloat16()
    return torch.autocast("cpu", torch.bfloat16, enabled=gains)


def has_bfloat16() -> bool:
    """Return whether the CPU has instructions for products of bfloat16."""
    found: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
