"""Memory: free bytes, out-of-memory errors, and glibc's allocator."""

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaelab.config import UserError

# Texts of PyTorch's RuntimeErrors, for a device and for a CPU.
DEVICE_ERROR, CPU_ERROR = "out of memory", "DefaultCPUAllocator"
# glibc's mallopt: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, the latter at its largest value
GLIBC_OPTIONS = ((-1, 2**30), (-3, 2**25))
# A container's limit, and the line of memory.stat beside it with what is used (without cached
# pages of files): control groups version 2 and version 1.
CONTROL_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), "anon"),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), "total_rss"),
)


@contextmanager
def oom_as_user_error(setting: str, value: int) -> Iterator[None]:
    """Turn an out-of-memory error into a UserError that names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        where = "the device" if DEVICE_ERROR in str(error) else "this machine"
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{where} ran out of memory with {setting}: {value}; a smaller one, or a smaller "
            f"model, needs less ({reason})"
        ) from error


def tune_malloc() -> None:
    """Make glibc keep freed memory for the next batch.

    By default it returns a layer's output to the system and requests it again page by page, which
    takes up to a third of the time of decoding on a CPU. Without glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in GLIBC_OPTIONS:
            ctypes.CDLL(None).mallopt(option, value)


def available() -> int:
    """Return the bytes that this process can still allocate.

    The minimum of the machine's free memory, the limit of its control group (a container, a
    cluster job) and its own limits (ulimit -d, ulimit -v).
    """
    import psutil

    free = [psutil.virtual_memory().available]
    free += [limit - used for limit, used in (*_control_group_limit(), *_process_limit())]
    return max(0, min(free))


def _control_group_limit() -> Iterator[tuple[int, int]]:
    """Return the limits of Linux control groups, of both versions, and what is used."""
    for limit, used in CONTROL_GROUPS:
        try:
            most = int(limit.read_text())
            lines = (limit.parent / "memory.stat").read_text().splitlines()
            yield most, int(dict(line.split() for line in lines)[used])
        except (OSError, ValueError, KeyError):  # no such group, or no limit
            continue


def _process_limit() -> Iterator[tuple[int, int]]:
    """Return the limits of the process's data and address space, and what is used."""
    if sys.platform != "linux":
        return
    import resource

    pages = Path("/proc/self/statm").read_text().split()
    for limit, used in ((resource.RLIMIT_DATA, pages[5]), (resource.RLIMIT_AS, pages[0])):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            yield most, int(used) * resource.getpagesize()


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out."""
    named = DEVICE_ERROR in str(error) or CPU_ERROR in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and named)
