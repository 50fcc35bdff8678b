"""SIGKILL at random moments of training, evaluation and rendering changes no bit of the results."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.chaos.kills import LEFT, Attacker, assert_one_whole_curve, forget, made_by
from tests.pipeline.conftest import Copy, make_copy

LONG = [
    pytest.param({"train__epochs": 40}, 30, (2, 22), id="30-digits"),
    pytest.param({"data__name": "mnist"}, 10, (4, 40), id="10-mnist"),
]


@pytest.mark.slow
def test_a_training_killed_twice_is_the_same_training(tmp_path: Path) -> None:
    """The short form: training alone."""
    copy = make_copy(tmp_path, train__epochs=60)
    copy.repro("prepare")
    command = ("python", "-m", "pipeline.train")
    copy.run(*command)
    undisturbed = made_by(copy)
    forget(copy, "models", "results", "mlflow.db", "mlruns")
    Attacker(copy, command, 0, (5, 8)).attack(2)
    assert made_by(copy) == undisturbed
    assert_one_whole_curve(copy)


@pytest.mark.chaos
@pytest.mark.parametrize(("changes", "kills", "seconds"), LONG)
def test_what_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, changes: dict[str, Any], kills: int, seconds: tuple[float, float]
) -> None:
    if "data__name" in changes and "VAELAB_DATA_MIRROR" not in os.environ:
        pytest.skip("MNIST is taken from VAELAB_DATA_MIRROR, which is not set")
    copy = make_copy(tmp_path, **changes)
    copy.repro()
    attack(copy, kills, seconds)


def attack(copy: Copy, kills: int, seconds: tuple[float, float]) -> None:
    """Make everything anew under attack, as often as it takes, and compare."""
    undisturbed = made_by(copy)
    assert "models/model/weights.safetensors" in undisturbed
    attacker = Attacker(copy, ["dvc", "repro"], kills, seconds)
    passes = 0
    while len(attacker.killed) < kills:
        forget(copy, *LEFT)
        attacker.attack(kills)
        passes += 1
        assert made_by(copy) == undisturbed
        assert "up to date" in copy.run("dvc", "status", "dvc.yaml")
        assert_one_whole_curve(copy)
    stages = dict(Counter(attacker.killed))
    print(f"{kills} kills in {passes} passes: {stages}; DVC's lock was torn {attacker.torn} times")
