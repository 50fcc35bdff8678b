"""What an objective may be set to: everything else is refused by name, nothing is ignored."""

from typing import Any

import pytest
import torch

from tests.objectives.factories import SHAPE, build, digits, settings
from vaelab.config import (
    TrainSettings,
    UserError,
    objective_names,
    parse_settings,
    with_changes,
)
from vaelab.objectives import build_objective, objective_class, objective_settings
from vaelab.runtime.random_streams import rng_stream
from vaelab.training import build as building

SHARED = {"kl_weight": 3.0, "kl_warmup_epochs": 7, "free_bits_nats": 2.0}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            settings("wae", {"mmd_wieght": 1}),
            r"unknown setting objectives\.wae\.mmd_wieght; did you mean .*\? valid: mmd_weight$",
        ),
        (
            settings("vae", {"x": 1}),
            r"unknown setting objectives\.vae\.x; .* has no settings of its own",
        ),
        (
            # A setting of `train`, whatever the objective reads from there
            settings("beta_vae", {"kl_weight": 2}),
            r"unknown setting objectives\.beta_vae\.kl_weight; valid: capacity_nats",
        ),
        (
            settings("vae", {"training_images": 9}),
            r"unknown setting objectives\.vae\.training_images",
        ),
        (
            settings("wae", {"mmd_weight": -1}),
            r"objectives\.wae\.mmd_weight: .* greater than or equal to 0 \(it is -1\)",
        ),
        (
            settings("gan", {"loss": "hinge"}),
            r"objectives\.gan\.loss: .*'wasserstein'.*\(it is 'hinge'\)",
        ),
        (settings("iwae", {"importance_samples": 0}), r"importance_samples: .* or equal to 1"),
        (settings("iwae", {"importance_samples": True}), r"importance_samples: true and false"),
        (settings("wae", {"mmd_weight": True}), r"objectives\.wae\.mmd_weight: true and false"),
        (settings("wae", {"mmd_weight": float("inf")}), r"mmd_weight: .*finite"),
        (
            settings("iwae", kl_weight=2.0),
            r"train\.kl_weight has no effect with objective iwae: remove it, or set it to 1\.0",
        ),
        (settings("gan", kl_weight=0.5), r"train\.kl_weight has no effect with objective gan"),
        (
            settings("vae_gan", kl_warmup_epochs=3),
            "train.kl_warmup_epochs has no effect with objective",
        ),
        (
            settings("autoencoder", free_bits_nats=1),
            r"train\.free_bits_nats has no effect with objective",
        ),
        (
            settings("vae", model={"prior": "vamp"}, free_bits_nats=1),
            r"train\.free_bits_nats needs model\.prior: standard_normal; the vamp prior has no",
        ),
        (
            settings("vq_vae", model={"code_dimensions": 3}),
            r"model\.latent_dim: 4 does not divide into codes of model\.code_dimensions: 3",
        ),
        (
            settings("gan", model={"prior": "vamp"}),
            r"model\.prior: vamp does not work with this objective; valid: standard_normal$",
        ),
        (
            settings("vae", model={"prior": "codebook"}),
            r"model\.prior: codebook .*; valid: standard_normal, flow, [a-z_, ]*vamp$",
        ),
        (settings("vq_vae", model={"prior": "flow"}), r"flow does not work .*; valid: codebook$"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_in_one_line(chosen, message):
    with pytest.raises(UserError, match=message) as caught:
        building.build(chosen, SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": {"objective": "beta_vea"}}, "unknown objective beta_vea; did you mean beta_vae"),
        (
            {"objectives": {"vea": {}}},
            r"objectives\.vea: unknown objective vea; did you mean vae\?",
        ),
        ({"objectives": {"zzz": {}}}, "unknown objective zzz; valid: autoencoder, beta"),
        ({"objectives": {"wae": 3}}, r"objectives\.wae: must be a mapping"),
    ],
)
def test_an_unknown_objective_is_refused_with_the_nearest_one(content, message):
    with pytest.raises(UserError, match=message):
        parse_settings(content)


