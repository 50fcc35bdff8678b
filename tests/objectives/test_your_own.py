"""The objective of docs/extending.md, taken from the page: one file, and it trains."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.objectives.factories import settings, trainer
from vaelab.config import objectives
from vaelab.objectives import objective_settings

PAGE = ROOT / "docs/extending.md"
NAME = "denoising_autoencoder"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the page's code where a new file of the folder would be."""
    file = tmp_path / f"{NAME}.py"
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file.write_text(code)
    names = (*objectives.objective_names(), NAME)
    monkeypatch.setattr(objectives, "objective_names", lambda: names)
    spec = importlib.util.spec_from_file_location(f"vaelab.objectives.{NAME}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)


@pytest.mark.usefixtures("added")
def test_the_objective_of_the_page_trains_with_its_own_setting() -> None:
    chosen = settings(NAME, {"noise_stddev": 0.1}, epochs=20, learning_rate=0.01)
    assert objective_settings(chosen) == {f"objectives.{NAME}.noise_stddev": 0.1}
    progress = trainer(chosen).fit(show_progress=False)
    losses = [row["validation.generation_loss_nats"] for row in progress.history]
    assert losses[-1] < losses[0] - 1


def test_the_page_is_one_screen() -> None:
    assert len(PAGE.read_text().splitlines()) <= 60
