"""Cores are free that no other program uses."""

import os
import time
from collections import namedtuple
from collections.abc import Callable

import psutil
import pytest

from vaelab.runtime import cores
from vaelab.runtime.cores import CoreUse

Times = namedtuple("Times", "user system idle")
Counters = Callable[..., None]


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> Counters:
    """Set the clock, the seconds in which each of four cores was busy, and the process's own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)

    def put(clock: float, *busy: float, own: float = 0.0) -> None:
        times = [Times(seconds / 2, seconds / 2, 100 - seconds) for seconds in busy]
        monkeypatch.setattr(psutil, "cpu_times", lambda percpu: times)
        monkeypatch.setattr(time, "monotonic", lambda: clock)
        monkeypatch.setattr(time, "process_time", lambda: own)

    return put


def test_cores_are_those_of_this_process_and_its_own_use_does_not_count(
    counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
    counters(10.0, 5, 5, 5, 5, own=1.0)
    before = CoreUse.now()
    # In 2 seconds this process used 1.5 of a core, others all of another, and half of a third.
    counters(12.0, 7, 6, 6.5, 7, own=2.5)
    assert cores.free_cores(before) == pytest.approx(3 - 1.5)
    counters(12.0, 7, 7, 7, 7, own=1.0)
    assert cores.free_cores(before) == 0
    counters(12.0, 5, 5, 5, 5, own=2.0)  # the counters of cores are rounded
    assert cores.free_cores(before) == 3


@pytest.mark.parametrize("age", [0.1, 100.0])
def test_where_the_measurement_is_too_short_or_too_old_it_begins_anew(
    age: float, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters(10.0, 0, 0, 0, 0)
    before = CoreUse.now()
    counters(10.0 + age, 50, 50, 50, 50)
    monkeypatch.setattr(time, "sleep", lambda s: counters(10.0 + age + s, 50 + s, 50, 50, 50))
    assert cores.free_cores(before) == pytest.approx(2)


def test_real_counters_are_read() -> None:
    assert 0 <= cores.free_cores() <= cores.core_count()
