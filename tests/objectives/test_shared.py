"""What all objectives share. A new file in `objectives/` joins by itself."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.objectives.factories import (
    LATENTS,
    SHAPE,
    build,
    digits,
    parameters,
    randomise,
    settings,
    trainer,
    without_noise,  # noqa: F401  a fixture
)
from tests.oracles import STANDARD_ERRORS
from vaelab.config import Settings, objective_names
from vaelab.models.model import Model
from vaelab.models.saving import ModelDescription, load_model, save_model
from vaelab.objectives import (
    LossOutput,
    build_objective,
    conditional_objectives,
    objective_class,
)
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.updates import Part

NAMES = objective_names()
# Other priors that an objective may be trained with; the first is the one of `auto`.
PRIORS = [(name, prior) for name in NAMES for prior in objective_class(name).priors()[1:]]
CASES = {
    **{name: settings(name) for name in NAMES},
    **{f"{name}+{prior}": settings(name, model={"prior": prior}) for name, prior in PRIORS},
    # A small batch's discrepancy is mostly noise: at its usual weight few steps show nothing.
    **{
        f"info_vae+{prior}": settings("info_vae", {"mmd_weight": 10}, model={"prior": prior})
        for prior in ("vamp", "flow")
    },
    # Without a label given, every image's is unknown.
    **{
        f"{name}+labels": settings(name, model={"conditional": "labels"})
        for name in conditional_objectives()
    },
    "iwae+doubly": settings("iwae", {"doubly_reparameterised": True}),
    "gan+least_squares": settings("gan", {"loss": "least_squares"}),
    "gan+wasserstein": settings("gan", {"loss": "wasserstein"}),
    "gan+spectral_norm": settings("gan", model={"spectral_norm": True}),
    "beta_vae+capacity": settings("beta_vae", {"capacity_nats": 3.0, "capacity_epochs": 2}),
}
# Without noise in encoder, prior or anything else
NOISELESS = {"autoencoder", "vq_vae"}
# These compare the images of a batch with each other, so a part of it says something else: the
# total correlation, the discrepancy from the prior, the discriminator of shuffled latents. What
# they keep is in the files of those objectives.
COMPARING = {"beta_tc_vae", "factor_vae", "info_vae", "wae"}

each_case = pytest.mark.parametrize("case", CASES)


def losses(case: str, images: Tensor, model: Model, seed: int = 0) -> dict[str, LossOutput]:
    objective, _ = build(CASES[case])
    return objective.losses(model, images, rng_stream(seed, "noise"))


def test_there_are_the_objectives_of_the_literature():
    assert {"vae", "beta_vae", "iwae", "vq_vae", "gan"} <= set(NAMES)
    assert {("vae", "vamp"), ("vae", "flow"), ("iwae", "flow")} <= set(PRIORS)


@each_case
def test_the_schedules_end_where_the_warm_ups_say(case):
    """Early stopping waits for `warmup_epochs`: after it nothing may change any more."""
    objective, _ = build(CASES[case])
    changes = {"kl_warmup_epochs": 3} if "kl_warmup_epochs" in type(objective).model_fields else {}
    objective = objective.model_copy(update=changes)
    end = max(objective.warmup_epochs().values(), default=0)
    assert objective.schedule_at(end) == objective.schedule_at(math.inf)
    assert (end > 0) == bool(changes)


@each_case
def test_losses_and_terms_are_finite_values_an_image(case):
    objective, model = build(CASES[case])
    found = losses(case, digits(5), model)
    assert set(found) == set(objective.optimizers)
    for output in found.values():
        for values in (output.loss, *output.terms.values()):
            assert values.shape == (5,)
            assert values.isfinite().all()
        assert output.update_mask is None or output.update_mask.item() in (0, 1)


@each_case
def test_one_image_is_a_batch(case):
    _, model = build(CASES[case])
    for output in losses(case, digits(1), model).values():
        assert output.loss.isfinite().all()


@each_case
def test_validation_measures_an_image_or_its_dimensions(case):
    _, model = build(CASES[case])
    objective = build_objective(CASES[case])
    with torch.inference_mode():
        measured = objective.validate_batch(model.eval(), digits(5), rng_stream(0, "noise"))
    assert objective.selection is None or objective.selection in measured
    for values in measured.values():
        assert values.shape in ((5,), (5, LATENTS))
        assert values.isfinite().all()


@each_case
def test_every_network_of_an_optimizer_gets_a_gradient_of_its_loss(case):
    objective, model = build(CASES[case])
    found = losses(case, digits(20), randomise(model))
    for name, networks in objective.optimizers.items():
        for network in networks:
            owned = dict(model.networks[network].named_parameters())
            if case == "gan+wasserstein":
                # A constant in the critic cancels: D(G(z)) - D(x).
                owned.pop("head.bias", None)
            if not owned:
                assert network == "prior"
                continue
            found_gradients = torch.autograd.grad(
                found[name].loss.mean(), list(owned.values()), retain_graph=True
            )
            for parameter, gradient in zip(owned, found_gradients, strict=True):
                assert gradient.isfinite().all()
                assert gradient.abs().sum() > 0, f"{network}.{parameter}"


def moved(before: dict[str, Tensor], model: Model) -> set[str]:
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    return {name.split(".")[1] if name.startswith("networks.") else name for name in changed}


def weights(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@each_case
def test_a_step_changes_the_networks_of_its_optimizers_and_nothing_else(case):
    loop = trainer(CASES[case])
    loop.model.train()
    batch = next(loop.train.sequential(50, loop.state.noise_rng))
    for name, networks in loop.objective.optimizers.items():
        found = loop.scheduled_objective.losses(loop.model, batch.images, loop.state.noise_rng)
        before = weights(loop.model)
        mask = found[name].update_mask
        loop.updater.backward([name], found)
        loop.updater.take_step([name], {name: mask})
        skipped = mask is not None and not mask.item()
        updated = {n for n in networks if list(loop.model.networks[n].parameters())}
        assert moved(before, loop.model) == (set() if skipped else updated)
    before = weights(loop.model)
    for _ in range(3):
        (watched,) = loop.updater.step([Part(batch)])
    # A spectral norm's estimate moves with each look.
    assert moved(before, loop.model) <= set(loop.objective.networks())
    assert all(values.isfinite().all() for values in watched.values())


ALONE = [case for case in CASES if case.partition("+")[0] not in COMPARING]
# The penalty's places are noise; a spectral norm's estimate moves with each look.
ALONE = [case for case in ALONE if case not in ("gan+wasserstein", "gan+spectral_norm")]


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize("case", [case for case in ALONE if not case.startswith("vae_gan")])
def test_a_part_of_a_batch_has_the_same_loss_an_image(case):
    """But where a variance is the batch's own: a fitted one, that of a VAE-GAN's features."""
    fixed = CASES[case].model.model_copy(update={"gaussian_variance": 0.05})
    objective, model = build(CASES[case].model_copy(update={"model": fixed}))
    whole = objective.losses(model, digits(6), rng_stream(0, "noise"))
    halves = digits(6)[:3], digits(6)[3:]
    parts = [objective.losses(model, half, rng_stream(0, "noise")) for half in halves]
    for name in objective.optimizers:
        means = torch.stack([part[name].loss.mean() for part in parts])
        if case.startswith("beta_vae+"):
            # |KL - capacity| is of the batch's mean: its parts' mean at most.
            assert whole[name].loss.mean() <= means.mean() + 1e-4
        else:
            torch.testing.assert_close(whole[name].loss.mean(), means.mean())


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize("case", ALONE)
def test_a_doubled_batch_has_the_same_mean_loss(case):
    """Even where the batch's own variance is the likelihood's."""
    objective, model = build(CASES[case])
    once = objective.losses(model, digits(5), rng_stream(0, "noise"))
    twice = objective.losses(model, digits(5).repeat(2, 1, 1, 1), rng_stream(0, "noise"))
    for name in objective.optimizers:
        torch.testing.assert_close(twice[name].loss.mean(), once[name].loss.mean())


@each_case
def test_the_generator_alone_decides_the_noise(case):
    objective, model = build(CASES[case])
    model.eval()  # or a spectral norm's estimate would move

    def every_loss(seed: int) -> Tensor:
        found = objective.losses(model, digits(5), rng_stream(seed, "noise"))
        return torch.cat([output.loss for output in found.values()])

    first = every_loss(1)
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(every_loss(1), first)
    assert torch.equal(every_loss(2), first) == (case.partition("+")[0] in NOISELESS)


@each_case
def test_images_go_to_latents_and_back(case):
    _, model = build(CASES[case])
    images = digits(3)
    assert model.prior(7, rng_stream(0, "prior")).shape == (7, LATENTS)
    assert model.decode(model.prior(7, rng_stream(0, "prior"))).mean.shape == (7, *SHAPE)
    if model.has("encoder"):
        posterior = model.encode(images)
        assert posterior.mean.shape == (3, LATENTS)
        drawn = posterior.rsample(rng_stream(0, "noise"), 2)
        assert drawn.shape == (2, 3, LATENTS)
        assert model.kl(posterior, drawn[0]).shape == (3,)
        assert model.decode(drawn).mean.shape == (2, 3, *SHAPE)
    if model.has("discriminator"):
        assert model.discriminate(images).logits.shape == (3,)


def everything(model: Model) -> list[Tensor]:
    latents = model.prior(6, rng_stream(0, "prior"))
    found = [latents, model.decode(latents).mean, model.log_prior(latents)]
    if model.has("encoder"):
        posterior = model.encode(digits(4))
        found += [posterior.mean, posterior.rsample(rng_stream(1, "noise"))]
    if model.has("discriminator"):
        found += [model.discriminate(digits(4)).logits]
    return found


def saved_and_loaded(chosen: Settings, model: Model, folder: Path) -> Model:
    objective = build_objective(chosen)
    description = ModelDescription(
        objective=chosen.train.objective,
        networks=objective.networks(),
        posterior=objective.posterior,
        image_shape=SHAPE,
        model=objective.resolve_prior(chosen.model),
        dataset="digits",
        levels=17,
        class_names=tuple(map(str, range(model.classes))),
        settings={},
    )
    save_model(folder, model, description)
    loaded, read = load_model(folder, torch.device("cpu"))
    assert read == description
    return loaded


@each_case
def test_a_saved_model_comes_back_to_the_last_bit(case, tmp_path):
    loop = trainer(CASES[case], images=60)
    loop.fit(show_progress=False)
    with torch.inference_mode():
        expected = everything(loop.model.eval())
        found = everything(saved_and_loaded(CASES[case], loop.model, tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@each_case
def test_a_few_steps_of_one_optimizer_lower_its_loss_on_digits(case):
    """The other networks are fixed: adversarial losses do not all fall when all are updated."""
    for name, networks in objective_class(CASES[case].train.objective).optimizers.items():
        objective, model = build(CASES[case])
        owned = parameters(model, networks)
        optimizer = torch.optim.Adam(owned, 5e-3)

        def loss(seed: int, objective=objective, model=model, name=name) -> Tensor:
            found = objective.losses(model, digits(200), rng_stream(seed, "noise"))
            mean: Tensor = found[name].loss.mean()
            return mean

        def now(loss=loss) -> Tensor:
            return torch.stack([loss(seed).detach() for seed in range(100, 124)])

        before = now()
        for step in range(50):
            gradients = torch.autograd.grad(loss(step), owned)
            for parameter, gradient in zip(owned, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        fall = before - now()
        assert fall.mean() > STANDARD_ERRORS * fall.std() / len(fall) ** 0.5, name
