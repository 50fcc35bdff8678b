"""Every file name of the pipeline, relative to the folder of dvc.yaml."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")

RAW = Path("data/raw")
PREPARED = Path("data/prepared")
PARTIAL_DOWNLOADS = Path("data/partial")

MODEL = Path("models/model")
SAMPLER = Path("models/sampler")
EVALUATION_CLASSIFIER = Path("models/evaluation/classifier")

TRAIN = Path("results/train")
TRAIN_METRICS = TRAIN / "metrics.json"
TIMING = TRAIN / "timing.json"
HISTORY = TRAIN / "history.csv"
KL_HISTORY = TRAIN / "kl_per_dimension.csv"
TRAIN_IMAGES = TRAIN / "images"

EVALUATE = Path("results/evaluate")
EVALUATE_METRICS = EVALUATE / "metrics.json"
EVALUATE_SUMMARY = EVALUATE / "summary.json"
TEST_LATENTS = EVALUATE / "test_latents.npz"
LATENTS = EVALUATE / "latents"
RECONSTRUCTIONS = EVALUATE / "reconstructions.csv"
LATENT_DIMENSIONS = EVALUATE / "latent_dimensions.csv"
EVALUATE_ARRAYS = EVALUATE / "arrays.npz"
REPORT = EVALUATE / "report.html"

RENDER = Path("results/render")

EXPLORER = Path("results/explorer/index.html")

TUNE = Path("results/tune")

# The comparison is a DVC project of its own.
COMPARISON_PROJECT = Path("pipeline/comparison")
COMPARISON_PARAMS = COMPARISON_PROJECT / "params.yaml"
COMPARISON_STAGES = COMPARISON_PROJECT / "dvc.yaml"
COMPARISON_INPUTS = Path(".comparison")
COMPARISON_IMAGES = COMPARISON_INPUTS / "images.json"
COMPARISON_RAW = Path("data/comparison/raw")
COMPARISON_PREPARED = Path("data/comparison/prepared")
COMPARISON_MODELS = Path("models/comparison")
CLASSIFIER = COMPARISON_MODELS / "classifier"
COMPARISON = Path("results/comparison")
COMPARISON_TRAINED = COMPARISON / "trained"
COMPARISON_MEASURED = COMPARISON / "measured"
COMPARISON_TABLE = COMPARISON / "table.csv"
COMPARISON_REPORT = COMPARISON / "table.md"
COMPARISON_FIGURES = COMPARISON / "figures"


TRAINING_LOCK = Path(".training/lock")


def workspace_root() -> Path:
    """Return the main working copy; `dvc exp run` may run in a temporary one."""
    project = Path(os.environ.get("DVC_ROOT", ".")).resolve()
    own = COMPARISON_PROJECT.parts
    return project.parents[len(own) - 1] if project.parts[-len(own) :] == own else project


def unreadable_files() -> Path:
    """Return the list of images that could not be read, where an error names only some."""
    return workspace_root() / "data/unreadable_files.txt"


def checkpoints() -> Path:
    """Return the folder of unfinished trainings' checkpoints, each named by its fingerprint."""
    return workspace_root() / ".checkpoints"


def finished_trainings() -> Path:
    """Return the folder of the ends of finished trainings, from which longer ones continue."""
    return workspace_root() / ".finished"


def study_models() -> Path:
    """Return the folder of the models that studies trained, each named by its fingerprint."""
    return workspace_root() / ".study"
