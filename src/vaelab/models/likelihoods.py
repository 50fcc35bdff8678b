"""From a decoder's outputs to p(x|z): what each setting of `model.likelihood` means."""

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


class Likelihood(nn.Module):
    """Turns a decoder's outputs into a distribution of images.

    `outputs_per_channel` says how many numbers it needs for each pixel's channel; `fitted`
    whether it has a parameter that is set in closed form from the training split. `group`
    computes means over a training batch of which other processes hold a part.
    """

    outputs_per_channel = 1
    fitted = False
    group: ProcessGroup = SINGLE_GROUP

    def forward(self, outputs: Outputs) -> PixelDistribution:
        """Give p(x|z) for the outputs of a decoder."""
        raise AssertionError("each likelihood defines its own")

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Give the outputs that mean the training split's mean image, whatever the latent.

        A decoder starts from there (Burda et al. 2016, appendix C: the output bias): one that
        first has to find out how dark most pixels are may end where a sigmoid saturates.
        """
        return mean_image.clamp(0.01, 0.99).logit()


class BernoulliLikelihood(Likelihood):
    """Outputs are logits of a white pixel."""

    def forward(self, outputs: Outputs) -> Bernoulli:
        """Give the Bernoulli of the logits."""
        return Bernoulli(outputs)


class ContinuousBernoulliLikelihood(Likelihood):
    """Outputs are logits of the continuous Bernoulli's parameter."""

    def forward(self, outputs: Outputs) -> ContinuousBernoulli:
        """Give the continuous Bernoulli of the logits."""
        return ContinuousBernoulli(outputs)


class DiscretizedLogisticLikelihood(Likelihood):
    """Outputs are a location and a log-scale for each pixel's channel."""

    outputs_per_channel = 2

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Give the location of the mean image; the scale is left to the decoder."""
        return torch.cat([super().initial_outputs(mean_image), torch.zeros_like(mean_image)])

    def forward(self, outputs: Outputs) -> DiscretizedLogistic:
        """Give the logistic; its scale stays between e^-7 and 1, half a grey level to all."""
        location, log_scale = outputs.chunk(2, dim=-3)
        return DiscretizedLogistic(location.sigmoid(), -7 * torch.sigmoid(log_scale))


class GaussianLikelihood(Likelihood):
    """Outputs are means; one variance is shared by all pixels, set or fitted.

    While a model with a fitted variance trains, each batch is scored at its own best
    variance; in evaluation the variance is the buffer's, frozen by `fit`.
    """

    variance: Tensor

    def __init__(self, variance: float | None, *, linear: bool = False) -> None:
        super().__init__()
        self.fitted = variance is None
        self.linear = linear
        self.register_buffer("variance", torch.tensor(1.0 if variance is None else variance))

    def forward(self, outputs: Outputs) -> Gaussian | ProfiledGaussian:
        """Give the Gaussian around the decoder's means."""
        mean = outputs if self.linear else outputs.sigmoid()
        if self.training and self.fitted:
            return ProfiledGaussian(mean, self.group)
        return Gaussian(mean, self.variance)

    def initial_outputs(self, mean_image: MeanImage) -> Float[Tensor, "outputs height width"]:
        """Give the mean image, through the inverse of the sigmoid where there is one."""
        return mean_image if self.linear else super().initial_outputs(mean_image)

    def fit(self, mean_squared_error: Float[Tensor, ""]) -> None:
        """Freeze the variance at its maximum-likelihood value, s2 = SSE / (N P)."""
        self.variance.copy_(mean_squared_error.clamp_min(1e-6))


def build_likelihood(settings: ModelSettings, pixels: int) -> Likelihood:
    """Build the likelihood that `model.likelihood` names, for images of `pixels` numbers."""
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
