"""Trained together, each model comes to what it comes to alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from vaelab.assembly import build_trainer
from vaelab.config import Settings, parse_settings
from vaelab.data.batches import ImageBatches
from vaelab.progress import EpochReport, NonFiniteLossError, Progress
from vaelab.together import Outcome, Together, kinship
from vaelab.training import Trainer

CPU = torch.device("cpu")
PIXELS = np.rint(load_digits().images[:, None] * 255 / 16).astype(np.uint8)
LIKELIHOODS = ("gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic")
# Sums of a few hundred float32 numbers in another order, over a few dozen steps.
ROUNDING = 1e-3
CONV = {"network": "conv", "channels": [4, 12]}


def chosen(latents: int, model: Mapping[str, object] | None = None, **train: Any) -> Settings:
    own = train.pop("own", {})
    settings: dict[str, Any] = {
        "model": {"network": "mlp", "hidden": [24], "latent_dim": latents, **(model or {})},
        "train": {"epochs": 4, "batch_size": 50, "learning_rate": 3e-3, **train},
    }
    objective = train.get("objective", "vae")
    return parse_settings(settings | ({"objectives": {objective: own}} if own else {}))


def trainers(settings: list[Settings], **options: Any) -> list[Trainer]:
    train = ImageBatches(PIXELS[:220], CPU, **options)
    validation = ImageBatches(PIXELS[220:300], CPU)
    return [build_trainer(one, train, validation, CPU) for one in settings]


def groups(settings: list[Settings]) -> list[list[int]]:
    return kinship.groups(settings, (1, 8, 8))


def fit(together: list[Trainer]) -> dict[int, Outcome]:
    return dict(Together(together).fit(lambda number, report: None))


def assert_same_training(one: Trainer, other: Trainer) -> None:
    """Insist on the same curves, the same best epoch and the same weights."""
    assert one.progress.epoch == other.progress.epoch
    assert one.progress.best_epoch == other.progress.best_epoch
    for row, expected in zip(one.progress.history, other.progress.history, strict=True):
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)
        assert row["learning_rate"] == expected["learning_rate"]
    assert one.progress.per_dimension.keys() == other.progress.per_dimension.keys()
    for name, rows in one.progress.per_dimension.items():
        np.testing.assert_allclose(rows, other.progress.per_dimension[name], ROUNDING, ROUNDING)
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(
            tensor, other.model.state_dict()[name], rtol=ROUNDING, atol=ROUNDING
        )


# --- one step


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(
    "network", [{"hidden": []}, {"hidden": [24]}, {"hidden": [16, 24]}, CONV], ids=str
)
def test_the_gradient_of_a_step_is_each_ones_own(
    likelihood: str, network: dict[str, object]
) -> None:
    model = {"likelihood": likelihood, **network}
    settings = [chosen(n, model, kl_weight=w) for n, w in ((3, 0.1), (7, 1.0), (1, 5.0))]
    alone, batch = trainers(settings), Together(trainers(settings))
    noises = [trainer.noise for trainer in batch.stack.trainers]
    images, noise = next(iter(batch._fed(lambda trainer, _: trainer.batches(), noises)))
    values = batch.passes.of_all("train", batch.stack.tensors(noise), batch.stack.hyper, images)
    losses = values["loss"].mean(0)
    gradients = torch.autograd.grad(losses.sum(), list(batch.stack.weights.values()))
    rows = torch.cat([gradient.flatten(1) for gradient in gradients], 1)
    for entry, row, loss, trainer in zip(batch.stack.entries, rows, losses, alone, strict=True):
        own = trainer.live.losses(trainer.model, next(trainer.batches()), trainer.noise)["vae"]
        expected = torch.autograd.grad(own.loss.mean(), list(trainer.model.parameters()))
        assert loss.item() == pytest.approx(own.loss.mean().item(), rel=1e-5)
        flat = torch.cat([gradient.flatten() for gradient in expected])
        torch.testing.assert_close(row[entry.places], flat, rtol=1e-5, atol=1e-5)


def padding_of(batch: Together, number: int) -> Tensor:
    """The part of an entry's row that is none of its own."""
    entry = batch.stack.entries[number]
    padded = torch.ones_like(entry.row.data, dtype=torch.bool)
    padded[entry.places] = False
    return entry.row.data[padded]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_padded_dimensions_stay_exactly_nothing(optimizer: str) -> None:
    decay = 0.1 if optimizer == "adamw" else 0.0
    options: dict[str, Any] = {"optimizer": optimizer, "weight_decay": decay, "learning_rate": 0.1}
    batch = Together(trainers([chosen(n, **options) for n in (2, 9, 5)]))
    for _ in range(3):
        batch._train()
        for trainer in batch.stack.trainers:
            trainer.progress.step = 0
    # An encoder's last layer has 2 x 24 weights and 2 biases a dimension, a decoder's first 24.
    for number, missing in enumerate((7, 0, 4)):
        assert len(padding_of(batch, number)) == missing * (2 * 24 + 2 + 24)
        assert not padding_of(batch, number).any()
    images, noise = next(
        iter(
            batch._fed(
                lambda t, g: t.validation.ordered(10, g), [torch.Generator() for _ in range(3)]
            )
        )
    )
    values = batch.passes.of_all(
        "validate", batch.stack.tensors(noise), batch.stack.chosen_hyper(), images
    )
    assert not values["kl_per_dimension_nats"][:, 0, 2:].any(), "0 nats, not nearly"
    assert values["kl_per_dimension_nats"][:, 0, :2].all()


