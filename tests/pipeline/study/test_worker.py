"""What a worker makes of settings that contradict one another, and of a model half saved."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna import Study
from optuna.trial import TrialState

from pipeline import paths
from pipeline.study.finalists import METRICS, finalists_name
from pipeline.study.storage import FAILURE
from pipeline.study.trial_queue import finished_trials
from pipeline.tune import Launch
from tests.pipeline.study.conftest import change_directory, prepare
from vaelab.config import Settings, UserError, parse_settings
from vaelab.models.saving import CONFIG
from vaelab.training.vectorized import VectorizedTrainer

pytestmark = pytest.mark.pipeline


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


@pytest.mark.parametrize("together", [1, 3])
def test_impossible_combinations_fail_and_the_study_goes_on(workplace: Path, together: int) -> None:
    prepare(workplace / paths.PREPARED)
    space: dict[str, object] = {
        "train.optimizer": {"type": "categorical", "choices": ["adam", "adamw"]},
        "train.weight_decay": {"type": "categorical", "choices": [0.0, 0.1]},
    }
    launch = Launch(settings(space, 4, trials_together=together))
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


def test_a_model_that_was_half_saved_is_trained_again(workplace: Path) -> None:
    prepare(workplace / paths.PREPARED)
    chosen = settings({"model.latent_dim": {"type": "int", "low": 1, "high": 2}}, 2)
    laboratory = Launch(chosen).runner
    before, _ = laboratory.train(chosen)
    (config,) = paths.study_models().glob(f"*/{CONFIG}")
    config.unlink()
    after = laboratory.load_or_retrain(chosen)
    assert config.is_file()
    weights = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in weights)


SPACE: dict[str, object] = {
    "model.latent_dim": {"type": "int", "low": 1, "high": 4},
    "train.learning_rate": {"type": "float", "low": 0.001, "high": 0.02, "log": True},
    "train.kl_weight": {"type": "float", "low": 0.01, "high": 10.0, "log": True},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the studies of several tests: a new MLflow store takes seconds."""
    folder = tmp_path_factory.mktemp("together")
    prepare(folder / paths.PREPARED)
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        yield


def study_of(name: str, together: int, **tune: object) -> Study:
    """Do a whole study of 6 trials at random."""
    options: dict[str, object] = {"sampler": "random", "study": name, "trials_together": together}
    chosen = settings(SPACE, 6, **{**options, **tune})
    train = chosen.train.model_copy(update={"epochs": 6, "batch_size": 50})
    launch = Launch(chosen.model_copy(update={"train": train}))
    launch.run_worker(math.inf)
    return launch.study


UNPRUNED: dict[str, object] = {"pruner": "none", "finalists": 1, "seeds": 2}


@pytest.mark.usefixtures("place")
def test_trials_together_come_to_what_they_come_to_one_after_another() -> None:
    in_turn = study_of("in turn", 1, **UNPRUNED)
    study = study_of("together", 4, **UNPRUNED)
    assert [trial.params for trial in study.trials] == [trial.params for trial in in_turn.trials]
    assert len({trial.params["model.latent_dim"] for trial in study.trials[:4]}) > 1
    for one, other in zip(study.trials, in_turn.trials, strict=True):
        assert one.state == other.state == TrialState.COMPLETE
        assert one.values == pytest.approx(other.values, rel=1e-3, abs=1e-3)
        assert one.user_attrs[METRICS] == pytest.approx(other.user_attrs[METRICS], 1e-3, 1e-3)
        assert one.intermediate_values == pytest.approx(other.intermediate_values, 1e-3, 1e-3)
    finalists, expected = (
        optuna.load_study(study_name=finalists_name(part), storage=part._storage).trials
        for part in (study, in_turn)
    )
    assert [trial.params for trial in finalists] == [trial.params for trial in expected]
    for one, other in zip(finalists, expected, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-3, abs=1e-3)


@pytest.mark.usefixtures("place")
def test_trials_together_are_pruned_each_by_itself() -> None:
    tune: dict[str, object] = {"startup_trials": 3, "pruning_after": 0.1}
    study = study_of("pruned", 3, pruner="median", **tune)
    states = Counter(trial.state for trial in study.trials)
    assert states.keys() == {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(states.values()) == 6
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials[:3])
    for trial in study.trials:
        whole = trial.state == TrialState.COMPLETE
        assert (trial.last_step == 6) == whole
        assert list(trial.intermediate_values) == list(range(1, (trial.last_step or 0) + 1))


@pytest.mark.usefixtures("place")
def test_a_lack_of_memory_for_so_many_is_one_line_and_loses_nothing(
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
