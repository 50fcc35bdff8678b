"""A process ends when what it works for is gone, and not when a shell that started it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import ROOT
from vaelab.runtime.host import Host

# The child writes its process id, then how it ended.
CHILD = """
import os, sys, time
from pathlib import Path
from pipeline import cli
from vaelab.runtime import host
host.POLL_SECONDS = 0.05
out = Path(sys.argv[1])
def work():
    out.with_suffix(".pid").write_text(str(os.getpid()))
    try:
        time.sleep(60)
    except SystemExit as ended:
        out.write_text(str(ended.code))
        raise
cli.run_command(work, "", watched=cli.host(with_parent=len(sys.argv) > 2))
"""
# Starts the child in a process that goes on, as DVC and torchrun do.
PARENT = """
import subprocess, sys, time
subprocess.Popen(sys.argv[1:])
time.sleep(60)
"""


class Started:
    """A child whose parent, a script named `program`, runs until it is killed."""

    def __init__(self, folder: Path, program: str, *options: str, **environment: str) -> None:
        self.out, self.workdir = folder / "ended", folder / "workdir"
        self.workdir.mkdir()
        script, child = folder / program, folder / "child.py"
        script.write_text(PARENT)
        child.write_text(CHILD)
        command = [sys.executable, str(script), sys.executable, str(child), str(self.out), *options]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        with (folder / "stderr").open("w") as stderr:
            self.parent = subprocess.Popen(
                command,
                cwd=self.workdir,
                env={**os.environ, "PYTHONPATH": path, **environment},
                stderr=stderr,
            )
        self.pid = int(wait_for(self.out.with_suffix(".pid")))

    def kill_parent(self) -> None:
        self.parent.kill()
        self.parent.wait()

    def goes_on(self) -> bool:
        """Return whether the child is alive after many polls; it is ended then."""
        time.sleep(1)
        alive = psutil.pid_exists(self.pid) and not self.out.exists()
        if alive:
            os.kill(self.pid, signal.SIGKILL)
        return alive


def wait_for(path: Path) -> str:
    for _ in range(600):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written in 30 seconds")


TERMINATED = str(128 + signal.SIGTERM)


@pytest.mark.parametrize(
    ("program", "options", "environment"),
    [
        ("dvc", [], {"DVC_STAGE": "train"}),
        ("torchrun", [], {"TORCHELASTIC_RUN_ID": "1"}),
        ("coordinator.py", ["with_parent"], {}),
    ],
)
def test_a_process_ends_when_what_started_it_was_killed(
    tmp_path: Path, program: str, options: list[str], environment: dict[str, str]
) -> None:
    started = Started(tmp_path, program, *options, **environment)
    started.kill_parent()
    assert wait_for(started.out) == TERMINATED
    said = (tmp_path / "stderr").read_text()
    assert said == f"stopped: the process that started this one, {started.parent.pid}, has ended\n"


@pytest.mark.parametrize(
    ("program", "environment"),
    [
        # nohup python -m pipeline.train &
        ("shell.py", {}),
        # The same by someone who has exported variables of DVC
        ("shell.py", {"DVC_STAGE": "train", "DVC_ROOT": "."}),
        # A script of another name that runs below DVC only in part
        ("dvc_notes.py", {"DVC_STAGE": "train"}),
    ],
)
def test_a_process_goes_on_when_a_shell_that_started_it_ends(
    tmp_path: Path, program: str, environment: dict[str, str]
) -> None:
    started = Started(tmp_path, program, **environment)
    started.kill_parent()
    assert started.goes_on()


def test_a_stage_goes_on_when_what_started_dvc_ends(tmp_path: Path) -> None:
    """nohup make repro &, and the detached worker of a queue: DVC itself goes on."""
    outer = tmp_path / "make.py"
    outer.write_text(PARENT)
    dvc = tmp_path / "dvc"
    dvc.write_text(PARENT)
    child, out = tmp_path / "child.py", tmp_path / "ended"
    child.write_text(CHILD)
    command = [str(outer), sys.executable, str(dvc), sys.executable, str(child), str(out)]
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    make = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, **environment, "DVC_STAGE": "train"}
    )
    child_process = psutil.Process(int(wait_for(out.with_suffix(".pid"))))
    make.kill()
    make.wait()
    time.sleep(1)
    running = child_process.parent()
    assert running is not None
    assert running.cmdline()[1] == str(dvc)
    assert child_process.is_running()
    running.kill()
    assert wait_for(out) == TERMINATED


def test_a_process_ends_when_its_folder_was_deleted(tmp_path: Path) -> None:
    started = Started(tmp_path, "shell.py")
    shutil.rmtree(started.workdir)
    assert wait_for(started.out) == TERMINATED
    assert "was deleted while this process worked in it" in (tmp_path / "stderr").read_text()
    started.kill_parent()


def test_a_process_goes_on_when_its_folder_was_moved(tmp_path: Path) -> None:
    started = Started(tmp_path, "shell.py")
    started.workdir.rename(tmp_path / "elsewhere")
    assert started.goes_on()
    started.kill_parent()


def test_a_closed_terminal_stops_a_process_and_nohup_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        closed = Started(tmp_path, "shell.py")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as nohup does it
        kept = Started(tmp_path / "second", "shell.py")
    finally:
        signal.signal(signal.SIGHUP, before)
    os.kill(closed.pid, signal.SIGHUP)
    assert wait_for(closed.out) == str(128 + signal.SIGHUP)
    closed.kill_parent()
    os.kill(kept.pid, signal.SIGHUP)
    assert kept.goes_on()
    kept.kill_parent()


# --- what is gone, without other processes


def test_a_deleted_folder_is_missing_also_if_there_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "workdir"
    folder.mkdir()
    monkeypatch.chdir(folder)
    watched = Host()
    assert watched.missing() is None
    folder.rename(tmp_path / "kept")  # so that its inode is not given to the new one
    assert watched.missing() is None
    folder.mkdir()
    shutil.rmtree(tmp_path / "kept")
    assert watched.missing() == f"the folder {folder} was deleted while this process worked in it"
    monkeypatch.chdir(tmp_path)


def test_a_folder_that_cannot_be_read_for_a_moment_is_not_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watched = Host()

    def fail() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", fail)
    assert watched.missing() is None, "it is still where it was"


def test_every_link_to_the_program_has_to_hold() -> None:
    watched = Host()
    assert watched.processes == []
    parent = os.getppid()
    grandparent = psutil.Process(parent).ppid()
    watched.processes = [parent, *([grandparent] if grandparent else [])]
    assert watched.missing() is None
    watched.processes = [parent, os.getpid()]
    assert watched.missing() == f"the process that started this one, {os.getpid()}, has ended"
    watched.processes = [2**22 + 1, parent]
    assert str(watched.missing()).startswith("the process that started this one, 4194305, ")


def test_a_process_whose_parents_cannot_be_read_is_not_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Host(with_parent=True)
    assert watched.processes == [os.getppid()]

    def refuse(self: psutil.Process) -> int:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "ppid", refuse)
    assert watched.missing() is None
    monkeypatch.setattr(psutil.Process, "parents", refuse)
    assert Host("dvc", with_parent=True).processes == []
