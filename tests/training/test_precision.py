"""Where `train.precision: auto` is bfloat16, and what it says."""

from typing import Any

import numpy as np
import pytest
import torch

from vaelab.config import Settings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.runtime.matmul import has_bfloat16
from vaelab.training import precision
from vaelab.training.build import build, build_trainer
from vaelab.training.precision import choose_precision

CPU = torch.device("cpu")
MNIST, PHOTO = (1, 28, 28), (3, 64, 64)
WIDE = {"network": "mlp", "hidden": [500, 500]}


def chosen(model: dict[str, Any], **train: object) -> Settings:
    return parse_settings({"model": model, "train": {"precision": "auto", **train}})


@pytest.mark.parametrize(
    ("model", "shape", "train", "expected", "reason"),
    [
        ({}, PHOTO, {}, "bfloat16", "a step of conv on 100 images of 64x64 pixels is shorter"),
        ({}, PHOTO, {"objective": "beta_vae"}, "bfloat16", "the CPU computes in it"),
        (WIDE, MNIST, {}, "bfloat16", "a step of mlp"),
        ({}, MNIST, {}, "float32", "bfloat16 gains too little for conv on 100 images of 28x28"),
        ({"network": "resnet"}, PHOTO, {}, "float32", "for conv and mlp only"),
        (WIDE, MNIST, {"batch_size": 16}, "float32", "gains too little for mlp on 16 images"),
        ({}, PHOTO, {"objective": "vae_gan"}, "float32", "for vae and beta_vae only"),
    ],
)
def test_auto_is_what_is_measured(
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    shape: tuple[int, int, int],
    train: dict[str, Any],
    expected: str,
    reason: str,
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    settings = chosen(model, **train)
    found, line = choose_precision(settings, build(settings, shape)[1], CPU)
    assert (found, line.split(": ")[0]) == (expected, f"auto, train.precision {expected}")
    assert reason in line


@pytest.mark.parametrize(
    ("device", "known", "reason"),
    [
        ("cpu", {"avx512_bf16": False}, "the CPU does not compute in bfloat16"),
        ("cpu", {"neon": True}, "the CPU does not compute in bfloat16"),
        ("cuda", {"avx512_bf16": True}, "measured on CPUs only, not on cuda"),
    ],
)
def test_a_machine_without_it_stays_with_float32(
    monkeypatch: pytest.MonkeyPatch, device: str, known: dict[str, bool], reason: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    settings = chosen({})
    found, line = choose_precision(settings, build(settings, PHOTO)[1], torch.device(device))
    assert found == "float32"
    assert reason in line


@pytest.mark.parametrize("units", ["avx512_bf16", "amx_bf16"])
def test_the_cpus_that_have_it(monkeypatch: pytest.MonkeyPatch, units: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {units: True})
    assert has_bfloat16()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bfloat16(), "a PyTorch that does not know"


@pytest.mark.parametrize(("has_it", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_the_networks_are_trained_in_it(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, expected: str
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has_it)
    monkeypatch.setattr(precision, "PIXELS", 64)
    settings = chosen({"channels": [4]}, epochs=1)
    images = ImageLoader(np.zeros((200, 1, 8, 8), np.uint8), CPU)
    trainer = build_trainer(settings, images, images, CPU)
    assert trainer.live_model.precision is getattr(torch, expected)
    assert trainer.settings.precision == expected
    assert trainer.fit(show_progress=False).epoch == 1


def test_what_is_set_is_not_looked_at() -> None:
    settings = chosen({}, precision="bfloat16")
    assert choose_precision(settings, build(settings, (1, 8, 8))[1], CPU)[0] == "bfloat16"
