"""What each process does for test_process_group.py, started by torchrun."""

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
from vaelab.data.loader import ImageLoader
from vaelab.distributed.environment import from_environ
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup, process_group
from vaelab.distributed.rank_messages import should_print
from vaelab.models.model import Model, build_model
from vaelab.objectives import LossOutput, Objective
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


def noise_images(count: int, binarize: bool = False, share: float = 0.0) -> ImageLoader:
    """Images that differ in every pixel, of three labels, some unknown, with a share missing."""
    images = np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    labels = np.random.default_rng(1).integers(-1, 3, count)
    missing = np.random.default_rng(2).random((count, *SHAPE)) < share if share else None
    return ImageLoader(images, CPU, labels=labels, classes=3, binarize=binarize, missing=missing)


def make(
    group: ProcessGroup,
    objective: Objective | None = None,
    data: tuple[ImageLoader, ImageLoader] | None = None,
    conditional: str = "none",
    variance: object = "fitted",
    **settings: object,
) -> Trainer:
    objective = objective or Vae()
    train = TrainSettings.model_validate({"epochs": 3, "batch_size": 24, **settings})
    splits = data or (noise_images(IMAGES), noise_images(17))
    own = {"conditional": conditional, "gaussian_variance": variance}
    model_settings = ModelSettings.model_validate(MODEL | own)
    chosen, classes = objective.resolve_prior(model_settings), splits[0].classes
    names, kind = objective.networks(), objective.posterior
    model = build_model(chosen, SHAPE, names, train.seed, kind, classes)
    model = model.seeing_gaps(splits[0].missing is not None)
    return Trainer(model, objective, train, *splits, group=group)


def digits() -> tuple[ImageLoader, ImageLoader]:
    """800 real digits, and 200 more."""
    from sklearn.datasets import load_digits

    images = (load_digits().images[:1000, None] * 255 / 16).astype(np.uint8)
    return ImageLoader(images[:800], CPU), ImageLoader(images[800:], CPU)


def vector(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def gradient(trainer: Trainer, name: str) -> Tensor:
    found = [cast(Tensor, p.grad).flatten() for p in trainer.state.optimizers[name].parameters]
    return torch.cat(found)


class Coupled(Autoencoder):
    """Every image's loss depends on all latents of its batch, by their mean and by pairs."""

    def losses(
        self, model: Model, images: Tensor, generator: torch.Generator
    ) -> dict[str, LossOutput]:
        output = super().losses(model, images, generator)["autoencoder"]
        latents = model.encode(images).mean
        mean, everyone = self.group.batch_mean(latents.mean(0)), self.group.gather_batch(latents)
        pairs = (latents[:, None] - everyone).square().sum((1, 2))
        numbers = self.group.local_rows(torch.arange(len(everyone)))
        loss = output.loss + 100 * (mean - 1).square().sum() + pairs * numbers
        return {"autoencoder": LossOutput(loss)}


def gradients(
    group: ProcessGroup,
    objective: Objective,
    batch_size: int,
    conditional: str = "none",
    batches: int = 1,
    share: float = 0.0,
) -> list[float]:
    """Compare each step's gradient with that of one process, relative to its norm.

    The one process has all images of a step in one batch, the others in so many batches.
    """
    # Which labels are hidden is noise, which differs; at this share none is.
    several, alone = (
        make(
            each,
            objective,
            (noise_images(IMAGES, share=share), noise_images(17, share=share)),
            conditional=conditional,
            # A fitted variance is that of each batch.
            variance="fitted" if batches == 1 else 0.1,
            batch_size=size,
            accumulate_grad_batches=count,
            label_dropout=1e-9,
        )
        for each, size, count in (
            (group, batch_size, batches),
            (SINGLE_GROUP, batch_size * batches, 1),
        )
    )
    apart = []
    for _ in zip(several.steps_of_epoch(), alone.steps_of_epoch(), strict=True):
        ours, theirs = gradient(several, "autoencoder"), gradient(alone, "autoencoder")
        apart.append(float((ours - theirs).norm() / theirs.norm()))
        # The next step starts from the same weights again.
        for mine, other in zip(several.model.parameters(), alone.model.parameters(), strict=True):
            mine.data.copy_(other.data)
    return apart


def whole_trainings(group: ProcessGroup) -> dict[str, Any]:
    """Train on digits, with noise and without."""
    found = {}
    for objective in (Autoencoder(), Vae()):
        trainer = make(group, objective, digits(), epochs=4, batch_size=50)
        found[type(objective).__name__] = trainer.fit(show_progress=False).history
    return found


def stopped_and_resumed(
    group: ProcessGroup,
    first: ProcessGroup,
    second: ProcessGroup,
    folder: Path,
    conditional: str = "none",
    share: float = 0.0,
    **settings: Any,
) -> dict[str, Any]:
    """Train with one group and go on with another, from the middle of the second epoch."""

    def trainer(group: ProcessGroup) -> Trainer:
        data = noise_images(IMAGES, True, share), noise_images(17, share=share)
        return make(group, data=data, conditional=conditional, **settings)

    undisturbed, stopped, resumed = trainer(first), trainer(first), trainer(second)
    undisturbed.fit(show_progress=False)
    mine = folder / str(group.rank) if first.world_size == 1 else folder
    with CheckpointFolder(mine, keep=1) if group.is_rank_zero else _no_folder() as checkpoints:
        for _ in stopped.steps_of_epoch():
            pass
        stopped.end_epoch()
        next(stopped.steps_of_epoch())
        if checkpoints:
            stopped.save(checkpoints)
        group.barrier()
        resumed.resume(checkpoints)
        at = (resumed.progress.epoch, resumed.progress.step)
        if second.world_size > 1 or group.is_rank_zero:
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
    ) -> dict[str, LossOutput]:
        losses = super().losses(model, images, generator)
        self.steps.append(1)
        if len(self.steps) < 3 or self.rank == 0:
            return losses
        bad = losses["vae"].loss * math.nan
        return {"vae": LossOutput(bad, {**losses["vae"].terms, "generation_loss_nats": bad})}


