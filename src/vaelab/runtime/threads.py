"""The number of CPU threads: as many as cores are free when a command starts.

Threads that wait for one another on a core that somebody else uses make a training dozens of times
slower than one thread does.
"""

import os

import torch

from vaelab.runtime.cores import core_count, free_cores

# Of a core in use, as a fraction, that still counts as free.
TOLERANCE = 0.25

# What was last found where cores are busy: how many are free, and how many threads were wanted.
_found: tuple[float, int] | None = None


def use_free_cores() -> None:
    """Let PyTorch use no more threads than there are free cores, and at least one.

    Nothing changes where OMP_NUM_THREADS says how many. `busy_cores_note` says what was found.
    """
    global _found
    _found = None
    threads = torch.get_num_threads()
    if threads == 1 or "OMP_NUM_THREADS" in os.environ:
        return
    free = free_cores()
    wanted = max(1, min(threads, int(free + TOLERANCE)))
    if wanted < threads:
        torch.set_num_threads(wanted)
        _found = free, threads


def use_one_thread() -> None:
    """Let PyTorch use one thread, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def busy_cores_note() -> str | None:
    """Return a line if cores were busy, so that fewer threads are used; for what takes long."""
    used = torch.get_num_threads()
    if _found is None or used >= _found[1]:
        return None
    free, threads = _found
    return (
        f"other programs leave {free:.1f} of {core_count()} cores free: "
        f"{used} of {threads} CPU threads are used (machine.threads sets a number)"
    )
