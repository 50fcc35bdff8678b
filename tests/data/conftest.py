"""What the tests of the data share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.server import Server, running
from vaelab.data.fetch import Fetcher


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running() as server:
        yield server


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A folder that serves as the only mirror of `fetch_from_mirror`."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    return folder


@pytest.fixture
def fetch_from_mirror(mirror: Path, tmp_path: Path):
    """Makes the Fetcher of a source, whose official hosts do not exist."""

    def make(source: str) -> Fetcher:
        return Fetcher(source, (mirror.as_uri(),), tmp_path / "partial", attempts=1, pause_s=0.0)

    return make
