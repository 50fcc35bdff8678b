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
from pipeline.tracking import mirror
from pipeline.tracking.epoch_logger import EpochLogger
from pipeline.tracking.run_info import logged_params, run_name
from pipeline.tracking.training_log import Training, TrainingLog, TrainingProcess
from vaelab.config import AUTO, MachineSettings, Settings, TrainSettings
from vaelab.data.dataset import PreparedData
from vaelab.distributed.environment import from_environ
from vaelab.distributed.launch import launch, processes_to_start
from vaelab.distributed.process_group import ProcessGroup, process_group
from vaelab.distributed.rank_messages import LAUNCHED_ENV, should_print
from vaelab.models.saving import save_model
from vaelab.models.sizes import sizes_note, with_sizes
from vaelab.runtime.cores import core_count
from vaelab.runtime.devices import choose_device, describe
from vaelab.runtime.files import write_text
from vaelab.runtime.locks import exclusive_lock
from vaelab.runtime.serialization import nested, write_csv, write_json
from vaelab.runtime.threads import busy_cores_note, use_one_thread
from vaelab.training.build import build_trainer
from vaelab.training.checkpoints import CheckpointFolder
from vaelab.training.cost import step_cost
from vaelab.training.fingerprint import describe_model, training_fingerprint, training_settings
from vaelab.training.finished import (
    IMAGES,
    THREADS,
    FinishedTrainings,
    depends_on_epochs,
    without_epochs,
)
from vaelab.training.overfitting import overfitting_note
from vaelab.training.precision import choose_precision
from vaelab.training.progress import NonFiniteLossError, Progress
from vaelab.training.schedules import best_epoch_note, early_stopping_notes
from vaelab.training.trainer import Trainer

RUN_ID = "run_id"
# Numbers (channels x height x width) of images from whose steps a second thread takes a tenth, less
# than it takes from what runs beside them: images of each epoch, MLflow (docs/speed.md).
FEW_NUMBERS = 144


def main() -> None:
    """Run the stage."""
    cli.run(train, __doc__, should_print, launched=LAUNCHED_ENV in os.environ)


def train(settings: Settings) -> None:
    """Train in this process, as one rank of several, or start the processes of all ranks."""
    if count := processes_to_start(settings.machine):
        mirror.end()
        return launch("pipeline.train", count)
    environment = from_environ()
    device = choose_device(settings.machine, environment)
    with process_group(environment, device) as group:
        log = open_log(settings) if group.is_rank_zero else None
        data = PreparedData.load(paths.PREPARED)
        note = sizes_note(settings.model, data.info.image_shape)
        settings = with_sizes(settings, data.info.image_shape)
        # Bad data or an unreachable store on one rank is reported before the others start to train.
        group.barrier()
        trainer = prepared_trainer(settings, data, device, group)
        if log is None:
            train_as_worker_rank(trainer)
        else:
            if note:
                print(note)
            train_and_record(settings, log, data, trainer)


def open_log(settings: Settings) -> TrainingLog:
    """Open the store, in the second process if there is one. Raises UserError, or exits."""
    if process := mirror.started():
        return TrainingProcess(process)
    from pipeline.tracking.training_mirror import TrainingMirror

    return TrainingMirror(settings)


def train_as_worker_rank(trainer: Trainer) -> None:
    """Train as a rank other than 0, which writes and prints everything."""
    trainer.resume()
    try:
        trainer.fit()
    except NonFiniteLossError:
        trainer.group.barrier()  # until rank 0 has printed the error and ended
        raise


def train_and_record(
    settings: Settings, log: TrainingLog, data: PreparedData, trainer: Trainer
) -> None:
    """Train, and write the model, the history and the images of each epoch."""
    key, name = (
        training_fingerprint(settings, trainer.device, paths.PREPARED),
        run_name(training_settings(settings), data.info.image_shape),
    )
    own = training_fingerprint(without_epochs(settings), trainer.device, paths.PREPARED)
    finished = FinishedTrainings(paths.finished_trainings(), own)
    with (
        exclusive_lock(paths.TRAINING_LOCK, name),
        CheckpointFolder(paths.checkpoints() / key, name) as checkpoints,
    ):
        run_id = unfinished_run(checkpoints.folder)
        before = continue_finished(finished, settings, checkpoints)
        keep_threads(checkpoints.folder, settings.machine, is_small=has_small_steps(trainer))
        begun = log.begin(to_log(settings, data, trainer, name, run_id, before))
        with log:
            write_text(checkpoints.folder / RUN_ID, begun)
            fit(trainer, log, settings, checkpoints)
            description = describe_model(settings, data.info, trainer)
            save_model(paths.MODEL, trainer.model, description)
            write_history(trainer.progress, description.objective)
            log.finish()
        try:
            finished.keep(settings.train.epochs, checkpoints)
        except OSError as error:
            reason = f"{finished.folder}: {error.strerror}"
            print(f"warning: more epochs will not continue from this training ({reason})")
        checkpoints.remove()


def to_log(
    settings: Settings,
    data: PreparedData,
    trainer: Trainer,
    name: str,
    run_id: str | None,
    continued_from: int | None,
) -> Training:
    """Return what is logged of a training before its first epoch."""
    known = training_settings(settings)
    return Training(
        name=name,
        run_id=run_id,
        params=logged_params(known),
        settings=known,
        info=data.info,
        device=describe(trainer.device),
        continued_from=continued_from,
        leaves_cores=leaves_cores(trainer.device),
    )


