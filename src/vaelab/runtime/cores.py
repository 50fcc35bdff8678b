"""How many CPU cores no other program uses.

The measurement begins with the import of this module: before that of PyTorch, which takes a second,
it is over without a wait when the cores are needed.
"""

import contextlib
import os
import time
from typing import NamedTuple

import psutil

# How long at least, and at most, the use of the cores is measured.
SECONDS, MAX_SECONDS = 0.3, 30.0
# Of psutil's times of a core; Linux counts those of guests among `user`.
BUSY = ("user", "nice", "system", "irq", "softirq", "steal", "interrupt", "dpc")


class CoreUse(NamedTuple):
    """A time, and until then the seconds of busy cores, and those of this process and children."""

    clock: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> "CoreUse":
        """Read the counters, of the cores that this process may use."""
        cores = psutil.cpu_times(percpu=True)
        busy = [sum(getattr(core, name, 0.0) for name in BUSY) for core in cores]
        if hasattr(os, "sched_getaffinity"):
            allowed = os.sched_getaffinity(0)
            busy = [seconds for core, seconds in enumerate(busy) if core in allowed] or busy
        return cls(time.monotonic(), sum(busy), time.process_time() + _of_children())


def free_cores(since: CoreUse | None = None) -> float:
    """Return how many of this process's cores no other program has used, on average.

    Measured since a time, else since the import of this module; where that was just now or long
    ago, over a moment from now.
    """
    before = since or _imported
    if not SECONDS <= time.monotonic() - before.clock <= MAX_SECONDS:
        before = CoreUse.now()
        time.sleep(SECONDS)
    after = CoreUse.now()
    others = (after.busy - before.busy) - (after.own - before.own)
    free = core_count() - others / (after.clock - before.clock)
    return min(float(core_count()), max(0.0, free))


def core_count() -> int:
    """Return the number of cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _of_children() -> float:
    """Return the CPU seconds of the processes that this one has started, and that still run."""
    seconds = 0.0
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            seconds += sum(child.cpu_times()[:2])
    return seconds


_imported = CoreUse.now()
