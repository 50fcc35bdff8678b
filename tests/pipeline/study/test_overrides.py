"""Settings on the command line: read as YAML, checked as those of the file are."""

import argparse
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from pipeline import tune
from pipeline.study.overrides import load_with_overrides
from vaelab.config import UserError, load_settings

FILE = """
train: {epochs: 100, kl_weight: 2.0}
tune:
  trials: 40
  search_space:
    train.kl_weight: {type: float, low: 0.1, high: 1.0}
"""


@pytest.fixture
def params(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("tune.trials=10", "tune", "trials", 10),
        ("train.learning_rate=1e-3", "train", "learning_rate", 0.001),
        ("train.epochs=5", "train", "epochs", 5),
        ("model.hidden=[64, 32]", "model", "hidden", (64, 32)),
        ("tune.epochs=null", "tune", "epochs", None),
        ("tune.study=a=b", "tune", "study", "a=b"),
        ("machine.deterministic=true", "machine", "deterministic", True),
    ],
)
def test_a_setting_replaces_that_of_the_file_and_no_other(
    override: str, section: str, key: str, value: object, params: Path
) -> None:
    settings, before = load_with_overrides(params, [override]), load_settings(params)
    assert getattr(getattr(settings, section), key) == value
    changed = getattr(before, section).model_copy(update={key: value})
    assert settings == before.model_copy(update={section: changed})
    assert params.read_text() == FILE


def test_the_last_of_two_counts_and_none_leave_the_file_as_it_is(params: Path) -> None:
    settings = load_with_overrides(params, ["tune.trials=10", "tune.trials=11"])
    assert settings.tune.trials == 11
    assert load_with_overrides(params, []) == load_settings(params)


def test_a_range_of_the_search_space_is_a_setting(params: Path) -> None:
    chosen = "tune.search_space.model.latent_dim={type: int, low: 3, high: 5}"
    space = load_with_overrides(params, [chosen]).tune.search_space
    assert set(space) == {"train.kl_weight", "model.latent_dim"}
    assert space["model.latent_dim"].examples() == (3, 4, 5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tune.trails=10", "unknown setting tune.trails; did you mean tune.trials[?]"),
        ("tuen.trials=10", "unknown setting tuen; did you mean tune[?]"),
        ("tune.trials=ten", r"tune.trials: .* valid integer, .*\(it is 'ten'\)"),
        ("tune.trials=0", "tune.trials: .* greater than or equal to 1"),
        ("tune.trials", "tune.trials: settings on the command line have the form section.key=val"),
        ("trials=10", "trials=10: settings on the command line have the form"),
        (".trials=10", ".trials=10: settings on the command line have the form"),
        ("model.hidden=[64", r"model.hidden=\[64: the value is not valid YAML: "),
        ("train.epochs.x=1", r"train.epochs.x: epochs has no settings of its own \(it is 100\)"),
        ("data.name=mnist", "data.name: cannot be set on the command line, as the data are prep"),
    ],
)
def test_a_wrong_one_is_refused_in_one_line(override: str, message: str, params: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_with_overrides(params, [override])
    assert "\n" not in str(caught.value)


def arguments(**given: Any) -> argparse.Namespace:
    options = {"apply": None, "worker": None, "workers": 1, "params": Path("params.yaml")}
    return argparse.Namespace(**options | {"settings": []} | given)


def test_a_wrong_one_ends_the_command_with_code_2(
    params: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tune", "--params", str(params), "tune.trails=10"])
    with pytest.raises(SystemExit) as caught:
        tune.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"error: .*params.yaml with tune.trails=10: unknown setting tune.trails; .*\n", error
    )


def test_a_winner_is_applied_without_them() -> None:
    with pytest.raises(UserError, match=r"--apply: takes no settings \(got tune.trials=10\)"):
        tune.run(arguments(apply="best", settings=["tune.trials=10"]))


def test_workers_get_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Mock(return_value=Mock(wait=Mock(return_value=0)))
    monkeypatch.setattr(subprocess, "Popen", started)
    chosen = ["tune.trials=10", "train.epochs=5"]
    tune.run_worker_processes(arguments(workers=2, settings=chosen), 9.0)
    commands = [call.args[0] for call in started.call_args_list]
    assert len(commands) == 2
    assert all(command[-4:] == ["--worker", "9.0", *chosen] for command in commands)
