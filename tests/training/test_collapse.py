"""Collapse at the start is seen and said once; early stopping waits for a late start."""

from typing import Any

import numpy as np
import pytest

from tests.training.test_trainer import CPU, SHAPE, make_trainer
from vaelab.config import TrainSettings
from vaelab.data.loader import ImageLoader
from vaelab.objectives import Objective
from vaelab.objectives.autoencoder import Autoencoder
from vaelab.objectives.vae import Vae
from vaelab.objectives.vae_gan import VaeGan
from vaelab.training.collapse import GRACE_STEPS, collapse_note, is_late_start

IDLE, USED = 0.02, 30.0


def history(*kl: float) -> list[dict[str, float]]:
    return [{"validation.kl_loss_nats": value} for value in kl]


def notes(
    *kl: float,
    steps: int = 100,
    warmup_end: int = 0,
    objective: Objective | None = None,
    **own: Any,
) -> dict[int, str]:
    """Return the lines by epoch of a training with these KL losses."""
    chosen = TrainSettings.model_validate({"epochs": 50, **own})
    said = {
        epoch: collapse_note(history(*kl[:epoch]), objective or Vae(), chosen, steps, warmup_end)
        for epoch in range(1, len(kl) + 1)
    }
    return {epoch: line for epoch, line in said.items() if line}


def test_it_is_said_once_with_what_helps() -> None:
    assert notes(*6 * [IDLE]) == {
        3: "epoch 3: posterior collapse: the KL loss is 0.02 nats, and below 1 for 3 epochs, so "
        "the decoder does not use the latent and all reconstructions are nearly the mean image; "
        "try train.kl_warmup_epochs: 10 or train.free_bits_nats: 0.1 or train.kl_weight: 0.1"
    }
    assert list(notes(USED, *6 * [IDLE])) == [4], "also after a start that used it"


def test_what_is_set_already_is_not_advised() -> None:
    (line,) = notes(*6 * [IDLE], kl_weight=8.0, kl_warmup_epochs=1, free_bits_nats=0.01).values()
    assert line.endswith("; try train.kl_weight: 1")
    (line,) = notes(*6 * [IDLE], objective=VaeGan()).values()
    assert line.endswith("; try train.kl_weight: 0.1"), "a VAE-GAN has no other of these settings"


def test_a_used_latent_short_epochs_and_warm_ups_are_no_collapse() -> None:
    assert notes(*6 * [USED]) == notes(IDLE, IDLE, USED, IDLE, IDLE, USED) == {}
    assert list(notes(*30 * [IDLE], steps=10)) == [20], "200 steps"
    assert list(notes(*9 * [IDLE], warmup_end=4)) == [7]
    assert (
        collapse_note([{"validation.loss": 1.0}] * 9, Autoencoder(), TrainSettings(), 9, 0) is None
    )


def test_a_late_start_has_time_after_the_warm_ups() -> None:
    steps, epochs = 100, GRACE_STEPS // 100
    assert is_late_start(history(*(epochs - 1) * [IDLE]), steps, 0)
    assert not is_late_start(history(*epochs * [IDLE]), steps, 0)
    assert is_late_start(history(*epochs * [IDLE]), steps, 3)
    assert not is_late_start(history(IDLE, IDLE, USED), steps, 0)
    assert not is_late_start([], steps, 0)


def test_early_stopping_leaves_a_plateau_its_time() -> None:
    """Nothing gets better at such a rate: 4 steps an epoch."""
    own: dict[str, Any] = {"learning_rate": 1e-12, "early_stopping_epochs": 2}
    stopped = make_trainer(Autoencoder(), epochs=30, **own).fit(show_progress=False)
    assert stopped.epoch == stopped.best_epoch + 2 < 30
    assert make_trainer(Vae(), epochs=30, **own).fit(show_progress=False).epoch == 30


def noise_trainer(**own: Any) -> Any:
    """Noise has nothing that is worth its KL loss."""
    trainer = make_trainer(Vae(kl_weight=20.0), kl_weight=20.0, epochs=60, **own)
    images = np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
    trainer.train = trainer.validation = ImageLoader(images, CPU)
    return trainer


@pytest.mark.parametrize("shown", [True, False])
def test_a_training_prints_it(shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    noise_trainer().fit(show_progress=shown)
    printed = capsys.readouterr().out
    assert printed.count("posterior collapse") == shown
    assert not shown or printed.endswith("or train.kl_weight: 1\n")
