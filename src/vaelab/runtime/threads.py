"""The number of CPU threads: as many as cores are free when a command starts.

Threads that wait for one another on a core that somebody else uses make a training dozens of times
slower than one thread does.
"""

import os
import sys

import psutil
import torch

# Of a core in use, as a fraction, that still counts as free.
TOLERANCE = 0.25
SECONDS = 0.3


def use_free_cores() -> None:
    """Let PyTorch use no more threads than there are free cores, and at least one.

    Nothing changes where OMP_NUM_THREADS says how many. What is found is printed if cores are busy.
    """
    threads = torch.get_num_threads()
    if threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return
    free = free_cores()
    wanted = max(1, min(threads, int(free + TOLERANCE)))
    if wanted < threads:
        torch.set_num_threads(wanted)
        print(
            f"other programs leave {free:.1f} of {_core_count()} cores free: "
            f"{wanted} of {threads} CPU threads are used (machine.threads sets a number)",
            flush=True,
            file=sys.stderr,
        )


def free_cores(seconds: float = SECONDS) -> float:
    """Return how many of this process's cores nobody uses, on average over a moment."""
    busy = psutil.cpu_percent(seconds, percpu=True)
    if hasattr(os, "sched_getaffinity"):
        own = os.sched_getaffinity(0)
        busy = [percent for core, percent in enumerate(busy) if core in own] or busy
    return sum(100 - percent for percent in busy) / 100


def _core_count() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
