"""Many models trained at once: their steps are one batched model's, all else is each one's own.

Every entry is an ordinary Trainer, with its own noise, optimiser, schedules, best weights and end.
Its weights lie in a row of one tensor, padded to the widest latent, and a step's loss and gradient
are computed for all rows at once. An entry comes to what it would have come to alone, but for the
order in which floating-point numbers are summed.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.models.likelihoods import GaussianLikelihood
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.progress import EpochReport, Progress
from vaelab.training.running_means import Means, RunningMeans
from vaelab.training.sharding import VALIDATION_BATCH
from vaelab.training.trainer import FIT_IMAGES, Trainer
from vaelab.training.vectorized.functional import VectorizedForward
from vaelab.training.vectorized.grouping import group_compatible as group_compatible
from vaelab.training.vectorized.padding import PaddedModel, Padding
from vaelab.training.vectorized.stacked_params import Member, StackedParams, make_member

# Images [batch, channel, height, width] that all share, or [entry, batch, ...], each its own;
# and the noise [entry, batch, latent] of each entry's latents.
Batches = tuple[Tensor, Float[Tensor, "entry batch latent"]]
TrainedModel = Progress | Exception


class VectorizedTrainer:
    """Trains what `groups` says can be trained together."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        widest = max((trainer.model for trainer in trainers), key=lambda model: model.latent_dim)
        self.padding = Padding(widest)
        self.passes = VectorizedForward(PaddedModel(widest), trainers[0].objective)
        entries = [make_member(i, trainer, self.padding) for i, trainer in enumerate(trainers)]
        self.stack = StackedParams(entries, self.padding)
        seeds = {trainer.settings.seed for trainer in trainers}
        self.shares_images = len(seeds) == 1 and not trainers[0].train.is_stochastic

    def fit(
        self, on_epoch: Callable[[int, EpochReport], None]
    ) -> Iterator[tuple[int, TrainedModel]]:
        """Train all to their ends; give each one's number and outcome as it ends.

        `on_epoch` is told the number too; what it raises ends that training, and no other, and is
        its outcome. So is the NonFiniteLossError of `Trainer.fit`.
        """
        while self.stack.members:
            self._train()
            self.stack.write_back()
            ended: dict[int, TrainedModel] = {}
            for entry, measured in zip(self.stack.members, self._measure(), strict=True):
                if outcome := _outcome(entry, measured, on_epoch):
                    ended[entry.number] = outcome
            if ended:
                self._drop(ended)
            yield from ended.items()

    def _train(self) -> None:
        """Take all steps of an epoch."""
        totals, trainers = RunningMeans(), self.stack.trainers
        step = 0
        noises = [trainer.state.noise_rng for trainer in trainers]
        for images, noise in self._batches(lambda trainer, _: trainer.batches(), noises):
            for trainer in trainers:
                trainer.set_schedule(step)
            tensors = self.stack.tensors(noise)
            values = self.passes.forward_all("train", tensors, self.stack.hyper, images)
            totals.add(values)
            self.stack.step(values["loss"].mean(0))
            step += 1
        for trainer, own in zip(trainers, self._split_by_model(totals), strict=True):
            trainer.state.running_means, trainer.progress.step = own, step
            if self.shares_images:
                trainer.state.shuffle_rng.set_state(trainers[0].state.shuffle_rng.get_state())

    @torch.inference_mode()
    def _measure(self) -> list[Means]:
        """Validate each as its trainer would, and fit its likelihood before."""
        self._fit_likelihoods()
        totals, noises = RunningMeans(), self._generators("validation")
        hyper = self.stack.hyperparameters()
        for images, noise in self._batches(_validation, noises):
            tensors = self.stack.tensors(noise)
            totals.add(self.passes.forward_all("validate", tensors, hyper, images))
        return [own.compute() for own in self._split_by_model(totals)]

    def _fit_likelihoods(self) -> None:
        likelihoods = [trainer.model.likelihood for trainer in self.stack.trainers]
        if not likelihoods[0].fitted:
            return
        total, count = torch.zeros(len(likelihoods)).to(self.stack.found_nonfinite), 0
        for images, noise in self._batches(_fit_images, self._generators("fit")):
            tensors = self.stack.tensors(noise)
            errors = self.passes.forward_all("squared_error", tensors, {}, images)
            total += errors["squared_error"]
            count += images[0].numel() if images.dim() == 5 else images.numel()
        for likelihood, error in zip(likelihoods, total, strict=True):
            assert isinstance(likelihood, GaussianLikelihood)
            likelihood.fit(error / count)

    def _batches(
        self,
        opened: Callable[[Trainer, torch.Generator], Iterable[Tensor]],
        noises: Sequence[torch.Generator],
    ) -> Iterator[Batches]:
        """Give batches, and noise for the latents drawn as each training alone would."""
        trainers = self.stack.trainers
        readers = [opened(*pair) for pair in zip(trainers, noises, strict=True)]
        for each in zip(*readers[: 1 if self.shares_images else None], strict=True):
            images = each[0] if self.shares_images else torch.stack(each)
            noise = torch.zeros(len(trainers), len(each[0]), self.padding.latent_dim)
            noise = noise.to(images.device)
            for trainer, generator, padded in zip(trainers, noises, noise, strict=True):
                own = padded[:, : trainer.model.latent_dim]
                own.copy_(torch.randn(own.shape, generator=generator, device=own.device))
            yield images, noise

    def _generators(self, name: str) -> list[torch.Generator]:
        return [rng_stream(t.settings.seed, name, t.device) for t in self.stack.trainers]

    def _split_by_model(self, totals: RunningMeans) -> list[RunningMeans]:
        """Take sums [entry] or [entry, dimension] apart, without padded dimensions."""

        def own(total: Tensor, number: int) -> Tensor:
            size = self.stack.trainers[number].model.latent_dim
            return total[number, :size] if total.dim() > 1 else total[number]

        return [
            RunningMeans({k: own(total, i) for k, total in totals.sums.items()}, totals.count)
            for i in range(len(self.stack.trainers))
        ]

    def _drop(self, ended: dict[int, TrainedModel]) -> None:
        """Go on with those that have not ended."""
        going = [entry for entry in self.stack.members if entry.number not in ended]
        if going:
            self.stack = StackedParams(going, self.padding)
        else:
            self.stack.members = []


def _validation(trainer: Trainer, noise: torch.Generator) -> Iterable[Tensor]:
    return trainer.validation.sequential(VALIDATION_BATCH, noise)


def _fit_images(trainer: Trainer, noise: torch.Generator) -> Iterable[Tensor]:
    return trainer.train.subsample(VALIDATION_BATCH, noise, FIT_IMAGES)


def _outcome(
    entry: Member, measured: Means, on_epoch: Callable[[int, EpochReport], None]
) -> TrainedModel | None:
    """End an entry's epoch; give what it came to if that was its last one."""
    trainer = entry.trainer
    try:
        on_epoch(entry.number, trainer.end_epoch(measured))
        if not trainer.finished():
            return None
        trainer.finalize()
    except Exception as error:  # whatever it is, the others are worth more
        return error
    return trainer.progress
