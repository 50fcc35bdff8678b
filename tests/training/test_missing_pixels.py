"""Training on images with missing pixels: losses of the observed ones, whatever the others are."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vaelab
from tests.objectives.factories import CPU, PIXELS, SHAPE, settings
from tests.oracles import rand
from vaelab.config import NEED_WHOLE_IMAGES, objective_names
from vaelab.data.loader import ImageLoader
from vaelab.models.observation import mean_squared_error
from vaelab.objectives import objective_class
from vaelab.objectives.iwae import Iwae, negative_iwae_bound
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.build import build_trainer
from vaelab.training.trainer import Trainer

BYTES = (PIXELS * 255 / 16).round().astype(np.uint8)
COUNT = 200
MISSING = (rand(COUNT, *SHAPE) < 0.5).numpy()
IMAGES = torch.from_numpy(BYTES[:COUNT]).float() / 255
FITTING = [name for name in objective_names() if objective_class(name).can_miss_pixels]


def loader(missing: np.ndarray | None = MISSING, other: int = 0, **more: Any) -> ImageLoader:
    """The images; missing pixels are stored with an arbitrary value."""
    pixels = BYTES[:COUNT].copy()
    if missing is not None:
        pixels[missing] = other
    return ImageLoader(pixels, CPU, missing=missing, **more)


def trainer(name: str, missing: np.ndarray | None = MISSING, other: int = 0) -> Trainer:
    model = {"hidden": [32], "latent_dim": 3, "gaussian_variance": "fitted"}
    data = loader(missing, other)
    built = build_trainer(settings(name, model=model, epochs=3), data, data, CPU)
    built.fit(show_progress=False)
    return built


@pytest.mark.parametrize("fits", [True, False], ids=["on the device", "from the array"])
def test_the_loader_returns_nan_for_missing_pixels(fits, monkeypatch):
    monkeypatch.setattr("vaelab.data.loader._fits", lambda *_: fits)
    data, noise = loader(), rng_stream(0, "test")
    expected = IMAGES.masked_fill(torch.from_numpy(MISSING), torch.nan)
    rows = torch.tensor([5, 3, 77])
    found = torch.cat([batch.images for batch in data.sequential(60, noise)])
    torch.testing.assert_close(found, expected, equal_nan=True)
    torch.testing.assert_close(data.gather(rows, noise), expected[rows], equal_nan=True)
    shuffled = [batch.images for batch in data.shuffled(50, rng_stream(0, "order"), noise)]
    order = data.permutation(rng_stream(0, "order"))
    torch.testing.assert_close(torch.cat(shuffled), expected[order], equal_nan=True)
    noisy = loader(binarize=True).gather(rows, noise)
    assert torch.equal(noisy.isnan(), expected[rows].isnan())


def test_the_mean_image_is_that_of_observed_pixels():
    hidden = IMAGES.masked_fill(torch.from_numpy(MISSING), torch.nan)
    torch.testing.assert_close(loader().mean_image(), hidden.nanmean(0))


@pytest.mark.parametrize("name", FITTING)
def test_what_is_missing_does_not_matter(name):
    dark, light = trainer(name, other=0), trainer(name, other=255)
    for one, other in zip(dark.model.parameters(), light.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert dark.progress.history == light.progress.history


def test_nothing_missing_is_training_as_ever():
    ever, never = trainer("vae", None), trainer("vae", np.zeros_like(MISSING))
    for one, other in zip(ever.model.parameters(), never.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FITTING)
def test_the_loss_of_images_that_are_whole_is_the_ordinary_one(name):
    """In a model that may see gaps: to rounding, as the terms are summed in another order."""
    built = trainer(name, missing=None)
    objective, ever = built.scheduled_objective, built.model.eval()
    with torch.no_grad():
        found, expected = (
            objective.losses(model, IMAGES, rng_stream(0, "noise"))
            for model in (ever.seeing_gaps(), ever)
        )
    for optimizer, output in expected.items():
        torch.testing.assert_close(found[optimizer].loss, output.loss, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["vae", "iwae"])
def test_the_gradient_of_pixels_that_are_hidden_is_zero(name):
    """Each of them changes the loss where it is observed, and not where it is missing."""
    built = trainer(name)
    objective, model = built.scheduled_objective, built.model.eval()
    hidden = torch.from_numpy(MISSING)
    pixels = IMAGES.clone().requires_grad_()
    seen = pixels.masked_fill(hidden, torch.nan)
    (output,) = objective.losses(model, seen, rng_stream(0, "noise")).values()
    (gradient,) = torch.autograd.grad(output.loss.sum(), pixels)
    assert not gradient[hidden].any()
    assert (gradient[~hidden] != 0).float().mean() > 0.9


def test_the_bound_is_that_of_the_observed_pixels():
    """The MIWAE's equation 5, term by term."""
    built = trainer("iwae")
    model, samples = built.model.eval(), Iwae().importance_samples
    hidden = IMAGES.masked_fill(torch.from_numpy(MISSING), torch.nan)[:20]
    observed = torch.from_numpy(~MISSING)[:20]
    with torch.no_grad():
        losses = built.objective.losses(model, hidden, rng_stream(0, "noise"))["iwae"].loss
        plain = model.seeing_gaps(False)
        posterior = plain.encode(torch.where(observed, IMAGES[:20], 0))
        latents = posterior.rsample(rng_stream(0, "noise"), samples)
        pixels: Tensor = plain.decode(latents).pixel_log_prob(IMAGES[:20]) * observed
        prior, density = plain.log_prior(latents), posterior.log_prob(latents)
        weights = pixels.sum((-3, -2, -1)).double() + prior.double() - density.double()
        torch.testing.assert_close(losses, negative_iwae_bound(weights).float())


