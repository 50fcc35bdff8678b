"""What each of several processes does for tests/test_distributed.py, started by torchrun."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vaelab.config import ModelSettings, TrainSettings, UserError
from vaelab.data.loader import ImageBatches
from vaelab.distributed.collectives import over_the_batch, rows_here, whole_batch
from vaelab.distributed.environment import own_place
from vaelab.distributed.process_group import SINGLE, Group, joined
from vaelab.distributed.rank_messages import may_say
from vaelab.models.model import Model, build_model
from vaelab.objectives import Objective, PlayerLoss
from vaelab.objectives.autoencoder import Autoencoder
from vaelab.objectives.beta_vae import BetaVae
from vaelab.objectives.factor_vae import FactorVae
from vaelab.objectives.gan import Gan
from vaelab.objectives.vae import Vae
from vaelab.objectives.vae_gan import VaeGan
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.progress import NonFiniteLossError
from vaelab.training.trainer import Trainer

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
IMAGES = 49
MODEL = {"network": "conv", "hidden": (32,), "channels": (4, 8), "latent_dim": 3}


def noise_images(count: int, binarize: bool = False) -> ImageBatches:
    """Images that differ in every pixel."""
    images = np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    return ImageBatches(images, CPU, binarize=binarize)


def make(
    group: Group,
    objective: Objective | None = None,
    data: tuple[ImageBatches, ImageBatches] | None = None,
    **settings: object,
) -> Trainer:
    objective = objective or Vae()
    train = TrainSettings.model_validate({"epochs": 3, "batch_size": 24, **settings})
    chosen = objective.resolved(ModelSettings.model_validate(MODEL))
    model = build_model(chosen, SHAPE, objective.networks(), train.seed, objective.posterior)
    splits = data or (noise_images(IMAGES), noise_images(17))
    return Trainer(model, objective, train, *splits, group=group)


def digits() -> tuple[ImageBatches, ImageBatches]:
    """800 real digits, and 200 more."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:1000, None] * 255 / 16).astype(np.uint8)
    return ImageBatches(images[:800], CPU), ImageBatches(images[800:], CPU)


