"""PSNR and SSIM of the test split, image by image and on average."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.factories import (
    CPU,
    PIXELS,
    TEST,
    TRAIN,
    digit_images,
    evaluate_model,
    make_data,
    make_model,
    metric,
)
from tests.evaluation.test_models import make_objective_model
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators.image_quality import psnr_db, ssim
from vaelab.evaluation.reconstructions import OF_MEAN_IMAGE, score_reconstructions
from vaelab.inference.decoding import reconstructions
from vaelab.models.model import build_model


def test_they_are_of_the_posterior_means_reconstruction() -> None:
    model, images = make_model(), digit_images()
    found = evaluate_model(model, batch_size=50)
    decoded = reconstructions(model, images)
    expected = psnr_db(images, decoded).double(), ssim(images, decoded).double()
    for name, values in zip(("psnr", "ssim"), expected, strict=True):
        unit = "_db" if name == "psnr" else ""
        assert metric(found, f"test.{name}{unit}") == pytest.approx(values.mean().item(), abs=1e-5)
        error = values.std().item() / len(values) ** 0.5
        assert metric(found, f"test.{name}_standard_error{unit}") == pytest.approx(error, rel=1e-4)
        array = found.arrays[f"reconstruction_{name}{unit}"]
        np.testing.assert_allclose(array, values.numpy(), atol=1e-4)
    squared = found.arrays["reconstruction_mean_squared_error"]
    np.testing.assert_allclose(-10 * np.log10(squared), expected[0].numpy(), atol=1e-4)


def test_a_decoder_that_ignores_its_latent_is_as_good_as_the_mean_image() -> None:
    model = make_model(likelihood="bernoulli")
    mean = torch.from_numpy(PIXELS[TRAIN].mean(0) / 255).float()
    model.initialize_from(mean, digit_images(), None)
    with torch.no_grad():
        for name, weights in model.networks["decoder"].named_parameters():
            if name.endswith("weight"):
                weights.zero_()
    found = evaluate_model(model)
    assert metric(found, "test.psnr_db") == pytest.approx(
        metric(found, "test.psnr_db_mean_image"), abs=0.2
    )


@pytest.mark.parametrize("name", ["autoencoder", "vq_vae", "vae_gan", "wae"])
def test_models_of_every_kind_that_have_an_encoder_have_both(name: str) -> None:
    found = evaluate_model(make_objective_model(name))
    assert 0 < metric(found, "test.psnr_db") < 60
    assert -1 <= metric(found, "test.ssim") <= 1


def test_a_model_without_an_encoder_has_neither() -> None:
    found = evaluate_model(make_objective_model("gan"))
    assert "test" not in found.metrics
    assert not any(name.startswith("reconstruction") for name in found.arrays)


def test_missing_pixels_are_left_out_and_leave_no_ssim() -> None:
    missing = np.zeros_like(PIXELS[TEST], bool)
    missing[5:, :, :3] = True
    gaps = ImageLoader(PIXELS[TEST], CPU, missing=missing)
    settings = EvaluateSettings(batch_size=5)
    model = make_model().seeing_gaps()
    found = score_reconstructions(model, replace(make_data(), test=gaps), settings, CPU)
    assert set(found) == {"mean_squared_error", "psnr_db", OF_MEAN_IMAGE}
    squared = found["mean_squared_error"].numpy()
    np.testing.assert_allclose(-10 * np.log10(squared), found["psnr_db"].numpy(), atol=1e-3)


def test_one_image_has_no_standard_error_and_tiny_images_no_ssim() -> None:
    one = make_data(test=slice(TEST.start, TEST.start + 1))
    found = evaluate_model(make_model(), one).metrics["test"]
    assert {"psnr_db", "ssim"} <= set(found)
    assert not {"psnr_standard_error_db", "ssim_standard_error"} & set(found)
    settings = ModelSettings(network="mlp", hidden=(8,), latent_dim=3, gaussian_variance=0.05)
    tiny = build_model(settings, (1, 2, 8), seed=1).eval()
    train, test = (ImageLoader(PIXELS[rows, :, :2], CPU) for rows in (TRAIN, TEST))
    found = evaluate_model(tiny, replace(make_data(), train=train, test=test)).metrics["test"]
    assert "psnr_db" in found
    assert "ssim" not in found
