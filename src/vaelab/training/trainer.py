"""The one loop, for every objective. It waits for the device between epochs only."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vaelab.config import TrainSettings
from vaelab.data.loader import ImageLoader
from vaelab.distributed.collectives import dealt_out
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.model import Model
from vaelab.objectives import LossOutput, Objective
from vaelab.runtime import memory
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.checkpoints import CheckpointFolder, CheckpointManager, gather, restore
from vaelab.training.optimizers import build_optimizers, learning_rate
from vaelab.training.progress import EpochReport, NonFiniteLossError, Progress, progress_bar
from vaelab.training.running_means import Means, RunningMeans
from vaelab.training.sharding import VALIDATION_BATCH, ShardedLoader, update_groups, wrap_ddp

# Images that freeze a fitted likelihood before each validation; all of them do at the end.
FIT_IMAGES = 5_000


class Trainer:
    """Minimises an objective over a split, and keeps the weights that validate best."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        settings: TrainSettings,
        train: ImageLoader,
        validation: ImageLoader,
        *,
        group: ProcessGroup = SINGLE_GROUP,
    ) -> None:
        self.model, self.settings, self.group = model, settings, group
        self.loader = ShardedLoader(settings, group)
        self.objective = objective = objective.with_dataset_size(len(train))
        self.train, self.validation = train, validation
        self.device = train.device
        model.initialize_from(train.mean_image(), self._initial_images())
        group.broadcast(model.state_dict())
        model.precision = getattr(torch, settings.precision)
        self.order = rng_stream(settings.seed, "shuffling", self.device)
        self.noise = rng_stream(settings.seed, "noise", self.device)
        self.schedule_tensors = {
            name: self._scalar(value) for name, value in objective.hyperparameters_at(0).items()
        }
        self.scheduled_objective = objective.model_copy(update=self.schedule_tensors)
        self.learning_rate = self._scalar(settings.learning_rate)
        # 1 once a loss or gradient was not finite: then fused optimisers leave the weights alone.
        self.found_nonfinite, self.nonfinite_steps = self._scalar(0.0), self._scalar(0.0)
        self.optimizers = build_optimizers(
            model, objective, settings, self.learning_rate, self.found_nonfinite
        )
        # Beside each turn's players, what computes their losses.
        self.update_groups = [
            (moving, wrap_ddp(self._losses, moving, self.optimizers, group))
            for moving in update_groups(objective)
        ]
        self.best = self.weights()
        self.progress, self.running_means = Progress(), RunningMeans()
        # Before this epoch's order was drawn: from it, the epoch can be taken up in the middle.
        self.epoch_rng_state = self.order.get_state()

    def fit(
        self,
        on_epoch: Callable[[EpochReport], None] = lambda report: None,
        checkpoints: CheckpointFolder | None = None,
        *,
        show_progress: bool = True,
    ) -> Progress:
        """Train to the end, writing a checkpoint every few seconds, and before a SIGINT or SIGTERM.

        Raises NonFiniteLossError, naming the term, before a loss that is not finite has touched
        the weights, and UserError for a lack of memory.
        """
        with (
            memory.oom_as_user_error("train.batch_size", self.settings.batch_size),
            self._progress_bar(show_progress and self.group.is_rank_zero) as bar,
            CheckpointManager(self, checkpoints) as saver,
        ):
            while not self.finished():
                for _ in self.steps_of_epoch():
                    bar.update()
                    saver.save_if_due()
                report = self.end_epoch()
                bar.set_postfix_str(self._headline(report.metrics), refresh=False)
                on_epoch(report)
                saver.save_if_due()
        self.finalize()
        return self.progress

    def finalize(self) -> None:
        """Take the best weights, and fit to all images what is fitted in closed form.

        Of several processes only the main one fits a prior, which takes all latents at once.
        """
        self.model.load_state_dict(self.best)
        self._fit_likelihood(limit=None)
        if not self.group.is_rank_zero:
            return
        noise = rng_stream(self.settings.seed, "fit", self.device)
        self.model.fit_prior(self.train.subsample(VALIDATION_BATCH, noise), noise)

    def save(self, checkpoints: CheckpointFolder) -> None:
        """Write all that is needed to continue exactly. Raises NonFiniteLossError, as `fit`."""
        self._training_means()
        checkpoints.save(self.progress.epoch, self.progress.step, *gather(self))

    def resume(self, checkpoints: CheckpointFolder | None = None) -> None:
        """Continue from the last checkpoint, if there is one, exactly as if never stopped.

        Of several processes the main one reads it for all of them.
        """
        found = checkpoints.load_latest() if checkpoints else None
        if found := self.group.broadcast_state(found):
            restore(self, *found)
            # The epoch's report says what its last step had, which may be done.
            self.set_schedule(max(0, self.progress.step - 1))

    def steps_of_epoch(self) -> Iterator[None]:
        """Take the steps that are left of the epoch."""
        self.model.train()
        for images in self.batches():
            self.set_schedule(self.progress.step)
            self.running_means.add(self._step(images), self.group)
            self.nonfinite_steps += self.found_nonfinite
            self.progress.step += 1
            yield

    def _step(self, images: Tensor) -> dict[str, Tensor]:
        watched: dict[str, Tensor] = {}
        for moving, losses_of in self.update_groups:
            with dealt_out(self.group):
                losses = losses_of(images)
                self._update(moving, losses)
            for player in moving:
                name = "loss" if len(self.objective.optimizers) == 1 else f"{player}_loss"
                watched |= {name: losses[player].loss} | dict(losses[player].terms)
        return watched

    def _losses(self, images: Tensor) -> dict[str, LossOutput]:
        return self.scheduled_objective.losses(self.model, images, self.noise)

    def _update(self, players: list[str], losses: dict[str, LossOutput]) -> None:
        """Take every moving player's gradient, then move them all."""
        for player in players:
            loss = self.group.ddp_loss(losses[player].loss)
            optimiser, last = self.optimizers[player], player == players[-1]
            optimiser.backward(loss, keep_graph=not last, averaged=self.group.world_size > 1)
        for player in players:
            if (active := losses[player].update_mask) is not None:
                self.group.broadcast({"active": active})
            self.optimizers[player].step(active)

    def end_epoch(self, measured: Means | None = None) -> EpochReport:
        """End an epoch: validate, unless that was `measured`, and keep the weights if best."""
        progress, metrics = self.progress, self._training_means()
        scalars, per_dimension = measured or self._validate()
        validated = _prefixed("validation", scalars)
        check_finite(self, validated)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.running_means, self.epoch_rng_state = RunningMeans(), self.order.get_state()
        metrics |= validated | {"learning_rate": self.learning_rate.item()}
        metrics |= {name: value.item() for name, value in self.schedule_tensors.items()}
        self._keep_best(metrics)
        progress.history.append({"epoch": progress.epoch, **metrics})
        for name, values in per_dimension.items():
            progress.per_dimension.setdefault(name, []).append(values)
        return EpochReport(progress.epoch, metrics)

    def _validate(self) -> Means:
        self._fit_likelihood(limit=FIT_IMAGES)
        self.model.eval()
        totals = RunningMeans()
        with torch.inference_mode():
            for images, noise in self.loader.validation_batches(self.validation):
                totals.add(self.objective.validate_batch(self.model, images, noise), self.group)
        return totals.compute()

    def _fit_likelihood(self, limit: int | None) -> None:
        self.model.fit_likelihood(
            *self.loader.calibration_batches(self.train, limit), self.group.all_reduce_sum_and_count
        )

    def _keep_best(self, metrics: dict[str, float]) -> None:
        """Keep the weights if they validate best so far; without a measure, the latest."""
        selection = self.objective.selection
        value = metrics[f"validation.{selection}"] if selection else -math.inf
        if selection is None or value < self.progress.best_value:
            self.progress.best_value, self.progress.best_epoch = value, self.progress.epoch
            self.best = self.weights()

    def finished(self) -> bool:
        """Tell whether all epochs are done, or too many went by without a better one."""
        patience, progress = self.settings.early_stopping_epochs, self.progress
        stale = patience is not None and progress.epoch - progress.best_epoch >= patience
        return stale or progress.epoch >= self.settings.epochs

    def _initial_images(self) -> Tensor:
        noise = rng_stream(self.settings.seed, "start", self.device)
        return torch.cat(list(self.train.subsample(VALIDATION_BATCH, noise, VALIDATION_BATCH)))

    def batches(self) -> Iterator[Tensor]:
        """Give the epoch's batches that are left, each [batch, channel, height, width]."""
        done = self.progress
        return self.loader.train_batches(self.train, self.order, self.noise, done.epoch, done.step)

    def set_schedule(self, step: int) -> None:
        """Move what changes with time to its value at this step; nothing here waits."""
        epoch = self.progress.epoch + step / self.steps_per_epoch()
        self.learning_rate.fill_(learning_rate(self.settings, epoch))
        for name, value in self.objective.hyperparameters_at(epoch).items():
            self.schedule_tensors[name].fill_(value)

    def steps_per_epoch(self) -> int:
        """Count the steps of an epoch."""
        return math.ceil(len(self.train) / self.settings.batch_size)

    def _training_means(self) -> dict[str, float]:
        """Give the means of the epoch so far. Raises NonFiniteLossError if one is not finite."""
        metrics = _prefixed("train", self.running_means.compute()[0])
        check_finite(self, metrics)
        return metrics

    def weights(self) -> dict[str, Tensor]:
        """Copy the model's weights and buffers."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)

    def _progress_bar(self, show: bool) -> "tqdm[Any]":
        steps, done = self.steps_per_epoch(), self.progress
        return progress_bar(done.epoch * steps + done.step, self.settings.epochs * steps, show=show)

    def _headline(self, metrics: dict[str, float]) -> str:
        shown = f"validation.{self.objective.selection}"
        value = f", {shown} {metrics[shown]:.2f}" if shown in metrics else ""
        return f"epoch {self.progress.epoch}/{self.settings.epochs}{value}"


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}


def check_finite(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Raise NonFiniteLossError if a metric, or a loss or gradient of the epoch, was not finite."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    halted = int(trainer.nonfinite_steps)
    if not (bad or halted):
        return
    progress = trainer.progress
    step = progress.step - halted
    where = f", step {step + 1} of {trainer.steps_per_epoch()}" if halted else ""
    raise NonFiniteLossError(
        f"epoch {progress.epoch + 1}{where}: {', '.join(bad or ['the gradient'])} is not "
        "finite; training has stopped and written no weights since the last checkpoint. A "
        "lower train.learning_rate, or train.gradient_clip_norm: 1, usually mends it",
        progress.epoch + 1,
        _images_of(trainer, step) if halted else (),
    )


def _images_of(trainer: Trainer, step: int) -> list[int]:
    """Give the numbers of the images in a step of this epoch."""
    order = torch.Generator(trainer.order.device)
    order.set_state(trainer.epoch_rng_state)
    size = trainer.settings.batch_size
    return trainer.train.permutation(order)[step * size : (step + 1) * size].tolist()
