"""The threads of a training: those it began with, for equal bits, and one for small images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.train import has_small_steps, keep_threads
from vaelab.config import MachineSettings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.distributed.environment import DistributedEnv
from vaelab.distributed.process_group import ProcessGroup
from vaelab.training.build import build_trainer


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four threads; the last number is that of now."""
    count = [4]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[-1])
    monkeypatch.setattr(torch, "set_num_threads", count.append)
    return count


@pytest.mark.parametrize(
    ("setting", "before", "is_small", "after"),
    [
        (None, None, False, 4),
        (None, None, True, 1),
        (None, 3, False, 3),
        (None, 3, True, 3),
        (2, 3, False, 2),
        (2, None, True, 2),
    ],
)
def test_threads_are_those_of_the_start_unless_set(
    setting: int | None,
    before: int | None,
    is_small: bool,
    after: int,
    tmp_path: Path,
    count: list[int],
) -> None:
    count[-1] = setting or 4
    if before:
        (tmp_path / "threads").write_text(str(before))
    keep_threads(tmp_path, MachineSettings(threads=setting), is_small=is_small)
    assert count[-1] == after
    assert (tmp_path / "threads").read_text() == str(after)


def test_the_environment_says_how_many_for_small_steps_too(
    tmp_path: Path, count: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    keep_threads(tmp_path, MachineSettings(), is_small=True)
    assert count == [4]


@pytest.mark.parametrize(
    ("shape", "processes", "is_small"),
    [((1, 12, 12), 1, True), ((1, 8, 8), 2, False), ((1, 13, 12), 1, False), ((3, 8, 8), 1, False)],
)
def test_steps_on_small_images_in_one_process_are_small(
    shape: tuple[int, int, int], processes: int, is_small: bool
) -> None:
    images = ImageLoader(np.zeros((4, *shape), np.uint8), torch.device("cpu"))
    trainer = build_trainer(parse_settings({}), images, images, images.device)
    if processes > 1:
        trainer.group = ProcessGroup(DistributedEnv(world_size=processes))
    assert has_small_steps(trainer) == is_small
