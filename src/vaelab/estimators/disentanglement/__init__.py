"""Disentanglement of known factors in the latents: MIG, DCI, SAP and the FactorVAE score.

All four measure, by different definitions, whether each factor has one dimension; Locatello et
al. 2019 compare them. Compare values only between models measured on the same images; DCI is
estimated in another way than there (see `dci`). All use posterior means, so a dimension that the
decoder ignores counts as soon as its mean varies.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from vaelab.estimators.disentanglement.dci import (
    completeness,
    dci_importance,
    disentanglement,
    majority_accuracy,
)
from vaelab.estimators.disentanglement.factor_vae import factor_vae_score
from vaelab.estimators.disentanglement.mig import factor_information, mutual_information_gap
from vaelab.estimators.disentanglement.sap import sap_score

__all__ = ["DisentanglementReport", "disentanglement_metrics"]


@dataclass(frozen=True)
class DisentanglementReport:
    """Metrics by name, and the matrices between factors and latent dimensions behind them.

    `factors` lists the columns of the factors that vary in train and in test; the others are left
    out of all metrics. `mutual_information` is in nats, `importance` as `dci_importance`.
    """

    metrics: dict[str, float]
    factors: tuple[int, ...]
    mutual_information: Float64[np.ndarray, "factors latent"]
    importance: Float64[np.ndarray, "latent factors"]


def disentanglement_metrics(
    train_latents: Float[np.ndarray, "train latent"],
    train_factors: Int64[np.ndarray, "train factors"],
    test_latents: Float[np.ndarray, "test latent"],
    test_factors: Int64[np.ndarray, "test factors"],
    seed: int,
) -> DisentanglementReport:
    """Compute the metrics on the test images; what has to be fitted is fitted on train.

    A metric is absent where it is undefined: gaps and completeness for one dimension,
    dci_disentanglement for one factor, factor_vae_score for either or where `factor_vae_score`
    returns None, and all where no factor varies. Factor values may be any integers. Raises
    ValueError for latents that are not finite.
    """
    if not (np.isfinite(train_latents).all() and np.isfinite(test_latents).all()):
        raise ValueError("the latents must be finite to be compared with factors")
    kept = _varying(train_factors) & _varying(test_factors)
    train_factors, test_factors = train_factors[:, kept], test_factors[:, kept]
    dimensions, count = test_latents.shape[1], int(kept.sum())
    if not count:
        empty = np.zeros((0, dimensions))
        return DisentanglementReport({}, (), empty, empty.T)
    rng = np.random.default_rng([seed, *b"disentanglement"])
    train, test = _standardize(train_latents, test_latents)
    information = factor_information(test, test_factors)
    importance, accuracy = dci_importance(train, train_factors, test, test_factors, rng)
    metrics = {
        "dci_informativeness": accuracy,
        "dci_informativeness_chance": majority_accuracy(test_factors),
    }
    if count > 1:
        metrics["dci_disentanglement"] = disentanglement(importance)
    if dimensions > 1:
        metrics["dci_completeness"] = completeness(importance)
        metrics["mutual_information_gap"] = mutual_information_gap(information, test_factors)
        metrics["sap_score"] = sap_score(train_latents, train_factors, test_latents, test_factors)
    if count > 1 and dimensions > 1:
        score = factor_vae_score(train_latents, train_factors, test_latents, test_factors, rng)
        metrics |= {} if score is None else {"factor_vae_score": score}
    columns = tuple(np.flatnonzero(kept).tolist())
    return DisentanglementReport(metrics, columns, information, importance)


def _standardize(
    train: Float[np.ndarray, "train latent"], test: Float[np.ndarray, "test latent"]
) -> tuple[Float64[np.ndarray, "train latent"], Float64[np.ndarray, "test latent"]]:
    """Standardize dimensions, because decision trees ignore differences below 1e-7."""
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    scale = np.where(np.ptp(train, axis=0) > 0, deviation, 1)
    return (train - mean) / scale, (test - mean) / scale


def _varying(factors: Int64[np.ndarray, "count factors"]) -> Bool[np.ndarray, "factors"]:
    varies: np.ndarray = (factors != factors[:1]).any(axis=0)
    return varies
