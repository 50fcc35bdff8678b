"""The cost of a training is said before it begins, and changes nothing of it."""

from dataclasses import replace

import pytest
import torch

from tests.training.test_trainer import make_trainer
from vaelab.config import UserError
from vaelab.objectives.gan import Gan
from vaelab.objectives.vae_gan import VaeGan
from vaelab.training import cost
from vaelab.training.cost import StepCost, step_cost

GIGABYTE = 10**9
COST = StepCost(1_000, 4_000, 10_000_000, 500, 2 * GIGABYTE)


def test_a_training_is_the_same_with_and_without() -> None:
    plain, probed = make_trainer(network="conv"), make_trainer(network="conv")
    step_cost(probed)
    plain.fit(show_progress=False)
    probed.fit(show_progress=False)
    for name, weights in plain.model.state_dict().items():
        assert weights.equal(probed.model.state_dict()[name]), name
    assert plain.progress.history == probed.progress.history


@pytest.mark.parametrize("objective", [None, Gan(), VaeGan()])
def test_every_weight_is_counted_and_no_mode_or_random_state_changes(objective) -> None:
    trainer, before = make_trainer(objective), torch.get_rng_state()
    trainer.live_model.train()
    found = step_cost(trainer)
    assert trainer.live_model.training
    assert torch.get_rng_state().equal(before)
    assert found.weights == sum(p.numel() for p in trainer.live_model.parameters())
    assert (found.batch, found.bytes > found.fixed) == (16, True)
    assert found.epoch_seconds is not None
    assert 0 < found.epoch_seconds < 60


def test_the_bytes_of_an_image_are_those_that_autograd_keeps() -> None:
    trainer = make_trainer()
    few, more = (cost._kept_bytes(trainer, count) for count in (8, 32))
    per_image = (more - few) / 24
    assert step_cost(trainer).per_image == pytest.approx(cost.OVERHEAD * per_image, rel=0.1)


def test_what_cannot_fit_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError,
        match=r"^train.batch_size: 500 needs about 5.0 GB of memory a step, and 2.0 GB are free; "
        "128 would fit$",
    ):
        COST.check()
    with pytest.raises(UserError, match=r"batch_size: 1000 .*; 256 would fit$"):
        COST.check(processes=2)
    with pytest.raises(UserError, match="not even 1 would fit: use a smaller model"):
        replace(COST, per_image=3 * GIGABYTE).check()
    replace(COST, batch=128).check()
    monkeypatch.setattr("vaelab.runtime.memory.available", lambda: 10_000)
    with pytest.raises(UserError, match=r"^train.batch_size: 16 needs about"):
        step_cost(make_trainer())


def test_the_line_that_a_training_begins_with() -> None:
    text = str(replace(COST, batch=20, epoch_seconds=12.3))
    assert (
        text == "1,000 weights; about 200 MB of memory a step and 12 s an epoch, without validation"
    )
