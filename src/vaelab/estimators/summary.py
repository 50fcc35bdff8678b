"""The latent space of a split in numbers: a table by dimension, and metrics."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.distributions import DiagonalGaussian
from vaelab.estimators import aggregate, as_float64, mean_over_images
from vaelab.randomness import stream

Latents = Float[Tensor, "images latent"]
Table = Mapping[str, NDArray[Any]]

# The maximum mean discrepancy compares at most this many latents with as many of the prior.
MMD_POINTS = 2_000


def dimension_table(
    posterior: DiagonalGaussian, latents: Latents, active_unit_threshold: float
) -> dict[str, NDArray[Any]]:
    """Measure each dimension, from the posterior [images, latent] and one latent of each image.

    Columns of length `latent`: dimension, kl_nats (mean over images), mean_variance (of the
    posterior mean over images), aggregate_mean, aggregate_stddev, ks_statistic, active.
    """
    mean, stddev = aggregate.aggregate_moments(posterior)
    variances = aggregate.mean_variances(posterior)
    return {
        "dimension": np.arange(latents.shape[1]),
        "kl_nats": array(as_float64(posterior.kl_per_dimension()).mean(0)),
        "mean_variance": array(variances),
        "aggregate_mean": array(mean),
        "aggregate_stddev": array(stddev),
        "ks_statistic": aggregate.ks_statistics(array(latents)),
        "active": array(variances > active_unit_threshold),
    }


def dimension_metrics(table: Table) -> dict[str, float | int]:
    """Reduce the table over dimensions."""
    return {
        "active_units": int(table["active"].sum()),
        "aggregate_mean_norm": float(np.linalg.norm(table["aggregate_mean"])),
        "aggregate_stddev_min": float(table["aggregate_stddev"].min()),
        "aggregate_stddev_max": float(table["aggregate_stddev"].max()),
        "ks_statistic_max": float(table["ks_statistic"].max()),
    }


def information_metrics(
    posterior: DiagonalGaussian, latents: Latents, settings: EvaluateSettings
) -> dict[str, float]:
    """Split the rate of at most `max_pairs_images` images in two, in nats.

    rate = mutual information + marginal KL: Hoffman & Johnson 2016. Where the
    information nears its cap ln N, it is too low and the marginal KL too high.
    """
    rows = choose(len(latents), settings.max_pairs_images, settings.seed, "pairs")
    rows = rows.to(latents.device)
    some = DiagonalGaussian(posterior.mean[rows], posterior.stddev[rows])
    information = aggregate.mutual_information(some, latents[rows]).item()
    return {
        "mutual_information_nats": information,
        "mutual_information_cap_nats": math.log(len(rows)),
        # KL(q(z) || p) = rate - I_q(x; z)
        "marginal_kl_nats": mean_over_images(some.kl()) - information,
    }


def prior_metrics(latents: Latents, settings: EvaluateSettings) -> dict[str, float]:
    """Compare a sample of the aggregate posterior with the prior as a whole."""
    metrics = {"squared_norm_ks_statistic": aggregate.squared_norm_ks_statistic(array(latents))}
    most = min(MMD_POINTS, settings.max_pairs_images)
    rows = choose(len(latents), most, settings.seed, "mmd")
    if len(rows) > 1:
        some = latents[rows.to(latents.device)]
        prior = torch.randn(some.shape, generator=stream(settings.seed, "evaluation/prior"))
        metrics["mmd_squared"] = aggregate.mmd_squared(some, prior.to(some.device)).item()
    return metrics


def choose(count: int, most: int, seed: int, name: str) -> Int64[Tensor, "chosen"]:
    """Choose at most `most` of `count` images by the seed, in ascending order."""
    order = torch.randperm(count, generator=stream(seed, f"evaluation/{name}"))
    return order[:most].sort().values


def array(
    values: Float[Tensor, "*shape"] | Float64[Tensor, "*shape"] | Bool[Tensor, "*shape"],
) -> NDArray[Any]:
    """Copy a tensor to numpy."""
    copied: NDArray[Any] = values.cpu().numpy()
    return copied
