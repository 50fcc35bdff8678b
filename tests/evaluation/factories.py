"""A small model of digits and its evaluation, shared by the tests of the evaluation."""

from collections.abc import Collection

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.loader import ImageLoader
from vaelab.evaluation import Evaluation, EvaluationData, evaluate
from vaelab.models.model import Model, build_model

CPU = torch.device("cpu")
DIGITS = load_digits()
PIXELS = (DIGITS.images * 255 / 16).round().astype(np.uint8)[:, None]
LABELS = DIGITS.target.astype(np.int64)
TRAIN, TEST = slice(0, 300), slice(300, 423)


def make_data(levels: int = 17, labeled: bool = True, test: slice = TEST) -> EvaluationData:
    return EvaluationData(
        name="digits",
        levels=levels,
        train=ImageLoader(PIXELS[TRAIN], CPU),
        test=ImageLoader(PIXELS[test], CPU),
        train_labels=LABELS[TRAIN] if labeled else None,
        test_labels=LABELS[test] if labeled else None,
    )


def make_model(**settings: object) -> Model:
    small: dict[str, object] = {"network": "mlp", "hidden": [8], "latent_dim": 3}
    if settings.get("likelihood", "gaussian") == "gaussian":
        small["gaussian_variance"] = 0.05
    chosen = ModelSettings.model_validate(small | settings)
    return build_model(chosen, (1, 8, 8), seed=1).eval()


def evaluate_model(
    model: Model,
    data: EvaluationData | None = None,
    groups: Collection[str] = ("test", "latent"),
    **settings: object,
) -> Evaluation:
    chosen = EvaluateSettings.model_validate({"importance_samples": 4} | settings)
    return evaluate(model, data or make_data(), chosen, CPU, groups=groups)


def metric(evaluation: Evaluation, name: str) -> float:
    group, key = name.split(".")
    return float(evaluation.metrics[group][key])


def digit_images() -> Tensor:
    return torch.from_numpy(PIXELS[TEST]).float() / 255