@pytest.mark.parametrize("key", SHARED)
@pytest.mark.parametrize("name", objective_names())
def test_a_shared_setting_is_refused_or_changes_the_losses(name, key):
    """Nothing is passed over in silence."""

    def losses(**train: Any) -> torch.Tensor:
        objective, model = build(settings(name, **train), epoch=1)
        found = objective.losses(model, digits(5), rng_stream(0, "noise"))
        return torch.cat([output.loss for output in found.values()])

    if key not in objective_class(name).model_fields:
        with pytest.raises(UserError, match=f"train.{key} has no effect with objective {name}"):
            losses(**{key: SHARED[key]})
    else:
        assert not torch.equal(losses(**{key: SHARED[key]}), losses())


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name in objective_names() for key in objective_class(name).default_settings()],
)
def test_an_own_setting_is_read(name, key):
    """Set otherwise, it changes a loss, a gradient or who moves."""
    other = {
        "importance_samples": 3,
        "doubly_reparameterised": True,
        "loss": "least_squares",
        "equilibrium": 1e-3,
        "margin": 1.9,
        "discriminator_steps": 10**6,
        "capacity_epochs": 10_000,
    }
    needs: dict[str, dict[str, object]] = {
        "gradient_penalty": {"loss": "wasserstein"},
        "capacity_epochs": {"capacity_nats": 5.0},
        # Nothing is learned yet, both errors are ln 2: who waits depends on these two alone.
        "equilibrium": {"margin": 0.0},
        "margin": {"equilibrium": 2.0},
    }

    def outcome(own: dict[str, object]) -> list[torch.Tensor]:
        objective, model = build(settings(name, {**needs.get(key, {}), **own}))
        found = objective.losses(model, digits(5), rng_stream(0, "noise"))
        network = model.networks["encoder" if model.has("encoder") else "discriminator"]
        (first, *_) = network.parameters()
        total = torch.stack([output.loss.mean() for output in found.values()]).sum()
        (gradient,) = torch.autograd.grad(total, first)
        active = [output.update_mask for output in found.values() if output.update_mask is not None]
        return [total.detach(), gradient, *active]

    before, after = outcome({}), outcome({key: other.get(key, 0.123)})
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_auto_is_the_objectives_first_prior():
    for name in objective_names():
        objective, model = building.build(settings(name), SHAPE)
        first = objective.default_prior
        assert objective.resolve_prior(settings(name).model).prior == first
        assert type(model.networks["prior"]).__module__ == f"vaelab.models.priors.{first}"


def test_settings_of_another_objective_are_left_alone():
    chosen = with_changes(settings("vae"), {"objectives.wae.mmd_weight": 5.0})
    assert build_objective(chosen) == build_objective(settings("vae"))
    assert objective_settings(chosen) == {}


def test_own_settings_are_named_with_their_defaults():
    assert objective_settings(settings("gan", {"loss": "wasserstein"})) == {
        "objectives.gan.loss": "wasserstein",
        "objectives.gan.gradient_penalty": 10.0,
        "objectives.gan.discriminator_steps": 1,
    }


def test_nested_settings_change_by_their_dotted_names():
    before = settings("gan", {"discriminator_steps": 3})
    after = with_changes(before, {"objectives.gan.loss": "wasserstein"})
    assert after.objectives["gan"] == {"discriminator_steps": 3, "loss": "wasserstein"}
    assert before.objectives["gan"] == {"discriminator_steps": 3}
    objective = build_objective(after)
    assert (objective.loss, objective.discriminator_steps) == ("wasserstein", 3)  # type: ignore[attr-defined]
    fresh = with_changes(settings("wae"), {"objectives.wae.mmd_weight": 2.5})
    assert build_objective(fresh).mmd_weight == 2.5  # type: ignore[attr-defined]


def test_the_loop_tells_the_objective_how_many_images_there_are():
    assert build_objective(settings("beta_tc_vae")).with_dataset_size(73).training_images == 73
    # What the trainer sets is not a setting.
    for name in objective_names():
        assert not {"training_images", *TrainSettings.model_fields} & set(
            objective_class(name).default_settings()
        )
