"""Where a member's files stand, one of a kind for each seed."""

from pathlib import Path

from pipeline import paths


def model(member: str, seed: int) -> Path:
    """Name the folder of a model."""
    return paths.COMPARISON_MODELS / member / f"seed_{seed}"


def history(member: str, seed: int) -> Path:
    """Name the table that has a row an epoch."""
    return paths.COMPARISON_TRAINED / member / f"seed_{seed}.csv"


def timing(member: str, seed: int) -> Path:
    """Name the file of the seconds of training."""
    return history(member, seed).with_suffix(".json")


def metrics(member: str, seed: int) -> Path:
    """Name the file of a model's numbers."""
    return paths.COMPARISON_MEASURED / member / f"seed_{seed}.json"


def pictures(member: str, seed: int) -> Path:
    """Name the file of a model's pictures."""
    return metrics(member, seed).with_suffix(".npz")


def seeds(member: str) -> list[int]:
    """Give the seeds that were measured, in ascending order."""
    found = (paths.COMPARISON_MEASURED / member).glob("seed_*.json")
    return sorted(int(path.stem.removeprefix("seed_")) for path in found)
