"""Other tools that vaelab is measured against, each in a folder beside the environment."""

import os
import subprocess
import sys
from pathlib import Path

from vaelab.config import UserError

# They work with the packages that vaelab has, and these.
PACKAGES = {
    "pythae": ("pythae==0.1.2", "cloudpickle==3.1.2", "imageio==2.38.1"),
    "lightning": ("pytorch-lightning==2.6.6", "lightning-utilities==0.15.3"),
}
FOLDER = Path(".benchmarks/peers")


def install(tool: str) -> None:
    """Put a tool into its folder, the first time from the package index."""
    folder = FOLDER / tool
    if not folder.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), *PACKAGES[tool]], check=True)


def run_with(tool: str | None, module: str, *arguments: str) -> None:
    """Run a module of these benchmarks in a process of its own, that has a tool on its path."""
    folder = [str((FOLDER / tool).resolve())] if tool else []
    path = os.pathsep.join([*folder, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise UserError(f"{module} failed: {ran.stderr.strip().splitlines()[-1:]}")
