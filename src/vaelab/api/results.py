"""What encoding, scoring and restoring return."""

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
class Restored:
    """Images whose missing pixels were restored, [count, channel, height, width].

    `mean` and `stddev` are of p(x_missing|x_observed), `draws` [count, draws, ...] are samples of
    it; observed pixels are as they were. `effective_sample_size` says of how many independent
    latents the weighted ones of each image are worth. `log_likelihood_nats` is
    ln p(x_missing|x_observed) of each image; None unless the truth was given.
    """

    mean: Array
    stddev: Array
    draws: Array
    effective_sample_size: Array
    log_likelihood_nats: Array | None = None


@dataclass(frozen=True)
class Scores:
    """How well a model explains each image [count], in nats; lower is better.

    `psnr_db` and `ssim` (None below 3x3 pixels) are of the reconstruction from the posterior mean;
    higher is better.

    `neg_elbo_nats` is the bound, of one latent an image. `nll_nats` is -ln p(x) from K =
    `importance_samples` weighted latents, an upper bound too, closer the larger K is. Where
    `effective_sample_size` is a small share of K, it is still too high: use the proposal "fitted".
    """

    neg_elbo_nats: Array
    nll_nats: Array
    effective_sample_size: Array
    importance_samples: int
    psnr_db: Array
    ssim: Array | None

    def mean(self) -> dict[str, float]:
        """Return the means over the images, with their standard errors, as the pipeline does."""
        found: dict[str, float] = {}
        for name, unit in (("neg_elbo", "_nats"), ("nll", "_nats"), ("psnr", "_db"), ("ssim", "")):
            if (own := getattr(self, f"{name}{unit}")) is None:
                continue
            values = torch.as_tensor(own).double().cpu()
            found[f"{name}{unit}"] = float(values.mean())
            if len(values) > 1:
                found[f"{name}_standard_error{unit}"] = float(standard_error(values))
        found["effective_sample_size"] = float(self.effective_sample_size.mean())
        return found
