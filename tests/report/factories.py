"""Inputs of the report: real evaluations, and evaluations made of given numbers."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from tests.evaluation.factories import CPU, LABELS, PIXELS, TRAIN, make_data
from tests.evaluation.test_models import make_objective_model
from vaelab.config import EvaluateSettings, ModelSettings
from vaelab.data.dataset import DatasetInfo
from vaelab.evaluation import GROUPS, Evaluation, EvaluationData, evaluate
from vaelab.evaluation.classifier import build_classifier
from vaelab.models.model import Model
from vaelab.models.saving import ModelDescription
from vaelab.report import EvaluationResult
from vaelab.samplers import Sampler, build_sampler


def description(objective: str = "vae", **changes: Any) -> ModelDescription:
    given: dict[str, Any] = {
        "objective": objective,
        "networks": ("encoder", "decoder"),
        "image_shape": (1, 8, 8),
        "model": ModelSettings(latent_dim=4, prior="standard_normal"),
        "dataset": "digits",
        "levels": 256,
        "settings": {"train.kl_weight": 1.0, "train.epochs": 3, "train.objective": objective},
    }
    return ModelDescription(**given | changes)


def info(**changes: Any) -> DatasetInfo:
    given: dict[str, Any] = {
        "name": "digits",
        "image_shape": (1, 8, 8),
        "counts": {"train": 300, "validation": 0, "test": 300},
        "class_names": tuple("0123456789"),
        "factor_names": None,
        "levels": 256,
        "binarization": "none",
        "seed": 0,
        "sha256": {},
        "origin": "generated",
    }
    return DatasetInfo(**given | changes)


def made_up(*numbers: dict[str, float], **changes: Any) -> EvaluationResult:
    """An evaluation result with numbers by their full names."""
    metrics: dict[str, dict[str, Any]] = {"dataset": {"name": "digits", "test_images": 300}}
    for given in numbers:
        for name, value in given.items():
            group, _, key = name.partition(".")
            metrics.setdefault(group, {})[key] = value
    fields: dict[str, Any] = {
        "metrics": metrics,
        "description": description(),
        "info": info(),
        "active_unit_threshold": 0.01,
        "objective_settings": frozenset({"train.kl_weight"}),
        "labels": np.arange(300) % 10,
    }
    return EvaluationResult(**fields | changes)


def known() -> EvaluationData:
    """Labelled 8-bit images with two factors: whether the class is below 5, and the brightness."""
    bright = PIXELS.reshape(len(PIXELS), -1).mean(1)
    factors = np.stack([LABELS < 5, bright > np.median(bright)], axis=1).astype(np.int64)
    # Enough to fix a factor's value among test images too.
    several = slice(300, 600)
    return replace(
        make_data(256, test=several), train_factors=factors[TRAIN], test_factors=factors[several]
    )


@cache
def measured(name: str) -> tuple[Model, Evaluation]:
    """An untrained model of an objective, and its evaluation.

    Annealing takes seconds, so only models whose metrics of it differ are annealed.
    """
    few = {"importance_samples": 4, "annealing_chains": 2}
    few |= {"likelihood_images": 2, "annealing_images": 2}
    chosen = EvaluateSettings.model_validate({**few, "annealing_temperatures": 3, "samples": 40})
    classifier, untrained = build_classifier((1, 8, 8), 10).eval(), make_objective_model(name)
    left_out = set() if name in ("vae", "autoencoder", "gan") else {"annealing"}
    groups, sampler = set(GROUPS) - left_out, _sampler(untrained) if name == "vae" else None
    return untrained, evaluate(untrained, known(), chosen, CPU, classifier, groups, sampler)


def _sampler(untrained: Model) -> Sampler:
    """A conditional sampler that is not fitted."""
    small = {"width": 8, "layers": 1, "solver_steps": 2}
    sampler = build_sampler("flow_matching", small, untrained.latent_dim, 10).eval()
    sampler.label_log_frequencies.fill_(math.log(0.1))
    return sampler


@cache
def real(name: str) -> EvaluationResult:
    """The evaluation result of an untrained model."""
    untrained, found = measured(name)
    prior = next(k for k in ("standard_normal", "mixture", "codebook") if _has(untrained, k))
    chosen = ModelSettings.model_validate({"latent_dim": untrained.latent_dim, "prior": prior})
    networks = tuple(key for key in untrained.networks if key != "prior")
    return EvaluationResult(
        metrics=found.metrics,
        description=description(
            name, networks=networks, posterior=untrained.posterior, model=chosen
        ),
        info=info(factor_names=("small", "bright")),
        active_unit_threshold=0.01,
        objective_settings=frozenset({"train.kl_weight"}),
        arrays=found.arrays,
        dimensions=found.latents.dimension_table if found.latents else {},
        means=found.latents.means if found.latents else None,
        labels=LABELS[300:600],
    )


def _has(untrained: Model, prior: str) -> bool:
    return type(untrained.networks["prior"]).__module__.endswith(f".{prior}")
