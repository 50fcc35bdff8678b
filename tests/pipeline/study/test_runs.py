"""MLflow runs of a study, and of trials whose worker was killed before it ended them."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
from mlflow.entities import Run
from optuna import Study
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from pipeline.study import runs as runs_module
from pipeline.study.final_trainings import finalists_name
from pipeline.study.finalists import METRICS, TRAINING_PARAMS
from pipeline.study.run_info import describe_trial, ended_runs
from pipeline.study.runs import STATE_TAG, TRIAL_TAG, StudyRuns, parent_run, with_split
from pipeline.study.trial_states import FAILURE
from pipeline.tracking import BACKFILLED_TAG, Store, open_store
from pipeline.tracking import Run as TrackedRun
from tests import ROOT
from tests.pipeline.conftest import change_directory, copy_stores
from vaelab.config import Settings, TrackingSettings, load_settings
from vaelab.data.dataset import PreparedData

WEIGHT = "train.kl_weight"
DRAWN: dict[str, Any] = {
    "params": {WEIGHT: 0.5},
    "distributions": {WEIGHT: FloatDistribution(0.1, 2)},
}
# By number, how the trials of the study ended; the last one did not.
ENDS: tuple[dict[str, Any], ...] = (
    {"state": TrialState.COMPLETE, "value": -3.0, "user_attrs": {METRICS: {"kl_loss_nats": 7.0}}},
    {"state": TrialState.PRUNED},
    {"state": TrialState.FAIL, "user_attrs": {FAILURE: "too large"}},
    {"state": TrialState.FAIL},
    {"state": TrialState.RUNNING},
)
ENDED_AS = {
    "0": ("FINISHED", "complete"),
    "1": ("FINISHED", "pruned"),
    "2": ("FAILED", "fail"),
    "3": ("KILLED", "interrupted"),
    "4": ("RUNNING", "running"),
}


@pytest.fixture
def settings() -> Settings:
    return load_settings(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[Path]:
    """A folder with a store for all tests, which is the current one."""
    folder = tmp_path_factory.mktemp("store")
    copy_stores(empty_stores, folder)
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        yield folder


@pytest.fixture
def store(folder: Path, request: pytest.FixtureRequest) -> Store:
    """An experiment for each test."""
    return open_store(TrackingSettings(experiment=request.node.name))


@pytest.fixture
def study() -> Study:
    study = optuna.create_study(study_name="small")
    for end in ENDS:
        study.add_trial(create_trial(**DRAWN, **end))
    return study


def test_a_parent_run_that_was_cut_short_is_completed(
    store: Store,
    study: Study,
    settings: Settings,
    data: PreparedData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "log_params", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            parent_run(store, study, settings, data.info)
    parents = [parent_run(store, study, settings, data.info).run_id for _ in range(2)]
    (run,) = store.client.search_runs([store.experiment_id])
    assert parents == 2 * [run.info.run_id]
    assert run.data.params["tune.trials"] == str(settings.tune.trials)
    assert run.inputs is not None
    assert len(run.inputs.dataset_inputs) == 1


def start_runs(store: Store, study: Study, settings: Settings) -> StudyRuns:
    """Start the runs of all trials, and end none, as a killed worker does; return a new worker."""
    parent = store.create_run("small", {})
    worker = StudyRuns(store, parent, "small")
    for trial in study.trials:
        worker.start(describe_trial(settings, trial.number, trial.params))
    worker.close()
    return StudyRuns(store, parent, "small")


def reconcile(worker: StudyRuns, study: Study, settings: Settings) -> dict[str, Run]:
    """Reconcile the runs with a worker; return the trials' runs, of which each key has one."""
    worker.reconcile(ended_runs(study, settings))
    worker.close()
    assert not worker.writer.unavailable
    runs = worker.store.client.search_runs([worker.store.experiment_id])
    trials = [run for run in runs if TRIAL_TAG in run.data.tags]
    found = {run.data.tags[TRIAL_TAG].removeprefix("small/"): run for run in trials}
    assert len(found) == len(trials)
    return found


def statuses(runs: Mapping[str, Run]) -> dict[str, tuple[str, str]]:
    return {key: (run.info.status, run.data.tags[STATE_TAG]) for key, run in runs.items()}


def test_runs_left_open_end_as_their_trials_did(
    store: Store, study: Study, settings: Settings
) -> None:
    runs = reconcile(start_runs(store, study, settings), study, settings)
    assert statuses(runs) == ENDED_AS
    assert runs["0"].data.metrics == {"study_validation/kl_loss_nats": 7.0}
    assert runs["2"].data.tags[FAILURE] == "too large"


def test_a_run_that_was_cut_short_gets_its_settings(
    store: Store, study: Study, settings: Settings
) -> None:
    parent = store.create_run("small", {})
    store.create_run("trial 0", {TRIAL_TAG: "small/0"}, parent.run_id)
    run = reconcile(StudyRuns(store, parent, "small"), study, settings)["0"]
    assert run.data.params[WEIGHT] == "0.5"
    assert statuses({"0": run})["0"] == ENDED_AS["0"]


