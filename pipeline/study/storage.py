"""Where a study is kept, and which one it is."""

import copy
import hashlib
import json
import os
import warnings
from typing import Any, Literal

import optuna
import sqlalchemy
from filelock import FileLock
from optuna import Study
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

from pipeline.paths import workspace_root
from pipeline.study.samplers import build_pruner, build_sampler
from vaelab import metrics as catalogue
from vaelab.config import Settings, TuneSettings, UserError
from vaelab.data.dataset import DatasetInfo
from vaelab.models.model import own_settings
from vaelab.objectives import objective_settings

Direction = Literal["minimize", "maximize"]

# Attributes: of a study, what it tunes; of a trial, why its settings failed.
FINGERPRINT, FAILURE = "fingerprint", "failure"
# A worker is dead when it missed this many signs of life.
MISSED_HEARTBEATS = 6
BUSY_SECONDS = 60


def storage_url(tune: TuneSettings) -> str:
    """Give OPTUNA_STORAGE, else `tune.storage`, else optuna.db in the main working copy."""
    default = f"sqlite:///{workspace_root()}/optuna.db"
    return os.environ.get("OPTUNA_STORAGE") or tune.storage or default


def study_lock() -> FileLock:
    """Give the lock under which processes of this machine take turns at a study's books."""
    return FileLock(workspace_root() / "optuna.db.lock", is_singleton=True)


def open_storage(tune: TuneSettings) -> RDBStorage:
    """Open the database. Raises UserError, without a password, if it cannot be used."""
    url = storage_url(tune)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(
            "tune.storage is no database URL; sqlite:///file.db and "
            "postgresql://user:password@host/name are"
        ) from error
    waits: dict[str, Any] = {"timeout": BUSY_SECONDS} if parsed.drivername == "sqlite" else {}
    heartbeat = tune.heartbeat_seconds
    try:
        # Simultaneous first uses of a database collide while its tables are made.
        with study_lock(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": waits, "pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=MISSED_HEARTBEATS * heartbeat,
                heartbeat_stale_trial_callback=queue_again,
            )
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError, ImportError, RuntimeError) as error:
        shown, reason = parsed.render_as_string(), " ".join(str(error).split())[:200]
        raise UserError(
            f"the study's storage {shown} cannot be used ({reason}); OPTUNA_STORAGE or "
            "tune.storage names it, and neither means optuna.db beside params.yaml"
        ) from error


def queue_again(study: Study, trial: FrozenTrial) -> None:
    """Let the settings of a trial that never ended be tried again; one that failed did end."""
    if FAILURE in trial.user_attrs:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # It appends to a list that the trial at hand would share.
        RetryHeartbeatStaleTrialCallback()(study, copy.deepcopy(trial))


def open_study(storage: RDBStorage, settings: Settings, info: DatasetInfo) -> Study:
    """Create the study, or go on with it.

    Raises UserError if the one of its name tunes something else.
    """
    tune, identity = settings.tune, fingerprint(settings, info)
    name = tune.study or f"{info.name} {tune.objective} {identity[:8]}"
    with study_lock():
        study = optuna.create_study(
            storage=storage,
            sampler=build_sampler(tune),
            pruner=build_pruner(tune, settings.train),
            study_name=name,
            load_if_exists=True,
            directions=study_directions(tune),
        )
        present = study.user_attrs.get(FINGERPRINT)
        if present is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(FINGERPRINT, identity)
        elif present != identity:
            raise UserError(
                f"tune.study: {name} was begun with other data or settings, and their trials do "
                "not compare; give another name, or null, which names it by what is tuned"
            )
    return study


def fingerprint(settings: Settings, info: DatasetInfo) -> str:
    """Hash what makes trials comparable: data, settings, search space and objective."""
    content = settings.model_dump(
        mode="json", include={"model", "train"}, exclude={"model": {"networks", "priors"}}
    )
    content |= objective_settings(settings) | own_settings(settings.model)
    for name in settings.tune.search_space:
        section, _, key = name.partition(".")
        if name in content:
            del content[name]
        else:
            del content[section][key]
    judged = {"search_space", "objective", "direction", "importance_samples"}
    content["tune"] = settings.tune.model_dump(mode="json", include=judged)
    content["train"]["epochs"] = settings.tune.epochs or settings.train.epochs
    measured = settings.evaluate.model_dump(mode="json", exclude={"importance_samples"})
    if settings.tune.objective in ("nll", "rate_distortion"):
        measured = {"seed": settings.evaluate.seed}
    content["evaluate"] = measured
    if settings.tune.sampler == "grid":
        content["grid"] = settings.tune.trials  # points of another grid are others
    content["data"] = [info.sha256, info.binarization, settings.data.dequantize]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def study_directions(tune: TuneSettings) -> list[Direction]:
    """Give Optuna's directions of the objective; those of a metric are the catalogue's.

    Raises UserError for a metric of which neither direction is better by itself.
    """
    if tune.objective == "rate_distortion":
        return ["minimize", "minimize"]
    if tune.objective == "nll":
        return ["minimize"]
    if tune.direction != "auto":
        return [tune.direction]
    entry = catalogue.lookup(tune.objective)
    if entry and entry.direction == "neither":
        raise UserError(
            f"tune.direction: {tune.objective} is better neither high nor low by itself; "
            "say minimize or maximize"
        )
    # What is no metric is refused where metrics are measured.
    return ["maximize" if entry and entry.direction == "higher" else "minimize"]
