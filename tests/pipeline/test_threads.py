"""The threads of a training: those it began with, for equal bits, and one for small images."""

from pathlib import Path

import pytest
import torch

from pipeline.train import keep_threads
from vaelab.config import MachineSettings


@pytest.mark.parametrize(
    ("setting", "before", "side", "after"),
    [
        (None, None, 28, 4),
        (None, None, 13, 4),
        (None, None, 12, 1),
        (None, 3, 28, 3),
        (None, 3, 8, 3),
        (2, 3, 28, 2),
        (2, None, 8, 2),
    ],
)
def test_threads_are_those_of_the_start_unless_set(
    setting: int | None,
    before: int | None,
    side: int,
    after: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = [setting or 4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[-1])
    monkeypatch.setattr(torch, "set_num_threads", count.append)
    if before:
        (tmp_path / "threads").write_text(str(before))
    keep_threads(tmp_path, MachineSettings(threads=setting), (1, side, side))
    assert count[-1] == after
    assert (tmp_path / "threads").read_text() == str(after)
