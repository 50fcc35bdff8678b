"""The VAE-GAN: whose loss holds what, as Larsen et al. 2016 have it, and who waits when."""

import copy
import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.objectives.factories import build, digits, parameters, settings, trainer
from tests.oracles import gaussian_posterior, log_normal, randn
from vaelab.models.model import Model
from vaelab.objectives import LossOutput
from vaelab.objectives.gan import GanLoss, discriminator_loss, generator_loss
from vaelab.objectives.vae_gan import VaeGan, explained_share, gaussian_loss
from vaelab.runtime.random_streams import rng_stream

KIND: GanLoss = "non_saturating"
WEIGHT, SHARE = 0.02, 0.3


def pieces(model: Model, count: int = 6) -> dict[str, Tensor]:
    """Everything that the losses are made of, one at a time."""
    noise = rng_stream(0, "noise")
    posterior = gaussian_posterior(model, digits(count))
    reconstructions = model.decode(posterior.rsample(noise)).mean
    samples = model.decode(model.prior(count, noise)).mean
    real, reconstructed, fake = (
        model.discriminate(x) for x in (digits(count), reconstructions, samples)
    )
    return {
        "kl": posterior.kl(),
        "real": real.logits,
        "reconstructed": reconstructed.logits,
        "fake": fake.logits,
        "pixel": gaussian_loss(digits(count).flatten(1), reconstructions.flatten(1)),
        "feature": gaussian_loss(real.features, reconstructed.features),
        "explained": explained_share(digits(count), reconstructions),
    }


def losses(model: Model, pixel_share: float = SHARE, **train: Any) -> dict[str, LossOutput]:
    own = {"feature_weight": WEIGHT, "pixel_share": pixel_share}
    objective, _ = build(settings("vae_gan", own, **train))
    return objective.losses(model, digits(6), rng_stream(0, "noise"))


def reconstruction(parts: dict[str, Tensor]) -> Tensor:
    """The two parts of the reconstruction loss, with their shares."""
    return SHARE * parts["pixel"] + (1 - SHARE) * parts["explained"] * parts["feature"]


def slopes(loss: Tensor, model: Model, network: str) -> list[Tensor]:
    owned = parameters(model, (network,))
    return list(torch.autograd.grad(loss.mean(), owned, retain_graph=True, materialize_grads=True))


@cache
def trained() -> Model:
    training = trainer(
        settings("vae_gan", {"feature_weight": 0.3}, epochs=30, learning_rate=0.01), images=300
    )
    training.fit(show_progress=False)
    return training.model


def build_vae_gan() -> Model:
    """A model whose reconstructions explain some of the images, in training mode."""
    return copy.deepcopy(trained()).train()


def test_a_reconstruction_loss_is_a_gaussians_at_its_best_variance():
    real, reconstructed = randn(5, 7), randn(5, 7, seed=1)
    variance = (real - reconstructed).square().mean()
    expected = -log_normal(real, reconstructed, variance.sqrt())
    torch.testing.assert_close(gaussian_loss(real, reconstructed), expected)
    # d/ds^2 is 0 at the best one: to take it for a constant changes no gradient.
    reconstructed.requires_grad_()
    (found,) = torch.autograd.grad(gaussian_loss(real, reconstructed).mean(), reconstructed)
    through = (5 * 7 / 2) * (real - reconstructed).square().mean().log() / 5
    (expected_slope,) = torch.autograd.grad(through, reconstructed)
    torch.testing.assert_close(found, expected_slope)


def test_the_encoder_pays_for_kl_pixels_and_features_alone():
    model = build_vae_gan()
    parts, found = pieces(model), losses(model, kl_weight=3.0)["encoder"]
    assert 0.1 < parts["explained"] < 0.9
    torch.testing.assert_close(found.loss, 3.0 * parts["kl"] + reconstruction(parts))
    # Another weight vector for the same features changes nothing.
    before = slopes(found.loss, model, "encoder")
    (head,) = (part for name, part in model.named_modules() if name.endswith(".head"))
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.add_(randn(*head.weight.shape))
    after = losses(model, kl_weight=3.0)["encoder"].loss
    assert torch.equal(after, found.loss)
    torch.testing.assert_close(slopes(after, model, "encoder"), before)


def test_the_decoder_minimizes_features_and_the_adversarial_loss():
    model = build_vae_gan()
    parts, found = pieces(model), losses(model)["decoder"]
    both = [generator_loss(KIND, parts[name]) for name in ("reconstructed", "fake")]
    adversarial = parts["explained"] * (both[0] + both[1]) / 2
    torch.testing.assert_close(found.loss, WEIGHT * reconstruction(parts) + adversarial)
    no_kl = torch.autograd.grad(
        parts["kl"].sum(), parameters(model, ("decoder",)), allow_unused=True
    )
    assert all(slope is None for slope in no_kl)