# --- whole trainings

DIFFERENT: list[dict[str, Any]] = [
    {"learning_rate": 1e-3},
    {"learning_rate": 0.01, "learning_rate_schedule": "cosine"},
    {"kl_weight": 4.0, "learning_rate_schedule": "linear", "learning_rate_warmup_epochs": 2},
    {"kl_weight": 0.1, "gradient_clip_norm": 1.0},
    {"optimizer": "adamw", "weight_decay": 0.1},
    {"kl_weight": 2.0, "kl_warmup_epochs": 3},
]


def test_each_keeps_its_own_rate_schedule_weight_and_optimiser() -> None:
    settings = [chosen(2 + 3 * i, **own) for i, own in enumerate(DIFFERENT)]
    # A warm-up is a field of the objective that is no tensor: those with one are a group.
    assert groups(settings) == [[0, 1, 2, 3, 4], [5]]
    alone, together = trainers(settings[:5]), trainers(settings[:5])
    outcomes = fit(together)
    for number, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert outcomes[number] is one.progress
        assert_same_training(one, (other.fit(show_progress=False), other)[1])


@pytest.mark.parametrize(
    ("model", "train", "options"),
    [
        ({}, {"objective": "beta_vae", "own": {"capacity_nats": 5.0, "capacity_epochs": 2}}, {}),
        ({}, {"kl_warmup_epochs": 3}, {}),
        ({"likelihood": "bernoulli"}, {}, {"binarize": True}),
        ({"likelihood": "discretized_logistic"}, {}, {}),
        ({"gaussian_variance": 0.5, "activation": "tanh"}, {}, {"dequantize_levels": 17}),
        ({"gaussian_mean": "linear", "hidden": []}, {}, {}),
        (CONV, {}, {}),
        (CONV | {"likelihood": "discretized_logistic"}, {}, {"dequantize_levels": 17}),
        (CONV | {"channels": [12], "kernel_size": 3, "activation": "silu"}, {}, {}),
    ],
    ids=str,
)
def test_each_comes_to_what_it_comes_to_alone(
    model: dict[str, Any], train: dict[str, Any], options: dict[str, Any]
) -> None:
    settings = [chosen(n, model, kl_weight=w, **train) for n, w in ((6, 0.3), (2, 2.0))]
    assert groups(settings) == [[0, 1]]
    alone, together = trainers(settings, **options), trainers(settings, **options)
    fit(together)
    for one, other in zip(together, alone, strict=True):
        other.fit(show_progress=False)
        assert_same_training(one, other)


def test_free_bits_are_charged_for_an_entrys_own_dimensions() -> None:
    settings = [chosen(n, free_bits_nats=0.5, kl_weight=w) for n, w in ((4, 1.0), (4, 0.1), (5, 1))]
    assert groups(settings) == [[0, 1], [2]]
    alone, together = trainers(settings[:2]), trainers(settings[:2])
    fit(together)
    for one, other in zip(together, alone, strict=True):
        other.fit(show_progress=False)
        assert_same_training(one, other)


def test_seeds_differ_too() -> None:
    settings = [chosen(4, seed=seed) for seed in (1, 2, 1)]
    alone, together = trainers(settings), trainers(settings)
    fit(together)
    for one, other in zip(together, alone, strict=True):
        other.fit(show_progress=False)
        assert_same_training(one, other)
    assert together[0].progress.best_value != together[1].progress.best_value


def test_a_long_training_stays_far_within_the_noise_of_its_seed() -> None:
    """Rounding grows over training; what another seed would change is the measure of it."""
    settings = [chosen(n, epochs=30, learning_rate=0.01) for n in (8, 3)]
    together = trainers(settings)
    fit(together)
    seeds = trainers([chosen(8, epochs=30, learning_rate=0.01, seed=seed) for seed in range(4)])
    values = [trainer.fit(show_progress=False).best_value for trainer in seeds]
    noise = float(np.std(values, ddof=1))
    assert noise > 0
    assert abs(together[0].progress.best_value - values[0]) < noise / 5


# --- the ends of trainings


