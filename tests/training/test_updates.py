"""Several batches of a step: the gradient of all their images, and what follows from it."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.objectives.factories import settings, trainer, without_noise  # noqa: F401
from vaelab.training.trainer import Trainer

# 100 images: a step of 60, and one of the 40 that are left, in batches of 16, 16 and 8.
WHOLE = {"batch_size": 60}
PARTS = {"batch_size": 20, "accumulate_grad_batches": 3}
UNEVEN = {"batch_size": 16, "accumulate_grad_batches": 4}
FIXED: dict[str, object] = {"gaussian_variance": 0.05}


def gradients(name: str, model: dict[str, object], **own: Any) -> tuple[list[Tensor], Trainer]:
    """Return the gradient of each step of an epoch, all at the same weights."""
    loop = trainer(settings(name, model=model, learning_rate=1e-9, epochs=1, **own))
    found = []
    for _ in loop.steps_of_epoch():
        owned = (p for o in loop.state.optimizers.values() for p in o.parameters)
        found.append(torch.cat([p.grad.flatten() for p in owned if p.grad is not None]))
    return found, loop


def apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize("name", ["autoencoder", "vae", "beta_vae", "iwae"])
@pytest.mark.parametrize("parts", [PARTS, UNEVEN], ids=["thirds", "uneven"])
def test_a_step_has_the_gradient_of_one_batch_of_all_its_images(
    name: str, parts: dict[str, int]
) -> None:
    size = parts["batch_size"] * parts["accumulate_grad_batches"]
    whole, alone = gradients(name, FIXED, batch_size=size)
    found, loop = gradients(name, FIXED, **parts)
    assert len(found) == len(whole) == loop.steps_per_epoch() == alone.steps_per_epoch() == 2
    for gradient, wanted in zip(found, whole, strict=True):
        assert apart(gradient, wanted) < 1e-5
    means = (each.state.running_means.compute()[0] for each in (loop, alone))
    assert next(means) == pytest.approx(next(means), rel=1e-5)


@pytest.mark.usefixtures("without_noise")
@pytest.mark.parametrize(
    ("name", "model"), [("vae", {}), ("beta_tc_vae", FIXED), ("info_vae", FIXED)]
)
def test_what_depends_on_a_whole_batch_is_of_each_batch(
    name: str, model: dict[str, object]
) -> None:
    """A fitted variance, and losses that compare the images of a batch: near, but not equal."""
    (whole, _), (found, _) = gradients(name, model, **WHOLE), gradients(name, model, **PARTS)
    assert 1e-4 < apart(found[0], whole[0]) < 0.7


@pytest.mark.usefixtures("without_noise")
def test_the_norm_of_the_sum_is_clipped() -> None:
    whole, _ = gradients("vae", FIXED, gradient_clip_norm=1.0, **WHOLE)
    found, _ = gradients("vae", FIXED, gradient_clip_norm=1.0, **PARTS)
    assert found[0].norm() == pytest.approx(1, rel=1e-4)
    assert apart(found[0], whole[0]) < 1e-5


def test_schedules_and_averages_count_steps() -> None:
    seen: dict[str, list[list[float]]] = {}
    for key, parts in (("whole", WHOLE), ("parts", PARTS)):
        own: dict[str, Any] = {"learning_rate_schedule": "cosine", "kl_warmup_epochs": 1, **parts}
        loop = trainer(settings("vae", epochs=2, ema_decay=0.9, **own))
        seen[key] = [
            [loop.learning_rate.item(), loop.schedule_tensors["kl_weight"].item()]
            for _ in loop.steps_of_epoch()
        ]
        assert loop.progress.step == 2
    assert seen["whole"] == seen["parts"]
