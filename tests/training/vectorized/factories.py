"""Trainers for vectorized training, and comparisons of their results."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from vaelab.config import Settings, parse_settings
from vaelab.data.loader import ImageLoader
from vaelab.training.build import build_trainer
from vaelab.training.trainer import Trainer
from vaelab.training.vectorized import TrainedModel, VectorizedTrainer, grouping

CPU = torch.device("cpu")
PIXELS = np.rint(load_digits().images[:, None] * 255 / 16).astype(np.uint8)
# Sums of a few hundred float32 numbers in another order, over a few dozen steps.
ROUNDING = 1e-3
CONV = {"network": "conv", "channels": [4, 12]}


def chosen(
    latents: int | Literal["auto"], model: Mapping[str, object] | None = None, **train: Any
) -> Settings:
    own = train.pop("own", {})
    settings: dict[str, Any] = {
        "model": {"network": "mlp", "hidden": [24], "latent_dim": latents, **(model or {})},
        "train": {"epochs": 4, "batch_size": 50, "learning_rate": 3e-3, **train},
    }
    objective = train.get("objective", "vae")
    return parse_settings(settings | ({"objectives": {objective: own}} if own else {}))


def trainers(settings: list[Settings], **options: Any) -> list[Trainer]:
    train = ImageLoader(PIXELS[:220], CPU, **options)
    validation = ImageLoader(PIXELS[220:300], CPU)
    return [build_trainer(one, train, validation, CPU) for one in settings]


def groups(settings: list[Settings]) -> list[list[int]]:
    return grouping.group_compatible(settings, (1, 8, 8))


def fit(together: list[Trainer]) -> dict[int, TrainedModel]:
    return dict(VectorizedTrainer(together).fit(lambda number, report: None))


def assert_same_training(one: Trainer, other: Trainer) -> None:
    """Insist on the same curves, the same best epoch and the same weights."""
    assert one.progress.epoch == other.progress.epoch
    assert one.progress.best_epoch == other.progress.best_epoch
    for row, expected in zip(one.progress.history, other.progress.history, strict=True):
        assert list(row) == list(expected)
        assert row == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)
        assert row["learning_rate"] == expected["learning_rate"]
    assert one.progress.per_dimension.keys() == other.progress.per_dimension.keys()
    for name, rows in one.progress.per_dimension.items():
        np.testing.assert_allclose(rows, other.progress.per_dimension[name], ROUNDING, ROUNDING)
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(
            tensor, other.model.state_dict()[name], rtol=ROUNDING, atol=ROUNDING
        )
