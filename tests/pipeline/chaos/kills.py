"""A command killed at random moments, until everything is made; and what is made then."""

import hashlib
import random
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.entities import Run

from tests.pipeline.chaos.outages import kill_group
from tests.pipeline.conftest import Copy

MADE = ("data/prepared", "models", "results")
# What says how long something took.
TIMED = {"timing.json"}
LEFT = (*MADE, "dvc.lock", ".dvc/cache", "mlflow.db", "mlruns", ".checkpoints", ".tracking")


def made_by(copy: Copy) -> dict[str, str]:
    """Return the SHA-256 of each file that the stages wrote, except the training times."""
    files = [path for folder in MADE for path in (copy.path / folder).rglob("*")]
    return {
        str(path.relative_to(copy.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
        if path.is_file() and path.name not in TIMED
    }


def forget(copy: Copy, *names: str) -> None:
    """Take away what was made, noted or tracked; `LEFT` is all of it."""
    for name in names:
        path = copy.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class Attacker:
    """Kills a command and all its children, without warning, a number of times."""

    def __init__(
        self, copy: Copy, command: Sequence[str], seed: int, seconds: tuple[float, float]
    ) -> None:
        self.copy, self.command = copy, list(command)
        self.random, self.seconds = random.Random(seed), seconds
        self.killed: list[str] = []
        self.torn = 0

    def attack(self, kills: int) -> None:
        """Let it run to its end, killed as often as is left of `kills`."""
        ended = False
        while not ended:
            last = len(self.killed) >= kills
            ended = self._attempt(None if last else self.random.uniform(*self.seconds))

    def _attempt(self, seconds: float | None) -> bool:
        """Start it once; return whether it ended before it was killed."""
        log = self.copy.path / "attempt.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                self.command,
                cwd=self.copy.path,
                env=self.copy.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.killed.append(_stage(log))
                kill_group(process)
                return False
        return self._is_done(code, log.read_text())

    def _is_done(self, code: int, printed: str) -> bool:
        """Do what docs/reliability.md says where DVC's own lock file was torn."""
        if "Unable to read RWLock-file" in printed:
            (self.copy.path / ".dvc/tmp/rwlock").unlink()
            self.torn += 1
            return False
        assert code == 0, printed
        return True


def _stage(log: Path) -> str:
    """Name the stage that the log was last at."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("Running stage")]
    return lines[-1].split("'")[1] if lines else "start"


def assert_one_whole_curve(copy: Copy) -> None:
    """Every epoch is in the tracked run once, with its images."""
    run = tracked(copy)
    epochs = len((copy.path / "results/train/history.csv").read_text().splitlines()) - 1
    history = copy.client().get_metric_history(run.info.run_id, "curves/train/loss")
    assert sorted(entry.step for entry in history) == list(range(1, epochs + 1))
    images = copy.client().list_artifacts(run.info.run_id, "images")
    steps = {Path(file.path).name.split("+")[2] for file in images}
    assert {int(step) for step in steps} == set(range(epochs + 1))


def tracked(copy: Copy) -> Run:
    """Return the newest run of the model that is there.

    Killed after training and before DVC has noted that, it is trained again, in a run of its own.
    """
    weights = (copy.path / "models/model/weights.safetensors").read_bytes()
    tag: Mapping[str, str] = {"vaelab.weights_sha256": hashlib.sha256(weights).hexdigest()}
    return next(run for run in copy.runs() if tag.items() <= run.data.tags.items())
