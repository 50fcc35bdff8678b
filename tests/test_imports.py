"""What each script imports at its start: what only some of its work needs comes with that work."""

import subprocess
import sys

import pytest

from tests import ROOT
from tests.test_structure import closure, imported_names

# Each takes from a quarter of a second to two.
HEAVY = {
    *("matplotlib", "mlflow", "optuna", "pandas"),
    *("scipy.stats", "sklearn", "torch", "torchvision"),
}
STARTED_WITH = {
    "download": set(),
    "prepare": set(),
    "train": {"torch"},
    "classifier": {"torch"},
    "evaluate": {"torch"},
    "report": {"matplotlib", "torch"},
    "render": {"matplotlib", "torch"},
    "tune": {"matplotlib", "mlflow", "optuna", "pandas", "torch"},  # MLflow imports pandas
    "tracking": set(),
}


def run(*command: str) -> str:
    found = subprocess.run(
        [sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return found.stdout


def test_scripts_import_no_more_than_they_need() -> None:
    for script, expected in STARTED_WITH.items():
        path = ROOT / "pipeline" / script
        main = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        files = closure(main, at_import=True)
        names = {name for file in files for name in imported_names(file, at_import=True)}
        found = {heavy for heavy in HEAVY for name in names if f"{name}.".startswith(f"{heavy}.")}
        assert found == expected - {"pandas"}, script


@pytest.mark.parametrize("script", ["download", "tune"])
def test_a_script_starts_with_what_its_imports_name(script: str) -> None:
    """What a dependency imports, or a file that is found by its name, is in no import of ours."""
    found = run("-c", f"import sys, pipeline.{script}; print(*{HEAVY} & sys.modules.keys())")
    assert set(found.split()) == STARTED_WITH[script]


GARBAGE = "import gc, pipeline.cli as s; print(gc.isenabled(), end=' ')"


def test_imports_of_a_script_are_not_searched_for_garbage_and_its_work_is() -> None:
    work = f"{GARBAGE}; s.run_command(lambda: print(gc.isenabled()), '')"
    assert run("-c", work) == "True True\n"
    assert run("-c", f"import sys; sys.argv[0] = '-m'; {work}") == "False True\n"


TRAINING = """
import sys
import numpy as np
import torch
from vaelab.training.build import build_trainer
from vaelab.config import parse_settings
from vaelab.data.loader import ImageLoader

images = ImageLoader(np.zeros((20, 1, 8, 8), np.uint8), torch.device("cpu"))
settings = parse_settings({"train": {"epochs": 1}})
build_trainer(settings, images, images, images.device).fit(show_progress=False)
print("torch._dynamo" in sys.modules)
"""


def test_training_imports_no_compiler() -> None:
    assert run("-c", TRAINING) == "False\n"
