"""Squared error, PSNR and SSIM of every test image, reconstructed from its posterior mean."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.config import EvaluateSettings
from vaelab.estimators import mean_over_images as mean
from vaelab.estimators.image_quality import has_ssim, psnr_db, ssim
from vaelab.estimators.latent_statistics import to_numpy
from vaelab.estimators.statistics import standard_error
from vaelab.evaluation.types import Arrays, EvaluationData, GroupMetrics
from vaelab.inference.decoding import reconstructions
from vaelab.models.model import Model
from vaelab.models.observation import mean_squared_error
from vaelab.runtime.progress_bars import with_bar
from vaelab.runtime.random_streams import rng_stream

Images = Float[Tensor, "images channel height width"]
Scores = Mapping[str, Float[Tensor, "images"]]

OF_MEAN_IMAGE = "psnr_db_mean_image"
PREFIX = "reconstruction_"


def score_reconstructions(
    model: Model, data: EvaluationData, settings: EvaluateSettings, device: torch.device
) -> Scores:
    """Compute the scores of every test image by name, in the order of the files.

    Beside them stands the PSNR of the mean training image, which a decoder reaches that ignores its
    latent.
    """
    pixels = rng_stream(settings.seed, "evaluation/test-pixels", device)
    average = data.train.mean_image()
    test = data.test.sequential(settings.batch_size, pixels)
    batches = [
        {
            **compare_images(images, reconstructions(model.given(labels), images)),
            OF_MEAN_IMAGE: psnr_db(images, average.expand_as(images)),
        }
        for images, labels in with_bar(test, "reconstructions", "batches")
    ]
    # No SSIM where pixels are missing in a batch.
    everywhere = [name for name in batches[0] if all(name in batch for batch in batches)]
    return {name: torch.cat([batch[name] for batch in batches]) for name in everywhere}


def compare_images(images: Images, decoded: Images) -> Scores:
    """Compare each image with its reconstruction, where pixels are known.

    There is no SSIM below 3x3 pixels, and none of images of which pixels are missing.
    """
    scores = {
        "mean_squared_error": mean_squared_error(decoded, images),
        "psnr_db": psnr_db(images, decoded),
    }
    if not has_ssim(*images.shape[2:]) or images.isnan().any():
        return scores
    return {**scores, "ssim": ssim(images, decoded)}


def reconstruction_metrics(scores: Scores) -> GroupMetrics:
    """Average PSNR and SSIM over images."""
    errors = {"psnr_db": "psnr_standard_error_db", "ssim": "ssim_standard_error"}
    averaged = (*errors, OF_MEAN_IMAGE)
    metrics: GroupMetrics = {name: mean(scores[name]) for name in averaged if name in scores}
    for name, error in errors.items():
        if name in scores and len(scores[name]) > 1:
            metrics[error] = standard_error(scores[name])
    return metrics


def per_image(scores: Scores) -> Arrays:
    """Return the scores of each test image, for tables and figures."""
    return {
        f"{PREFIX}{name}": to_numpy(values)
        for name, values in scores.items()
        if name != OF_MEAN_IMAGE
    }
