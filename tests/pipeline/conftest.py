"""Empty stores to copy, and a copy of the repository in which DVC runs the real stages."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from ruamel.yaml import YAML

from pipeline.study.storage import open_storage
from tests import ROOT
from vaelab.config import TuneSettings


def change_directory(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make a folder the current one and the place of all files of a study."""
    for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "DVC_ROOT", "DVC_EXP_NAME"):
        patch.delenv(name, raising=False)
    patch.chdir(folder)


@pytest.fixture(scope="session")
def empty_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mlflow.db and an optuna.db to copy: creating their tables takes seconds."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        change_directory(folder, patch)
        open_storage(TuneSettings()).engine.dispose()
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments(max_results=1)
    return folder


def copy_stores(empty_stores: Path, folder: Path) -> None:
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(empty_stores / name, folder)


@dataclass(frozen=True)
class Copy:
    """A working copy with a git repository of its own."""

    path: Path

    def run(self, *command: str, code: int = 0, **environment: str) -> str:
        """Run a command in the copy, check its exit code, and return what it printed."""
        # A file, not a pipe: daemons that a command leaves behind would keep that open.
        with tempfile.TemporaryFile("w+") as output:
            found = subprocess.run(
                command,
                cwd=self.path,
                env=self.environment() | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=600,
            )
            output.seek(0)
            printed = output.read()
        assert found.returncode == code, printed
        return printed

    def environment(self) -> dict[str, str]:
        """Return the environment variables of a command in the copy."""
        # The environment of the tests must not decide where the copy's runs are stored.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
        return inherited | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.path / "src"),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    def repro(self, *arguments: str) -> str:
        """Run `dvc repro`."""
        return self.run("dvc", "repro", *arguments)

    def set_params(self, **changes: Any) -> None:
        """Change settings, given as section__key, and keep the rest of params.yaml."""
        yaml = YAML()
        path = self.path / "params.yaml"
        content = yaml.load(path)
        for name, value in changes.items():
            section, _, key = name.partition("__")
            content[section][key] = value
        yaml.dump(content, path)

    def client(self) -> MlflowClient:
        """Open the copy's MLflow store, the file that is there now.

        MLflow keeps connections by address, to files that have been replaced since, too.
        """
        file = self.path / "mlflow.db"
        slashes = "/" * (1 + file.stat().st_ino % 1000)
        return MlflowClient(f"sqlite:///{self.path}{slashes}mlflow.db")

    def runs(self) -> list[Run]:
        """Return all runs, newest first."""
        experiment = self.client().get_experiment_by_name("vaelab")
        assert experiment is not None
        return list(self.client().search_runs([experiment.experiment_id]))

    def commit(self) -> None:
        """Commit all that is there."""
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "state")


# So little of everything that all stages take seconds; each is still done for real.
SMALL: Mapping[str, Any] = {
    "train__epochs": 2,
    "evaluate__importance_samples": 2,
    "evaluate__likelihood_images": 2,
    "evaluate__annealing_images": 1,
    "evaluate__annealing_chains": 2,
    "evaluate__annealing_temperatures": 3,
    "evaluate__interpolation_pairs": 2,
    "evaluate__samples": 40,
    "evaluate__classifier_epochs": 1,
    "model__latent_dim": 3,
    "render__manifold_size": 3,
    "render__samples": 4,
    "render__dpi": 40,
    "machine__threads": 1,
}


def make_copy(path: Path, cache_of: Copy | None = None, **changes: Any) -> Copy:
    """Copy the repository's own files, as they are now, and set params.yaml small.

    `cache_of` is another copy, whose DVC cache is taken along.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.endswith("dvc.lock"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path / name)
    copy = Copy(path)
    if cache_of:
        shutil.copytree(cache_of.path / ".dvc/cache", path / ".dvc/cache")
    copy.run("git", "init", "-q")
    copy.set_params(**{**SMALL, **changes})
    copy.commit()
    return copy
