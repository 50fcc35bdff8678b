"""The adversarial losses against their formulas, the penalty of a critic that is known."""

import math

import pytest
import torch
from torch import Tensor

from tests.objectives.factories import build, digits, parameters, settings, trainer
from tests.oracles import STANDARD_ERRORS, assert_mean, randn
from vaelab.models.model import Model
from vaelab.objectives.gan import discriminator_loss, generator_loss
from vaelab.runtime.random_streams import rng_stream

REAL, FAKE = randn(9), randn(9, seed=1)


def probability(logits: Tensor) -> Tensor:
    return 1 / (1 + (-logits.double()).exp())


@pytest.mark.parametrize(
    ("kind", "discriminator", "generator"),
    [
        (
            # Goodfellow et al. 2014: -ln D(x) - ln (1 - D(G(z))), and -ln D(G(z))
            "non_saturating",
            -probability(REAL).log() - (1 - probability(FAKE)).log(),
            -probability(FAKE).log(),
        ),
        ("least_squares", ((REAL - 1) ** 2 + FAKE**2) / 2, (FAKE - 1) ** 2 / 2),
        ("wasserstein", FAKE - REAL, -FAKE),
    ],
)
def test_losses_are_their_formulas(kind, discriminator, generator):
    torch.testing.assert_close(discriminator_loss(kind, REAL, FAKE), discriminator.float())
    torch.testing.assert_close(generator_loss(kind, FAKE), generator.float())


def test_at_even_odds_the_cross_entropies_are_ln_2():
    even = torch.zeros(1)
    assert discriminator_loss("non_saturating", even, even).item() == pytest.approx(2 * math.log(2))
    assert generator_loss("non_saturating", even).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares"])
def test_both_losses_use_the_same_generated_images(kind):
    objective, model = build(settings("gan", {"loss": kind}))
    found = objective.losses(model, digits(6), rng_stream(0, "noise"))
    samples = model.decode(model.prior(6, rng_stream(0, "noise"))).mean
    real, fake = (model.discriminate(images).logits for images in (digits(6), samples))
    torch.testing.assert_close(found["generator"].loss, generator_loss(kind, fake))
    torch.testing.assert_close(found["discriminator"].loss, discriminator_loss(kind, real, fake))


def linear_critic(norm: float, penalty: float) -> tuple[Tensor, Tensor, Model]:
    """A critic w x + b with |w| = norm: its loss, what the loss has without penalty, the model."""
    own: dict[str, object] = {"loss": "wasserstein", "gradient_penalty": penalty}
    objective, model = build(settings("gan", own, model={"hidden": []}))
    (weight, _) = parameters(model, ("discriminator",))
    with torch.no_grad():
        weight.mul_(norm / weight.norm())
    output = objective.losses(model, digits(6), rng_stream(0, "noise"))["discriminator"]
    return output.loss, output.terms["fake_logit"] - output.terms["real_logit"], model


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_that_of_its_slope(norm):
    loss, plain, model = linear_critic(norm, penalty=10.0)
    # (|w| - 1)^2 everywhere
    expected = 10 * (norm - 1) ** 2
    torch.testing.assert_close(loss - plain, torch.full((6,), expected), rtol=1e-4, atol=1e-4)
    (weight, _) = parameters(model, ("discriminator",))
    (slope,) = torch.autograd.grad((loss - plain).mean(), weight)
    # 20 (|w| - 1) w / |w|: the critic learns from it
    torch.testing.assert_close(
        slope, 20 * (norm - 1) * weight.detach() / norm, rtol=1e-3, atol=1e-4
    )


def test_the_penalty_is_taken_between_real_and_generated_images():
    """A critic of slope 2 where pixels' sum is large, 0 where it is small."""
    own: dict[str, object] = {"loss": "wasserstein", "gradient_penalty": 1.0}
    objective, model = build(settings("gan", own, model={"hidden": [], "gaussian_mean": "linear"}))
    seen: list[Tensor] = []
    discriminator = model.networks["discriminator"]
    discriminator.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].detach())
    )
    objective.losses(model, digits(50), rng_stream(0, "noise"))
    real, samples, between = seen
    # x_hat = s x + (1 - s) G(z), with one s an image between 0 and 1
    shares = ((between - samples) / (real - samples)).flatten(1)
    clear = (real - samples).flatten(1).abs() > 0.2
    middle = torch.stack([row[mask].median() for row, mask in zip(shares, clear, strict=True)])
    assert ((middle > 0) & (middle < 1)).all()
    spread = ((shares - middle[:, None]).abs() * clear).max()
    assert spread < 1e-4
    # Uniform: mean 1/2, variance 1/12
    assert_mean(middle, 0.5)
    assert abs(middle.var().item() - 1 / 12) < 6 * math.sqrt(1 / 180 / 50)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_generator_moves_once_in_so_many_steps(steps):
    objective, model = build(settings("gan", {"discriminator_steps": steps}))
    noise, active = rng_stream(0, "noise"), []
    for _ in range(600):
        found = objective.losses(model, digits(1), noise)
        assert found["discriminator"].update_mask is None
        assert found["generator"].update_mask is not None
        active.append(found["generator"].update_mask)
    values = torch.stack(active)
    assert set(values.tolist()) == ({1.0} if steps == 1 else {0.0, 1.0})
    assert_mean(values, 1 / steps)


def test_a_generator_that_waits_keeps_its_weights():
    loop = trainer(settings("gan", {"discriminator_steps": 10**9}))
    generator = [p.clone() for p in parameters(loop.model, ("decoder",))]
    discriminator = [p.clone() for p in parameters(loop.model, ("discriminator",))]
    loop.fit(show_progress=False)
    after = parameters(loop.model, ("decoder",))
    assert all(torch.equal(a, b) for a, b in zip(generator, after, strict=True))
    after = parameters(loop.model, ("discriminator",))
    assert not any(torch.equal(a, b) for a, b in zip(discriminator, after, strict=True))


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "wasserstein"])
def test_a_discriminator_learns_to_distinguish_digits_from_generated_images(kind):
    objective, model = build(settings("gan", {"loss": kind}))
    owned = parameters(model, ("discriminator",))
    optimizer = torch.optim.Adam(owned, 1e-2)
    for step in range(60):
        found = objective.losses(model, digits(100), rng_stream(step, "noise"))["discriminator"]
        for parameter, slope in zip(
            owned, torch.autograd.grad(found.loss.mean(), owned), strict=True
        ):
            parameter.grad = slope
        optimizer.step()
    measured = objective.validate_batch(model.eval(), digits(300)[100:], rng_stream(99, "noise"))
    real, fake = measured["real_logit"], measured["fake_logit"]
    middle = torch.cat([real, fake]).median()
    right = torch.cat([real > middle, fake <= middle]).double()
    # Who guesses is this far from a half twice in 1e9 tries.
    assert right.mean() > 0.5 + STANDARD_ERRORS * 0.5 / math.sqrt(len(right))
