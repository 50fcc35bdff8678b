"""The one loop, for every objective. It waits for the device between epochs only."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vaelab.config import TrainSettings
from vaelab.data.loader import ImageBatches
from vaelab.distributed.collectives import dealt_out
from vaelab.distributed.process_group import SINGLE, Group
from vaelab.models.model import Model
from vaelab.objectives import Objective, PlayerLoss
from vaelab.runtime import memory
from vaelab.runtime.random_streams import stream
from vaelab.training.checkpoints import CheckpointFolder, Saver, gather, restore
from vaelab.training.optimizers import build_optimisers, learning_rate
from vaelab.training.progress import EpochReport, NonFiniteLossError, Progress, progress_bar
from vaelab.training.running_means import Means, Totals
from vaelab.training.sharding import VALIDATION_BATCH, Dealer, averaging, turns

# Images that freeze a fitted likelihood before each validation; all of them do at the end.
FIT_IMAGES = 5_000


class Trainer:
    """Minimises an objective over a split, and keeps the weights that validate best."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        settings: TrainSettings,
        train: ImageBatches,
        validation: ImageBatches,
        *,
        group: Group = SINGLE,
    ) -> None:
        self.model, self.settings, self.group = model, settings, group
        self.dealer = Dealer(settings, group)
        self.objective = objective = objective.for_images(len(train))
        self.train, self.validation = train, validation
        self.device = train.device
        model.start_from(train.mean_image(), self._some_images())
        group.of_main(model.state_dict())
        model.precision = getattr(torch, settings.precision)
        self.order = stream(settings.seed, "shuffling", self.device)
        self.noise = stream(settings.seed, "noise", self.device)
        self.hyper = {name: self._scalar(value) for name, value in objective.at(0).items()}
        self.live = objective.model_copy(update=self.hyper)
        self.learning_rate = self._scalar(settings.learning_rate)
        # 1 once a loss or gradient was not finite: then fused optimisers leave the weights alone.
        self.halted, self.steps_halted = self._scalar(0.0), self._scalar(0.0)
        self.optimisers = build_optimisers(
            model, objective, settings, self.learning_rate, self.halted
        )
        # Beside each turn's players, what computes their losses.
        self.turns = [
            (moving, averaging(self._losses, moving, self.optimisers, group))
            for moving in turns(objective)
        ]
        self.best = self.weights()
        self.progress, self.totals = Progress(), Totals()
        # Before this epoch's order was drawn: from it, the epoch can be taken up in the middle.
        self.order_at_start = self.order.get_state()

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
            memory.naming("train.batch_size", self.settings.batch_size),
            self._progress_bar(show_progress and self.group.is_main) as bar,
            Saver(self, checkpoints) as saver,
        ):
            while not self.finished():
                for _ in self.steps_of_epoch():
                    bar.update()
                    saver.save_if_due()
                report = self.report()
                bar.set_postfix_str(self._headline(report.metrics), refresh=False)
                on_epoch(report)
                saver.save_if_due()
        self.settle()
        return self.progress

    def settle(self) -> None:
        """Take the best weights, and fit to all images what is fitted in closed form.

        Of several processes only the main one fits a prior, which takes all latents at once.
        """
        self.model.load_state_dict(self.best)
        self._fit_likelihood(limit=None)
        if not self.group.is_main:
            return
        noise = stream(self.settings.seed, "fit", self.device)
        self.model.fit_prior(self.train.spread(VALIDATION_BATCH, noise), noise)

    def save(self, checkpoints: CheckpointFolder) -> None:
        """Write all that is needed to continue exactly. Raises NonFiniteLossError, as `fit`."""
        self._training_means()
        checkpoints.save(self.progress.epoch, self.progress.step, *gather(self))

    def resume(self, checkpoints: CheckpointFolder | None = None) -> None:
        """Continue from the last checkpoint, if there is one, exactly as if never stopped.

        Of several processes the main one reads it for all of them.
        """
        found = checkpoints.load_latest() if checkpoints else None
        if found := self.group.state_of_main(found):
            restore(self, *found)
            # The epoch's report says what its last step had, which may be done.
            self.set_schedule(max(0, self.progress.step - 1))

    def steps_of_epoch(self) -> Iterator[None]:
        """Take the steps that are left of the epoch."""
        self.model.train()
        for images in self.batches():
            self.set_schedule(self.progress.step)
            self.totals.add(self._step(images), self.group)
            self.steps_halted += self.halted
            self.progress.step += 1
            yield

    def _step(self, images: Tensor) -> dict[str, Tensor]:
        watched: dict[str, Tensor] = {}
        for moving, losses_of in self.turns:
            with dealt_out(self.group):
                losses = losses_of(images)
                self._move(moving, losses)
            for player in moving:
                name = "loss" if len(self.objective.players) == 1 else f"{player}_loss"
                watched |= {name: losses[player].loss} | dict(losses[player].terms)
        return watched

    def _losses(self, images: Tensor) -> dict[str, PlayerLoss]:
        return self.live.losses(self.model, images, self.noise)

    def _move(self, players: list[str], losses: dict[str, PlayerLoss]) -> None:
        """Take every moving player's gradient, then move them all."""
        for player in players:
            loss = self.group.mean(losses[player].loss)
            optimiser, last = self.optimisers[player], player == players[-1]
            optimiser.take_gradient(loss, keep_graph=not last, averaged=not self.group.is_alone)
        for player in players:
            if (active := losses[player].active) is not None:
                self.group.of_main({"active": active})
            self.optimisers[player].move(active)

    def report(self, measured: Means | None = None) -> EpochReport:
        """End an epoch: validate, unless that was `measured`, and keep the weights if best."""
        progress, metrics = self.progress, self._training_means()
        scalars, per_dimension = measured or self._validate()
        validated = _prefixed("validation", scalars)
        refuse_non_finite(self, validated)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.totals, self.order_at_start = Totals(), self.order.get_state()
        metrics |= validated | {"learning_rate": self.learning_rate.item()}
        metrics |= {name: value.item() for name, value in self.hyper.items()}
        self._keep_best(metrics)
        progress.history.append({"epoch": progress.epoch, **metrics})
        for name, values in per_dimension.items():
            progress.per_dimension.setdefault(name, []).append(values)
        return EpochReport(progress.epoch, metrics)

    def _validate(self) -> Means:
        self._fit_likelihood(limit=FIT_IMAGES)
        self.model.eval()
        totals = Totals()
        with torch.inference_mode():
            for images, noise in self.dealer.validation(self.validation):
                totals.add(self.objective.validate_batch(self.model, images, noise), self.group)
        return totals.means()

    def _fit_likelihood(self, limit: int | None) -> None:
        self.model.fit_likelihood(*self.dealer.fitting(self.train, limit), self.group.sum_and_count)

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

    def _some_images(self) -> Tensor:
        noise = stream(self.settings.seed, "start", self.device)
        return torch.cat(list(self.train.spread(VALIDATION_BATCH, noise, VALIDATION_BATCH)))

    def batches(self) -> Iterator[Tensor]:
        """Give the epoch's batches that are left, each [batch, channel, height, width]."""
        done = self.progress
        return self.dealer.training(self.train, self.order, self.noise, done.epoch, done.step)

    def set_schedule(self, step: int) -> None:
        """Move what changes with time to its value at this step; nothing here waits."""
        epoch = self.progress.epoch + step / self.steps()
        self.learning_rate.fill_(learning_rate(self.settings, epoch))
        for name, value in self.objective.at(epoch).items():
            self.hyper[name].fill_(value)

    def steps(self) -> int:
        """Count the steps of an epoch."""
        return math.ceil(len(self.train) / self.settings.batch_size)

    def _training_means(self) -> dict[str, float]:
        """Give the means of the epoch so far. Raises NonFiniteLossError if one is not finite."""
        metrics = _prefixed("train", self.totals.means()[0])
        refuse_non_finite(self, metrics)
        return metrics

    def weights(self) -> dict[str, Tensor]:
        """Copy the model's weights and buffers."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)

    def _progress_bar(self, show: bool) -> "tqdm[Any]":
        steps, done = self.steps(), self.progress
        return progress_bar(done.epoch * steps + done.step, self.settings.epochs * steps, show=show)

    def _headline(self, metrics: dict[str, float]) -> str:
        shown = f"validation.{self.objective.selection}"
        value = f", {shown} {metrics[shown]:.2f}" if shown in metrics else ""
        return f"epoch {self.progress.epoch}/{self.settings.epochs}{value}"


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}


def refuse_non_finite(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Raise NonFiniteLossError if a metric, or a loss or gradient of the epoch, was not finite."""
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    halted = int(trainer.steps_halted)
    if not (bad or halted):
        return
    progress = trainer.progress
    step = progress.step - halted
    where = f", step {step + 1} of {trainer.steps()}" if halted else ""
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
    order.set_state(trainer.order_at_start)
    size = trainer.settings.batch_size
    return trainer.train.permutation(order)[step * size : (step + 1) * size].tolist()
