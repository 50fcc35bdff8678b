"""The training loop, for every objective. It waits for the device between epochs only."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vaelab.config import TrainSettings
from vaelab.data.loader import Batch, ImageLoader
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.conditional import hide_labels
from vaelab.models.model import Model
from vaelab.objectives import LossOutput, Objective
from vaelab.runtime import memory
from vaelab.runtime.matmul import matmul_for
from vaelab.runtime.random_streams import rng_stream
from vaelab.training.averaging import AveragedModel
from vaelab.training.checkpoints import CheckpointFolder, CheckpointManager
from vaelab.training.collapse import collapse_note, is_late_start
from vaelab.training.cuda_graph import Record, RecordedStep, Watched, record_cuda_graph
from vaelab.training.optimizers import build_optimizers, learning_rate
from vaelab.training.progress import EpochReport, Progress, check_finite, progress_bar
from vaelab.training.running_means import Means, RunningMeans
from vaelab.training.schedules import warmup_epochs
from vaelab.training.sharding import VALIDATION_BATCH, ShardedLoader
from vaelab.training.state import TrainingState, copy_weights
from vaelab.training.updates import Part, Updater

# Training images that fit a likelihood's variance before each validation; after training, all do.
FIT_IMAGES = 5_000


class Trainer:
    """Minimize an objective over the training split and keep the weights that validate best.

    `model` is what is validated, kept and drawn from: the one that optimizers update, `live_model`,
    or with `ema_decay` another, which has the moving average of its weights.
    """

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
        self.live_model, self.settings, self.group = model, settings, group
        self.train, self.validation, self.device = train, validation, train.device
        self.loader = ShardedLoader(settings, group)
        self.objective = objective = objective.with_dataset_size(len(train))
        self.warmup_end = max(warmup_epochs(objective, settings).values())
        self._initialize_model()
        self.average = AveragedModel(model, settings.ema_decay) if settings.ema_decay else None
        self.model = self.average.model if self.average else model
        hyperparameters = objective.schedule_at(0)
        self.schedule_tensors = {name: self._scalar(v) for name, v in hyperparameters.items()}
        self.learning_rate = self._scalar(settings.learning_rate)
        self.scheduled_objective = objective.with_schedule(self.schedule_tensors, group)
        # 1 after a loss or gradient was not finite: from then on fused optimizers do nothing.
        self.found_nonfinite, self.nonfinite_steps = self._scalar(0.0), self._scalar(0.0)
        optimizers = build_optimizers(
            model, objective, settings, self.learning_rate, self.found_nonfinite
        )
        shuffle_rng = rng_stream(settings.seed, "shuffling", self.device)
        noise_rng = rng_stream(settings.seed, "noise", self.device)
        averaged = self.average.model if self.average else None
        self.state = TrainingState(model, optimizers, shuffle_rng, noise_rng, averaged)
        self.updater = Updater(self._losses, objective, optimizers, group)
        self.take_step: Callable[[Sequence[Part]], Watched] = self.updater.step
        self.matmul = matmul_for(model, settings.batch_size // group.world_size, self.device)

    def record_steps(self, record: Record = record_cuda_graph) -> None:
        """Take the steps from now on as a recording of one: see `check_cuda_graph` for which."""
        size, noise = self.settings.batch_size, self.state.noise_rng
        self.take_step = RecordedStep(self.updater.step, noise, size, record)

    @property
    def progress(self) -> Progress:
        """How far training has come."""
        return self.state.progress

    def fit(
        self,
        on_epoch: Callable[[EpochReport], None] = lambda report: None,
        checkpoints: CheckpointFolder | None = None,
        *,
        show_progress: bool = True,
    ) -> Progress:
        """Train to the end, saving a checkpoint every few seconds and before a signal to stop.

        Raises NonFiniteLossError, naming the term, before a loss that is not finite has changed
        the weights, and UserError for a lack of memory.
        """
        is_rank_zero = self.group.is_rank_zero
        with (
            memory.oom_as_user_error("train.batch_size", self.settings.batch_size),
            self._progress_bar(show_progress and is_rank_zero) as bar,
            CheckpointManager(checkpoints, self.save, is_worker=not is_rank_zero) as manager,
        ):
            while not self.finished():
                for _ in self.steps_of_epoch():
                    manager.save_if_due()  # first: the bar's terminal may have been closed
                    bar.update()
                report = self.end_epoch()
                bar.set_postfix_str(self._headline(report.metrics), refresh=False)
                if show_progress and is_rank_zero and (note := self._collapse_note()):
                    bar.write(note)
                on_epoch(report)
                manager.save_if_due()
            if checkpoints:
                self.save(checkpoints)
        self.finalize()
        return self.progress

    def finished(self) -> bool:
        """Return whether all epochs are done, or early stopping applies.

        Its patience is counted from the best epoch, or from the end of the last warm-up if that
        is later: while a warm-up changes the loss or the learning rate, the loss may well rise.
        A training that has not begun to use its latent is not stopped before a thousand steps.
        """
        patience, progress = self.settings.early_stopping_epochs, self.progress
        since = max(progress.best_epoch, self.warmup_end)
        stale = patience is not None and progress.epoch - since >= patience
        late = is_late_start(progress.history, self.steps_per_epoch(), self.warmup_end)
        return (stale and not late) or progress.epoch >= self.settings.epochs

    def steps_of_epoch(self) -> Iterator[None]:
        """Take the steps that are left of the epoch."""
        self.live_model.train()
        state, done = self.state, self.progress
        for parts in self._steps():
            self.set_schedule(done.step)
            with self.matmul():
                watched = self.take_step(parts)
            for part, values in zip(parts, watched, strict=True):
                self.group.batch_rows = part.rows
                state.running_means.add(values, self.group)
            self.nonfinite_steps += self.found_nonfinite
            if self.average:
                self.average.update(done.epoch * self.steps_per_epoch() + done.step)
            done.step += 1
            yield

    def _steps(self) -> Iterator[list[Part]]:
        """Return the batches of each step that is left."""
        parts = (Part(batch, self.group.batch_rows) for batch in self.batches())
        while step := list(itertools.islice(parts, self.settings.accumulate_grad_batches)):
            yield step

    def batches(self) -> Iterator[Batch]:
        """Return the epoch's batches that are left; some labels are hidden from their model."""
        state, done = self.state, self.progress
        first = done.step * self.settings.accumulate_grad_batches
        for images, labels in self.loader.train_batches(
            self.train, state.shuffle_rng, state.noise_rng, done.epoch, first
        ):
            if self.live_model.classes and labels is not None:
                labels = hide_labels(labels, self.settings.label_dropout, state.noise_rng)
            yield Batch(images, labels)

    def set_schedule(self, step: int) -> None:
        """Set the learning rate and scheduled hyper-parameters of a step, without a sync."""
        epoch = self.progress.epoch + step / self.steps_per_epoch()
        self.learning_rate.fill_(learning_rate(self.settings, epoch))
        for name, value in self.objective.schedule_at(epoch).items():
            self.schedule_tensors[name].fill_(value)

    def _losses(self, batch: Batch) -> dict[str, LossOutput]:
        model = self.live_model.given(batch.labels)
        return self.scheduled_objective.losses(model, batch.images, self.state.noise_rng)

    def end_epoch(self, measured: Means | None = None) -> EpochReport:
        """Validate, unless the result is given as `measured`, and keep the weights if best."""
        state, metrics = self.state, self._training_means()
        scalars, per_dimension = measured or self._validate()
        validated = _prefixed("validation", scalars)
        self._check_finite(validated)
        progress = state.progress
        progress.epoch, progress.step = progress.epoch + 1, 0
        state.running_means, state.epoch_rng_state = RunningMeans(), state.shuffle_rng.get_state()
        metrics |= validated | {"learning_rate": self.learning_rate.item()}
        metrics |= {name: value.item() for name, value in self.schedule_tensors.items()}
        self._keep_best(metrics)
        progress.history.append({"epoch": progress.epoch, **metrics})
        for name, values in per_dimension.items():
            progress.per_dimension.setdefault(name, []).append(values)
        return EpochReport(progress.epoch, metrics)

    def _validate(self) -> Means:
        if self.average:
            self.average.copy_buffers()
        self._fit_likelihood(limit=FIT_IMAGES)
        self.model.eval()
        means = RunningMeans()
        with self.matmul(), torch.inference_mode():
            for (images, labels), noise in self.loader.validation_batches(self.validation):
                model = self.model.given(labels)
                means.add(self.objective.validate_batch(model, images, noise), self.group)
        return means.compute()

    def _keep_best(self, metrics: dict[str, float]) -> None:
        """Keep the weights if they validate best so far; without a criterion, the latest."""
        selection, progress = self.objective.selection, self.progress
        value = metrics[f"validation.{selection}"] if selection else -math.inf
        if selection is None or value < progress.best_value:
            progress.best_value, progress.best_epoch = value, progress.epoch
            self.state.best_weights = copy_weights(self.model)

    def finalize(self) -> None:
        """Load the best weights, and fit a closed-form variance and prior to all images.

        Of several processes only rank 0 fits a prior, which needs all latents at once.
        """
        self.model.load_state_dict(self.state.best_weights)
        self._fit_likelihood(limit=None)
        if not self.group.is_rank_zero:
            return
        noise = rng_stream(self.settings.seed, "fit", self.device)
        self.model.fit_prior(self.train.subsample(VALIDATION_BATCH, noise), noise)

    def save(self, checkpoints: CheckpointFolder) -> None:
        """Save a checkpoint. Raises NonFiniteLossError, as `fit` does."""
        self._training_means()
        checkpoints.save(self.state)

    def resume(self, checkpoints: CheckpointFolder | None = None) -> None:
        """Continue exactly from the last checkpoint, if there is one.

        Of several processes rank 0 reads it and broadcasts it.
        """
        found = checkpoints.load_latest() if checkpoints else None
        if found := self.group.broadcast_state(found):
            self.state.load_state_dict(*found)
            # If the epoch's last step is done, its report still shows that step's schedule.
            self.set_schedule(max(0, self.progress.step - 1))

    def steps_per_epoch(self) -> int:
        """Return the number of steps of an epoch."""
        return math.ceil(len(self.train) / self._images_per_step())

    def _images_per_step(self) -> int:
        return self.settings.batch_size * self.settings.accumulate_grad_batches

    def _initialize_model(self) -> None:
        noise = rng_stream(self.settings.seed, "start", self.device)
        batches = self.train.subsample(VALIDATION_BATCH, noise, VALIDATION_BATCH)
        images = torch.cat([batch.images for batch in batches])
        counts = self.train.label_counts()
        model = self.live_model
        model.initialize_from(self.train.mean_image(), model.observed_part(images), counts)
        self.group.broadcast(model.state_dict())
        model.precision = getattr(torch, self.settings.precision)
        model.likelihood.group = self.group

    def _fit_likelihood(self, limit: int | None) -> None:
        images, noise = self.loader.calibration_batches(self.train, limit)
        self.model.fit_likelihood(images, noise, self.group.all_reduce_sum_and_count)

    def _training_means(self) -> dict[str, float]:
        """Return the epoch's means so far. Raises NonFiniteLossError if one is not finite."""
        metrics = _prefixed("train", self.state.running_means.compute()[0])
        self._check_finite(metrics)
        return metrics

    def _check_finite(self, metrics: dict[str, float]) -> None:
        progress, bad_steps = self.progress, int(self.nonfinite_steps)
        if not bad_steps:
            return check_finite(metrics, progress.epoch + 1)
        step = progress.step - bad_steps
        name = f"step {step + 1} of {self.steps_per_epoch()}"
        check_finite(metrics, progress.epoch + 1, name, self._images_of(step))

    def _images_of(self, step: int) -> list[int]:
        """Return the indices of a step's images in the training split."""
        rng = torch.Generator(self.state.shuffle_rng.device)
        rng.set_state(self.state.epoch_rng_state)
        size = self._images_per_step()
        return self.train.permutation(rng)[step * size : (step + 1) * size].tolist()

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)

    def _collapse_note(self) -> str | None:
        per_epoch, history = self.steps_per_epoch(), self.progress.history
        return collapse_note(history, self.objective, self.settings, per_epoch, self.warmup_end)

    def _progress_bar(self, show: bool) -> "tqdm[Any]":
        steps, done = self.steps_per_epoch(), self.progress
        return progress_bar(done.epoch * steps + done.step, self.settings.epochs * steps, show=show)

    def _headline(self, metrics: dict[str, float]) -> str:
        shown = f"validation.{self.objective.selection}"
        value = f", {shown} {metrics[shown]:.2f}" if shown in metrics else ""
        return f"epoch {self.progress.epoch}/{self.settings.epochs}{value}"


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}
