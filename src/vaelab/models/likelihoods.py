"""Likelihoods p(x|z) of a decoder's outputs, one for each value of `model.likelihood`."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelab.config import ModelSettings
from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    PixelDistribution,
    ProfiledGaussian,
)

Outputs = Float[Tensor, "*batch outputs height width"]
MeanImage = Float[Tensor, "channel height width"]


PixelKind = Literal["binary", "density", "levels"]
"""What a likelihood is a distribution of: black and white, [0, 1], or 256 gray levels."""


class Likelihood(nn.Module):
    """Turns a decoder's outputs into a distribution of images.

    `outputs_per_channel` is the number of outputs for each channel of a pixel. `fitted` is true
    where a parameter is set in closed form from the training split. `group` computes means over
    training batches that are split over processes.
    """

    outputs_per_channel = 1
    pixels: ClassVar[PixelKind] = "binary"
    fitted = False
    group: ProcessGroup = SINGLE_GROUP

    def forward(self, outputs: Outputs) -> PixelDistribution:
        """Return p(x|z) for the outputs of a decoder."""
        raise AssertionError("each likelihood defines its own")

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Return the outputs whose distribution has the training split's mean image as its mean.

        They are added to the decoder's outputs as a bias (Burda et al. 2016, appendix C). Without
        it, a decoder first learns how dark most pixels are, which may saturate sigmoids.
        """
        return mean_image.clamp(0.01, 0.99).logit()

    def fit_error(self, images: Tensor, means: Tensor) -> Float[Tensor, ""]:
        """Return the sum over images and pixels whose mean `fit` takes; only if `fitted`.

        `images` and `means`, those of p(x|z), are [batch, channel, height, width].
        """
        raise AssertionError("each fitted likelihood defines its own")

    def fit(self, mean_error: Float[Tensor, ""]) -> None:
        """Set the fitted parameter, a buffer, from the mean of `fit_error`; only if `fitted`."""
        raise AssertionError("each fitted likelihood defines its own")


class BernoulliLikelihood(Likelihood):
    """Outputs are logits of a white pixel."""

    def forward(self, outputs: Outputs) -> Bernoulli:
        """Return the Bernoulli with these logits."""
        return Bernoulli(outputs)


class ContinuousBernoulliLikelihood(Likelihood):
    """Outputs are logits of the continuous Bernoulli's parameter."""

    pixels: ClassVar[PixelKind] = "density"

    def forward(self, outputs: Outputs) -> ContinuousBernoulli:
        """Return the continuous Bernoulli with these logits."""
        return ContinuousBernoulli(outputs)


class DiscretizedLogisticLikelihood(Likelihood):
    """Outputs are a location and a log-scale for each pixel's channel."""

    pixels: ClassVar[PixelKind] = "levels"
    outputs_per_channel = 2

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Return the location of the mean image, and 0 for the log-scale."""
        return torch.cat([super().initial_outputs(mean_image), torch.zeros_like(mean_image)])

    def forward(self, outputs: Outputs) -> DiscretizedLogistic:
        """Return the logistic, with a scale between e^-7 (a quarter of a gray level) and 1."""
        location, log_scale = outputs.chunk(2, dim=-3)
        return DiscretizedLogistic(location.sigmoid(), -7 * torch.sigmoid(log_scale))


class GaussianLikelihood(Likelihood):
    """Outputs are means; one variance, set or fitted, is shared by all pixels.

    In training, a fitted variance is the maximum-likelihood variance of each batch. In evaluation
    it is the buffer `variance`, which `fit` sets.
    """

    pixels: ClassVar[PixelKind] = "density"
    variance: Tensor

    def __init__(self, variance: float | None, *, linear: bool = False) -> None:
        super().__init__()
        self.fitted = variance is None
        self.linear = linear
        self.register_buffer("variance", torch.tensor(1.0 if variance is None else variance))

    def forward(self, outputs: Outputs) -> Gaussian | ProfiledGaussian:
        """Return the Gaussian around the decoder's means."""
        mean = outputs if self.linear else outputs.sigmoid()
        if self.training and self.fitted:
            return ProfiledGaussian(mean, self.group)
        return Gaussian(mean, self.variance)

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Return the mean image, or its logits where a sigmoid follows."""
        return mean_image if self.linear else super().initial_outputs(mean_image)

    def fit_error(self, images: Tensor, means: Tensor) -> Float[Tensor, ""]:
        """Return the sum of squared errors."""
        return (images - means).square().sum()

    def fit(self, mean_error: Float[Tensor, ""]) -> None:
        """Set the variance to its maximum-likelihood value, s2 = SSE / (N P), of N images."""
        self.variance.copy_(mean_error.clamp_min(1e-6))


def build_likelihood(settings: ModelSettings, pixels: int) -> Likelihood:
    """Build the likelihood that `model.likelihood` names; `pixels` counts those of all channels."""
    if settings.likelihood == "gaussian":
        linear = settings.gaussian_mean == "linear"
        return GaussianLikelihood(_gaussian_variance(settings, pixels), linear=linear)
    return {
        "bernoulli": BernoulliLikelihood,
        "continuous_bernoulli": ContinuousBernoulliLikelihood,
        "discretized_logistic": DiscretizedLogisticLikelihood,
    }[settings.likelihood]()


def _gaussian_variance(settings: ModelSettings, pixels: int) -> float | None:
    if settings.gaussian_variance == "fitted":
        return None
    if settings.gaussian_variance == "mean_squared_error":
        # SSE / (2 s2) is SSE / P at s2 = P / 2
        return pixels / 2
    return settings.gaussian_variance
