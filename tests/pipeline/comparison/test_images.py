"""Images of untrained models beside real ones."""

import numpy as np
import pytest
import torch

from pipeline.comparison import images
from pipeline.comparison.variants import ComparisonConfig, ComparisonSettings
from vaelab.config import EvaluateSettings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation.classifier import build_classifier
from vaelab.models.model import Model
from vaelab.models.priors.codebook import Codebook
from vaelab.samplers import Sampler
from vaelab.training.build import build

SETTINGS = EvaluateSettings(samples=40, batch_size=16)
SHAPE = (1, 8, 8)
CPU = torch.device("cpu")


def loader(seed: int) -> ImageLoader:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (60, *SHAPE), np.uint8)
    return ImageLoader(pixels, CPU, labels=random.integers(0, 3, 60), classes=3)


def model(objective: str) -> Model:
    network = {"network": "mlp", "hidden": [8], "latent_dim": 2}
    settings = parse_settings({"model": network, "train": {"objective": objective}})
    return build(settings, SHAPE)[1].eval()


def real_images() -> images.RealImages:
    return images.RealImages.load(loader(0), loader(1), build_classifier(SHAPE, 3), SETTINGS)


def test_real_images_are_random_ones_of_the_test_split_with_their_labels() -> None:
    real, test = real_images(), loader(1)
    labels = test.labels_at(torch.arange(60))
    assert real.labels is not None
    assert labels is not None
    assert real.images.shape == (40, *SHAPE)
    every = test.gather(torch.arange(60), torch.Generator())
    rows = [int((every == image).flatten(1).all(1).nonzero().item()) for image in real.images]
    assert len(set(rows)) == 40
    assert rows != sorted(rows)
    assert torch.equal(real.labels, labels[rows])


def test_real_images_compared_with_themselves_differ_in_nothing() -> None:
    real = real_images()
    same = real.compare(torch.split(real.images, 16))
    assert same["classifier_frechet_distance"] == pytest.approx(0, abs=1e-4)
    assert same["sharpness_ratio"] == pytest.approx(1)
    assert same["classifier_precision"] == same["classifier_recall"] == 1
    # Other images of the same distribution are not the same images.
    assert real.floor["classifier_frechet_distance"] > same["classifier_frechet_distance"]


def test_samples_are_those_of_the_prior_or_of_the_sampler() -> None:
    vae = model("vae")
    samplers = fitted(vae)
    assert set(samplers) == {"gaussian"}
    prior, again, other = (
        torch.cat(list(images.samples(vae, sampler, 40, SETTINGS, lambda means: means)))
        for sampler in (None, None, samplers["gaussian"])
    )
    assert prior.shape == (40, *SHAPE)
    assert torch.equal(prior, again)
    assert not torch.allclose(prior, other)


def test_samples_of_a_codebooks_sampler_are_codes() -> None:
    vq_vae = model("vq_vae")
    decoded: list[torch.Tensor] = []
    decoder, prior = vq_vae.networks["decoder"], vq_vae.networks["prior"]
    assert isinstance(prior, Codebook)
    decoder.register_forward_hook(lambda _, inputs, __: decoded.append(inputs[0]))
    list(images.samples(vq_vae, fitted(vq_vae)["gaussian"], 40, SETTINGS, lambda means: means))
    latents = torch.cat(decoded)
    assert len(latents) == 40
    assert torch.equal(prior.quantize(latents), latents)


def test_a_model_without_encoder_gets_no_samplers() -> None:
    assert fitted(model("gan")) == {}


def test_reconstructions_are_of_the_real_images_in_their_order() -> None:
    vae, real = model("vae"), real_images()
    found = torch.cat(list(images.reconstructions(vae, real, SETTINGS, lambda means: means)))
    with torch.inference_mode():
        expected = vae.decode(vae.encode(real.images).mean).mean
    torch.testing.assert_close(found, expected.clamp(0, 1))


def fitted(of: Model) -> dict[str, Sampler]:
    config = ComparisonConfig(
        parse_settings({}), ComparisonSettings(variants={"vae": {}}, samplers=("gaussian",))
    )
    return images.fit_samplers(config, of, loader(0), 0)