def leaves_cores(device: torch.device) -> bool:
    """Return whether this process trains on fewer threads than there are cores."""
    return device.type != "cpu" or torch.get_num_threads() < core_count()


def continue_finished(
    finished: FinishedTrainings, settings: Settings, checkpoints: CheckpointFolder
) -> int | None:
    """Make the end of a training of fewer epochs the first checkpoint; return its epochs.

    Nothing is done for a training that has a checkpoint of its own.
    """
    train = settings.train
    epochs = finished.longest_below(train.epochs)
    if epochs is None or checkpoints.latest():
        return None
    found = f"a training of {epochs} epochs with these settings has finished"
    if depends_on_epochs(train):
        print(
            f"{found}, but its {train.learning_rate_schedule} learning rate ended there: "
            f"{train.epochs} epochs start anew"
        )
        return None
    try:
        finished.copy(epochs, train.images_every_epochs, checkpoints)
    except OSError as error:
        print(f"warning: {found}, but its end cannot be read ({error.strerror}); starting anew")
        return None
    print(f"{found}: {train.epochs} epochs continue from there, as if trained in one go")
    return epochs


def keep_threads(folder: Path, settings: MachineSettings, *, is_small: bool) -> None:
    """Unless set, continue with the threads that a training began with, for equal bits.

    A new training that `is_small` has one.
    """
    path = folder / THREADS
    if settings.threads is None and path.is_file():
        torch.set_num_threads(int(path.read_text(encoding="utf-8")))
    elif settings.threads is None and is_small:
        use_one_thread()
    write_text(path, str(torch.get_num_threads()))


def has_small_steps(trainer: Trainer) -> bool:
    """Return whether a second thread hardly shortens the steps of this process."""
    alone_on_cpu = trainer.device.type == "cpu" and trainer.group.world_size == 1
    return alone_on_cpu and math.prod(trainer.model.image_shape) <= FEW_NUMBERS


def unfinished_run(folder: Path) -> str | None:
    """Return the run id of an interrupted training."""
    path = folder / RUN_ID
    return path.read_text(encoding="utf-8") if path.is_file() else None


def prepared_trainer(
    settings: Settings, data: PreparedData, device: torch.device, group: ProcessGroup
) -> Trainer:
    """Build the trainer on the prepared splits."""
    train, validation = (
        build_batches(data, split, settings.data.dequantize, device, group.local_world_size)
        for split in ("train", "validation")
    )
    return build_trainer(settings, train, validation, device, group)


def fit(
    trainer: Trainer, log: TrainingLog, settings: Settings, checkpoints: CheckpointFolder
) -> None:
    """Train from the last checkpoint, if there is one, to the end, and log every epoch."""
    trainer.resume(checkpoints)
    first = trainer.progress.epoch
    start = f"from epoch {first} " if first else ""
    count = trainer.group.world_size
    others = "" if count == 1 else f", rank 0 of {count} processes"
    for line in early_stopping_notes(trainer.objective, settings.train):
        print(line)
    if busy := busy_cores_note():
        print(busy)
    print(f"training {start}on {describe(trainer.device)}{others}", flush=True)
    if settings.train.precision == AUTO:
        print(choose_precision(settings, trainer.live_model, trainer.device)[1])
    if not trainer.finished():
        print(step_cost(trainer), flush=True)
    started = time.perf_counter()
    if trainer.finished() and first < settings.train.epochs:
        print(f"early stopping ended the training after epoch {first}: more epochs change nothing")
    images = checkpoints.folder / IMAGES
    logger = EpochLogger(trainer, log, images, settings.train)
    progress = trainer.fit(logger, checkpoints)
    logger.copy_images(paths.TRAIN_IMAGES)
    seconds = time.perf_counter() - started
    trained_on = (progress.epoch - first) * len(trainer.train)
    timing = {"training_seconds": seconds, "training_images_per_second": trained_on / seconds}
    write_json(paths.TIMING, {"timing": timing})
    print(summary(progress, seconds))
    if note := best_epoch_note(trainer.objective, settings.train, progress.best_epoch):
        print(note)
    for line in overfitting_lines(trainer, settings.train):
        print(line)


def overfitting_lines(trainer: Trainer, settings: TrainSettings) -> list[str]:
    """Return what there is to say of a validation loss that rose, if no early stopping is set."""
    progress = trainer.progress
    note = overfitting_note(progress.history, trainer.objective.selection, trainer.warmup_end)
    if note is None or settings.early_stopping_epochs is not None:
        return []
    images = f"{paths.TRAIN_IMAGES} ends with epoch {progress.epoch}"
    return [note, f"{images}; images of the kept weights are those of {paths.RENDER}"]


def write_history(progress: Progress, objective: str) -> None:
    """Write the metrics of every epoch, those of the best one, and the KL of each dimension."""
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
    """Return one line on how training ended."""
    kept = f", best epoch {progress.best_epoch} ({progress.best_value:.2f})"
    best = kept if math.isfinite(progress.best_value) else ""
    return f"trained {progress.epoch} epochs in {seconds:.0f} s{best}"


if __name__ == "__main__":
    main()
