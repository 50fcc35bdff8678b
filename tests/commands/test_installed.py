"""The installed command, in a folder without this project."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(sys.executable).with_name("vaelab")


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.exists(), reason="this environment has no console script vaelab")
def test_the_console_script_trains_and_samples_in_another_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, *words], cwd=tmp_path, capture_output=True, text=True)

    quick = ("--epochs", "1", "--latent-dim", "3", "--set", "model.network=mlp")
    assert run("train", "images.npy", *quick, "-o", "model").returncode == 0
    found = run("sample", "model", "-o", "samples.png")
    assert (found.stdout, found.stderr) == ("samples.png: 16 images of 8x8 pixels\n", "")
    again = run("sample", "model", "-o", "samples.png")
    assert again.returncode == 2
    assert again.stderr == (
        "error: samples.png exists: --force replaces it, or choose another --output\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"images.npy", "model", "samples.png"}
