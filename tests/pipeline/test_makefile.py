"""What make says before it starts anything."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT


@pytest.mark.parametrize("target", ["repro", "explore", "compare"])
def test_a_project_without_git_is_told_what_to_type(tmp_path: Path, target: str) -> None:
    """As a project from a zip file is; DVC would say that it is no git repository."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    environment = {"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    command = ["make", "--old-file", ".venv/.installed", target]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr.splitlines()[0] == (
        "error: DVC needs a git repository, which this folder is not: type git init, then make "
        f"{target} again"
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True, env=environment)
    command.insert(1, "--dry-run")
    printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "dvc repro" in printed.stdout
