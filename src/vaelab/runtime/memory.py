"""Memory: what a user can do when it runs out, and how it is kept for the next batch."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaelab.config import UserError

# How PyTorch says so, of a device and of a CPU, by RuntimeErrors.
DEVICE_SAYS, CPU_SAYS = "out of memory", "DefaultCPUAllocator"
# glibc's mallopt: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, the latter at its largest value
GLIBC_OPTIONS = ((-1, 2**30), (-3, 2**25))
# Where a container finds its limit, and the line of memory.stat beside it that has what is taken
# (pages of files, which the system takes back, left out): version 2 and version 1.
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), "anon"),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), "total_rss"),
)


@contextmanager
def oom_as_user_error(setting: str, value: int) -> Iterator[None]:
    """Turn a lack of memory into a UserError that names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        where = "the device" if DEVICE_SAYS in str(error) else "this machine"
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} ran out of memory with {setting}: {value}; a smaller one, or a smaller "
            f"model, needs less ({reason})"
        ) from error


def tune_malloc() -> None:
    """Let glibc keep freed memory for the next batch.

    By default it hands a layer's output back to the system and asks for it again, page by page:
    up to a third of the time that decoding takes on a CPU. Elsewhere nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in GLIBC_OPTIONS:
            ctypes.CDLL(None).mallopt(option, value)


def available() -> int:
    """Give the bytes that this process may still take: of the machine, its group and itself.

    Where the system sets a limit on a group of processes (a container, a job of a cluster) or on
    the process (ulimit -d, ulimit -v), the least of them counts.
    """
    import psutil

    free = [psutil.virtual_memory().available]
    free += [limit - used for limit, used in (*_control_group_limit(), *_process_limit())]
    return max(0, min(free))


def _control_group_limit() -> Iterator[tuple[int, int]]:
    """Read the limits that Linux's control groups set, of both versions, and what is used."""
    for limit, used in CONTROL_GROUPS:
        try:
            most = int(limit.read_text())
            lines = (limit.parent / "memory.stat").read_text().splitlines()
            yield most, int(dict(line.split() for line in lines)[used])
        except (OSError, ValueError, KeyError):  # there is no such group, or its limit is "max"
            continue


def _process_limit() -> Iterator[tuple[int, int]]:
    """Read the limits on the process's data and on its address space, and what is used."""
    if sys.platform != "linux":
        return
    import resource

    pages = Path("/proc/self/statm").read_text().split()
    for limit, used in ((resource.RLIMIT_DATA, pages[5]), (resource.RLIMIT_AS, pages[0])):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            yield most, int(used) * resource.getpagesize()


def is_lack_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out."""
    told = DEVICE_SAYS in str(error) or CPU_SAYS in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)
