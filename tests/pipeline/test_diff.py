"""`make diff`: which runs it reads, and what it says of those that it cannot read."""

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from pipeline import diff, paths
from tests import ROOT
from vaelab.config import UserError
from vaelab.runtime.serialization import write_arrays


def make_run(folder: Path, weight: float) -> Path:
    for path, text in {
        paths.PARAMS: f"train: {{kl_weight: {weight}}}\nmodel: {{networks: {{}}}}\n",
        paths.EVALUATE_METRICS: json.dumps({"test": {"mean_squared_error": weight}}),
        paths.REPORT: "<p>report</p>",
        paths.PREPARED / "dataset.json": json.dumps({"sha256": {"test_images.npy": "x"}}),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    write_arrays(folder / paths.EVALUATE_ARRAYS, {"nll": np.ones(3)})
    return folder


def test_two_folders_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (make_run(tmp_path / name, weight) for name, weight in (("a", 1), ("b", 4)))
    diff.diff(str(first), str(second), tmp_path / "diff.html")
    page = (tmp_path / "diff.html").read_text()
    assert "train.kl_weight" in page
    assert "model.networks" not in page
    assert "open it in a browser" in capsys.readouterr().out


def test_a_run_without_results_is_named(tmp_path: Path) -> None:
    (make_run(tmp_path, 1) / paths.REPORT).unlink()
    with pytest.raises(UserError, match=r"has no .*report\.html: evaluate it first \(dvc repro\)"):
        diff.read_run(str(tmp_path))


def test_only_a_revision_without_results_may_lack_its_dvc_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        diff, "_reader", lambda name: nullcontext(lambda path: (Path(name) / path).read_bytes())
    )
    wrong = r"main has no .*: evaluate it first \(dvc repro\), or pull it \(dvc pull\)"
    with pytest.raises(UserError, match=f"^{wrong}; if you have, commit dvc.lock$"):
        diff.read_run("main")
    (tmp_path / "main").mkdir()
    with pytest.raises(UserError, match=f"^{wrong}$"):
        diff.read_run("main")


def test_an_unknown_run_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """In a process of its own: DVC leaves git's files open for a revision that is unknown."""
    run = make_run(tmp_path / "a", 1)
    command = [sys.executable, "-m", "pipeline.diff", str(run), "no-such-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    wrong = "no-such-run is neither a folder nor a git revision or experiment of this project"
    assert done.stderr.splitlines() == [f"error: {wrong}"]
