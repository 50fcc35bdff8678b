"""Products of oneDNN are float32's, or the library is not chosen."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from vaelab.runtime import matmul
from vaelab.runtime.matmul import fast_matmul, is_exact, matmul_for

mkldnn: Any = torch.backends.mkldnn
MATMUL = mkldnn.matmul


@pytest.mark.parametrize("shape", [(1, 784, 400), (100, 20, 256), (4096, 256, 256), (7, 1, 3)])
def test_products_are_as_exact_as_float32(shape: tuple[int, int, int]) -> None:
    count, inner, outer = shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(count, inner, generator=generator)
    right = torch.randn(outer, inner, generator=generator)
    expected = left.double() @ right.double().T
    with fast_matmul():
        found = left @ right.T
    assert ((found - expected).norm() / expected.norm()).item() < 1e-6


def test_the_setting_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = MATMUL.fp32_precision
    monkeypatch.setattr(matmul, "is_exact", lambda: True)
    with fast_matmul():
        assert MATMUL.fp32_precision == "bf16"
    assert MATMUL.fp32_precision == before


def test_a_library_that_rounds_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    is_exact()
    assert MATMUL.fp32_precision != "bf16"
    monkeypatch.setattr(matmul, "is_exact", lambda: False)
    with fast_matmul():
        assert MATMUL.fp32_precision != "bf16"


def test_bfloat16_would_be_noticed() -> None:
    values = torch.linspace(0.1, 1, 512 * 256).reshape(512, 256)
    expected = values.double() @ values[:256].double().T
    rounded = (values.bfloat16() @ values[:256].bfloat16().T).double()
    assert ((rounded - expected).norm() / expected.norm()).item() > matmul.EXACT


LARGE_LAYER, CONVOLUTION = nn.Linear(784, 400), nn.Conv2d(1, 8, 3)


@pytest.mark.parametrize(
    ("layers", "rows", "device", "gains"),
    [
        ([LARGE_LAYER, nn.Linear(400, 40)], 128, "cpu", True),
        ([LARGE_LAYER], 4, "cpu", False),
        ([nn.Linear(64, 128)], 128, "cpu", False),
        # On average, not the largest: each small product takes longer.
        ([LARGE_LAYER, *[nn.Linear(8, 8) for _ in range(20)]], 128, "cpu", False),
        ([CONVOLUTION, LARGE_LAYER], 128, "cpu", False),
        ([], 128, "cpu", False),
        ([LARGE_LAYER], 128, "cuda", False),
    ],
)
def test_a_network_of_large_products_gains(
    layers: list[nn.Module], rows: int, device: str, gains: bool
) -> None:
    chosen = matmul_for(nn.Sequential(*layers), rows, torch.device(device))
    assert (chosen is fast_matmul) == gains


def test_the_choice_leaves_the_network_as_it_is() -> None:
    """Each look at a normalized weight takes a step of the iteration that finds its norm."""
    layer = spectral_norm(nn.Linear(784, 400))
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    assert matmul_for(layer, 128, torch.device("cpu")) is fast_matmul
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
