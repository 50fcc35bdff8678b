"""Memory: what a user can do when it runs out, and how it is kept for the next batch."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from vaelab.config import UserError

# How PyTorch says so, of a device and of a CPU, by RuntimeErrors.
DEVICE_SAYS, CPU_SAYS = "out of memory", "DefaultCPUAllocator"
# glibc's mallopt: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, the latter at its largest value
GLIBC_OPTIONS = ((-1, 2**30), (-3, 2**25))


@contextmanager
def naming(setting: str, value: int) -> Iterator[None]:
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


def keep_freed() -> None:
    """Let glibc keep freed memory for the next batch.

    By default it hands a layer's output back to the system and asks for it again, page by page:
    up to a third of the time that decoding takes on a CPU. Elsewhere nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in GLIBC_OPTIONS:
            ctypes.CDLL(None).mallopt(option, value)


def is_lack_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out."""
    told = DEVICE_SAYS in str(error) or CPU_SAYS in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)
