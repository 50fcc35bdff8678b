"""What make says before it starts anything."""

import shutil
import subprocess
import sys
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


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A project named vaelab, with a package and an environment in which nothing is installed."""
    folder = tmp_path / "vaelab"
    (folder / "src/vaelab").mkdir(parents=True)
    for name in ("src/vaelab/__init__.py", "pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    shutil.copy(ROOT / "Makefile", folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    return folder


def steps(clone: Path) -> str:
    """Return the commands of the installation."""
    command = ["make", "--dry-run", ".venv/.installed"]
    return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout


def test_the_installation_says_first_what_it_installs_and_how_large_it_is(clone: Path) -> None:
    text = steps(clone)
    said = text.index("installing PyTorch and all else that vaelab needs into .venv, once: some GB")
    assert said < text.index("-m pip install")


def test_the_package_is_found_from_the_folder_above_a_clone_of_its_name(clone: Path) -> None:
    def found() -> str:
        command = [str(clone / ".venv/bin/python"), "-c", "import vaelab; print(vaelab.__file__)"]
        environment: dict[str, str] = {}
        run = subprocess.run(
            command,
            cwd=clone.parent,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return run.stdout.strip()

    assert found() == "None", "the folder of the clone, as a package without code"
    text = steps(clone)
    entry = text[text.rindex("\n", 0, text.index("import os, sysconfig")) : text.rindex("touch")]
    subprocess.run(["sh", "-c", entry], cwd=clone, check=True)
    assert found() == str(clone / "src/vaelab/__init__.py")
