"""Products of oneDNN are float32's, or the library is not chosen."""

from typing import Any

import pytest
import torch

from vaelab.runtime import matmul
from vaelab.runtime.matmul import fast_matmul, is_exact

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
