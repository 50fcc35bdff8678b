"""Every file name of the pipeline, relative to the folder of dvc.yaml."""

from pathlib import Path

PARAMS = Path("params.yaml")

RAW = Path("data/raw")
PREPARED = Path("data/prepared")
PARTIAL_DOWNLOADS = Path("data/partial")

MODEL = Path("models/model")
CHECKPOINTS = Path(".checkpoints")

TRAIN = Path("results/train")
TRAIN_METRICS = TRAIN / "metrics.json"
TIMING = TRAIN / "timing.json"
HISTORY = TRAIN / "history.csv"
KL_HISTORY = TRAIN / "kl_per_dimension.csv"
TRAIN_IMAGES = TRAIN / "images"

EVALUATE = Path("results/evaluate")
EVALUATE_METRICS = EVALUATE / "metrics.json"
TEST_LATENTS = EVALUATE / "test_latents.npz"
LATENT_DIMENSIONS = EVALUATE / "latent_dimensions.csv"

RENDER = Path("results/render")
