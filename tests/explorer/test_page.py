"""The page as a file: safe text, no connection, bounded size, and what it cannot run."""

import base64
import hashlib
import re

import numpy as np
import pytest
import torch
from torch import nn

from tests.explorer.factories import page_of, random_images, random_model
from tests.explorer.test_engine import data_of
from vaelab.explorer import ExplorerContent, ShownImages, build_page


def test_names_from_data_never_become_html() -> None:
    page = page_of(random_model())
    assert "<b>" not in page
    data = data_of(page)
    assert data["title"] == "VAE of </script><b>noise</b>"
    assert data["classes"] == ["<b>one</b>", "two & three"]


def test_the_policy_allows_its_own_script_and_style_and_no_connection() -> None:
    page = page_of(random_model())
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy.startswith("default-src 'none'; img-src data: blob:; ")
    for element in ("style", 'script type="module"'):
        (content,) = re.findall(rf"<{element}>(.*?)</{element.split()[0]}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_the_script_imports_and_exports_nothing() -> None:
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page_of(random_model()), re.S)
    assert not re.findall(r"^(?:import|export)\b", script, re.MULTILINE)
    declared = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", script, re.MULTILINE)
    assert len(declared) == len(set(declared)) > 40


def test_fewer_images_where_they_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaelab.explorer.MAX_SHEET_BYTES", 20_000)
    model = random_model((3, 20, 20))
    images = random_images((3, 20, 20), 100)
    posterior = np.zeros((100, 5), np.float32)
    test = ShownImages(images, posterior, posterior + 1, np.arange(100))
    data = data_of(page_of(model, test=test, class_names=tuple(map(str, range(100)))))
    count = len(base64.b64decode(data["labels"]))
    # Noise does not compress: 1,200 bytes an image
    assert 12 <= count <= 17
    assert len(data["images"]["address"]) < 4 / 3 * 20_000 + 100
    assert len(base64.b64decode(data["means"])) == count * 5 * 2


@pytest.mark.parametrize("latent_dim", [1, 2, 3])
def test_few_latent_dimensions(latent_dim: int) -> None:
    data = data_of(page_of(random_model(latent_dim=latent_dim)))
    assert (data["plane"] is None) == (latent_dim < 3)


def test_a_layer_that_the_script_does_not_have_is_named_and_pictured() -> None:
    model = random_model()
    model.networks["decoder"] = nn.Sequential(
        nn.Linear(5, 99), nn.Hardtanh(), nn.Unflatten(1, (1, 9, 11))
    )
    data = data_of(page_of(model))
    assert data["decoder"] is None
    assert data["reason"] == "its script has no layer Hardtanh."
    assert data["traversals"].startswith("data:image/png;base64,")


def test_a_model_that_is_too_large_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaelab.explorer.MAX_NUMBERS", 1000)
    data = data_of(page_of(random_model()))
    assert data["weights"] == ""
    assert re.match(r"the model has [\d,]+ weights, more than 1,000\.", data["reason"])


def test_draws_of_a_learned_prior_and_of_a_sampler_are_stored() -> None:
    sampled = torch.randn(10, 5).numpy()
    model = random_model(prior="flow")
    data = data_of(page_of(model, sampler_draws=sampled, sampler_title="flow matching"))
    stored = np.frombuffer(base64.b64decode(data["samplerDraws"]), "<f2").reshape(-1, 5)
    np.testing.assert_allclose(stored, sampled, rtol=2e-3, atol=1e-4)
    assert len(base64.b64decode(data["priorDraws"])) == 400 * 5 * 2
    assert data_of(page_of(random_model()))["priorDraws"] is None


def test_the_default_model_of_28x28_pixels_takes_less_than_a_megabyte() -> None:
    model = random_model((1, 28, 28), latent_dim=20)
    dimensions = [{"mean": 0.0, "stddev": 1.0, "kl": 1.0, "active": True}] * 20
    page = build_page(model, ExplorerContent("VAE", "", dimensions))
    assert len(page) < 1_000_000


def test_walks_are_offered_between_classes_and_attributes() -> None:
    model = random_model()
    images, means = random_images((1, 9, 11), 6), np.arange(30, dtype=np.float32).reshape(6, 5)
    attributes = {
        "hat": np.array([True, True, False, False, False, False]),
        "tie": np.ones(6, bool),
    }
    test = ShownImages(images, means, means + 1, np.array([0, 0, 0, 2, 2, 2]), attributes)
    data = data_of(page_of(model, test=test, class_names=("a", "b", "c")))
    assert data["groups"] == [
        "the mean of a",
        "the mean of c",
        "the mean with hat",
        "the mean without hat",
        "the mean with tie",
    ]
    stored = np.frombuffer(base64.b64decode(data["groupMeans"]), "<f4").reshape(-1, 5)
    np.testing.assert_allclose(stored[[0, 2]], [means[:3].mean(0), means[:2].mean(0)])