def test_the_discriminator_minimizes_the_adversarial_loss_only():
    """The features would shrink to nothing if it could make them agree."""
    model = build_vae_gan()
    parts, found = pieces(model), losses(model)["discriminator"]
    both = [
        discriminator_loss(KIND, parts["real"], parts[name]) for name in ("reconstructed", "fake")
    ]
    expected = (both[0] + both[1]) / 2
    torch.testing.assert_close(found.loss, expected)
    mine, theirs = (slopes(loss, model, "discriminator") for loss in (found.loss, expected))
    torch.testing.assert_close(mine, theirs)
    # With the feature loss it would be another gradient.
    other = slopes(found.loss + WEIGHT * parts["feature"], model, "discriminator")
    assert any(not torch.allclose(a, b) for a, b in zip(mine[:2], other[:2], strict=True))


def test_the_discriminator_weighs_as_much_as_reconstructions_explain():
    images = digits(6)
    center = images.mean(0)
    assert explained_share(images, images) == 1
    assert explained_share(images, center.expand_as(images)) == 0
    assert explained_share(images, 1 - images) == 0
    # Half of the way from the mean image: a quarter of the squared error is left.
    half = (images + center) / 2
    torch.testing.assert_close(explained_share(images, half), torch.tensor(0.75))
    assert explained_share(digits(1), digits(1)).isfinite()


def test_a_decoder_that_ignores_its_latent_is_trained_as_that_of_a_vae():
    """The discriminator's gradients are the same for all images, and would keep it so."""
    model = build_vae_gan()
    model.output_offset.copy_(digits(6).mean(0).clamp(0.01, 0.99).logit())
    with torch.no_grad():
        for parameter in parameters(model, ("decoder",)):
            parameter.zero_()
    parts, found = pieces(model), losses(model)
    assert parts["explained"] < 1e-3
    expected = {
        "encoder": parts["kl"] + SHARE * parts["pixel"],
        "decoder": WEIGHT * SHARE * parts["pixel"],
    }
    for name, loss in expected.items():
        torch.testing.assert_close(found[name].loss, loss, rtol=1e-2, atol=1e-2)


def test_without_pixels_it_is_the_algorithm_of_the_paper():
    model = build_vae_gan()
    parts, found = pieces(model), losses(model, pixel_share=0.0)
    torch.testing.assert_close(found["encoder"].loss, parts["kl"] + parts["feature"])
    both = [generator_loss(KIND, parts[name]) for name in ("reconstructed", "fake")]
    expected = WEIGHT * parts["feature"] + (both[0] + both[1]) / 2
    torch.testing.assert_close(found["decoder"].loss, expected)


def at_errors(real: float, fake: float) -> tuple[Tensor, Tensor]:
    """Logits of these mean cross-entropies: softplus(-real), softplus(fake)."""
    inverse = [math.log(math.expm1(error)) for error in (real, fake)]
    return torch.full((4,), -inverse[0]), torch.full((4,), inverse[1])


@pytest.mark.parametrize(
    ("real", "fake", "decoder", "discriminator"),
    [
        # equilibrium 0.68, margin 0.35: it is one-sided below 0.33 and above 1.03
        (0.7, 0.7, 1, 1),
        (0.3, 0.7, 1, 0),
        (0.7, 0.3, 1, 0),
        (0.2, 0.2, 1, 0),
        (1.1, 0.7, 0, 1),
        (0.7, 1.1, 0, 1),
        (1.2, 1.2, 0, 1),
        # Both would wait: then both move.
        (0.3, 1.1, 1, 1),
        (1.1, 0.3, 1, 1),
        (0.34, 1.02, 1, 1),
    ],
)
def test_who_waits(real, fake, decoder, discriminator):
    update_decoder, update_discriminator = VaeGan()._balance(*at_errors(real, fake))
    assert (update_decoder.item(), update_discriminator.item()) == (decoder, discriminator)


def test_each_update_mask_belongs_to_one_optimizer():
    model = build_vae_gan()
    with torch.no_grad():
        # So sure of real images that the error on them is nothing
        parameters(model, ("discriminator",))[-1].add_(20)
    found = losses(model)
    assert found["encoder"].update_mask is None
    # Real: sure. Fake: wrong. Neither would move, so both do.
    assert found["decoder"].update_mask == 1
    assert found["discriminator"].update_mask == 1
    objective = VaeGan(equilibrium=5.0, margin=0.0)
    waiting = objective.losses(build_vae_gan(), digits(6), rng_stream(0, "noise"))
    assert waiting["decoder"].update_mask == 1
    assert waiting["discriminator"].update_mask == 0