def test_early_stopping_is_each_ones_own() -> None:
    settings = [
        chosen(3, epochs=12, early_stopping_epochs=patience, learning_rate=rate)
        for patience, rate in ((1, 0.1), (3, 0.03), (None, 3e-3))
    ]
    alone, together = trainers(settings), trainers(settings)
    ended = [number for number, _ in Together(together).fit(lambda number, report: None)]
    epochs = [trainer.fit(show_progress=False).epoch for trainer in alone]
    assert [trainer.progress.epoch for trainer in together] == epochs
    assert len(set(epochs)) > 1
    assert ended == sorted(range(3), key=lambda number: epochs[number])


def test_what_drops_out_leaves_the_others_as_they_were() -> None:
    settings = [chosen(n) for n in (9, 2, 5)]
    alone, together = trainers(settings), trainers(settings)
    error = RuntimeError("given up")

    def give_up(number: int, report: EpochReport) -> None:
        if number == 0 and report.epoch == 2:
            raise error

    outcomes = dict(Together(together).fit(give_up))
    assert outcomes[0] is error
    assert together[0].progress.epoch == 2
    assert list(outcomes) == [0, 1, 2]
    for one, other in list(zip(together, alone, strict=True))[1:]:
        other.fit(show_progress=False)
        assert_same_training(one, other)


# The second one's loss is infinite: at the first step, or after some of a warm-up.
WEIGHTS = ((3, 1.0), (5, 1e38), (5, 1.0))


@pytest.mark.parametrize("warmup", [0, 3])
def test_a_loss_that_is_not_finite_ends_its_own_training_only(warmup: int) -> None:
    settings = [chosen(n, kl_weight=w, kl_warmup_epochs=warmup) for n, w in WEIGHTS]
    alone, together = trainers(settings), trainers(settings)
    outcomes = fit(together)
    with pytest.raises(NonFiniteLossError) as expected:
        alone[1].fit(show_progress=False)
    failed = outcomes.pop(1)
    assert isinstance(failed, NonFiniteLossError)
    assert str(failed) == str(expected.value)
    assert failed.images == expected.value.images
    for number, outcome in outcomes.items():
        assert isinstance(outcome, Progress)
        alone[number].fit(show_progress=False)
        assert_same_training(together[number], alone[number])


def test_an_interruption_goes_through() -> None:
    def interrupt(number: int, report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Together(trainers([chosen(2), chosen(3)])).fit(interrupt))


# --- who goes with whom


@pytest.mark.parametrize(
    ("other", "is_kin"),
    [
        (chosen(30), True),
        (chosen(4, kl_weight=3.0, learning_rate=0.1, seed=5, gradient_clip_norm=2.0), True),
        (chosen(4, {"hidden": [25]}), False),
        (chosen(4, {"activation": "tanh"}), False),
        (chosen(4, {"likelihood": "bernoulli"}), False),
        (chosen(4, {"gaussian_variance": 0.5}), False),
        (chosen(4, {"prior": "standard_normal"}), True),
        (chosen(4, {"prior": "vamp"}), False),
        (chosen(4, {"network": "conv"}), False),
        (chosen(4, batch_size=51), False),
        (chosen(4, precision="bfloat16"), False),
        (chosen(4, objective="beta_vae"), False),
        (chosen(4, objective="info_vae"), False),
        (chosen(4, objective="autoencoder"), False),
    ],
)
def test_what_differs_in_more_than_the_latent_size_is_trained_apart(
    other: Settings, is_kin: bool
) -> None:
    assert groups([chosen(4), other]) == ([[0, 1]] if is_kin else [[0], [1]])
    assert groups([other, chosen(4), other, chosen(5)])[0][0] == 0


def test_what_cannot_be_is_a_group_of_its_own() -> None:
    wrong = chosen(4, {"prior": "mixture"})
    assert groups([wrong, wrong, chosen(4)]) == [[0], [1], [2]]
    assert math.prod(map(len, groups([chosen(4), chosen(5), wrong]))) == 2


def test_convolutions_are_trained_together_on_small_images_only() -> None:
    settings = [chosen(4, CONV), chosen(5, CONV), chosen(4)]
    assert kinship.groups(settings, (3, 12, 12)) == [[0, 1], [2]]
    assert kinship.groups(settings, (1, 12, 13)) == [[0], [1], [2]]
    assert kinship.groups(settings[2:] * 2, (1, 512, 512)) == [[0, 1]]


def test_many_are_cut_into_groups_of_similar_latent_size() -> None:
    found = groups([chosen(1 + (7 * i) % 33) for i in range(33)] + [chosen(4, batch_size=7)])
    assert [len(group) for group in found] == [11, 11, 11, 1]
    assert sorted(number for group in found for number in group) == list(range(34))
    sizes = [[1 + (7 * number) % 33 for number in group] for group in found[:3]]
    assert [max(part) for part in sizes] == [11, 22, 33]
