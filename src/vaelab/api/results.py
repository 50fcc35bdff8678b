"""What encoding and scoring return."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaelab.estimators.statistics import standard_error

Array = NDArray[np.floating] | Tensor
"""NumPy's, unless tensors are asked for."""


@dataclass(frozen=True)
class Latents:
    """q(z|x) of images: `mean` and `stddev` [count, latent]; no `stddev` without noise."""

    mean: Array
    stddev: Array | None = None


@dataclass(frozen=True)
class Scores:
    """How well a model explains each image [count], in nats; lower is better.

    `neg_elbo_nats` is the bound, of one latent an image. `nll_nats` is -ln p(x) from K =
    `importance_samples` weighted latents, an upper bound too, closer the larger K is. Where
    `effective_sample_size` is a small share of K, it is still too high: use the proposal "fitted".
    """

    neg_elbo_nats: Array
    nll_nats: Array
    effective_sample_size: Array
    importance_samples: int

    def mean(self) -> dict[str, float]:
        """Return the means over the images, with their standard errors, as the pipeline does."""
        found: dict[str, float] = {}
        for name in ("neg_elbo", "nll"):
            values = torch.as_tensor(getattr(self, f"{name}_nats")).double().cpu()
            found[f"{name}_nats"] = float(values.mean())
            if len(values) > 1:
                found[f"{name}_standard_error_nats"] = float(standard_error(values))
        found["effective_sample_size"] = float(self.effective_sample_size.mean())
        return found
