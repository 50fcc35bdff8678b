"""Statistics of the latents of a split: a table by dimension, and metrics."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.estimators import aggregate, as_float64, mean_over_images
from vaelab.estimators.decomposition import decompose_rate, gaussian_total_correlation
from vaelab.models.distributions import DiagonalGaussian, Posterior
from vaelab.runtime.random_streams import rng_stream

Latents = Float[Tensor, "images latent"]
Table = Mapping[str, NDArray[Any]]

# The maximum mean discrepancy compares at most this many latents with as many of the prior.
MMD_POINTS = 2_000


def dimension_table(
    posterior: Posterior,
    latents: Latents,
    active_unit_threshold: float,
    *,
    standard_prior: bool = True,
) -> dict[str, NDArray[Any]]:
    """Compute a table by dimension, from the posterior [images, latent] and a sample of each image.

    Columns of length `latent`: dimension, mean_variance (of the posterior mean over images),
    aggregate_mean, aggregate_stddev; kl_nats (mean over images) for a Gaussian posterior and
    ks_statistic, both only where the prior is N(0, I); active, where the prior or noise fixes the
    scale.
    """
    mean, stddev = aggregate.aggregate_moments(posterior)
    variances = aggregate.mean_variances(posterior)
    gaussian = isinstance(posterior, DiagonalGaussian)
    table: dict[str, NDArray[Any]] = {"dimension": np.arange(latents.shape[1])}
    if isinstance(posterior, DiagonalGaussian) and standard_prior:
        table["kl_nats"] = to_numpy(as_float64(posterior.kl_per_dimension()).mean(0))
    table["mean_variance"] = to_numpy(variances)
    table["aggregate_mean"] = to_numpy(mean)
    table["aggregate_stddev"] = to_numpy(stddev)
    if standard_prior:
        table["ks_statistic"] = aggregate.ks_statistics(to_numpy(latents))
    if standard_prior or gaussian:
        table["active"] = to_numpy(variances > active_unit_threshold)
    return table


def dimension_metrics(table: Table) -> dict[str, float | int]:
    """Compute metrics over all dimensions from the columns that the table has."""
    metrics: dict[str, float | int] = {
        "aggregate_mean_norm": float(np.linalg.norm(table["aggregate_mean"])),
        "aggregate_stddev_min": float(table["aggregate_stddev"].min()),
        "aggregate_stddev_max": float(table["aggregate_stddev"].max()),
    }
    if "active" in table:
        metrics["active_units"] = int(table["active"].sum())
    if "ks_statistic" in table:
        metrics["ks_statistic_max"] = float(table["ks_statistic"].max())
    return metrics


def information_metrics(
    posterior: DiagonalGaussian,
    latents: Latents,
    rate: Float[Tensor, "images"],
    settings: EvaluateSettings,
    *,
    standard_prior: bool = True,
) -> dict[str, float]:
    """Decompose the rate (KL loss) of at most `max_pairs_images` images, in nats.

    rate = mutual information + marginal KL: Hoffman & Johnson 2016. Where the prior is N(0, I),
    marginal KL = total correlation + dimension-wise KL, up to sampling noise: Chen et al.
    2018. Where the information is near its cap ln N, it is too low, and the marginal KL and the
    total correlation are too high by about as much. The Gaussian total correlation uses all
    images and has no cap.
    """
    rows = sample_rows(len(latents), settings.max_pairs_images, settings.seed, "pairs")
    rows = rows.to(latents.device)
    sampled = DiagonalGaussian(posterior.mean[rows], posterior.stddev[rows])
    parts = decompose_rate(sampled, latents[rows])
    information = parts.mutual_information.item()
    metrics = {
        "mutual_information_nats": information,
        "mutual_information_cap_nats": math.log(len(rows)),
        # KL(q(z) || p) = rate - I_q(x; z)
        "marginal_kl_nats": mean_over_images(rate[rows]) - information,
        "total_correlation_nats": parts.total_correlation.item(),
        "gaussian_total_correlation_nats": gaussian_total_correlation(posterior).item(),
    }
    if standard_prior:
        metrics["dimension_wise_kl_nats"] = parts.dimension_wise_kl.sum().item()
    return metrics


def prior_metrics(
    latents: Latents, prior: Float[Tensor, "samples latent"] | None, settings: EvaluateSettings
) -> dict[str, float]:
    """Compare a sample of the aggregate posterior with the prior, over all dimensions jointly.

    `prior` has `MMD_POINTS` samples of a prior other than N(0, I); None stands for N(0, I).
    """
    metrics: dict[str, float] = {}
    if prior is None:
        distance = aggregate.squared_norm_ks_statistic(to_numpy(latents))
        metrics["squared_norm_ks_statistic"] = distance
    limit = min(MMD_POINTS, settings.max_pairs_images)
    rows = sample_rows(len(latents), limit, settings.seed, "mmd")
    if len(rows) > 1:
        points = latents[rows.to(latents.device)]
        noise = rng_stream(settings.seed, "evaluation/prior")
        others = (
            torch.randn(points.shape, generator=noise) if prior is None else prior[: len(points)]
        )
        metrics["mmd_squared"] = aggregate.mmd_squared(points, others.to(points.device)).item()
    return metrics


def sample_rows(count: int, limit: int, seed: int, name: str) -> Int64[Tensor, "chosen"]:
    """Choose at most `most` of `count` images by the seed, in ascending order."""
    order = torch.randperm(count, generator=rng_stream(seed, f"evaluation/{name}"))
    return order[:limit].sort().values


def to_numpy(values: Shaped[Tensor, "*shape"]) -> NDArray[Any]:
    """Copy a tensor to numpy."""
    copied: NDArray[Any] = values.cpu().numpy()
    return copied
