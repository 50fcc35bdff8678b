"""The files of a variant, one of each kind for each seed."""

from pathlib import Path

from pipeline import paths


def model(variant: str, seed: int) -> Path:
    """Return the folder of a model."""
    return paths.COMPARISON_MODELS / variant / f"seed_{seed}"


def history(variant: str, seed: int) -> Path:
    """Return the table with a row per epoch."""
    return paths.COMPARISON_TRAINED / variant / f"seed_{seed}.csv"


def training(variant: str, seed: int) -> Path:
    """Return the file with the training's fingerprint and time."""
    return history(variant, seed).with_suffix(".json")


def metrics(variant: str, seed: int) -> Path:
    """Return the file of a model's metrics."""
    return paths.COMPARISON_MEASURED / variant / f"seed_{seed}.json"


def images(variant: str, seed: int) -> Path:
    """Return the file of a model's example images."""
    return metrics(variant, seed).with_suffix(".npz")


def trained_seeds(variant: str) -> list[int]:
    """Return the seeds of which a model was trained, in ascending order."""
    return _seeds(paths.COMPARISON_TRAINED / variant)


def measured_seeds(variant: str) -> list[int]:
    """Return the seeds of which a model was measured, in ascending order."""
    return _seeds(paths.COMPARISON_MEASURED / variant)


def _seeds(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("seed_")) for path in folder.glob("seed_*.json"))
