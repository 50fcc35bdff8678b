"""The line on a validation loss that rose, for losses of each kind."""

import numpy as np
import pytest

from vaelab.training.overfitting import overfitting_note

EPOCHS = np.arange(1, 101)
FALLING = 30 * np.exp(-EPOCHS / 12)


def note(losses: np.ndarray, warmup_end: int = 0) -> str | None:
    history = [{"epoch": i, "validation.loss": float(v)} for i, v in enumerate(losses, 1)]
    return overfitting_note(history, "loss", warmup_end)


def test_a_loss_that_rose_is_told_with_the_setting_that_ends_earlier() -> None:
    losses = np.abs(EPOCHS - 51.0) * np.where(EPOCHS < 51, 1.0, 0.1) - 30
    assert note(losses) == (
        "validation loss rose after epoch 51, whose weights are kept: from −30 to −26.7, the mean "
        "of the last third of the epochs; train.early_stopping_epochs: 5 would have kept them too, "
        "and ended the training after epoch 56"
    )


def test_the_patience_would_have_waited_for_the_best_epoch() -> None:
    losses = np.where(EPOCHS < 40, 30.0 - EPOCHS, 30 - 39 + (EPOCHS - 39) * 0.2)
    losses[54] = -12.0  # 16 epochs after the lowest loss before
    assert "epoch 55," in str(note(losses))
    assert "train.early_stopping_epochs: 20 would have kept them too" in str(note(losses))
    assert "ended the training after epoch 75" in str(note(losses))
    # Counted from the end of a warm-up, 5 epochs wait long enough.
    assert "early_stopping_epochs: 5 would" in str(note(losses, warmup_end=53))


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_level_or_a_fall_is_no_rise(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=100)
    assert note(noise) is None
    assert note(FALLING + noise) is None
    assert note(FALLING + 0.1 * noise) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_rise_beyond_the_noise_is_found(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=100)
    rising = FALLING + np.maximum(0, EPOCHS - 40) * 0.3
    assert "validation loss rose after epoch" in str(note(rising + 0.5 * noise))


def test_nothing_is_said_without_a_criterion_or_of_a_late_best_epoch() -> None:
    assert overfitting_note([{"epoch": 1}], None) is None
    assert note(np.where(EPOCHS < 70, -EPOCHS, -70.0 + 5 * (EPOCHS - 70))) is None
    assert note(np.array([3.0, 1.0, 9.0, 9.0, 9.0])) is None, "too few epochs"
