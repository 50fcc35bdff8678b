"""Which study belongs to which settings: judges are never mixed."""

import re
from typing import Any

import pytest
from optuna.storages import RDBStorage

from pipeline.study.search_space import suggest
from pipeline.study.storage import fingerprint, open_study, set_metric_names
from pipeline.study.trial_queue import TrialQueue
from tests.pipeline.study.conftest import sequentially
from vaelab.config import UserError, parse_settings
from vaelab.config.tune import BOUNDED
from vaelab.data.dataset import PreparedData
from vaelab.models.sizes import with_sizes


def test_studies_by_other_objectives_have_other_names(
    database: RDBStorage, data: PreparedData
) -> None:
    names = set()
    for objective in (None, *BOUNDED):
        tune = {"objective": objective} if objective else {}
        settings = parse_settings({"tune": {"trials": 41, **tune}})
        study = open_study(database, settings, data.info)
        names.add(study.study_name)
        identity = fingerprint(settings, data.info)[:8]
        assert study.study_name == f"folder {objective or 'neg_elbo'} {identity}"
    assert len(names) == len(BOUNDED), "the default is neg_elbo"


def test_a_study_of_the_old_default_is_not_continued_by_the_new_one(
    database: RDBStorage, data: PreparedData
) -> None:
    tune = {"study": "mine"}
    old = parse_settings({"tune": {**tune, "objective": "nll"}})
    assert open_study(database, old, data.info).study_name == "mine"
    message = "tune.study: mine was created with other data or settings, such as another tune.obje"
    with pytest.raises(UserError, match=re.escape(message)):
        open_study(database, parse_settings({"tune": tune}), data.info)
    assert open_study(database, old, data.info).study_name == "mine", "nll continues it"


def test_the_dashboard_gets_the_names_of_the_values(
    database: RDBStorage, data: PreparedData
) -> None:
    study = open_study(database, parse_settings({"tune": {"study": "named"}}), data.info)
    for _ in range(2):
        set_metric_names(study, ["study_validation.neg_elbo_nats"])
        assert study.metric_names == ["study_validation.neg_elbo_nats"]


def test_a_study_begins_with_the_settings_themselves(
    database: RDBStorage, data: PreparedData
) -> None:
    chosen = parse_settings({"tune": {"study": "begun", "trials": 3}})
    settings = with_sizes(chosen, data.info.image_shape)
    for _ in range(2):
        study = open_study(database, settings, data.info)
        assert len(study.trials) == 1, "a study that is continued begins once"
    queue = TrialQueue(study, 3, stale_seconds=60, tune=settings.tune)
    objective = sequentially(lambda trial: suggest(trial, settings.tune)["train.kl_weight"])
    queue.run(objective, lambda ended: None)
    first, *others = [trial.params for trial in study.trials]
    assert first == {"model.latent_dim": 20, "train.kl_weight": 1.0}
    assert len(others) == 2
    assert first not in others


@pytest.mark.parametrize(
    ("model", "tune"),
    [({"latent_dim": 100}, {}), ({}, {"sampler": "grid"}), ({}, {"trials": 1})],
)
def test_a_study_does_not_begin_outside_of_its_points(
    model: dict[str, Any], tune: dict[str, Any], database: RDBStorage, data: PreparedData
) -> None:
    settings = parse_settings(
        {"model": model, "tune": {"study": f"{model} {tune}".replace("'", "")} | tune}
    )
    assert open_study(database, settings, data.info).trials == []
