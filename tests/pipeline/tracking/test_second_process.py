"""What a stage asks for is done in order, and interrupted where the stage waits no longer."""

import signal
import time

import pytest

from tests.pipeline.tracking.conftest import Start

LOGS = """
import time
from pipeline.tracking.second_process import answer

class Log:
    def finish(self):
        print("finishing", flush=True)
        time.sleep(600)

    def begin(self, name):
        return name

    def end(self, status):
        time.sleep(1)
        print("ended", status, flush=True)

answer(connection, Log())
"""


def test_an_interruption_ends_what_the_stage_waits_for_and_nothing_else(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = start(LOGS)
    assert asked.ask("begin", "digits") == "digits"
    asked.process.send_signal(signal.SIGINT)
    assert asked.ask("begin", "mnist") == "mnist"
    asked.connection.send(("finish", (), True))
    while "finishing" not in capfd.readouterr().out:
        time.sleep(0.1)
    asked.process.send_signal(signal.SIGINT)
    asked.tell("end", "KILLED")
    asked.process.send_signal(signal.SIGINT)
    asked.connection.close()
    assert asked.process.wait(60) == 0
    assert capfd.readouterr().out == "ended KILLED\n"
