"""No more threads than cores are free, and at least one."""

import pytest
import torch

from vaelab.config import MachineSettings
from vaelab.runtime import threads
from vaelab.runtime.devices import choose_device


@pytest.fixture
def threads_set(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four threads by default; a list of the numbers that are set."""
    called: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: [4, *called][-1])
    monkeypatch.setattr(torch, "set_num_threads", called.append)
    return called


@pytest.mark.parametrize(
    ("free", "expected"), [(0.0, [1]), (0.9, [1]), (1.8, [2]), (3.7, [3]), (3.8, []), (64.0, [])]
)
def test_as_many_threads_as_cores_are_free(
    free: float,
    expected: list[int],
    threads_set: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: free)
    choose_device(MachineSettings(device="cpu"))
    assert threads_set == expected
    note = threads.busy_cores_note()
    if expected:
        assert f"{expected[0]} of 4 CPU threads are used" in (note or "")
    else:
        assert note is None
    printed = capsys.readouterr()
    assert printed.out + printed.err == "", "a command that takes long prints it, others do not"


def test_nothing_is_noted_of_threads_that_were_set_again(
    threads_set: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: 0.0)
    choose_device(MachineSettings(device="cpu"))
    torch.set_num_threads(4)  # an interrupted training continues with those that it began with
    assert threads.busy_cores_note() is None
    assert threads_set == [1, 4]


def test_what_a_user_sets_is_not_measured(
    threads_set: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: pytest.fail("measured"))
    choose_device(MachineSettings(device="cpu", threads=3))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    choose_device(MachineSettings(device="cpu"))
    assert threads_set == [3]
