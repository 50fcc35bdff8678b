"""ONNX Runtime computes what PyTorch does: networks, likelihoods, priors, conditional models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.oracles import rand
from vaelab.config import ModelSettings, UserError
from vaelab.export.onnx_files import DECODER, ENCODER, write_onnx
from vaelab.models.model import Model, build_model

onnxruntime = pytest.importorskip("onnxruntime")

SHAPE = (1, 8, 6)
LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian", "discretized_logistic")
QUICK = ("mlp", "conditional")
"""PyTorch's exporter takes seconds; the others are marked slow."""
CASES: dict[str, dict[str, Any]] = {
    **{name: {"network": name} for name in ("conv", "mlp", "resnet")},
    **{name: {"likelihood": name} for name in LIKELIHOODS[:2] + LIKELIHOODS[3:]},
    "linear mean": {"gaussian_mean": "linear"},
    "flow": {"prior": "flow"},
    "vamp": {"prior": "vamp"},
    "codebook": {"prior": "codebook"},
    "conditional": {"conditional": "labels"},
    "conditional conv": {"conditional": "labels", "network": "conv"},
}


def model_of(shape: tuple[int, int, int] = SHAPE, **settings: Any) -> Model:
    """Build a model with weights that are not those of an untrained one."""
    chosen = ModelSettings(**{"network": "mlp", "hidden": (16,), "latent_dim": 4} | settings)
    model = build_model(chosen, shape, classes=3 if "conditional" in settings else 0).eval()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=noise))
    return model


def run(path: Path, **inputs: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert {item.name for item in session.get_inputs()} == inputs.keys()
    found: list[np.ndarray] = session.run(None, {name: t.numpy() for name, t in inputs.items()})
    return found


def assert_equal(model: Model, folder: Path, count: int) -> None:
    images, latents = rand(count, *model.image_shape), rand(count, model.latent_dim) * 4 - 2
    labels = {"labels": torch.arange(count) % 4 - 1} if model.classes else {}
    given = model.given(labels.get("labels"))
    with torch.no_grad():
        posterior, decoded = given.encode(images), given.decode(latents).mean.clamp(0, 1)
    found = run(folder / ENCODER, images=images, **labels)
    np.testing.assert_allclose(found[0], posterior.mean, atol=1e-5)
    if hasattr(posterior, "stddev"):
        np.testing.assert_allclose(found[1], posterior.stddev, atol=1e-5)
    np.testing.assert_allclose(
        run(folder / DECODER, latents=latents, **labels)[0], decoded, atol=1e-5
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, settings in CASES.items()
    ],
)
def test_onnx_is_equal_to_pytorch_for_batches_of_any_size(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = model_of(**settings)
    assert write_onnx(model, tmp_path) == [ENCODER, DECODER]
    assert sorted(path.name for path in tmp_path.iterdir()) == [DECODER, ENCODER]
    for count in (1, 2, 7):
        assert_equal(model, tmp_path, count)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("network", ["conv", "mlp", "resnet"])
def test_onnx_is_equal_to_pytorch_for_every_network_and_likelihood_in_color(
    network: str, likelihood: str, tmp_path: Path
) -> None:
    model = model_of((3, 12, 8), network=network, likelihood=likelihood)
    write_onnx(model, tmp_path)
    assert_equal(model, tmp_path, 3)


def test_a_model_without_an_encoder_has_a_decoder_only(tmp_path: Path) -> None:
    model = build_model(ModelSettings(network="mlp", hidden=(4,)), SHAPE, ("decoder",))
    assert write_onnx(model, tmp_path) == [DECODER]


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaelab.export.onnx_files.NEEDED", ("onnx", "nowhere_to_be_found"))
    with pytest.raises(
        UserError, match=r"^ONNX needs nowhere_to_be_found: pip install nowhere_to_be_found$"
    ):
        write_onnx(model_of(), tmp_path)
