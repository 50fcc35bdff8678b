"""What all objectives share, and the VAE's own settings."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tests.oracles import (
    layer,
    linear_model,
)
from vaelab.config import ModelSettings, TrainSettings
from vaelab.distributions import DiagonalGaussian
from vaelab.models import Model, build_model
from vaelab.objectives import Objective, build_objective
from vaelab.objectives.vae import Vae
from vaelab.randomness import stream

OBJECTIVES = ["vae"]
SHAPE = (1, 8, 8)


def digits(count: int) -> Tensor:
    return torch.from_numpy(load_digits().images[:count, None] / 16).float()


def build(name: str, **settings: object) -> tuple[Objective, Model]:
    """An objective at its settings' start, as the training loop sees it, and its model."""
    objective = build_objective(TrainSettings.model_validate({"objective": name} | settings))
    hyper = {key: torch.tensor(value) for key, value in objective.at(100).items()}
    model = build_model(
        ModelSettings(network="mlp", hidden=(16,), latent_dim=3), SHAPE, objective.networks()
    )
    return objective.model_copy(update=hyper), model


@pytest.fixture
def without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(self: DiagonalGaussian, generator: object = None, samples: object = None) -> Tensor:
        return self.mean

    monkeypatch.setattr(DiagonalGaussian, "rsample", mean)


# What all objectives share


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_and_terms_are_finite_values_an_image(name):
    objective, model = build(name)
    losses = objective.losses(model, digits(5), stream(0, "noise"))
    assert set(losses) == set(objective.players)
    for player in losses.values():
        for values in (player.loss, *player.terms.values()):
            assert values.shape == (5,)
            assert values.isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_validation_measures_an_image_or_its_dimensions(name):
    _, model = build(name)
    objective = build_objective(TrainSettings.model_validate({"objective": name}))
    measured = objective.validate_batch(model.eval(), digits(5), stream(0, "noise"))
    assert objective.selection is None or objective.selection in measured
    for values in measured.values():
        assert values.shape in ((5,), (5, 3))
        assert values.isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_reach_what_each_player_owns_and_nothing_else(name):
    objective, model = build(name)
    losses = objective.losses(model, digits(5), stream(0, "noise"))
    owned = {player: set(networks) for player, networks in objective.players.items()}
    assert set(objective.networks()) == set().union(*owned.values())
    for player, networks in owned.items():
        for network, parameters in model.networks.items():
            gradients = torch.autograd.grad(
                losses[player].loss.mean(),
                list(parameters.parameters()),
                retain_graph=True,
                allow_unused=True,
            )
            reached = [g is not None and g.abs().sum().item() > 0 for g in gradients]
            assert all(reached) if network in networks else not any(reached)


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize("settings", [{}, {"free_bits_nats": 0.05}, {"kl_weight": 4}], ids=str)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_doubled_batch_leaves_the_loss_an_image_alone(name, settings):
    objective, model = build(name, **settings)
    images = digits(5)
    once = objective.losses(model, images, stream(0, "noise"))
    twice = objective.losses(model, torch.cat([images, images]), stream(0, "noise"))
    for player in objective.players:
        assert twice[player].loss.shape == (10,)
        torch.testing.assert_close(twice[player].loss.mean(), once[player].loss.mean())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_generator_alone_decides_the_noise(name):
    objective, model = build(name)
    player = next(iter(objective.players))

    def loss(seed: int) -> Tensor:
        return objective.losses(model, digits(5), stream(seed, "noise"))[player].loss

    first = loss(1)
    torch.rand(3)
    assert torch.equal(loss(1), first)
    assert not torch.equal(loss(2), first)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_the_loss_on_digits(name):
    objective, model = build(name)
    images, player = digits(200), next(iter(objective.players))
    parameters = [
        parameter
        for network in objective.players[player]
        for parameter in model.networks[network].parameters()
    ]
    optimiser = torch.optim.Adam(parameters, 3e-3)
    history = []
    for step in range(60):
        loss = objective.losses(model, images, stream(step, "noise"))[player].loss.mean()
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(loss, parameters), strict=True
        ):
            parameter.grad = gradient
        optimiser.step()
        history.append(loss.item())
    first, last = torch.tensor(history[:10]), torch.tensor(history[-10:])
    assert last.max() < first.min()


# The VAE's own settings