def vector(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def gradient(trainer: Trainer, player: str) -> Tensor:
    found = [cast(Tensor, p.grad).flatten() for p in trainer.optimisers[player].parameters]
    return torch.cat(found)


class Coupled(Autoencoder):
    """Every image's loss depends on all latents of its batch, by their mean and by pairs."""

    def losses(
        self, model: Model, images: Tensor, generator: torch.Generator
    ) -> dict[str, PlayerLoss]:
        player = super().losses(model, images, generator)["autoencoder"]
        latents = model.encode(images).mean
        mean, everyone = over_the_batch(latents.mean(0)), whole_batch(latents)
        pairs = (latents[:, None] - everyone).square().sum((1, 2))
        numbers = rows_here(torch.arange(len(everyone)))
        loss = player.loss + 100 * (mean - 1).square().sum() + pairs * numbers
        return {"autoencoder": PlayerLoss(loss)}


def gradients(group: Group, objective: Objective, batch_size: int) -> list[float]:
    """Compare each step's gradient with that of one process, relative to its norm."""
    several = make(group, objective, batch_size=batch_size)
    alone = make(SINGLE, objective, batch_size=batch_size)
    apart = []
    for _ in zip(several.steps_of_epoch(), alone.steps_of_epoch(), strict=True):
        ours, theirs = gradient(several, "autoencoder"), gradient(alone, "autoencoder")
        apart.append(float((ours - theirs).norm() / theirs.norm()))
        # The next step starts from the same weights again.
        for mine, other in zip(several.model.parameters(), alone.model.parameters(), strict=True):
            mine.data.copy_(other.data)
    return apart


def whole_trainings(group: Group) -> dict[str, Any]:
    """Train on digits, with noise and without."""
    found = {}
    for objective in (Autoencoder(), Vae()):
        trainer = make(group, objective, digits(), epochs=4, batch_size=50)
        found[type(objective).__name__] = trainer.fit(show_progress=False).history
    return found


def stopped_and_resumed(group: Group, first: Group, second: Group, folder: Path) -> dict[str, Any]:
    """Train with one group and go on with another, from the middle of the second epoch."""

    def trainer(group: Group) -> Trainer:
        return make(group, data=(noise_images(IMAGES, binarize=True), noise_images(17)))

    undisturbed, stopped, resumed = trainer(first), trainer(first), trainer(second)
    undisturbed.fit(show_progress=False)
    mine = folder / str(group.rank) if first.is_alone else folder
    with CheckpointFolder(mine, keep=1) if group.is_main else _no_folder() as checkpoints:
        for _ in stopped.steps_of_epoch():
            pass
        stopped.report()
        next(stopped.steps_of_epoch())
        if checkpoints:
            stopped.save(checkpoints)
        group.wait()
        resumed.resume(checkpoints)
        at = (resumed.progress.epoch, resumed.progress.step)
        if not second.is_alone or group.is_main:
            resumed.fit(show_progress=False)
    history = [row["epoch"] for row in resumed.progress.history]
    equal = bool(torch.equal(vector(undisturbed), vector(resumed)))
    first_rows = undisturbed.progress.history[:1] == resumed.progress.history[:1]
    return {"at": at, "epochs": history, "equal": equal, "first_rows": first_rows}


class _no_folder:  # noqa: N801
    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


class Explodes(Vae):
    """Not finite from the third step on, in the last process alone."""

    rank: int = 0
    steps: list[int] = []

    def losses(
        self, model: Model, images: Tensor, generator: torch.Generator
    ) -> dict[str, PlayerLoss]:
        losses = super().losses(model, images, generator)
        self.steps.append(1)
        if len(self.steps) < 3 or self.rank == 0:
            return losses
        bad = losses["vae"].loss * math.nan
        return {"vae": PlayerLoss(bad, {**losses["vae"].terms, "generation_loss_nats": bad})}


def not_finite(group: Group) -> dict[str, Any]:
    """Let one process alone meet a loss that is not finite."""
    trainer = make(group, Explodes(rank=group.rank, steps=[]), batch_size=10)
    before: list[Tensor] = []
    try:
        for step, _ in enumerate(trainer.steps_of_epoch(), 1):
            before += [vector(trainer)] if step == 2 else []
        trainer.report()
    except NonFiniteLossError as error:
        message = str(error)
    same = bool(torch.equal(before[0], vector(trainer)))
    return {"message": message, "untouched": same, "said": may_say(message)}


def players(group: Group) -> dict[str, Any]:
    """Train objectives of several players, and of batches' means; their weights stay alike."""
    objectives: list[Objective] = [
        Gan(discriminator_steps=2),
        Gan(loss="wasserstein"),
        VaeGan(margin=0.01),
        FactorVae(),
        BetaVae(capacity_nats=1.0, free_bits_nats=0.1),
    ]
    found = {}
    for number, objective in enumerate(objectives):
        trainer = make(group, objective)
        history = trainer.fit(show_progress=False).history
        of_main = vector(trainer).clone()
        torch.distributed.broadcast(of_main, 0)
        found[f"{number} {type(objective).__name__}"] = {
            "alike": bool(torch.equal(of_main, vector(trainer))),
            "finite": all(math.isfinite(v) for row in history for v in row.values()),
            "history": history,
        }
    return found


def refused(group: Group) -> str:
    """Ask for smaller batches than there are processes."""
    try:
        make(group, batch_size=group.count - 1)
    except UserError as error:
        return str(error)
    return "nothing"


def cases(group: Group, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "steps of 24", lambda: gradients(group, Autoencoder(), 24)
    yield "steps of 49", lambda: gradients(group, Autoencoder(), 49)
    yield "coupled", lambda: gradients(group, Coupled(), 24)
    yield "whole", lambda: whole_trainings(group)
    yield "2 to 2", lambda: stopped_and_resumed(group, group, group, folder / "22")
    yield "2 to 1", lambda: stopped_and_resumed(group, group, SINGLE, folder / "21")
    yield "1 to 2", lambda: stopped_and_resumed(group, SINGLE, group, folder / "12")
    yield "not finite", lambda: not_finite(group)
    yield "players", lambda: players(group)
    yield "refused", lambda: refused(group)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    place = own_place()
    with joined(place, CPU) as group:
        found = {name: case() for name, case in cases(group, folder)}
    (folder / f"{place.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
