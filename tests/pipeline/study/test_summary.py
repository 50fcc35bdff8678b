"""The winner's metrics on the test split, which a study stores."""

from typing import cast

import optuna
import pytest
from optuna.trial import create_trial

from pipeline.study.summary import OLD_TEST_METRICS, TEST_METRICS, _test_metrics
from pipeline.study.trial_runner import TrialRunner
from vaelab.config import parse_settings

METRICS = {"nll_nats": 3.0}


@pytest.mark.parametrize("name", [TEST_METRICS, OLD_TEST_METRICS])
def test_stored_metrics_are_read_and_not_measured_again(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study, no_runner = optuna.create_study(), cast(TrialRunner, None)
    study.add_trial(create_trial(value=1.0))
    study.set_user_attr(name, {"0": METRICS})
    assert _test_metrics(study, no_runner, parse_settings({}), study.trials[0]) == METRICS
    assert study.user_attrs[TEST_METRICS] == {"0": METRICS}
    warning = "stores its test metrics under the old name 'test'"
    assert (warning in capsys.readouterr().out) == (name == OLD_TEST_METRICS)
    assert _test_metrics(study, no_runner, parse_settings({}), study.trials[0]) == METRICS
    assert capsys.readouterr().out == "", "the new name is written"
