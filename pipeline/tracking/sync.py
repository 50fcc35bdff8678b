"""Log the files of the stages to the model's MLflow run; create it if it does not exist."""

import os
import subprocess
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from pipeline import paths
from pipeline.tracking import (
    BACKFILLED_TAG,
    FILES_MISSING_TAG,
    WEIGHTS_TAG,
    Run,
    Store,
    active_run,
    warn_on_store_error,
)
from pipeline.tracking.descriptions import describe_run
from pipeline.tracking.metric_names import without_constants
from vaelab.config import Settings, TrackingSettings
from vaelab.data.dataset import DatasetInfo, PreparedData
from vaelab.models.weights import weights_sha256
from vaelab.runtime.files import write_text
from vaelab.runtime.serialization import flattened, read_csv, read_metrics

# The stages after the training need no PyTorch to log their files.
if TYPE_CHECKING:
    from vaelab.models.model import Model
    from vaelab.models.saving import ModelDescription

PARAMS = "params.yaml"
EXPERIMENT_TAG = "dvc.experiment"


def start_training(
    run: Run,
    params: Mapping[str, Any],
    settings: Mapping[str, Any],
    info: DatasetInfo,
    device: str,
) -> None:
    """Log what is known before the first epoch; `params` are the settings that MLflow shows."""
    _log_settings(run, params, settings, info)
    experiment = os.environ.get("DVC_EXP_NAME")
    named = {EXPERIMENT_TAG: experiment} if experiment else {}
    run.log_tags({"device": device, **named, **git_state()})


def _log_settings(
    run: Run, params: Mapping[str, Any], settings: Mapping[str, Any], info: DatasetInfo
) -> None:
    """Log the settings of a training, by dotted name, and its data set."""
    run.log_params(params)
    run.log_dataset(info)
    _log_yaml(run, _as_sections(settings), PARAMS)


def _log_settings_of_model(run: Run) -> None:
    from pipeline.tracking.run_info import logged_params

    _, description = _load_model()
    settings = description.settings
    info = PreparedData.load(paths.PREPARED).info
    _log_settings(run, logged_params(settings), settings, info)


