"""Many models trained as one batched model (torch.func.vmap); everything else stays separate.

Every member is an ordinary Trainer, with its own noise, optimizer, schedules and best weights. Its
weights are one row of a tensor, padded to the largest latent size, and a step's losses and
gradients are computed for all rows at once. A member's result matches its stand-alone run up to
rounding: floating-point numbers are summed in another order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.data.loader import Batch
from vaelab.runtime.matmul import matmul_for
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.progress import EpochReport, Progress
from vaelab.training.running_means import Means, RunningMeans
from vaelab.training.sharding import VALIDATION_BATCH
from vaelab.training.trainer import FIT_IMAGES, Trainer
from vaelab.training.vectorized.functional import VectorizedForward
from vaelab.training.vectorized.grouping import group_compatible as group_compatible
from vaelab.training.vectorized.padding import PaddedModel, Padding
from vaelab.training.vectorized.stacked_params import Member, StackedParams, make_member

# Images [batch, channel, height, width] that all members share, or [member, batch, ...]; and the
# noise [member, batch, latent] of each member's latents.
Batches = tuple[Tensor, Float[Tensor, "member batch latent"]]
TrainedModel = Progress | Exception


class VectorizedTrainer:
    """Train models that `group_compatible` puts in one group."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        widest = max((trainer.model for trainer in trainers), key=lambda model: model.latent_dim)
        self.padding = Padding(widest)
        self.forward = VectorizedForward(PaddedModel(widest), trainers[0].objective)
        members = [make_member(i, trainer, self.padding) for i, trainer in enumerate(trainers)]
        self.stacked = StackedParams(members, self.padding)
        seeds = {trainer.settings.seed for trainer in trainers}
        rows = len(trainers) * trainers[0].settings.batch_size
        self.matmul = matmul_for(widest, rows, trainers[0].device)
        self.shares_images = len(seeds) == 1 and not trainers[0].train.is_stochastic

    def fit(
        self, on_epoch: Callable[[int, EpochReport], None]
    ) -> Iterator[tuple[int, TrainedModel]]:
        """Train all models; yield each one's number and result when it has finished.

        `on_epoch` gets the number and the report; an exception that it raises ends that training
        only, and is its result. So is the NonFiniteLossError of `Trainer.fit`.
        """
        while self.stacked.members:
            with self.matmul():
                self._train()
                self.stacked.write_back()
                measurements = self._measure()
            finished: dict[int, TrainedModel] = {}
            for member, measured in zip(self.stacked.members, measurements, strict=True):
                if result := _end_epoch(member, measured, on_epoch):
                    finished[member.number] = result
            if finished:
                self._drop(finished)
            yield from finished.items()

    def _train(self) -> None:
        """Take all steps of an epoch."""
        sums, trainers = RunningMeans(), self.stacked.trainers
        step = 0
        generators = [trainer.state.noise_rng for trainer in trainers]
        for images, noise in self._batches(lambda trainer, _: trainer.batches(), generators):
            for trainer in trainers:
                trainer.set_schedule(step)
            tensors = self.stacked.tensors(noise)
            values = self.forward.forward_all(
                "train", tensors, self.stacked.schedule_tensors, images
            )
            sums.add(values)
            self.stacked.step(values["loss"].mean(0))
            step += 1
        for trainer, own in zip(trainers, self._split_by_model(sums), strict=True):
            trainer.state.running_means, trainer.progress.step = own, step
            if self.shares_images:
                trainer.state.shuffle_rng.set_state(trainers[0].state.shuffle_rng.get_state())

    @torch.inference_mode()
    def _measure(self) -> list[Means]:
        """Fit each model's likelihood and validate it, as its trainer would."""
        self._fit_likelihoods()
        sums, generators = RunningMeans(), self._generators("validation")
        hyper = self.stacked.unscheduled_values()
        for images, noise in self._batches(_validation, generators):
            tensors = self.stacked.tensors(noise)
            sums.add(self.forward.forward_all("validate", tensors, hyper, images))
        return [own.compute() for own in self._split_by_model(sums)]

    def _fit_likelihoods(self) -> None:
        likelihoods = [trainer.model.likelihood for trainer in self.stacked.trainers]
        if not likelihoods[0].fitted:
            return
        total = torch.zeros(len(likelihoods)).to(self.stacked.found_nonfinite)
        count = torch.zeros_like(total, dtype=torch.long)
        for images, noise in self._batches(_calibration, self._generators("fit")):
            tensors = self.stacked.tensors(noise)
            errors = self.forward.forward_all("fit_error", tensors, {}, images)
            total += errors["fit_error"]
            count += (~images.isnan()).flatten(-4).sum(-1)
        for likelihood, error in zip(likelihoods, total / count, strict=True):
            likelihood.fit(error)

    def _batches(
        self,
        open_batches: Callable[[Trainer, torch.Generator], Iterable[Batch]],
        generators: Sequence[torch.Generator],
    ) -> Iterator[Batches]:
        """Return batches, and the noise that each training by itself would draw for its latents."""
        trainers = self.stacked.trainers
        readers = [open_batches(*pair) for pair in zip(trainers, generators, strict=True)]
        for each in zip(*readers[: 1 if self.shares_images else None], strict=True):
            images = torch.stack([batch.images for batch in each])
            images = images[0] if self.shares_images else images
            noise = torch.zeros(len(trainers), len(each[0].images), self.padding.latent_dim)
            noise = noise.to(images.device)
            for trainer, generator, padded in zip(trainers, generators, noise, strict=True):
                own = padded[:, : trainer.model.latent_dim]
                own.copy_(torch.randn(own.shape, generator=generator, device=own.device))
            yield images, noise

    def _generators(self, name: str) -> list[torch.Generator]:
        return [rng_stream(t.settings.seed, name, t.device) for t in self.stacked.trainers]

    def _split_by_model(self, sums: RunningMeans) -> list[RunningMeans]:
        """Split sums [member] or [member, dimension] by model, without padded dimensions."""

        def own(total: Tensor, number: int) -> Tensor:
            size = self.stacked.trainers[number].model.latent_dim
            return total[number, :size] if total.dim() > 1 else total[number]

        return [
            RunningMeans({k: own(total, i) for k, total in sums.sums.items()}, sums.count)
            for i in range(len(self.stacked.trainers))
        ]

    def _drop(self, finished: dict[int, TrainedModel]) -> None:
        """Continue with the members that have not finished."""
        remaining = [member for member in self.stacked.members if member.number not in finished]
        if remaining:
            self.stacked = StackedParams(remaining, self.padding)
        else:
            self.stacked.members = []


def _validation(trainer: Trainer, noise: torch.Generator) -> Iterable[Batch]:
    return trainer.validation.sequential(VALIDATION_BATCH, noise)


def _calibration(trainer: Trainer, noise: torch.Generator) -> Iterable[Batch]:
    return trainer.train.subsample(VALIDATION_BATCH, noise, FIT_IMAGES)


def _end_epoch(
    member: Member, measured: Means, on_epoch: Callable[[int, EpochReport], None]
) -> TrainedModel | None:
    """End a member's epoch; return its result if that was the last one."""
    trainer = member.trainer
    try:
        on_epoch(member.number, trainer.end_epoch(measured))
        if not trainer.finished():
            return None
        trainer.finalize()
    except Exception as error:  # the other members go on, whatever it is
        return error
    return trainer.progress
