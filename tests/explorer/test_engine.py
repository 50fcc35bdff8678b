"""The page's script computes what PyTorch computes: run by Node, where it is installed."""

import json
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import torch

from tests.explorer.factories import page_of, random_model
from vaelab.config import network_names
from vaelab.explorer import PAGE, SCRIPTS
from vaelab.inference.decoding import Path, interpolate
from vaelab.models.distributions import DiagonalGaussian
from vaelab.models.model import Model
from vaelab.models.networks import ACTIVATIONS
from vaelab.models.priors.codebook import Codebook

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")

SCRIPT = """
import * as model from "{page}/model.js";
import fs from "node:fs";
const cases = JSON.parse(fs.readFileSync(0));
const answers = cases.map(({{ data, latent, pixels, label }}) => {{
  const built = model.buildModel(data);
  const outputs = model.decodedOutputs(built, Float32Array.from(latent), label);
  const image = model.toPixelOrder(built, pixels);
  const posterior = built.encoder ? model.encode(built, image, label) : null;
  return {{
    decoded: Array.from(model.toChannelOrder(built, model.meanOf(built, outputs))),
    generation: model.generationLoss(built, outputs, image),
    mean: posterior && Array.from(posterior.mean),
    stddev: posterior && Array.from(posterior.stddev),
    kl: posterior && !built.codes && Array.from(model.klPerDimension(posterior)),
    path: [false, true].map((spherical) => Array.from(
      model.interpolate(Float32Array.of(1, 2, 0), Float32Array.of(-2, 1, 1), 0.3, spherical))),
  }};
}});
console.log(JSON.stringify(answers));
"""


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def answers(models: list[Model], labels: list[int]) -> list[tuple[Model, Any, dict[str, Any]]]:
    generator = torch.Generator().manual_seed(3)
    cases, inputs = [], []
    for model, label in zip(models, labels, strict=True):
        latent = torch.randn(model.latent_dim, generator=generator)
        pixels = torch.randint(256, model.image_shape, generator=generator) / 255
        data = data_of(page_of(model, labels=bool(model.classes)))
        cases.append(
            {"data": data, "latent": latent.tolist(), "pixels": pixels.tolist(), "label": label}
        )
        inputs.append((latent, pixels, label))
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", SCRIPT.format(page=PAGE)],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return list(zip(models, inputs, json.loads(ran.stdout), strict=True))


def check(models: list[Model], labels: list[int] | None = None) -> None:
    for model, (latent, pixels, label), answer in answers(models, labels or [-1] * len(models)):
        given = model.given(torch.tensor([label])) if model.classes else model
        with torch.no_grad():
            decoded = given.decode(latent[None])
            mean = decoded.mean[0].clamp(0, 1).flatten().numpy()
            # Far below a gray level, 1/255
            np.testing.assert_allclose(answer["decoded"], mean, atol=2e-6)
            loss = -decoded.log_prob(pixels[None])[0].item()
            assert answer["generation"] == pytest.approx(loss, rel=1e-5, abs=1e-3)
            if not model.has("encoder"):
                continue
            posterior = given.encode(pixels[None])
            np.testing.assert_allclose(answer["mean"], posterior.mean[0].numpy(), atol=1e-5)
            if isinstance(posterior, DiagonalGaussian):
                np.testing.assert_allclose(answer["stddev"], posterior.stddev[0].numpy(), atol=1e-5)
                kl = posterior.kl_per_dimension()[0].numpy()
                np.testing.assert_allclose(answer["kl"], kl, rtol=1e-4, atol=1e-5)


def test_every_network_and_activation() -> None:
    shapes = [(1, 9, 11), (3, 13, 7), (1, 8, 8)]
    networks = [(n, s) for n in network_names() for s in shapes]
    models = [random_model(s, network=n, channels=(6, 10), hidden=(17,)) for n, s in networks]
    models += [random_model(activation=name) for name in ACTIVATIONS]
    models += [random_model((3, 29, 12), channels="auto")]
    models += [random_model((3, 6, 5), kernel_size=3, channels=(3, 9, 12)), random_model(hidden=())]
    check(models)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_likelihood(channels: int) -> None:
    shape = (channels, 7, 6)
    check(
        [
            random_model(shape, likelihood="bernoulli"),
            random_model(shape, likelihood="continuous_bernoulli"),
            random_model(shape, likelihood="discretized_logistic"),
            random_model(shape, likelihood="gaussian", gaussian_variance=0.2),
            random_model(shape, likelihood="gaussian", gaussian_mean="linear"),
        ]
    )


def test_models_without_noise_without_an_encoder_and_with_labels() -> None:
    codes = random_model(posterior="point", prior="codebook", latent_dim=6, codebook_size=7)
    assert isinstance(codes.networks["prior"], Codebook)
    conditional = [random_model((c, 9, 8), 2, conditional="labels") for c in (1, 3)]
    assert all(model.classes == 2 for model in conditional)
    check([codes, random_model(posterior="point"), random_model(networks=("decoder",))])
    for label in (-1, 0, 1):
        check(conditional, [label] * 2)


def test_paths_are_those_of_the_library() -> None:
    ((_, _, answer),) = answers([random_model()], [-1])
    ends = torch.tensor([[1.0, 2, 0]]), torch.tensor([[-2.0, 1, 1]])
    paths: tuple[Path, ...] = ("linear", "spherical")
    for found, path in zip(answer["path"], paths, strict=True):
        expected = interpolate(*ends, 11, path)[0, 3].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_weights_of_large_networks_are_rounded_to_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaelab.explorer.FLOAT32_NUMBERS", 0)
    model = random_model()
    ((_, (latent, _, _), answer),) = answers([model], [-1])
    with torch.no_grad():
        mean = model.decode(latent[None]).mean[0].flatten().numpy()
    np.testing.assert_allclose(answer["decoded"], mean, atol=1 / 255)
    assert not np.allclose(answer["decoded"], mean, atol=1e-6)


def test_the_script_is_made_of_all_modules_of_the_folder() -> None:
    assert {f"{name}.js" for name in SCRIPTS} == {path.name for path in PAGE.glob("*.js")}