def not_finite(group: ProcessGroup) -> dict[str, Any]:
    """Let one process alone meet a loss that is not finite."""
    trainer = make(group, Explodes(rank=group.rank, steps=[]), batch_size=10)
    before: list[Tensor] = []
    try:
        for step, _ in enumerate(trainer.steps_of_epoch(), 1):
            before += [vector(trainer)] if step == 2 else []
        trainer.end_epoch()
    except NonFiniteLossError as error:
        message = str(error)
    same = bool(torch.equal(before[0], vector(trainer)))
    return {"message": message, "untouched": same, "said": should_print(message)}


def adversarial(group: ProcessGroup) -> dict[str, Any]:
    """Train objectives with several optimizers and batch means; the weights stay equal."""
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
        rank_zero = vector(trainer).clone()
        torch.distributed.broadcast(rank_zero, 0)
        found[f"{number} {type(objective).__name__}"] = {
            "equal": bool(torch.equal(rank_zero, vector(trainer))),
            "finite": all(math.isfinite(v) for row in history for v in row.values()),
            "history": history,
        }
    return found


def refused(group: ProcessGroup) -> str:
    """Ask for smaller batches than there are processes."""
    try:
        make(group, batch_size=group.world_size - 1)
    except UserError as error:
        return str(error)
    return "nothing"


def cases(group: ProcessGroup, folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "steps of 24", lambda: gradients(group, Autoencoder(), 24)
    yield "steps of 49", lambda: gradients(group, Autoencoder(), 49)
    yield "steps with labels", lambda: gradients(group, Autoencoder(), 24, "labels")
    yield "steps of 3 x 10", lambda: gradients(group, Autoencoder(), 10, batches=3)
    yield "steps with missing pixels", lambda: gradients(group, Autoencoder(), 24, share=0.4)
    yield "coupled", lambda: gradients(group, Coupled(), 24)
    yield "whole", lambda: whole_trainings(group)
    yield "2 to 2", lambda: stopped_and_resumed(group, group, group, folder / "22")
    yield (
        "2 to 2 with labels",
        lambda: stopped_and_resumed(group, group, group, folder / "labels", "labels"),
    )
    yield (
        "2 to 2 with missing pixels",
        lambda: stopped_and_resumed(group, group, group, folder / "missing", share=0.4),
    )
    yield (
        "2 to 2 averaged",
        lambda: stopped_and_resumed(group, group, group, folder / "ema", ema_decay=0.9),
    )
    yield (
        "2 to 2 accumulated",
        lambda: stopped_and_resumed(
            group, group, group, folder / "sum", batch_size=9, accumulate_grad_batches=3
        ),
    )
    yield "2 to 1", lambda: stopped_and_resumed(group, group, SINGLE_GROUP, folder / "21")
    yield "1 to 2", lambda: stopped_and_resumed(group, SINGLE_GROUP, group, folder / "12")
    yield "not finite", lambda: not_finite(group)
    yield "adversarial", lambda: adversarial(group)
    yield "refused", lambda: refused(group)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    place = from_environ()
    with process_group(place, CPU) as group:
        found = {name: case() for name, case in cases(group, folder)}
    (folder / f"{place.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
