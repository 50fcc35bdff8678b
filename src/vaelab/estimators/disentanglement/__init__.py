"""How known factors are divided among latent dimensions: MIG, DCI, SAP and the FactorVAE score.

All four ask for one dimension a factor, and mean different things by it; Locatello et al. 2019
compare them. Read them together, and only between models measured on the same images. All are of
posterior means, so a dimension that the decoder ignores counts as soon as its mean varies.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from vaelab.estimators.disentanglement.dci import (
    completeness,
    dci_importance,
    disentanglement,
    guessing_accuracy,
)
from vaelab.estimators.disentanglement.factor_vae import factor_vae_score
from vaelab.estimators.disentanglement.mig import factor_information, mutual_information_gap
from vaelab.estimators.disentanglement.sap import sap_score

__all__ = ["DisentanglementReport", "disentanglement_metrics"]


@dataclass(frozen=True)
class DisentanglementReport:
    """Metrics by name, and the matrices between factors and latent dimensions behind them.

    `factors` has the columns of the given factors that vary, in train and in test: the others are
    left out of everything. `mutual_information` is in nats, `importance` as `dci_importance`.
    """

    metrics: dict[str, float]
    factors: tuple[int, ...]
    mutual_information: Float64[np.ndarray, "factors latent"]
    importance: Float64[np.ndarray, "latent factors"]


def disentanglement_metrics(
    train_codes: Float[np.ndarray, "train latent"],
    train_factors: Int64[np.ndarray, "train factors"],
    test_codes: Float[np.ndarray, "test latent"],
    test_factors: Int64[np.ndarray, "test factors"],
    seed: int,
) -> DisentanglementReport:
    """Measure codes on the test images; what has to be fitted is fitted on the training images.

    A metric is absent where it means nothing: those of gaps and completeness for one dimension,
    dci_disentanglement for one factor, factor_vae_score for either or where `factor_vae_score`
    gives None, and all where no factor varies. Factors may have any whole numbers for values.
    Raises ValueError for codes that are not finite.
    """
    if not (np.isfinite(train_codes).all() and np.isfinite(test_codes).all()):
        raise ValueError("codes must be finite numbers to be held against factors")
    kept = _varying(train_factors) & _varying(test_factors)
    known, asked = train_factors[:, kept], test_factors[:, kept]
    dimensions, count = test_codes.shape[1], int(kept.sum())
    if not count:
        nothing = np.zeros((0, dimensions))
        return DisentanglementReport({}, (), nothing, nothing.T)
    random = np.random.default_rng([seed, *b"disentanglement"])
    train, test = _standardised(train_codes, test_codes)
    information = factor_information(test, asked)
    importance, accuracy = dci_importance(train, known, test, asked, random)
    metrics = {
        "dci_informativeness": accuracy,
        "dci_informativeness_chance": guessing_accuracy(asked),
    }
    if count > 1:
        metrics["dci_disentanglement"] = disentanglement(importance)
    if dimensions > 1:
        metrics["dci_completeness"] = completeness(importance)
        metrics["mutual_information_gap"] = mutual_information_gap(information, asked)
        metrics["sap_score"] = sap_score(train, known, test, asked)
    if count > 1 and dimensions > 1:
        votes = factor_vae_score(train_codes, known, test_codes, asked, random)
        metrics |= {} if votes is None else {"factor_vae_score": votes}
    columns = tuple(np.flatnonzero(kept).tolist())
    return DisentanglementReport(metrics, columns, information, importance)


def _standardised(
    train: Float[np.ndarray, "train latent"], test: Float[np.ndarray, "test latent"]
) -> tuple[Float64[np.ndarray, "train latent"], Float64[np.ndarray, "test latent"]]:
    """Bring dimensions to one scale, as trees take differences below 1e-7 for none."""
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    scale = np.where(np.ptp(train, axis=0) > 0, deviation, 1)
    return (train - mean) / scale, (test - mean) / scale


def _varying(factors: Int64[np.ndarray, "count factors"]) -> Bool[np.ndarray, "factors"]:
    varies: np.ndarray = (factors != factors[:1]).any(axis=0)
    return varies
