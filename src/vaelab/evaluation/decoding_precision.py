"""The precision in which the K-sample bound is decoded: bfloat16 where that hardly changes it.

Decoding is nearly all of the bound's time, and takes half to three quarters of it in bfloat16 on
processors with units for that. What it changes is measured on some of the images, with the same
latents in both precisions, and stands beside the bound.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.data.loader import ImageLoader
from vaelab.estimators.importance import importance_weighted_log_likelihood
from vaelab.estimators.statistics import standard_error
from vaelab.models.model import Model
from vaelab.runtime.matmul import has_bfloat16
from vaelab.runtime.random_streams import rng_stream

# Decoded images (K times those of the bound) from which a trial is worth its time
MIN_DECODED = 200_000
TRIED_IMAGES = 100
ROUNDING = "nll_rounding"
"""The NLL in bfloat16 minus that in float32, in nats, of each image of the trial."""


def in_bfloat16(model: Model) -> Model:
    """Return the model whose networks compute in bfloat16; it shares all weights."""
    view = copy.copy(model)
    view.precision = torch.bfloat16
    return view


def rounding_of_bound(
    model: Model,
    test: ImageLoader,
    rows: Tensor,
    settings: EvaluateSettings,
    device: torch.device,
) -> Mapping[str, Tensor]:
    """Measure what bfloat16 changes in the bound of some rows; empty if it is not to be used.

    It is used where the mean change, two of its standard errors added, is below the standard error
    of the bound.
    """
    is_long = len(rows) > 1 and settings.importance_samples * len(rows) >= MIN_DECODED
    has_units = device.type == "cpu" and has_bfloat16()
    if not is_long or not has_units or model.precision != torch.float32:
        return {}
    exact, rounded = _both(model, test, rows[:TRIED_IMAGES], settings, device)
    change = rounded - exact
    error = exact.std().item() / len(rows) ** 0.5
    is_small = change.mean().abs().item() + 2 * standard_error(change) < error
    return {ROUNDING: change} if is_small else {}


def _both(
    model: Model,
    test: ImageLoader,
    rows: Tensor,
    settings: EvaluateSettings,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return the NLL of images in nats, in float32 and in bfloat16, with the same latents."""
    pixels = rng_stream(settings.seed, "evaluation/rounding-pixels", device)
    given, images = model.given(test.labels_at(rows)), test.gather(rows, pixels)
    posterior, samples = given.encode(images), settings.importance_samples

    def nll(used: Model) -> Tensor:
        noise = rng_stream(settings.seed, "evaluation/rounding", device)
        return -importance_weighted_log_likelihood(
            used, images, posterior, samples, noise
        ).log_likelihood

    return nll(given), nll(in_bfloat16(given))
