"""More epochs by the real command: all files are those of a training in one go."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.chaos.kills import assert_one_whole_curve, made_by
from tests.pipeline.conftest import Copy, make_copy

pytestmark = pytest.mark.slow


def prepared(path: Path, **changes: Any) -> Copy:
    copy = make_copy(path, tracking__log_model=False, train__images_every_epochs=1, **changes)
    copy.repro("prepare")
    return copy


def test_more_epochs_continue_to_the_files_of_one_go(tmp_path: Path) -> None:
    copy, in_one_go = (prepared(tmp_path / name, train__epochs=3) for name in ("copy", "other"))
    assert "has finished" not in copy.repro("train")
    assert not any((copy.path / ".checkpoints").iterdir())
    for each in (copy, in_one_go):
        each.set_params(train__epochs=5)
    printed = copy.repro("train")
    assert (
        "a training of 3 epochs with these settings has finished: 5 epochs continue from there, "
        "as if trained in one go"
    ) in printed
    assert "training from epoch 3 on" in printed
    in_one_go.repro("train")
    assert made_by(copy) == made_by(in_one_go)
    new, old = copy.runs()
    assert {new.info.status, old.info.status} == {"FINISHED"}
    assert new.data.tags["vaelab.continued_from_epoch"] == "3"
    assert_one_whole_curve(copy)

    assert "has finished" not in copy.repro("-f", "-s", "train"), "the same is trained again"
    copy.set_params(train__learning_rate_schedule="cosine", train__precision="auto")
    assert "has finished" not in copy.repro("train")
    copy.set_params(train__epochs=6)
    printed = copy.repro("train")
    assert "but its cosine learning rate ended there: 6 epochs start anew" in printed
    assert "training on cpu" in printed
    assert "auto, train.precision float32: " in printed

    shutil.rmtree(copy.path / ".finished")
    (copy.path / ".finished").write_text("no folder")
    printed = copy.repro("-f", "-s", "train")
    assert "warning: more epochs will not continue from this training" in printed
