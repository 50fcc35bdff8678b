"""The code of docs/extending.md, run in a copy of the repository: each file where the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

PAGE = (ROOT / "docs/extending.md").read_text()
FILES = {
    f"{folder}/{name}": code
    for name, folder, code in re.findall(
        r"^`(\w+\.py)` in `([\w/]+)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
    )
}
SCRIPTS = re.findall(r"(?<!`:)\n\n```python\n(.*?)```", PAGE, re.DOTALL)
CHECKS = """
from vaelab.config import ModelSettings, UserError, objective_names
from vaelab.objectives import objective_class
from vaelab.training.fingerprint import training_settings
from vaelab.models.model import build_model, with_own_settings

assert "denoising_autoencoder" in objective_names()
assert "laplace" in objective_class("iwae").priors()
assert "laplace" not in objective_class("gan").priors()
settings = parse_settings(chosen)
own = {name: value for name, value in training_settings(settings).items() if name.count(".") == 3}
assert own == {
    "model.networks.residual_mlp.width": 128,
    "model.networks.residual_mlp.blocks": 3,
    "model.priors.laplace.scale": 0.7,
}, own
written = with_own_settings(settings.model).model_dump_json()
again = build_model(ModelSettings.model_validate_json(written), (1, 8, 8))
again.load_state_dict(trainer.model.state_dict())
for part, name, own, message in (
    ("networks", "residual_mlp", {"blogs": 3}, "blogs; did you mean model.networks.residual_mlp.blocks?"),
    ("networks", "residual_mlp", {"blocks": 0}, "blocks: Input should be greater than or equal to 1"),
    ("priors", "laplace", {"scael": 3}, "scael; did you mean model.priors.laplace.scale? valid: scale"),
):
    changed = ModelSettings(network="residual_mlp", prior="laplace", **{part: {name: own}})
    try:
        build_model(changed, (1, 8, 8))
    except UserError as error:
        assert f"model.{part}.{name}.{message}" in str(error), error
    else:
        raise AssertionError(message)
"""  # noqa: E501


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's code with the page's files."""
    folder = tmp_path_factory.mktemp("extended")
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("src", "pipeline"):
        shutil.copytree(ROOT / name, folder / name, ignore=skipped)
    for path, code in FILES.items():
        assert not (folder / path).exists(), f"{path} is not a new file"
        (folder / path).write_text(code)
    return folder


def test_the_page_shows_a_file_of_each_kind() -> None:
    folders = {str(Path(path).parent) for path in FILES}
    assert {"src/vaelab/objectives", "src/vaelab/models/networks", "src/vaelab/models/priors"} <= (
        folders
    )


def test_the_code_of_the_page_runs(copied: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", "\n".join([*SCRIPTS, CHECKS])],
        cwd=copied,
        env={**os.environ, "PYTHONPATH": str(copied / "src")},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
