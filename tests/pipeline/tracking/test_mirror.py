"""A second process logs for a stage: it prints, fails and ends as if the stage did it itself."""

import subprocess
import sys
import time
from collections.abc import Callable
from unittest.mock import Mock

import psutil
import pytest

from pipeline.tracking import Store, mirror, store
from pipeline.tracking.mirror import DONE, MirrorProcess, StageMirror, open_mirror
from tests import ROOT
from vaelab.config import Settings

Start = Callable[[str], "subprocess.Popen[str]"]
ANSWER = f"""
import sys
for question in sys.stdin:
    print("asked to", question, end="")
    print({DONE!r}, flush=True)
"""


@pytest.fixture
def start() -> Start:
    """Start a process that stands in for the second one of a stage."""

    def start(script: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    return start


def test_what_the_process_prints_is_printed_in_its_place(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    with start(ANSWER) as process:
        asked = MirrorProcess(process)
        print("the stage's work")
        asked.log()
        assert capsys.readouterr().out == "asked to open\nthe stage's work\nasked to log\n"
        process.kill()


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("sys.exit(2)", 2, ""),
        ("raise ValueError", 1, ""),
        ("sys.exit(0)", 1, ""),
        (
            "import os; os.kill(os.getpid(), 9)",
            137,
            "error: the process that logs to MLflow was killed by signal 9\n",
        ),
    ],
)
def test_a_stage_ends_as_the_process_does(
    ending: str, code: int, message: str, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has said why, unless it was killed."""
    with start(f"import sys; print('a warning', flush=True); {ending}") as process:
        with pytest.raises(SystemExit) as found:
            MirrorProcess(process)
        assert found.value.code == code
        printed = capsys.readouterr()
        assert (printed.out, printed.err) == ("a warning\n", message)


def test_without_a_second_process_a_stage_logs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Store(Mock(), "sqlite://", "1")
    monkeypatch.setattr(store, "open_store", lambda settings: opened)
    found = open_mirror("explore", Settings())
    assert isinstance(found, StageMirror)
    assert found.store is opened


KILLED = """
import os, signal
from pipeline.tracking import mirror
mirror.start("explore")
print(mirror._process.pid, flush=True)
os.kill(os.getpid(), signal.{signal})
"""


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGINT"])
def test_the_process_does_not_outlive_its_stage(signal: str) -> None:
    command = [sys.executable, "-c", KILLED.format(signal=signal)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode != 0
    pid, deadline = int(killed.stdout), time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert mirror.__name__ not in killed.stderr


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
