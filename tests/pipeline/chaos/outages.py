"""A real MLflow server that is killed and comes back."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Self

import psutil

START_SECONDS = 90


class Server:
    """An MLflow server on loopback, with its own store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def answers(self) -> bool:
        """Tell whether it is there."""
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it, and all its workers, without warning."""
        if self.process:
            kill_group(self.process)
            self.process = None


class Outages:
    """Kills a server at random moments and starts it again, as a context: both in a thread.

    `up` and `down` are the mean seconds that it is there and away, `most` how often it dies.
    """

    def __init__(self, server: Server, seed: int, up: float, down: float, most: int) -> None:
        self.server, self.random, self.most = server, random.Random(seed), most
        self.up, self.down, self.count = up, down, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while self.count < self.most and not self._end.wait(self.random.uniform(0.1, 2) * self.up):
            self.server.kill()
            self.count += 1
            self._end.wait(self.random.uniform(0.1, 2) * self.down)
            self.server.start()


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process that leads a session, and all that it started."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, 20)
    process.wait(20)