def test_finished_trials_without_a_run_get_one(
    store: Store, study: Study, settings: Settings
) -> None:
    worker = StudyRuns(store, store.create_run("small", {}), "small")
    runs = reconcile(worker, study, settings)
    assert statuses(runs) == {key: ENDED_AS[key] for key in "012"}
    assert runs["0"].data.metrics == {"study_validation/kl_loss_nats": 7.0}
    assert runs["0"].data.params[WEIGHT] == "0.5"
    assert runs["0"].data.params["train.epochs"] == str(
        settings.tune.epochs or settings.train.epochs
    )
    assert runs["0"].data.tags[BACKFILLED_TAG] == "true"
    assert runs["0"].info.run_name == "trial 0"


def test_reconciled_runs_stay_as_they_are(store: Store, study: Study, settings: Settings) -> None:
    worker = start_runs(store, study, settings)
    before = reconcile(worker, study, settings)
    after = reconcile(StudyRuns(store, worker.parent, "small"), study, settings)
    assert {k: r.to_dictionary() for k, r in before.items()} == {
        k: r.to_dictionary() for k, r in after.items()
    }


def test_runs_of_another_study_are_left_alone(
    store: Store, study: Study, settings: Settings
) -> None:
    other = StudyRuns(store, store.create_run("other", {}), "other")
    other.start(describe_trial(settings, 0, {WEIGHT: 0.5}))
    other.close()
    runs = reconcile(start_runs(store, study, settings), study, settings)
    assert statuses({"it": runs["other/0"]}) == {"it": ("RUNNING", "running")}


def test_a_study_may_have_more_runs_than_a_page_of_the_store(
    store: Store, study: Study, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = start_runs(store, study, settings)
    by_twos = partial(store.client.search_runs, max_results=2)
    monkeypatch.setattr(store.client, "search_runs", by_twos)
    found = store.children(worker.parent.run_id, TRIAL_TAG)
    assert set(found) == {f"small/{trial.number}" for trial in study.trials}
    assert {len(runs) for runs in found.values()} == {1}


def test_a_finalist_without_a_run_gets_one(store: Store, study: Study, settings: Settings) -> None:
    name = finalists_name(study, settings.tune)
    finalists = optuna.create_study(storage=study._storage, study_name=name)
    finalists.add_trial(
        create_trial(
            params={"trial": 0, "seed": 2, "latent_dim": 3},
            distributions={
                name: IntDistribution(*bounds) for name, bounds in TRAINING_PARAMS.items()
            },
            value=-2.5,
            user_attrs={METRICS: {"neg_elbo_nats": -2.5, "epochs": 4}},
        )
    )
    runs = reconcile(start_runs(store, study, settings), study, settings)
    run = runs["finalist 0"]
    assert run.info.run_name == f"finalist 0 with 3 latents, seed {settings.train.seed + 2}"
    assert run.data.params["train.seed"] == str(settings.train.seed + 2)
    assert run.data.params[WEIGHT] == "0.5"
    assert run.data.params["model.latent_dim"] == "3"
    assert run.data.metrics == {"study_validation/neg_elbo_nats": -2.5, "epochs": 4}


def test_metrics_are_named_by_the_split_that_they_were_measured_on() -> None:
    metrics = {"kl_loss_nats": 1.0, "nll_effective_sample_size": 2.0, "closed_form_kl_weight": 3.0}
    named = {"study_validation.latent.knn_accuracy": 4.0, "epochs": 5}
    assert with_split(metrics | named) == {
        "study_validation.kl_loss_nats": 1.0,
        "study_validation.nll_effective_sample_size": 2.0,
        "closed_form_kl_weight": 3.0,
        **named,
    }


def test_the_metrics_of_a_trial_are_complete_when_the_store_comes_back(
    store: Store, study: Study, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "FLUSH_SECONDS", 0.0)
    worker = StudyRuns(store, store.create_run("small", {}), "small")
    worker.writer.pause_seconds = 0
    log, failures = TrackedRun.log_history, iter([True, False, False, False])

    def fail_once(self: TrackedRun, rows: Any) -> None:
        if next(failures):
            raise OSError("connection refused")
        log(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "log_history", fail_once)
        trial_run = worker.start(describe_trial(settings, 0, study.trials[0].params))
        for epoch in (1, 2):
            trial_run.log_epoch(epoch, {"train.loss": float(epoch)})
        trial_run.end(study.trials[0])
        worker.close()
    assert trial_run.run is not None
    history = store.client.get_metric_history(trial_run.run.run_id, "curves/train/loss")
    assert [(entry.step, entry.value) for entry in history] == [(1, 1.0), (2, 2.0)]
    assert store.client.get_run(trial_run.run.run_id).info.status == "FINISHED"
