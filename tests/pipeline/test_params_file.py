"""params.yaml is written as DVC writes it: `dvc exp run -S` changes the settings only."""

import difflib
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from pipeline import paths
from tests import ROOT
from vaelab.config import load_settings


@pytest.mark.parametrize(
    ("params", "settings"),
    [
        (paths.PARAMS, ["train.kl_weight=4", "train.epochs=10", "model.latent_dim=8"]),
        (paths.COMPARISON_PARAMS, ["train.epochs=10", "comparison.test_images=5"]),
    ],
)
def test_dvc_changes_no_line_but_those_of_the_settings(
    tmp_path: Path, params: Path, settings: list[str]
) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / params, path)
    before = path.read_text(encoding="utf-8")
    apply_overrides(path, settings)
    lines = difflib.ndiff(before.splitlines(), path.read_text(encoding="utf-8").splitlines())
    added = [line.split("#")[0].split() for line in lines if line.startswith("+")]
    keys = [setting.partition("=")[0].rpartition(".")[2] for setting in settings]
    assert sorted(key for _, key, _ in added) == sorted(f"{key}:" for key in keys)


@pytest.mark.parametrize("widths", [[], [8], [8, 16, 32]])
def test_dvc_writes_lists_of_every_length(tmp_path: Path, widths: list[int]) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / paths.PARAMS, path)
    apply_overrides(path, [f"model.hidden={widths}"])
    assert load_settings(path).model.hidden == tuple(widths)