def _as_sections(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted name in the form of params.yaml."""
    content: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, key = name.split(".")
        inner = content
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return content


def _log_yaml(run: Run, settings: Mapping[str, Any], path: str) -> None:
    text = StringIO()
    YAML().dump(settings, text)
    run.log_text(text.getvalue(), path)


def finish_training(run: Run, settings: TrackingSettings) -> None:
    """Log everything that the run lacks, then tag it with the SHA-256 of the weights.

    Raises one of tracking.STORE_ERRORS if the store is unavailable. The run is then not tagged, and
    the next `run_of_model` completes it.
    """
    pending = unfinished(weights_sha256(paths.MODEL))
    write_text(pending, run.run_id)
    if not run.has_params():
        _log_settings_of_model(run)
    _log_epochs(run)
    run.log_results(flattened(read_metrics(paths.TIMING)))
    _log_training_files(run, settings)
    run.log_tags({WEIGHTS_TAG: weights_sha256(paths.MODEL)})
    describe_run(run.client, run.run_id)
    pending.unlink()


def _log_training_files(run: Run, settings: TrackingSettings) -> None:
    """Log the files of the training; tag the run where the store takes none."""
    run.log_files(paths.MODEL, "model_files")
    run.log_files(paths.TRAIN, "train")
    if settings.log_model:
        from pipeline.tracking.registry import register

        log_servable_model(run)
        register(run)
    run.log_tags({FILES_MISSING_TAG: "true"} if run.files_failed else {})


def unfinished(weights: str) -> Path:
    """Return the file with the run id of a model whose run is not complete yet."""
    return paths.workspace_root() / ".tracking" / weights


def run_of_model(store: Store, settings: Settings) -> Run:
    """Return the run of the current model; complete or create it if necessary."""
    weights = weights_sha256(paths.MODEL)
    found, pending = store.find_run(weights), unfinished(weights)
    if found:
        return Run(store.client, found)
    if pending.is_file() and store.has_run(run_id := pending.read_text(encoding="utf-8")):
        with active_run(store, "", resumed=run_id) as run:
            finish_training(run, settings.tracking)
        return run
    return _backfill(store, settings)


def log_stage(store: Store, stage: str, settings: Settings) -> None:
    """Log the files of a stage to the current model's run; print a warning if the store fails."""
    what, add = ADDED[stage]
    with warn_on_store_error(what):
        add(run_of_model(store, settings), settings)


def add_sampler(run: Run, settings: Settings) -> None:
    """Log the files of the sampler stage, and its settings."""
    own = settings.samplers.get(settings.sampler.name, {})
    _log_yaml(run, {"sampler": settings.sampler.model_dump() | own}, f"sampler/{PARAMS}")
    run.log_files(paths.SAMPLER, "sampler")


def add_evaluation(run: Run, settings: Settings) -> None:
    """Log the files of the evaluate stage, and its settings; its metrics to the model too."""
    metrics = read_metrics(paths.EVALUATE_METRICS)
    measured = {group: values for group, values in metrics.items() if group != "dataset"}
    _log_yaml(run, {"evaluate": settings.evaluate.model_dump()}, f"evaluate/{PARAMS}")
    run.log_model_results(flattened(measured))
    run.log_files(paths.EVALUATE, "evaluate")
    describe_run(run.client, run.run_id)


def add_report(run: Run, settings: Settings) -> None:
    """Log the file of the report stage."""
    run.log_file(paths.REPORT, "evaluate")
    describe_run(run.client, run.run_id)


def add_figures(run: Run, settings: Settings) -> None:
    """Log the files of the render stage, and its settings."""
    _log_yaml(run, {"render": settings.render.model_dump()}, f"render/{PARAMS}")
    run.log_files(paths.RENDER, "render")
    describe_run(run.client, run.run_id)


def add_explorer(run: Run, settings: Settings) -> None:
    """Log the page of the explore stage."""
    run.log_file(paths.EXPLORER, "explorer")
    describe_run(run.client, run.run_id)


ADDED: Mapping[str, tuple[str, Callable[[Run, Settings], None]]] = {
    "sampler": ("the sampler", add_sampler),
    "evaluate": ("the evaluation", add_evaluation),
    "report": ("the report", add_report),
    "render": ("the figures", add_figures),
    "explore": ("the explorer", add_explorer),
}
"""What each stage logs, in words, and the function that does."""


def complete(store: Store, settings: Settings) -> Run:
    """Log the files of all stages to the run of the current model."""
    run = run_of_model(store, settings)
    if run.has_tag(FILES_MISSING_TAG):
        _log_epochs(run)
        _log_training_files(run, settings.tracking)
    if paths.SAMPLER.is_dir():
        add_sampler(run, settings)
    if paths.EVALUATE_METRICS.is_file():
        add_evaluation(run, settings)
    if paths.REPORT.is_file():
        add_report(run, settings)
    if any(paths.RENDER.glob("*.png")):
        add_figures(run, settings)
    if paths.EXPLORER.is_file():
        add_explorer(run, settings)
    if not run.files_failed:
        run.remove_tag(FILES_MISSING_TAG)
    return run


def log_servable_model(run: Run) -> None:
    """Log the model in MLflow's format, with an image, or a latent, as the example of its input."""
    with warnings.catch_warnings():
        # MLflow warns of its own types when it is imported.
        warnings.simplefilter("ignore")
        # Takes seconds, and only training needs it.
        from pipeline.tracking.logged_model import log_model

    model, _ = _load_model()
    if model.has("encoder"):
        pixels = PreparedData.load(paths.PREPARED).images("validation")[:1]
        example = np.round(pixels / np.float32(255), 3)
    else:
        example = np.zeros((1, model.latent_dim), np.float32)
    run.log_model(partial(log_model, model=model, files=paths.MODEL, example=example))


def git_state() -> dict[str, str]:
    """Return the commit and whether the work tree was dirty; {} outside a git repository.

    dvc.lock is ignored: DVC writes it between the stages of one run.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--", ".", ":!dvc.lock"))
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(dirty).lower()}


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603  fixed arguments


def _log_epochs(run: Run) -> None:
    """Log the epochs and images that the run lacks."""
    rows = [(int(row.pop("epoch")), row) for row in read_csv(paths.HISTORY)]
    logged, logged_images = run.logged_epochs(), run.logged_images()
    varying = (
        (epoch, without_constants(row, before))
        for (epoch, row), (_, before) in zip(rows, [(0, None), *rows], strict=False)
    )
    run.log_history([(epoch, row) for epoch, row in varying if epoch not in logged])
    for path in sorted(paths.TRAIN_IMAGES.glob("*.png")):
        key, _, epoch = path.stem.rpartition("_")
        if (key, int(epoch)) not in logged_images:
            run.log_image(np.array(Image.open(path)), key, int(epoch))


def _load_model() -> "tuple[Model, ModelDescription]":
    import torch

    from vaelab.models.saving import load_model

    return load_model(paths.MODEL, torch.device("cpu"))


def _backfill(store: Store, settings: Settings) -> Run:
    from pipeline.tracking.run_info import run_name

    _, description = _load_model()
    with active_run(store, run_name(description.settings, description.image_shape)) as run:
        run.forget_source()
        _log_settings_of_model(run)
        run.log_tags({BACKFILLED_TAG: "true"})
        finish_training(run, settings.tracking)
        if paths.EVALUATE_METRICS.is_file():
            add_evaluation(run, settings)
    return run