def test_the_fitted_variance_is_that_of_observed_pixels():
    built = trainer("vae")
    model, hidden = built.model, IMAGES.masked_fill(torch.from_numpy(MISSING), torch.nan)
    with torch.no_grad():
        model.fit_likelihood([(hidden, None)], rng_stream(0, "fit"))
        means = model.decode(model.encode(hidden).rsample(rng_stream(0, "fit"))).mean
    expected = (means - hidden).square().nanmean()
    torch.testing.assert_close(model.likelihood.variance, expected)


def test_the_mean_squared_error_is_that_of_observed_pixels():
    hidden = IMAGES.masked_fill(torch.from_numpy(MISSING), torch.nan)
    hidden[0] = torch.nan  # an image of which nothing is seen
    means = rand(*IMAGES.shape)
    found = mean_squared_error(means, hidden)
    expected = (means - hidden).square().flatten(1).nanmean(1)
    torch.testing.assert_close(found[1:], expected[1:])
    assert found[0] == 0
    means[1, 0, 0, 0] = torch.nan
    assert mean_squared_error(means, IMAGES)[1].isnan(), "a model that diverged is not hidden"


def test_the_settings_refuse_the_objectives_that_need_whole_images():
    assert sorted({*objective_names()} - {*FITTING}) == sorted(NEED_WHOLE_IMAGES)


@pytest.mark.parametrize("name", NEED_WHOLE_IMAGES)
def test_other_objectives_are_refused(name):
    data = loader()
    message = f"train.objective: {name} needs images without missing pixels .NaN.; with them, use "
    with pytest.raises(vaelab.UserError, match=message):
        build_trainer(settings(name), data, data, CPU)


def test_arrays_with_nan_are_trained_on():
    hidden = (PIXELS[:COUNT, 0] / 16).astype(np.float64)
    hidden[MISSING[:, 0]] = np.nan
    more: dict[str, Any] = {"network": "mlp", "latent_dim": 2, "epochs": 2, "progress": False}
    model = vaelab.train(hidden, objective="iwae", **more)
    assert all(np.isfinite(epoch["validation.loss"]) for epoch in model.history)
    restored = model.restore(hidden[:3], draws=2, importance_samples=50)
    assert np.isfinite(restored.mean).all()
    with pytest.raises(vaelab.UserError, match="pixels are not all finite"):
        model.score(hidden[:3])
    with pytest.raises(vaelab.UserError, match="gan needs images without missing pixels"):
        vaelab.train(hidden, objective="gan", **more)
