"""What the tests of bad input share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.tracking import store
from tests.bad_input.sandbox import Sandbox
from tests.data.server import Server, running
from vaelab.data.fetch import MIRROR_VARIABLE


@pytest.fixture
def sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sandbox:
    """An empty folder that is the current one; no MLflow store is opened in it."""
    monkeypatch.chdir(tmp_path)
    for name in (MIRROR_VARIABLE, "MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(store, "open_store", lambda tracking: None)
    return Sandbox(monkeypatch, capsys)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine with configurable faults."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running() as server:
        yield server
