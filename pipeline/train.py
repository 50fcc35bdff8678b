"""Train the model that params.yaml describes on the prepared data, tracked in MLflow."""

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline import cli, paths
from pipeline.artifacts import build_batches
from pipeline.tracking import Run, Store, active_run, open_store, warn_on_store_error
from pipeline.tracking.epoch_logger import EpochLogger
from pipeline.tracking.sync import finish_training, start_training
from vaelab.config import Settings
from vaelab.data.dataset import PreparedData
from vaelab.distributed.environment import from_environ
from vaelab.distributed.launch import launch, processes_to_start
from vaelab.distributed.process_group import ProcessGroup, process_group
from vaelab.distributed.rank_messages import should_print
from vaelab.models.saving import save_model
from vaelab.runtime.devices import choose_device, describe
from vaelab.runtime.files import write_text
from vaelab.runtime.locks import exclusive_lock
from vaelab.runtime.serialization import nested, write_csv, write_json
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.fingerprint import describe_model, training_fingerprint, training_settings
from vaelab.training.progress import NonFiniteLossError, Progress
from vaelab.training.trainer import Trainer

RUN_ID = "run_id"


def main() -> None:
    """Run the stage."""
    cli.run(train, __doc__, should_print)


def train(settings: Settings) -> None:
    """Train in this process, with those that torchrun started beside it, or start some."""
    if count := processes_to_start(settings.machine):
        return launch("pipeline.train", count)
    place = from_environ()
    device = choose_device(settings.machine, place)
    with process_group(place, device) as group:
        store = open_store(settings.tracking) if group.is_rank_zero else None
        data = PreparedData.load(paths.PREPARED)
        # What has failed until here has failed before anybody waits for a GPU.
        group.barrier()
        trainer = prepared_trainer(settings, data, device, group)
        if store is None:
            train_as_worker_rank(trainer)
        else:
            train_and_record(settings, store, data, trainer)


def train_as_worker_rank(trainer: Trainer) -> None:
    """Train beside the main process, which writes down and says all that there is to say."""
    trainer.resume()
    try:
        trainer.fit()
    except NonFiniteLossError:
        trainer.group.barrier()  # until it has said so, and ended
        raise


def train_and_record(
    settings: Settings, store: Store, data: PreparedData, trainer: Trainer
) -> None:
    """Train, and write the model, the history and the pictures of each epoch."""
    key, name = training_fingerprint(settings, trainer.device, paths.PREPARED), run_name(settings)
    with (
        exclusive_lock(paths.TRAINING_LOCK, name),
        CheckpointFolder(paths.checkpoints() / key, name) as checkpoints,
    ):
        resumed = unfinished_run(store, checkpoints.folder)
        watch = settings.tracking.system_metrics
        with active_run(store, name, resumed, watch=watch) as run:
            write_text(checkpoints.folder / RUN_ID, run.run_id)
            logged: set[int] = set()
            with warn_on_store_error("the settings"):
                start_training(
                    run, training_settings(settings), data.info, describe(trainer.device)
                )
                logged = run.logged_steps("learning_rate")
            fit(trainer, run, logged, settings, checkpoints)
            description = describe_model(settings, data.info, trainer)
            save_model(paths.MODEL, trainer.model, description)
            write_history(trainer.progress, description.objective)
            with warn_on_store_error("all of the training"):
                finish_training(run, settings.tracking)
        checkpoints.remove()


def unfinished_run(store: Store, folder: Path) -> str | None:
    """Give the run of an interrupted training, if it is still there."""
    noted = folder / RUN_ID
    run_id = noted.read_text(encoding="utf-8") if noted.is_file() else None
    return run_id if run_id and store.has_run(run_id) else None


def prepared_trainer(
    settings: Settings, data: PreparedData, device: torch.device, group: ProcessGroup
) -> Trainer:
    """Build the loop over the prepared splits, on the device."""
    train, validation = (
        build_batches(data, split, settings.data.dequantize, device, group.local_world_size)
        for split in ("train", "validation")
    )
    return build_trainer(settings, train, validation, device, group)


def fit(
    trainer: Trainer,
    run: Run,
    logged_epochs: set[int],
    settings: Settings,
    checkpoints: CheckpointFolder,
) -> None:
    """Train from the last checkpoint, if there is one, to the end, with everything recorded."""
    trainer.resume(checkpoints)
    first = trainer.progress.epoch
    start = f"from epoch {first} " if first else ""
    count = trainer.group.world_size
    several = "" if trainer.group.world_size == 1 else f", the first of {count} processes"
    print(f"training {start}on {describe(trainer.device)}{several}", flush=True)
    started = time.perf_counter()
    images = checkpoints.folder / "images"
    with EpochLogger(trainer, run, logged_epochs, images, settings.train) as logger:
        progress = trainer.fit(logger, checkpoints)
        logger.copy_images(paths.TRAIN_IMAGES)
    seconds = time.perf_counter() - started
    trained_on = (progress.epoch - first) * len(trainer.train)
    timing = {"training_seconds": seconds, "training_images_per_second": trained_on / seconds}
    write_json(paths.TIMING, {"timing": timing})
    print(summary(progress, seconds))


def run_name(settings: Settings) -> str:
    """Name a run by what tells it from others; an experiment of DVC's has a name already."""
    described = f"{settings.data.name} {settings.train.objective} {settings.model.network}"
    return os.environ.get("DVC_EXP_NAME") or f"{described} z{settings.model.latent_dim}"


def write_history(progress: Progress, objective: str) -> None:
    """Write every epoch's metrics, the best epoch's as metrics.json, and each dimension's KL."""
    write_csv(paths.HISTORY, progress.history)
    best = dict(progress.history[progress.best_epoch - 1])
    best.pop("epoch")
    metrics: dict[str, Any] = {
        "objective": objective,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
    }
    write_json(paths.TRAIN_METRICS, metrics | nested(best))
    write_csv(paths.KL_HISTORY, list(_dimension_rows(progress)))


def _dimension_rows(progress: Progress) -> Iterator[dict[str, float]]:
    for epoch, values in enumerate(progress.per_dimension.get("kl_per_dimension_nats", []), 1):
        for dimension, kl in enumerate(values):
            yield {"epoch": epoch, "dimension": dimension, "kl_nats": kl}


def summary(progress: Progress, seconds: float) -> str:
    """Say in one line how training ended."""
    kept = f", best epoch {progress.best_epoch} ({progress.best_value:.2f})"
    best = kept if math.isfinite(progress.best_value) else ""
    return f"trained {progress.epoch} epochs in {seconds:.0f} s{best}"


if __name__ == "__main__":
    main()
