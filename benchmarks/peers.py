"""Other tools that vaelab is measured against, in a folder beside the environment."""

import os
import subprocess
import sys
from pathlib import Path

from vaelab.config import UserError

# pythae 0.1.2 works with the packages that vaelab has, and these two.
PACKAGES = ("pythae==0.1.2", "cloudpickle==3.1.2", "imageio==2.38.1")
FOLDER = Path(".benchmarks/pythae-0.1.2")


def install_pythae() -> None:
    """Put pythae into its folder, the first time from the package index."""
    if not FOLDER.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(FOLDER), *PACKAGES], check=True)


def with_pythae(module: str, *arguments: str) -> None:
    """Run a module of these benchmarks in a process that has pythae on its path."""
    path = os.pathsep.join([str(FOLDER.resolve()), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise UserError(f"{module} failed: {ran.stderr.strip().splitlines()[-1:]}")
