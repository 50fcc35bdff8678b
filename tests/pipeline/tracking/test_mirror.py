"""A second process logs for a stage: it prints, fails and ends as if the stage did it itself."""

import subprocess
import sys
import time
from unittest.mock import Mock

import psutil
import pytest

from pipeline.tracking import Store, mirror, store
from pipeline.tracking.mirror import MirrorProcess, StageMirror, open_mirror
from tests import ROOT
from tests.pipeline.tracking.conftest import Start
from vaelab.config import Settings

ANSWER = """
while True:
    question, arguments, waits = connection.recv()
    print("asked to", question, *arguments, flush=True)
    if waits:
        connection.send(question.upper())
"""


def test_what_the_process_prints_is_printed_in_its_place(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = start(ANSWER)
    logging = MirrorProcess(asked)
    print("the stage's work")
    logging.log()
    assert capfd.readouterr().out == "asked to open\nthe stage's work\nasked to log\n"


def test_answers_belong_to_their_questions_and_what_is_told_has_none(start: Start) -> None:
    asked = start(ANSWER)
    asked.tell("first", 1)
    assert asked.ask("second", 2) == "SECOND"


def test_what_is_told_to_a_process_that_has_ended_is_not_missed_until_it_is_asked(
    start: Start,
) -> None:
    asked = start("sys.exit(3)")
    asked.process.wait()
    asked.tell("epoch", 1)
    with pytest.raises(SystemExit) as found:
        asked.ask("finish")
    assert found.value.code == 3


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("sys.exit(2)", 2, ""),
        ("raise ValueError", 1, ""),
        ("sys.exit(0)", 1, ""),
        (
            "os.kill(os.getpid(), 9)",
            137,
            "error: the process that logs to MLflow was killed by signal 9\n",
        ),
    ],
)
def test_a_stage_ends_as_the_process_does(
    ending: str, code: int, message: str, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has said why, unless it was killed."""
    asked = start(f"print('a warning', flush=True); sys.stderr = open(os.devnull, 'w'); {ending}")
    with pytest.raises(SystemExit) as found:
        MirrorProcess(asked)
    assert found.value.code == code
    printed = capfd.readouterr()
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
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
mirror.start("explore")
print(mirror._started.process.pid, flush=True)
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
    assert mirror.PROGRAM not in killed.stderr


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