def test_vae_loss_is_the_weighted_sum_of_its_terms():
    for weight in (0.0, 0.25, 4.0):
        objective, model = build("vae", kl_weight=weight)
        player = objective.losses(model, digits(5), stream(0, "noise"))["vae"]
        generation, kl = player.terms["generation_loss_nats"], player.terms["kl_loss_nats"]
        torch.testing.assert_close(player.loss, generation + weight * kl)
        assert (kl > 0).all()


def test_vae_weight_may_be_a_tensor_that_changes():
    objective, model = build("vae")
    weight = torch.tensor(0.5, requires_grad=True)
    live = objective.model_copy(update={"kl_weight": weight})
    player = live.losses(model, digits(5), stream(0, "noise"))["vae"]
    (gradient,) = torch.autograd.grad(player.loss.sum(), weight)
    torch.testing.assert_close(gradient, player.terms["kl_loss_nats"].sum())


def test_vae_warm_up_is_linear_and_ends_at_the_weight():
    objective = Vae(kl_weight=3.0, kl_warmup_epochs=10)
    weights = [objective.at(epoch)["kl_weight"] for epoch in (0, 2.5, 5, 10, 50)]
    assert weights == pytest.approx([0, 0.75, 1.5, 3, 3])
    assert Vae(kl_weight=3.0).at(0) == {"kl_weight": 3.0}


def encoder_with(mean: list[float], stddev: list[float]) -> Model:
    """A model whose posterior is the same for every image."""
    model = linear_model(4, len(mean), variance=1.0)
    last = layer(model, "encoder")
    raw_stddev = torch.tensor(stddev).expm1().log() - math.log(math.e - 1)
    torch.nn.init.zeros_(last.weight.data)
    last.bias.data.copy_(torch.cat([torch.tensor(mean), raw_stddev]))
    return model


def test_free_bits_charge_each_dimension_at_least_their_nats():
    # KL of N(m, 1) is m^2 / 2: 0.02, 0.5 and 2 nats
    model = encoder_with([0.2, 1.0, 2.0], [1.0, 1.0, 1.0])
    images = torch.rand(3, 1, 1, 4, generator=stream(0, "images"))
    free = Vae(free_bits_nats=0.6, kl_weight=2.0)
    player = free.losses(model, images, stream(0, "noise"))["vae"]
    charged = player.loss - player.terms["generation_loss_nats"]
    torch.testing.assert_close(charged, torch.full((3,), 2 * (0.6 + 0.6 + 2.0)))
    torch.testing.assert_close(player.terms["kl_loss_nats"], torch.full((3,), 0.02 + 0.5 + 2.0))
    bias = layer(model, "encoder").bias
    (gradient,) = torch.autograd.grad(charged.mean(), bias)
    # Only the third dimension's KL is pushed down: 2 dKL/dm = 2 m.
    torch.testing.assert_close(gradient[:3], torch.tensor([0.0, 0.0, 2 * 2.0]))


def test_free_bits_are_of_the_batch_mean():
    model = linear_model(1, 1, variance=1.0)
    encoder = layer(model, "encoder")
    encoder.weight.data.copy_(torch.tensor([[1.0], [0.0]]))
    torch.nn.init.zeros_(encoder.bias.data)
    images = torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1)
    player = Vae(free_bits_nats=0.6).losses(model, images, stream(0, "noise"))["vae"]
    charged = player.loss - player.terms["generation_loss_nats"]
    # The images' KL are 0 and 2 nats, and max(0.6, mean) = 1, not the mean of 0.6 and 2.
    assert charged.mean().item() == pytest.approx(1.0, abs=1e-5)


def test_vae_validates_the_bound_without_weight_or_free_bits():
    _, model = build("vae")
    plain = Vae()
    weighted = Vae(kl_weight=7.0, free_bits_nats=5.0, kl_warmup_epochs=1000)
    expected = plain.validate_batch(model.eval(), digits(5), stream(0, "noise"))
    measured = weighted.validate_batch(model, digits(5), stream(0, "noise"))
    for name, values in expected.items():
        assert name == "loss" or torch.equal(measured[name], values)
    full = measured["generation_loss_nats"] + 7.0 * measured["kl_loss_nats"]
    torch.testing.assert_close(measured["loss"], full)
    bound = measured["generation_loss_nats"] + measured["kl_per_dimension_nats"].sum(1)
    torch.testing.assert_close(measured["neg_elbo_nats"], bound)
