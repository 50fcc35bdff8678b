"""The files of a variant, one of each kind for each seed."""

from pathlib import Path

from pipeline import paths


def model(variant: str, seed: int) -> Path:
    """Return the folder of a model."""
    return paths.COMPARISON_MODELS / variant / f"seed_{seed}"


def history(variant: str, seed: int) -> Path:
    """Return the table with a row per epoch."""
    return paths.COMPARISON_TRAINED / variant / f"seed_{seed}.csv"


def timing(variant: str, seed: int) -> Path:
    """Return the file with the training time."""
    return history(variant, seed).with_suffix(".json")


def metrics(variant: str, seed: int) -> Path:
    """Return the file of a model's metrics."""
    return paths.COMPARISON_MEASURED / variant / f"seed_{seed}.json"


def images(variant: str, seed: int) -> Path:
    """Return the file of a model's example images."""
    return metrics(variant, seed).with_suffix(".npz")


def seeds(variant: str) -> list[int]:
    """Return the measured seeds, in ascending order."""
    found = (paths.COMPARISON_MEASURED / variant).glob("seed_*.json")
    return sorted(int(path.stem.removeprefix("seed_")) for path in found)
