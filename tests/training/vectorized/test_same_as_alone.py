"""Trained as one batch, each model matches its stand-alone run up to rounding."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.vectorized.factories import (
    CONV,
    assert_same_training,
    chosen,
    fit,
    groups,
    trainers,
)
from vaelab.runtime import matmul
from vaelab.training.vectorized import VectorizedTrainer

HIDDEN = np.random.default_rng(0).random((220, 1, 8, 8)) < 0.5
LIKELIHOODS = ("gaussian", "bernoulli", "continuous_bernoulli", "discretized_logistic")


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
    alone, batch = trainers(settings), VectorizedTrainer(trainers(settings))
    noises = [trainer.state.noise_rng for trainer in batch.stacked.trainers]
    images, noise = next(iter(batch._batches(lambda trainer, _: trainer.batches(), noises)))
    values = batch.forward.forward_all(
        "train", batch.stacked.tensors(noise), batch.stacked.schedule_tensors, images
    )
    losses = values["loss"].mean(0)
    gradients = torch.autograd.grad(losses.sum(), list(batch.stacked.weights.values()))
    rows = torch.cat([gradient.flatten(1) for gradient in gradients], 1)
    for entry, row, loss, trainer in zip(batch.stacked.members, rows, losses, alone, strict=True):
        own = trainer.scheduled_objective.losses(
            trainer.model, next(trainer.batches()).images, trainer.state.noise_rng
        )["vae"]
        expected = torch.autograd.grad(own.loss.mean(), list(trainer.model.parameters()))
        assert loss.item() == pytest.approx(own.loss.mean().item(), rel=1e-5)
        flat = torch.cat([gradient.flatten() for gradient in expected])
        torch.testing.assert_close(row[entry.param_indices], flat, rtol=1e-5, atol=1e-5)


def padding_of(batch: VectorizedTrainer, number: int) -> Tensor:
    """The part of an entry's row that is none of its own."""
    entry = batch.stacked.members[number]
    padded = torch.ones_like(entry.flat_params.data, dtype=torch.bool)
    padded[entry.param_indices] = False
    return entry.flat_params.data[padded]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_padded_dimensions_stay_exactly_nothing(optimizer: str) -> None:
    decay = 0.1 if optimizer == "adamw" else 0.0
    options: dict[str, Any] = {"optimizer": optimizer, "weight_decay": decay, "learning_rate": 0.1}
    batch = VectorizedTrainer(trainers([chosen(n, **options) for n in (2, 9, 5)]))
    for _ in range(3):
        batch._train()
        for trainer in batch.stacked.trainers:
            trainer.progress.step = 0
    # An encoder's last layer has 2 x 24 weights and 2 biases a dimension, a decoder's first 24.
    for number, missing in enumerate((7, 0, 4)):
        assert len(padding_of(batch, number)) == missing * (2 * 24 + 2 + 24)
        assert not padding_of(batch, number).any()
    images, noise = next(
        iter(
            batch._batches(
                lambda t, g: t.validation.sequential(10, g), [torch.Generator() for _ in range(3)]
            )
        )
    )
    values = batch.forward.forward_all(
        "validate", batch.stacked.tensors(noise), batch.stacked.unscheduled_values(), images
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
        (CONV | {"networks": {"conv": {"even_kernels": True}}}, {}, {}),
        ({}, {"augment_flip": 0.5, "augment_zoom": 0.2}, {}),
        ({}, {}, {"missing": True}),
        ({"gaussian_variance": "mean_squared_error"}, {}, {"missing": True}),
        ({"likelihood": "bernoulli"}, {}, {"missing": True, "binarize": True}),
    ],
    ids=str,
)
def test_each_matches_its_stand_alone_run(
    model: dict[str, Any], train: dict[str, Any], options: dict[str, Any]
) -> None:
    settings = [chosen(n, model, kl_weight=w, **train) for n, w in ((6, 0.3), (2, 2.0))]
    options = {**options, "missing": HIDDEN if options.get("missing") else None}
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


@pytest.mark.parametrize("missing", [None, HIDDEN], ids=["whole", "hidden"])
@pytest.mark.parametrize("own", [{}, {"augment_shift": 0.2}], ids=str)
def test_seeds_differ_too(own: dict[str, Any], missing: np.ndarray | None) -> None:
    settings = [chosen(4, seed=seed, **own) for seed in (1, 2, 1)]
    alone, together = trainers(settings, missing=missing), trainers(settings, missing=missing)
    fit(together)
    for one, other in zip(together, alone, strict=True):
        other.fit(show_progress=False)
        assert_same_training(one, other)
    assert together[0].progress.best_value != together[1].progress.best_value


def test_each_matches_its_stand_alone_run_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "LARGE", 0)
    settings = [chosen(n, kl_weight=w) for n, w in ((6, 0.3), (2, 2.0))]
    alone, together = trainers(settings), trainers(settings)
    assert VectorizedTrainer(together).matmul is alone[0].matmul is matmul.fast_matmul
    fit(together)
    for one, other in zip(together, alone, strict=True):
        other.fit(show_progress=False)
        assert_same_training(one, other)


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
