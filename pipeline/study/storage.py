"""Optuna's storage, and the study in it that belongs to the settings."""

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
from pipeline.study.search_space import present_point, total_trials
from pipeline.study.trial_settings import longest_warmup
from pipeline.study.trial_states import FAILURE
from vaelab.config import Settings, TuneSettings, UserError
from vaelab.config.tune import BOUNDED
from vaelab.data.dataset import DatasetInfo
from vaelab.metrics import lookup
from vaelab.models.component_settings import component_settings
from vaelab.objectives import objective_settings

Direction = Literal["minimize", "maximize"]

# A study's user attribute: the hash of what it tunes.
FINGERPRINT = "fingerprint"
# A worker that missed this many heartbeats is taken to be dead.
MISSED_HEARTBEATS = 6
SQLITE_TIMEOUT = 60


def storage_url(tune: TuneSettings) -> str:
    """Return OPTUNA_STORAGE, else `tune.storage`, else optuna.db in the main workspace."""
    default = f"sqlite:///{workspace_root()}/optuna.db"
    return os.environ.get("OPTUNA_STORAGE") or tune.storage or default


def study_lock() -> FileLock:
    """Return the lock between this machine's processes for changes of a study."""
    return FileLock(workspace_root() / "optuna.db.lock", is_singleton=True)


def open_storage(tune: TuneSettings) -> RDBStorage:
    """Open the database. Raises UserError, in which passwords are hidden, if it cannot be used."""
    url = storage_url(tune)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UserError(
            "tune.storage: not a database URL such as sqlite:///file.db or "
            "postgresql://user:password@host/name"
        ) from error
    connect_args: dict[str, Any] = (
        {"timeout": SQLITE_TIMEOUT} if parsed.drivername == "sqlite" else {}
    )
    heartbeat = tune.heartbeat_seconds
    try:
        # Processes that create the tables at the same time collide.
        with study_lock(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": connect_args, "pool_pre_ping": True},
                heartbeat_interval=heartbeat,
                grace_period=MISSED_HEARTBEATS * heartbeat,
                heartbeat_stale_trial_callback=requeue,
            )
    except (sqlalchemy.exc.SQLAlchemyError, OptunaError, ImportError, RuntimeError) as error:
        shown, reason = parsed.render_as_string(), " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot open the study's storage {shown} ({reason}); it is set by OPTUNA_STORAGE or "
            "tune.storage, and is optuna.db beside params.yaml without them"
        ) from error


def requeue(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial that was interrupted again; one whose settings failed is finished."""
    if FAILURE in trial.user_attrs:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # The callback appends to a list of the trial that it is passed.
        RetryHeartbeatStaleTrialCallback()(study, copy.deepcopy(trial))


def open_study(storage: RDBStorage, settings: Settings, info: DatasetInfo) -> Study:
    """Create the study, or load it to continue it. Its first trial has the settings themselves.

    Raises UserError if the study of this name has other data or settings.
    """
    tune, identity = settings.tune, fingerprint(settings, info)
    name = tune.study or f"{info.name} {tune.objective} {identity[:8]}"
    with study_lock():
        study = optuna.create_study(
            storage=storage,
            sampler=build_sampler(tune),
            pruner=build_pruner(tune, settings.train, longest_warmup(settings)),
            study_name=name,
            load_if_exists=True,
            directions=study_directions(tune),
        )
        present = study.user_attrs.get(FINGERPRINT)
        if present is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(FINGERPRINT, identity)
            point = present_point(settings) if tune.sampler != "grid" else None
            if point and total_trials(tune) > 1:
                study.enqueue_trial(point)
        elif present != identity:
            raise UserError(
                f"tune.study: {name} was created with other data or settings, such as another "
                "tune.objective, with whose trials new ones cannot be compared; set another name, "
                "or null for a name that includes a hash of them"
            )
    return study


def set_metric_names(study: Study, names: list[str]) -> None:
    """Name the values of a study's trials, for optuna-dashboard."""
    if study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(names)


def fingerprint(settings: Settings, info: DatasetInfo) -> str:
    """Return a hash of what makes trials comparable: data, settings, search space, objective."""
    content = settings.model_dump(
        mode="json", include={"model", "train"}, exclude={"model": {"networks", "priors"}}
    )
    content |= objective_settings(settings) | component_settings(settings.model)
    for name in settings.tune.search_space:
        section, _, key = name.partition(".")
        if name in content:
            del content[name]
        else:
            del content[section][key]
    scored = {"search_space", "objective", "direction"}
    if settings.tune.objective != "neg_elbo":
        scored.add("importance_samples")
    content["tune"] = settings.tune.model_dump(mode="json", include=scored)
    content["train"]["epochs"] = settings.tune.epochs or settings.train.epochs
    measured = settings.evaluate.model_dump(mode="json", exclude={"importance_samples"})
    if settings.tune.objective in BOUNDED:
        measured = {"seed": settings.evaluate.seed}
    content["evaluate"] = measured
    entry = lookup(settings.tune.objective)
    if entry and entry.group == "sampler":
        own = settings.samplers.get(settings.sampler.name, {})
        content["sampler"] = settings.sampler.model_dump(mode="json") | own
    if settings.tune.sampler == "grid":
        content["grid"] = settings.tune.trials  # it decides the grid's points
    content["data"] = [info.sha256, info.binarization, settings.data.dequantize]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def study_directions(tune: TuneSettings) -> list[Direction]:
    """Return Optuna's directions for `tune.objective`.

    Raises UserError for a metric whose specification names no better direction.
    """
    if tune.objective == "rate_distortion":
        return ["minimize", "minimize"]
    if tune.objective in BOUNDED:
        return ["minimize"]
    if tune.direction != "auto":
        return [tune.direction]
    entry = lookup(tune.objective)
    if entry and entry.direction == "neither":
        raise UserError(
            f"tune.direction: {tune.objective} has no better direction of its own; set minimize "
            "or maximize"
        )
    # TrialScorer refuses the name of an unknown metric.
    return ["maximize" if entry and entry.direction == "higher" else "minimize"]
