"""What a worker makes of settings that contradict one another, and of a model half saved."""

import math
from pathlib import Path

import pytest

from pipeline import paths
from pipeline.study.queue import FAILURE, finished_trials
from pipeline.tune import Launch
from tests.study.conftest import prepare
from vaelab.checkpoint import CONFIG
from vaelab.config import Settings, parse_settings

pytestmark = pytest.mark.pipeline


def settings(space: dict[str, object], trials: int) -> Settings:
    return parse_settings(
        {
            "data": {"name": "folder"},
            "model": {"network": "mlp", "hidden": [], "latent_dim": 2},
            "train": {"epochs": 1, "optimizer": "adamw"},
            "tune": {"search_space": space, "sampler": "grid", "trials": trials, "seeds": 0},
            "machine": {"device": "cpu", "threads": 1},
        }
    )


def test_impossible_combinations_fail_and_the_study_goes_on(workplace: Path) -> None:
    prepare(workplace / paths.PREPARED)
    space: dict[str, object] = {
        "train.optimizer": {"type": "categorical", "choices": ["adam", "adamw"]},
        "train.weight_decay": {"type": "categorical", "choices": [0.0, 0.1]},
    }
    launch = Launch(settings(space, 4))
    launch.work(math.inf)
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
    laboratory = Launch(chosen).laboratory
    before, _ = laboratory.train(chosen)
    (config,) = paths.study_models().glob(f"*/{CONFIG}")
    config.unlink()
    after = laboratory.recall(chosen)
    assert config.is_file()
    weights = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    assert all(one.equal(other) for one, other in weights)
