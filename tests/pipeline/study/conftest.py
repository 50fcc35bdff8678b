"""What the tests of studies share: a folder and a database each, and a tiny prepared data set."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna import Study
from optuna.storages import RDBStorage
from optuna.trial import Trial
from sqlalchemy import event

from pipeline.study.storage import open_storage
from pipeline.study.trial_queue import RunBatch, TrialResult
from tests.factories import write_prepared
from tests.pipeline.conftest import change_directory
from vaelab.config import TuneSettings
from vaelab.data.dataset import SPLITS, PreparedData, SplitName

Join = Callable[..., Study]

SIDE, LATENTS, NOISE = 3, 2, 0.08
COUNTS = {"train": 300, "validation": 120, "test": 90}


def prepare(folder: Path, test_seed: int = 0) -> None:
    """Write the data of a linear-Gaussian model with two dimensions as the prepare stage does.

    An image's class is the sign of its first dimension.
    """
    axes, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((SIDE * SIDE, SIDE * SIDE)))
    mixing = axes[:, :LATENTS] * [0.3, 0.2]
    images, labels = dict[SplitName, np.ndarray](), dict[SplitName, np.ndarray]()
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng((number, test_seed if split == "test" else 0))
        latents = rng.standard_normal((COUNTS[split], LATENTS))
        noise = NOISE * rng.standard_normal((COUNTS[split], SIDE * SIDE))
        pixels = np.rint(255 * (0.5 + latents @ mixing.T + noise).clip(0, 1)).astype(np.uint8)
        images[split] = pixels.reshape(-1, 1, SIDE, SIDE)
        labels[split] = (latents[:, 0] > 0).astype(np.int64)
    write_prepared(folder, images, labels)


def sequentially(objective: Callable[[Trial], float | Sequence[float]]) -> RunBatch:
    """Return a batch function that runs one trial after another."""

    def batch(trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        for trial in trials:
            try:
                result: TrialResult = objective(trial)
            except Exception as error:
                result = error
            yield trial, result

    return batch


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new folder, which is the current one."""
    change_directory(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The tiny data set, prepared."""
    folder = tmp_path_factory.mktemp("prepared") / "data"
    prepare(folder)
    return PreparedData.load(folder)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RDBStorage]:
    """One database for the studies of all tests: creating its tables takes a second."""
    folder = tmp_path_factory.mktemp("optuna")
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        # Heartbeats are so rare that a trial has one, as it begins, and is stale after a day.
        storage = open_storage(TuneSettings(heartbeat_seconds=4 * 3600))
    event.listen(storage.engine, "connect", _wait_for_no_disk)
    yield storage
    storage.engine.dispose()


def _wait_for_no_disk(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture
def join(workdir: Path, database: RDBStorage) -> Join:
    """Opens the test's study as one more worker would."""

    def open_study(**options: object) -> Study:
        given: dict[str, object] = {"study_name": str(workdir), "load_if_exists": True, **options}
        return optuna.create_study(storage=database, **given)  # type: ignore[arg-type]

    return open_study
