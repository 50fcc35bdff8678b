"""The file of a saved model's weights, and its hash; nothing here needs PyTorch."""

from pathlib import Path

from vaelab.config import ArtifactError
from vaelab.runtime.files import sha256

WEIGHTS = "weights.safetensors"


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a saved model's weights. Raises ArtifactError if missing."""
    if not (folder / WEIGHTS).is_file():
        raise ArtifactError(folder / WEIGHTS, "not found")
    return sha256(folder / WEIGHTS)
