"""Signals that are deferred, repeated, or ignored."""

import signal
from collections.abc import Iterator

import pytest

from vaelab.runtime.signals import DeferredSignals


@pytest.fixture
def delivered() -> Iterator[list[int]]:
    found: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, lambda number, frame: found.append(number)) for n in numbers}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_second_hangup_is_the_same_one(delivered: list[int]) -> None:
    with DeferredSignals() as signals:
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        assert delivered == []
        assert signals.received == signal.SIGHUP
        signals.release()
        assert delivered == [signal.SIGHUP]


def test_a_second_sigterm_is_delivered_at_once(delivered: list[int]) -> None:
    with DeferredSignals():
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert delivered == [signal.SIGHUP]


def test_what_is_ignored_stays_ignored(delivered: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with DeferredSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
