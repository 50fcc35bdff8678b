"""Signals that are deferred until a step is complete."""

import signal
import threading
from types import FrameType
from typing import Any

# A terminal that is closed sends SIGHUP; Windows has none.
HANGUP: int | None = getattr(signal, "SIGHUP", None)
STOPPING = (signal.SIGINT, signal.SIGTERM, *([HANGUP] if HANGUP else []))


class DeferredSignals:
    """Defer the first SIGINT, SIGTERM or SIGHUP until `release` or the end of the context.

    A second signal is delivered at once, but for SIGHUP: a shell and its terminal may both send
    it. A signal that is ignored stays so, such as SIGHUP after nohup. Python delivers signals to
    the main thread only; in any other thread nothing is deferred.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "DeferredSignals":
        if threading.current_thread() is threading.main_thread():
            heeded = [n for n in STOPPING if signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._record) for number in heeded}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()
        if error[0] is None:
            self.release()

    def release(self) -> None:
        """Deliver the deferred signal, if there is one."""
        if self.received is not None:
            number, self.received = self.received, None
            self._restore()
            signal.raise_signal(number)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
        elif number != HANGUP:
            self.release()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
