"""Warm-ups and the epochs of a training: early stopping waits for their end."""

import math
from typing import Any

import pytest

from tests.training.test_trainer import CPU, make_trainer, stripes
from vaelab.config import Settings, TrainSettings, UserError, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.objectives import build_objective
from vaelab.objectives.beta_vae import BetaVae
from vaelab.objectives.vae import Vae
from vaelab.training import collapse
from vaelab.training.build import build_trainer
from vaelab.training.schedules import (
    best_epoch_note,
    check_warmups,
    early_stopping_notes,
    warmup_epochs,
)
from vaelab.training.trainer import Trainer

# With such a rate nothing gets better but by rounding.
STILL: dict[str, Any] = {"learning_rate": 1e-12, "epochs": 50, "early_stopping_epochs": 4}


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop models that do not use their latent as any others."""
    monkeypatch.setattr(collapse, "GRACE_STEPS", 0)


def settings(
    objective: str = "vae", own: dict[str, object] | None = None, **train: object
) -> Settings:
    return parse_settings(
        {"train": {"objective": objective, **train}, "objectives": {objective: own or {}}}
    )


def new_trainer(chosen: Settings) -> Trainer:
    batches = ImageLoader(stripes(16), CPU)
    return build_trainer(chosen, batches, batches, CPU)


@pytest.mark.parametrize(
    ("objective", "train", "end"),
    [
        (Vae(), {}, 0),
        (Vae(kl_warmup_epochs=20), {}, 20),
        (BetaVae(capacity_nats=5.0, capacity_epochs=15), {}, 15),
        (BetaVae(capacity_epochs=15), {}, 0),
        (Vae(), {"learning_rate_warmup_epochs": 12}, 12),
        (Vae(kl_warmup_epochs=9), {"learning_rate_warmup_epochs": 12}, 12),
    ],
)
def test_patience_is_counted_from_the_end_of_every_warm_up(
    objective: Vae, train: dict[str, Any], end: int
) -> None:
    progress = make_trainer(objective, **STILL, **train).fit()
    assert progress.epoch == max(progress.best_epoch, end) + 4
    if end:
        assert progress.best_epoch < end, "without the warm-up it would have stopped before its end"


def test_patience_is_counted_from_a_better_epoch_after_the_warm_up() -> None:
    trainer = make_trainer(Vae(kl_warmup_epochs=3), **STILL)
    trainer.progress.best_epoch, trainer.progress.epoch = 7, 10
    assert not trainer.finished()
    trainer.progress.epoch = 11
    assert trainer.finished()


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (settings(epochs=5, kl_warmup_epochs=6), "train.kl_warmup_epochs"),
        (settings(epochs=5, learning_rate_warmup_epochs=6), "train.learning_rate_warmup_epochs"),
        (
            settings("beta_vae", {"capacity_nats": 1.0, "capacity_epochs": 6}, epochs=5),
            "objectives.beta_vae.capacity_epochs",
        ),
        (settings("info_vae", epochs=5, kl_warmup_epochs=6), "train.kl_warmup_epochs"),
    ],
)
def test_a_warm_up_longer_than_the_training_is_refused(chosen: Settings, name: str) -> None:
    expected = (
        f"{name} is 6, longer than the training (train.epochs: 5), so the warm-up would not end: "
        "set it to 5 or less, or train.epochs to 6 or more"
    )
    with pytest.raises(UserError) as caught:
        new_trainer(chosen)
    assert str(caught.value) == expected


def test_a_warm_up_as_long_as_the_training_is_not() -> None:
    chosen = settings(epochs=5, kl_warmup_epochs=5, learning_rate_warmup_epochs=5)
    check_warmups(build_objective(chosen), chosen.train)
    new_trainer(chosen)


@pytest.mark.parametrize("objective", ["gan", "vae_gan"])
def test_early_stopping_needs_a_loss_to_compare(objective: str) -> None:
    with pytest.raises(UserError, match=r"early_stopping_epochs has no effect with objective"):
        build_objective(settings(objective, early_stopping_epochs=3))


def notes(**train: object) -> list[str]:
    chosen = TrainSettings.model_validate({"epochs": 20, **train})
    return early_stopping_notes(Vae(kl_warmup_epochs=chosen.kl_warmup_epochs), chosen)


def test_what_is_said_of_early_stopping_before_training() -> None:
    assert notes() == notes(kl_warmup_epochs=5) == notes(learning_rate_schedule="cosine") == []
    assert notes(early_stopping_epochs=3) == []
    counted = (
        "train.early_stopping_epochs: 3 is counted from epoch 5, the end of train.kl_warmup_epochs"
    )
    assert notes(early_stopping_epochs=3, kl_warmup_epochs=5) == [counted]
    assert notes(early_stopping_epochs=15, kl_warmup_epochs=5) == [
        counted.replace(" 3 ", " 15 ") + ", and so has no effect with train.epochs: 20"
    ]
    assert notes(early_stopping_epochs=3, learning_rate_schedule="linear") == [
        "train.early_stopping_epochs: 3 may end training before the linear learning rate reaches 0 "
        "at epoch 20"
    ]
    assert notes(early_stopping_epochs=18) == []
    assert notes(early_stopping_epochs=19, learning_rate_schedule="linear") == [
        "train.early_stopping_epochs: 19 has no effect with train.epochs: 20"
    ]


def test_a_best_epoch_in_the_warm_up_is_named() -> None:
    train = TrainSettings(kl_warmup_epochs=5, learning_rate_warmup_epochs=9)
    said = best_epoch_note(Vae(kl_warmup_epochs=5), train, 4)
    assert said is not None
    assert said.startswith(
        "the best epoch, 4, is before the end of train.kl_warmup_epochs at epoch 5"
    )
    assert best_epoch_note(Vae(kl_warmup_epochs=5), train, 5) is None
    assert best_epoch_note(Vae(), TrainSettings(), 1) is None


def test_every_epoch_is_validated_with_the_final_values() -> None:
    """So epochs of a warm-up can be compared with those after it."""
    growing, constant = (
        make_trainer(BetaVae(capacity_nats=n, capacity_epochs=e, kl_warmup_epochs=e), epochs=1)
        for n, e in ((7.0, 9), (7.0, 0))
    )
    constant.model.load_state_dict(growing.model.state_dict())
    assert validation_loss(growing) == validation_loss(constant)


def validation_loss(trainer: Trainer) -> float:
    return trainer._validate()[0]["loss"]


@pytest.mark.parametrize("own", [{}, {"capacity_nats": 4.0, "capacity_epochs": 6}])
def test_the_schedules_end_where_the_warm_ups_say(own: dict[str, object]) -> None:
    chosen = settings("beta_vae", own, kl_warmup_epochs=3)
    objective = build_objective(chosen)
    end = max(warmup_epochs(objective, chosen.train).values())
    assert end == (6 if own else 3)
    assert objective.schedule_at(end) == objective.schedule_at(math.inf)
    assert objective.schedule_at(end - 0.01) != objective.schedule_at(math.inf)
