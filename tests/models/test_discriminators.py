"""Discriminators: features and logit, and norms that stay bounded."""

import pytest
import torch
from torch import Tensor, nn

from tests.objectives.factories import settings, trainer
from tests.oracles import rand
from vaelab.config import ModelSettings, network_names
from vaelab.models.discriminators import Discriminator
from vaelab.models.model import build_model

FAMILIES = network_names()


@pytest.mark.parametrize("network", FAMILIES)
@pytest.mark.parametrize("spectral_norm", [True, False])
def test_the_logit_is_a_linear_function_of_the_features(network, spectral_norm):
    chosen = ModelSettings.model_validate(
        {
            "network": network,
            "hidden": [9],
            "channels": [3, 4],
            "spectral_norm": spectral_norm,
        }
    )
    model = build_model(chosen, (2, 8, 6), ["decoder", "discriminator"]).eval()
    images = rand(5, 2, 8, 6)
    found = model.discriminate(images)
    discriminator = model.networks["discriminator"]
    assert isinstance(discriminator, Discriminator)
    assert found.logits.isfinite().all()
    torch.testing.assert_close(found.features, discriminator.body(images))
    torch.testing.assert_close(found.logits, discriminator.head(found.features)[:, 0])
    assert found.features.shape[1] > 1
    assert isinstance(discriminator.head, nn.Linear)
    leading = model.discriminate(images.reshape(5, 1, 2, 8, 6))
    assert leading.logits.shape == (5, 1)
    torch.testing.assert_close(leading.features[:, 0], found.features)


def largest_singular_values(discriminator: nn.Module) -> Tensor:
    layers = [part for part in discriminator.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    return torch.stack(
        [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) for layer in layers]
    )


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_spectral_norms_stay_at_1_during_training(network):
    def after_training(spectral_norm: bool) -> Tensor:
        model = {"network": network, "channels": [4], "spectral_norm": spectral_norm}
        loop = trainer(settings("gan", model=model, epochs=25, learning_rate=0.02))
        loop.fit(show_progress=False)
        return largest_singular_values(loop.model.eval().networks["discriminator"])

    # The power iteration's estimate lags behind the weights by a step.
    bounded = after_training(True)
    torch.testing.assert_close(bounded, torch.ones_like(bounded), rtol=0, atol=0.05)
    assert after_training(False).max() > 1.5


@pytest.mark.parametrize(("side", "told_apart"), [(40, False), (28, True)])
@pytest.mark.parametrize("network", ["conv", "resnet"])
def test_a_pattern_of_two_pixels_is_an_even_area_in_large_images(network, side, told_apart):
    chosen = ModelSettings.model_validate({"network": network, "channels": [3, 4, 5]})
    model = build_model(chosen, (1, side, side), ["decoder", "discriminator"]).eval()
    signs = torch.tensor([1.0, -1.0]).repeat(side // 2)
    even = torch.full((1, 1, side, side), 0.5)
    layers = list(model.networks["discriminator"].modules())
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    # The map's border sees the edge of the image.
    maps = [first(images)[..., 3:-3, 3:-3] for images in (even, even + 0.2 * signs)]
    assert torch.allclose(maps[0], maps[1], atol=1e-5) != told_apart
