"""Which study belongs to which settings: judges are never mixed."""

import re

import pytest
from optuna.storages import RDBStorage

from pipeline.study.storage import fingerprint, open_study, set_metric_names
from vaelab.config import UserError, parse_settings
from vaelab.config.tune import BOUNDED
from vaelab.data.dataset import PreparedData


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
