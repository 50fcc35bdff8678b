"""Bars of long work: on terminals only, and only where it takes long."""

import io

import pytest

from vaelab.runtime import progress_bars
from vaelab.runtime.progress_bars import with_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "delay", "shown"),
    [(Terminal(), 0.0, True), (Terminal(), 60.0, False), (io.StringIO(), 0.0, False)],
)
def test_a_bar_is_shown_on_terminals_if_it_takes_long(
    stream: io.StringIO, delay: float, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bars, "DELAY_SECONDS", delay)
    monkeypatch.setattr("sys.stderr", stream)
    assert list(with_bar(iter("abc"), "drawing", "figures")) == ["a", "b", "c"]
    assert ("drawing: " in stream.getvalue()) == shown
