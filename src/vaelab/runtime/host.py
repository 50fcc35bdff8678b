"""End a process, as SIGTERM does, once the processes that it works for or its folder are gone.

Whoever is killed with SIGKILL cannot tell its children, which would go on for hours although nobody
takes their result. Only processes whose end says that are watched: the parent of a process may
otherwise end at any time, as a shell does after `nohup ... &`.
"""

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

POLL_SECONDS = 1.0
# Network file systems may lose a folder for a moment.
CHECKS = 2
MAX_DEPTH = 20


class Host:
    """The processes that this one works for, and its folder.

    They are all ancestors up to the first that runs `program`. Without such an ancestor it is the
    parent, if `with_parent` or if torchrun started this process; else none. `with_folder` is False
    where the parent watches the folder and passes on its signal.
    """

    def __init__(
        self, program: str | None = None, *, with_parent: bool = False, with_folder: bool = True
    ) -> None:
        self.folder, self.with_folder = Path.cwd(), with_folder
        self.identity = _identity(self.folder)
        self.processes = _supervisors(program, with_parent)

    def missing(self) -> str | None:
        """Return in a sentence what is gone; None if nothing is."""
        # The children of a process that ends get another parent at once. Process ids may be used
        # again, and start times depend on a clock that may be set.
        for child, parent in itertools.pairwise([os.getpid(), *self.processes]):
            if not _is_parent(parent, child):
                return f"the process that started this one, {parent}, has ended"
        if self._folder_was_deleted():
            return f"the folder {self.folder} was deleted while this process worked in it"
        return None

    def _folder_was_deleted(self) -> bool:
        """Return whether the current folder was deleted; one that was only moved is not."""
        if not self.with_folder:
            return False
        try:
            Path.cwd()
        except FileNotFoundError:
            return _identity(self.folder) != self.identity
        return False


@contextlib.contextmanager
def ends_with(host: Host) -> Iterator[None]:
    """Within the context, send SIGTERM to the main thread once a part of the host is gone."""
    stop = watch(host)
    try:
        yield
    finally:
        stop.set()


def watch(host: Host) -> threading.Event:
    """Start the watch of `ends_with`; it ends when the event that is returned is set."""
    stop = threading.Event()
    threading.Thread(target=_poll, args=(stop, host), daemon=True).start()
    return stop


def _poll(stop: threading.Event, host: Host) -> None:
    missed = 0
    while not stop.wait(POLL_SECONDS):
        reason = host.missing()
        missed = missed + 1 if reason else 0
        if missed == CHECKS:
            with contextlib.suppress(OSError, ValueError):  # whoever read it may be gone, too
                print(f"stopped: {reason}", file=sys.stderr, flush=True)
            _terminate()
            return


def _terminate() -> None:
    """Send SIGTERM to the main thread, which also wakes it from a wait."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        signal.raise_signal(signal.SIGTERM)


def _supervisors(program: str | None, with_parent: bool) -> list[int]:
    """Return the ids of the ancestors to watch, nearest first."""
    try:
        ancestors = psutil.Process().parents()[:MAX_DEPTH]
        pids = [ancestor.pid for ancestor in ancestors]
        # A launcher passes on the signal that ends it; a second one would cut a checkpoint short.
        if "TORCHELASTIC_RUN_ID" in os.environ:
            return pids[:1]
        for number, ancestor in enumerate(ancestors, 1):
            # A program may be a script, or a module: python -m program.
            if program and program in {Path(word).stem for word in ancestor.cmdline()[:3]}:
                return pids[:number]
        return pids[:1] if with_parent else []
    except psutil.Error:
        return []


def _is_parent(parent: int, child: int) -> bool:
    try:
        return psutil.pid_exists(parent) and psutil.Process(child).ppid() == parent
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it cannot be read, so nothing is known
        return True


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what stays the same while a folder is moved; None if it does not exist."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
