"""The command line, run in this process in an empty folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaelab.commands import main

Run = Callable[..., tuple[int, str, str]]


def pixels(path: str | Path) -> np.ndarray:
    """Return the pixels of a picture: [height, width] of a gray one, [height, width, 3] of RGB."""
    with Image.open(path) as picture:
        assert picture.mode in ("L", "RGB")
        return np.asarray(picture)


def arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file."""
    with np.load(path) as loaded:
        return dict(loaded)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; return the exit code, and what was written to stdout and to stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run a command line that has to fail in one line; return the line."""

    def refused(*words: object) -> str:
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err.removeprefix("error: ").removesuffix("\n")

    return refused
