"""The code of docs/extending.md, run in a copy of the repository without any other change."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import paths
from tests import ROOT
from tests.bad_input.sandbox import COUNT, write_model, write_prepared
from vaelab.runtime.serialization import write_arrays, write_csv

PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(
    r"(?:^`([\w.]+)` in (?:`([\w/]+)`|[\w' ]+):\n\n)?^```(python|diff)\n(.*?)^```",
    PAGE,
    re.M | re.S,
)
FILES = {
    f"{folder}/{name}": code for name, folder, kind, code in BLOCKS if name and kind == "python"
}
DIFFS = {str(Path(folder, name)): code for name, folder, kind, code in BLOCKS if kind == "diff"}
SCRIPT = "\n".join(code for name, _, kind, code in BLOCKS if not name and kind == "python")
CHECKS = """
import sys

from pipeline import encode, render
from pipeline.artifacts import TrainedArtifacts
from tests.test_structure import test_a_stage_depends_on_every_file_that_its_script_imports
from vaelab.config import ModelSettings, UserError, objective_names
from vaelab.evaluation import EvaluationData, evaluate
from vaelab.metrics import lookup
from vaelab.models.component_settings import with_component_settings
from vaelab.models.model import build_model
from vaelab.objectives import objective_class
from vaelab.runtime.serialization import read_arrays
from vaelab.training.fingerprint import training_settings

# The objective, the network and the prior
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
written = with_component_settings(settings.model).model_dump_json()
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

# The metric
data = EvaluationData(name="digits", levels=256, train=train, test=validation)
small = settings.evaluate.model_copy(update={"importance_samples": 2})
measured = evaluate(trainer.model.eval(), data, small, cpu, groups={"test"}).metrics["test"]
assert measured["mean_squared_error"] < measured["squared_error_tail"] < 1
assert lookup("squared_error_tail").direction == "lower"

# The figure
artifacts = TrainedArtifacts.load(settings.machine)
assert "latent_norms" in (name for name, _ in render.figures(artifacts, settings.render))

# The stage
sys.argv = ["encode"]
encode.main()
assert read_arrays(encode.LATENTS)["mean"].shape == (6, 2)
test_a_stage_depends_on_every_file_that_its_script_imports("encode")
"""  # noqa: E501


def apply_diff(text: str, diff: str) -> str:
    """Return the text with each part of a diff, between lines of @@, applied where it fits."""
    for part in re.split(r"^@@.*\n", diff, flags=re.M):
        lines = part.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"this does not fit, or fits more than once:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.fixture
def extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the repository's code with the page's changes, a model and its data."""
    for name in ("src", "pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    for name in ("dvc.yaml", "tests/__init__.py", "tests/test_structure.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    for path, code in FILES.items():
        assert not (tmp_path / path).exists(), f"{path} is not a new file"
        (tmp_path / path).write_text(code)
    for path, diff in DIFFS.items():
        (tmp_path / path).write_text(apply_diff((tmp_path / path).read_text(), diff))
    monkeypatch.chdir(tmp_path)
    paths.PARAMS.write_text("# the defaults\n")
    write_prepared()
    write_model()
    latents = np.ones((COUNT, 2))
    write_arrays(paths.TEST_LATENTS, {"mean": latents, "stddev": latents})
    dimensions = dict.fromkeys(
        ("mean_variance", "aggregate_mean", "aggregate_stddev", "kl_nats"), 1.0
    )
    write_csv(paths.LATENT_DIMENSIONS, [{"dimension": index, **dimensions} for index in range(2)])
    return tmp_path


def test_the_page_shows_code_for_each_kind_of_addition() -> None:
    assert {str(Path(path).parent) for path in FILES} == {
        "src/vaelab/objectives",
        "src/vaelab/models/networks",
        "src/vaelab/models/priors",
        "src/vaelab/estimators",
        "src/vaelab/figures",
        "pipeline",
    }
    assert set(DIFFS) == {
        "src/vaelab/evaluation/bounds.py",
        "src/vaelab/metrics/bounds.py",
        "pipeline/render.py",
        "dvc.yaml",
    }


def test_the_code_of_the_page_runs(extended: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT + CHECKS],
        cwd=extended,
        env={**os.environ, "PYTHONPATH": f"{extended / 'src'}{os.pathsep}{extended}"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
