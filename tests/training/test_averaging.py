"""The moving average of the weights: what is validated, kept and drawn from; never what trains."""

from typing import Any

import pytest
import torch
from torch import Tensor

import vaelab
from tests.training.test_trainer import make_trainer, stripes, weights
from vaelab.objectives import Objective
from vaelab.objectives.gan import Gan
from vaelab.objectives.vae import Vae
from vaelab.objectives.vae_gan import VaeGan
from vaelab.training.trainer import Trainer


def parameters(model: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_it_is_the_average_of_the_weights_after_each_step(decay: float) -> None:
    trainer = make_trainer(ema_decay=decay, epochs=2)
    expected, steps = parameters(trainer.live_model), 0
    for _ in range(2):
        for _ in trainer.steps_of_epoch():
            share = min(decay, (1 + steps) / (10 + steps))
            live = parameters(trainer.live_model)
            expected = [share * a + (1 - share) * b for a, b in zip(expected, live, strict=True)]
            steps += 1
        trainer.end_epoch()
    assert steps == 8
    for found, wanted in zip(trainer.model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted)


@pytest.mark.parametrize("objective", [Vae(), VaeGan(), Gan()], ids=["vae", "vae_gan", "gan"])
def test_training_does_not_depend_on_it(objective: Objective) -> None:
    plain, averaged = (
        make_trainer(objective, learning_rate=0.01, ema_decay=decay) for decay in (None, 0.9)
    )
    for trainer in (plain, averaged):
        assert (trainer.model is trainer.live_model) == (trainer is plain)
        for _ in range(2):
            assert len(list(trainer.steps_of_epoch())) == 4
            trainer.end_epoch()
    for found, wanted in zip(
        parameters(averaged.live_model), parameters(plain.live_model), strict=True
    ):
        assert torch.equal(found, wanted)
    rows = [trainer.progress.history[-1] for trainer in (plain, averaged)]
    assert {k: v for k, v in rows[0].items() if k.startswith("train.")}.items() <= rows[1].items()
    validated = [k for k in rows[0] if k.startswith("validation.")]
    assert any(rows[0][name] != rows[1][name] for name in validated)


def test_the_averaged_weights_are_validated_kept_and_given_back() -> None:
    trainer, kept = make_trainer(ema_decay=0.9, epochs=4, learning_rate=0.02), {}

    def keep(report: object) -> None:
        kept[trainer.progress.epoch] = weights(trainer)

    progress = trainer.fit(keep)
    best = kept[progress.best_epoch]
    for name, tensor in weights(trainer).items():
        if name != "likelihood.variance":  # fitted once more, to all training images
            assert torch.equal(tensor, best[name]), name
    again = trainer._validate()[0]["neg_elbo_nats"]
    recorded = progress.history[progress.best_epoch - 1]["validation.neg_elbo_nats"]
    assert again == pytest.approx(recorded, rel=1e-5)


def test_buffers_are_those_of_the_model_that_trains() -> None:
    """Of a spectral norm, which moves its vectors at each look in training."""
    trainer = normed_trainer()
    for _ in trainer.steps_of_epoch():
        pass
    before = {name: b.clone() for name, b in trainer.model.named_buffers()}
    trainer.end_epoch()
    live = dict(trainer.live_model.named_buffers())
    vectors = [name for name in live if name.endswith(("_u", "_v"))]
    assert vectors
    for name, buffer in trainer.model.named_buffers():
        assert torch.equal(buffer, live[name]) or "variance" in name, name
    assert any(not torch.equal(before[name], live[name]) for name in vectors)


def normed_trainer() -> Trainer:
    from tests.objectives.factories import settings, trainer

    return trainer(settings("vae_gan", model={"spectral_norm": True}, ema_decay=0.9))


def test_a_model_trained_so_from_python_is_as_any_other() -> None:
    own: dict[str, Any] = {"epochs": 2, "network": "mlp", "hidden": [8], "progress": False}
    model = vaelab.train(stripes(40)[:, 0], ema_decay=0.5, **own)
    assert model.reconstruct(stripes(3)[:, 0]).shape == (3, 1, 8, 8)
