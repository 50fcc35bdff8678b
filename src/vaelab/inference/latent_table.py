"""The posteriors of images, and the metrics of each latent dimension."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from vaelab.inference import decoding


@dataclass(frozen=True)
class LatentTable:
    """Posterior means and standard deviations, [images, latent], of a split's images.

    `columns` has the metrics of each latent dimension, [latent], by name; always aggregate_mean,
    aggregate_stddev and mean_variance.
    """

    mean: np.ndarray
    stddev: np.ndarray
    columns: Mapping[str, np.ndarray]

    @property
    def kl_nats(self) -> np.ndarray | None:
        """The KL of each dimension in nats; None for a model without a KL."""
        return self.columns.get("kl_nats")

    def top_dimensions(self, count: int) -> list[int]:
        """Return the dimensions with the largest KL, or else variance, in descending order."""
        size = self.columns.get("kl_nats", self.columns["mean_variance"])
        return decoding.top_kl_dimensions(torch.from_numpy(size), count)

    def frame(self, device: torch.device) -> decoding.LatentFrame:
        """Return the mean and standard deviation of the latents in each dimension."""
        centre, scale = (self.columns[f"aggregate_{name}"] for name in ("mean", "stddev"))
        return decoding.LatentFrame(
            torch.from_numpy(centre).to(device), torch.from_numpy(scale).to(device)
        )
