"""A worker: contradictory settings, a half-saved model, batches of trials."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna import Study
from optuna.trial import TrialState

from pipeline import paths
from pipeline.study.final_trainings import finalists_name
from pipeline.study.finalists import METRICS
from pipeline.study.trial_states import FAILURE, finished_trials
from pipeline.tune import Launch
from tests.pipeline.conftest import change_directory, copy_stores
from tests.pipeline.study.conftest import prepare
from vaelab.config import Settings, TuneSettings, UserError, parse_settings
from vaelab.models.saving import CONFIG
from vaelab.training.vectorized import VectorizedTrainer


def settings(space: dict[str, object], trials: int, **tune: object) -> Settings:
    return parse_settings(
        {
            "data": {"name": "folder"},
            "model": {"network": "mlp", "hidden": [], "latent_dim": 2},
            "train": {"epochs": 1, "optimizer": "adamw"},
            "tune": {
                **{"search_space": space, "sampler": "grid", "trials": trials, "seeds": 0},
                **tune,
            },
            "machine": {"device": "cpu", "threads": 1},
        }
    )


@pytest.fixture
def study_folder(workdir: Path, empty_stores: Path) -> Path:
    """A new folder with prepared data and stores, which is the current one."""
    prepare(workdir / paths.PREPARED)
    copy_stores(empty_stores, workdir)
    return workdir


@pytest.mark.usefixtures("study_folder")
@pytest.mark.parametrize("batch", [1, 3])
def test_invalid_combinations_fail_and_the_study_goes_on(batch: int) -> None:
    space: dict[str, object] = {
        "train.optimizer": {"type": "categorical", "choices": ["adam", "adamw"]},
        "train.weight_decay": {"type": "categorical", "choices": [0.0, 0.1]},
    }
    launch = Launch(settings(space, 4, trials_together=batch))
    launch.run_worker(math.inf)
    trials = finished_trials(launch.study)
    failed = [trial for trial in trials if FAILURE in trial.user_attrs]
    assert len(trials) == 4
    assert [trial.params for trial in failed] == [
        {"train.optimizer": "adam", "train.weight_decay": 0.1}
    ]
    assert "weight_decay needs optimizer: adamw" in failed[0].user_attrs[FAILURE]
    key = f"tags.`vaelab.trial` = '{launch.study.study_name}/{failed[0].number}'"
    (run,) = launch.store.client.search_runs([launch.store.experiment_id], key)
    assert run.info.status == "FAILED"
    assert run.data.params["train.weight_decay"] == "0.1"


@pytest.mark.usefixtures("study_folder")
def test_a_model_that_was_half_saved_is_trained_again() -> None:
    chosen = settings({"model.latent_dim": {"type": "int", "low": 1, "high": 2}}, 2)
    runner = Launch(chosen).runner
    before, _ = runner.train(chosen)
    (config,) = paths.study_models().glob(f"*/{CONFIG}")
    config.unlink()
    after = runner.load_or_retrain(chosen)
    assert config.is_file()
    weights = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in weights)


SPACE: dict[str, object] = {
    "model.latent_dim": {"type": "int", "low": 1, "high": 4},
    "train.learning_rate": {"type": "float", "low": 0.001, "high": 0.02, "log": True},
    "train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0, "log": True},
}


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, empty_stores: Path) -> Iterator[None]:
    """A folder for the studies of several tests."""
    folder = tmp_path_factory.mktemp("batched")
    prepare(folder / paths.PREPARED)
    copy_stores(empty_stores, folder)
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        yield


def study_of(name: str, batch: int, **tune: object) -> Study:
    """Run a study of 6 trials that are sampled at random."""
    options: dict[str, object] = {"sampler": "random", "study": name, "trials_together": batch}
    chosen = settings(SPACE, 6, **{**options, **tune})
    train = chosen.train.model_copy(update={"epochs": 6, "batch_size": 50})
    launch = Launch(chosen.model_copy(update={"train": train}))
    launch.run_worker(math.inf)
    return launch.study


UNPRUNED: dict[str, object] = {"pruner": "none", "finalists": 1, "seeds": 2}


@pytest.mark.usefixtures("shared_folder")
def test_batched_trials_have_the_results_of_separate_ones() -> None:
    separate = study_of("separate", 1, **UNPRUNED)
    study = study_of("batched", 4, **UNPRUNED)
    assert [trial.params for trial in study.trials] == [trial.params for trial in separate.trials]
    assert len({trial.params["model.latent_dim"] for trial in study.trials[:4]}) > 1
    for one, other in zip(study.trials, separate.trials, strict=True):
        assert one.state == other.state == TrialState.COMPLETE
        assert one.values == pytest.approx(other.values, rel=1e-3, abs=1e-3)
        assert one.user_attrs[METRICS] == pytest.approx(other.user_attrs[METRICS], 1e-3, 1e-3)
        assert one.intermediate_values == pytest.approx(other.intermediate_values, 1e-3, 1e-3)
    names = [finalists_name(part, TuneSettings()) for part in (study, separate)]
    finalists, expected = (
        optuna.load_study(study_name=name, storage=study._storage).trials for name in names
    )
    assert [trial.params for trial in finalists] == [trial.params for trial in expected]
    for one, other in zip(finalists, expected, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-3, abs=1e-3)


@pytest.mark.usefixtures("shared_folder")
def test_batched_trials_are_pruned_separately() -> None:
    tune: dict[str, object] = {"startup_trials": 3, "pruning_after": 0.1}
    study = study_of("pruned", 3, pruner="median", **tune)
    states = Counter(trial.state for trial in study.trials)
    assert states.keys() == {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(states.values()) == 6
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials[:3])
    for trial in study.trials:
        complete = trial.state == TrialState.COMPLETE
        assert (trial.last_step == 6) == complete
        assert list(trial.intermediate_values) == list(range(1, (trial.last_step or 0) + 1))


@pytest.mark.usefixtures("shared_folder")
def test_a_batch_that_is_too_large_for_memory_is_a_users_error_and_loses_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_large(self: VectorizedTrainer) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    unpruned = {**UNPRUNED, "seeds": 0}
    with monkeypatch.context() as patch:
        patch.setattr(VectorizedTrainer, "_train", too_large)
        with pytest.raises(UserError, match=r"out of memory with tune\.trials_together: 4; a"):
            study_of("small memory", 4, **unpruned)
    study = study_of("small memory", 1, **unpruned)
    assert len(finished_trials(study)) == 6
    assert sum(bool(trial.system_attrs.get("retry_history")) for trial in study.trials) == 4
