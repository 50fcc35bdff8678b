"""Samplers as files, and what is fitted for the settings and images at hand."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.samplers.factories import SMALL, fitted, generator, two_clusters
from vaelab.config import ArtifactError, SamplerSettings, UserError
from vaelab.samplers import (
    Posteriors,
    Sampler,
    SamplerDescription,
    build_sampler,
    conditional_sampler,
    fit_sampler,
    load_sampler,
    sampler_class,
    save_sampler,
)

CPU = torch.device("cpu")
OWN = {"flow_matching": SMALL | {"steps": 5}, "mixture": {"components": 2}, "gaussian": {}}


def saved(folder: Path, name: str = "flow_matching") -> Sampler:
    sampler = fitted(two_clusters(300), name, **OWN[name])
    description = SamplerDescription(
        name=name, model_sha256="abc", latent_dim=1, classes=2, settings=OWN[name]
    )
    save_sampler(folder, sampler, description)
    return sampler


@pytest.mark.parametrize("name", OWN)
def test_a_saved_sampler_is_the_same(tmp_path: Path, name: str) -> None:
    sampler = saved(tmp_path, name)
    loaded = load_sampler(tmp_path, CPU, "abc")
    assert loaded is not None
    assert type(loaded) is sampler_class(name)
    assert loaded.name == name
    assert not loaded.training
    samples = sampler.sample(5, generator())
    assert torch.equal(loaded.sample(5, generator()), samples)
    assert torch.equal(loaded.log_prob(samples), sampler.log_prob(samples))


def test_the_prior_has_no_weights(tmp_path: Path) -> None:
    saved(tmp_path)
    save_sampler(tmp_path, None, SamplerDescription(name="prior", model_sha256="abc"))
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert load_sampler(tmp_path, CPU, "abc") is None


def test_a_sampler_of_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    message = "no loadable sampler .it was fitted to the latents of another model"
    with pytest.raises(ArtifactError, match=message):
        load_sampler(tmp_path, CPU, "abd")


@pytest.mark.parametrize("file", ["config.json", "weights.safetensors"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, file: str) -> None:
    saved(tmp_path)
    (tmp_path / file).write_bytes(b"{")
    with pytest.raises(ArtifactError, match="no loadable sampler"):
        load_sampler(tmp_path, CPU, "abc")
    (tmp_path / file).unlink()
    with pytest.raises(ArtifactError, match="no loadable sampler"):
        load_sampler(tmp_path, CPU, "abc")


@pytest.mark.parametrize(
    "changes",
    [{"name": "no_such"}, {"latent_dim": 2}, {"classes": 5}, {"settings": {"width": 0}}, {"x": 1}],
)
def test_a_description_that_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    saved(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtifactError, match="no loadable sampler"):
        load_sampler(tmp_path, CPU, "abc")


def test_too_few_images_get_a_gaussian() -> None:
    means = torch.randn(199, 3, generator=generator())
    said: list[object] = []
    result = fit_sampler(
        SamplerSettings(), OWN, Posteriors(means, torch.ones_like(means)), log=said.append
    )
    assert (result.name, result.sampler.name, result.settings) == ("gaussian", "gaussian", {})
    assert said == [
        "sampler.name: flow_matching needs 200 training images with 3 latent dimensions, "
        "there are 199: a Gaussian is fitted instead"
    ]


def test_enough_images_get_the_sampler_that_is_named() -> None:
    result = fit_sampler(SamplerSettings(), OWN, two_clusters(200))
    assert result.name == "flow_matching"
    assert result.settings["steps"] == 5
    assert result.settings["guidance"] == 1.3
    assert result.facts["steps"] == 5
    assert math.isfinite(result.facts["held_out_loss"])


def test_a_conditional_model_gets_a_conditional_sampler() -> None:
    said: list[object] = []
    assert conditional_sampler("flow_matching", 200, 3, said.append) == "flow_matching"
    assert conditional_sampler("prior", 1, 3, said.append) == "prior"
    assert said == []
    assert conditional_sampler("flow_matching", 199, 3, said.append) == "prior"
    assert said == [
        "sampler.name: flow_matching needs 200 training images with 3 latent dimensions, "
        "there are 199: the prior is used instead"
    ]
    for name in ("gaussian", "mixture"):
        message = (
            f"sampler.name: {name} cannot be conditioned on labels, as a model with "
            r"model\.conditional: labels needs; valid: prior, flow_matching"
        )
        with pytest.raises(UserError, match=message):
            conditional_sampler(name, 1_000, 3)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("flow_matching", {"widht": 3}, r"samplers\.flow_matching\.widht"),
        ("flow_matching", {"guidance": -1}, r"samplers\.flow_matching\.guidance"),
        ("mixture", {"components": 0}, r"samplers\.mixture\.components"),
        ("gaussian", {"components": 2}, r"samplers\.gaussian\.components"),
    ],
)
def test_own_settings_are_checked(name: str, own: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sampler(name, own, 2)
