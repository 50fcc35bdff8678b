"""Disentanglement metrics of data sets with known factors."""

import numpy as np

from vaelab.config import EvaluateSettings
from vaelab.estimators.disentanglement import disentanglement_metrics
from vaelab.estimators.latent_statistics import sample_rows
from vaelab.evaluation.training_latents import TrainingLatents
from vaelab.evaluation.types import Arrays, EvaluationData, GroupMetrics, LatentPosteriors

# Limit on the test images that are measured: the protocol of Locatello et al. 2019.
MAX_TEST_IMAGES = 10_000


def factor_metrics(
    data: EvaluationData,
    training: TrainingLatents,
    latents: LatentPosteriors,
    settings: EvaluateSettings,
) -> tuple[GroupMetrics, Arrays]:
    """Compute the group `disentanglement`, and the matrices between factors and dimensions.

    Both are empty without known factors, and where no factor varies.
    """
    if data.train_factors is None or data.test_factors is None:
        return {}, {}
    rows = sample_rows(len(latents.means), MAX_TEST_IMAGES, settings.seed, "factors").numpy()
    report = disentanglement_metrics(
        training.means,
        data.train_factors[training.rows],
        latents.means[rows],
        data.test_factors[rows],
        settings.seed,
    )
    if not report.metrics:
        return {}, {}
    return dict(report.metrics), {
        "factor_mutual_information": report.mutual_information,
        "dci_importance": report.importance,
        "factor_columns": np.array(report.factors),
    }
