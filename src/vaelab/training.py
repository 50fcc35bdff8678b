"""The one loop, for every objective. It waits for the device between epochs only."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from vaelab.checkpoint import CheckpointFolder
from vaelab.config import TrainSettings
from vaelab.data.batches import ImageBatches
from vaelab.models import Model
from vaelab.objectives import Objective, PlayerLoss
from vaelab.optimisers import build_optimisers, learning_rate
from vaelab.progress import EpochReport, NonFiniteLossError, Progress
from vaelab.randomness import stream
from vaelab.totals import Totals

VALIDATION_BATCH = 500
# Images that freeze a fitted likelihood before each validation; all of them do at the end.
FIT_IMAGES = 5_000
CHECKPOINT_SECONDS = 5.0


class Trainer:
    """Minimises an objective over a split, and keeps the weights that validate best."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        settings: TrainSettings,
        train: ImageBatches,
        validation: ImageBatches,
    ) -> None:
        self.model, self.settings = model, settings
        self.objective = objective = objective.for_images(len(train))
        self.train, self.validation = train, validation
        self.device = train.device
        model.start_from(train.mean_image(), self._some_images())
        model.precision = getattr(torch, settings.precision)
        self.order = stream(settings.seed, "shuffling", self.device)
        self.noise = stream(settings.seed, "noise", self.device)
        self.hyper = {name: self._scalar(value) for name, value in objective.at(0).items()}
        self.live = objective.model_copy(update=self.hyper)
        self.learning_rate = self._scalar(settings.learning_rate)
        # 1 once a loss or gradient was not finite: then fused optimisers leave the weights alone.
        self.halted = self._scalar(0.0)
        self.optimisers = build_optimisers(
            model, objective, settings, self.learning_rate, self.halted
        )
        self.best = self._weights()
        self.progress = Progress()

    def fit(
        self,
        on_epoch: Callable[[EpochReport], None] = lambda report: None,
        checkpoints: CheckpointFolder | None = None,
        *,
        show_progress: bool = True,
    ) -> Progress:
        """Train to the end, writing a checkpoint every few seconds.

        Raises NonFiniteLossError, naming the term, before a loss that is not finite
        has touched the weights.
        """
        saved = time.monotonic()
        with self._progress_bar(show_progress) as bar:
            while not self._finished():
                on_epoch(self._epoch(bar))
                if checkpoints and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save(checkpoints)
                    saved = time.monotonic()
        self.model.load_state_dict(self.best)
        self._fit_likelihood(limit=None)
        noise = stream(self.settings.seed, "fit", self.device)
        self.model.fit_prior(self.train.spread(VALIDATION_BATCH, noise), noise)
        return self.progress

    def save(self, checkpoints: CheckpointFolder) -> None:
        """Write all that is needed to continue exactly."""
        checkpoints.save(self.progress.epoch, self._tensors(), vars(self.progress))

    def _epoch(self, bar: "tqdm[Any]") -> EpochReport:
        self.model.train()
        totals = Totals()
        for step, images in enumerate(self._batches()):
            self._set_schedule(step)
            totals.add(self._step(images))
            bar.update()
        metrics = _prefixed("train", totals.means()[0])
        self._refuse_non_finite(metrics)
        return self._report(metrics, bar)

    def _step(self, images: Tensor) -> dict[str, Tensor]:
        players = list(self.objective.players)
        together = self.objective.update_order == "together"
        watched: dict[str, Tensor] = {}
        for moving in [players] if together else [[player] for player in players]:
            losses = self.live.losses(self.model, images, self.noise)
            self._move(moving, losses)
            for player in moving:
                name = "loss" if len(players) == 1 else f"{player}_loss"
                watched |= {name: losses[player].loss} | dict(losses[player].terms)
        return watched

    def _move(self, players: list[str], losses: dict[str, PlayerLoss]) -> None:
        """Take every moving player's gradient, then move them all."""
        for player in players:
            loss = losses[player].loss.mean()
            self.halted.copy_(torch.maximum(self.halted, (~loss.isfinite()).float()))
            optimiser, last = self.optimisers[player], player == players[-1]
            optimiser.take_gradient(loss, keep_graph=not last)
        for player in players:
            self.optimisers[player].move(losses[player].active)

    def _report(self, metrics: dict[str, float], bar: "tqdm[Any]") -> EpochReport:
        progress = self.progress
        validated, per_dimension = self._validate()
        self._refuse_non_finite(validated)
        progress.epoch += 1
        metrics |= validated | {"learning_rate": self.learning_rate.item()}
        metrics |= {name: value.item() for name, value in self.hyper.items()}
        self._keep_best(metrics)
        progress.history.append({"epoch": progress.epoch, **metrics})
        for name, values in per_dimension.items():
            progress.per_dimension.setdefault(name, []).append(values)
        bar.set_postfix_str(self._headline(metrics), refresh=False)
        return EpochReport(progress.epoch, metrics)

    def _validate(self) -> tuple[dict[str, float], dict[str, list[float]]]:
        self._fit_likelihood(limit=FIT_IMAGES)
        self.model.eval()
        # The same noise at each epoch: epochs are compared by their weights alone.
        noise = stream(self.settings.seed, "validation", self.device)
        totals = Totals()
        with torch.inference_mode():
            for images in self.validation.ordered(VALIDATION_BATCH, noise):
                totals.add(self.objective.validate_batch(self.model, images, noise))
        scalars, per_dimension = totals.means()
        return _prefixed("validation", scalars), per_dimension

    def _fit_likelihood(self, limit: int | None) -> None:
        noise = stream(self.settings.seed, "fit", self.device)
        self.model.fit_likelihood(self.train.spread(VALIDATION_BATCH, noise, limit), noise)

    def _keep_best(self, metrics: dict[str, float]) -> None:
        """Keep the weights if they validate best so far; without a measure, the latest."""
        selection = self.objective.selection
        value = metrics[f"validation.{selection}"] if selection else -math.inf
        if selection is None or value < self.progress.best_value:
            self.progress.best_value, self.progress.best_epoch = value, self.progress.epoch
            self.best = self._weights()

    def _finished(self) -> bool:
        patience, progress = self.settings.early_stopping_epochs, self.progress
        stale = patience is not None and progress.epoch - progress.best_epoch >= patience
        return stale or progress.epoch >= self.settings.epochs

    def _some_images(self) -> Tensor:
        noise = stream(self.settings.seed, "start", self.device)
        parts = self.train.spread(VALIDATION_BATCH, noise, VALIDATION_BATCH)
        return torch.cat(list(parts))

    def _batches(self) -> Iterator[Tensor]:
        return self.train.shuffled(self.settings.batch_size, self.order, self.noise)

    def _set_schedule(self, step: int) -> None:
        """Move what changes with time to its value at this step; nothing here waits."""
        epoch = self.progress.epoch + step / self._steps()
        self.learning_rate.fill_(learning_rate(self.settings, epoch))
        for name, value in self.objective.at(epoch).items():
            self.hyper[name].fill_(value)

    def _steps(self) -> int:
        return math.ceil(len(self.train) / self.settings.batch_size)

    def _refuse_non_finite(self, metrics: dict[str, float]) -> None:
        bad = [name for name, value in metrics.items() if not math.isfinite(value)]
        if not bad and self.halted.item():
            bad = ["the gradient"]
        if bad:
            raise NonFiniteLossError(
                f"epoch {self.progress.epoch + 1}: {', '.join(bad)} is not finite; training has "
                "stopped and written no weights since the last checkpoint. A lower "
                "train.learning_rate, or train.gradient_clip_norm: 1, usually mends it"
            )

    def resume(self, checkpoints: CheckpointFolder) -> None:
        """Continue from the last checkpoint, if there is one, exactly as if never stopped."""
        found = checkpoints.load_latest()
        if found is None:
            return
        tensors, state = found
        self.progress = Progress(**state)
        self.model.load_state_dict(_under("model", tensors))
        self.best = {k: v.to(self.device) for k, v in _under("best", tensors).items()}
        for name, optimiser in self.optimisers.items():
            optimiser.load_tensors(_under(f"optimiser.{name}", tensors))
        self.order.set_state(tensors["generator.order"])
        self.noise.set_state(tensors["generator.noise"])

    def _tensors(self) -> dict[str, Tensor]:
        groups = {"model": self._weights(), "best": self.best}
        groups |= {f"optimiser.{name}": o.tensors() for name, o in self.optimisers.items()}
        groups["generator"] = {"order": self.order.get_state(), "noise": self.noise.get_state()}
        return {f"{group}.{k}": v for group, tensors in groups.items() for k, v in tensors.items()}

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _scalar(self, value: float) -> Tensor:
        return torch.tensor(value, device=self.device)

    def _progress_bar(self, show: bool) -> "tqdm[Any]":
        steps = self._steps()
        done, total = self.progress.epoch * steps, self.settings.epochs * steps
        return tqdm(total=total, initial=done, desc="train", unit="step", disable=not show or None)

    def _headline(self, metrics: dict[str, float]) -> str:
        shown = f"validation.{self.objective.selection}" if self.objective.selection else None
        value = f", {shown} {metrics[shown]:.2f}" if shown else ""
        return f"epoch {self.progress.epoch}/{self.settings.epochs}{value}"


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}.{name}": value for name, value in metrics.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
