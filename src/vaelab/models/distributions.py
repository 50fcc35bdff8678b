"""Distributions of latents and of pixels. Every `log_prob` and `kl` is in nats per image.

Parameters may have any leading dimensions (samples, images); `log_prob` sums over the last ones:
one of a latent, three of an image.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from vaelab.distributed.process_group import SINGLE_GROUP, ProcessGroup
from vaelab.models.bernoulli import bernoulli_log_prob, softplus

LOG_TWO_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class DiagonalGaussian:
    """q(z|x) = N(mean, diag(stddev^2)), or the prior: Kingma & Welling 2014, section 3."""

    mean: Float[Tensor, "*batch latent"]
    stddev: Float[Tensor, "*batch latent"]

    def rsample(
        self, generator: torch.Generator | None = None, samples: int | None = None
    ) -> Float[Tensor, "*samples_batch latent"]:
        """Sample z = mean + stddev * noise; `samples` adds a leading dimension of that size."""
        shape = self.mean.shape if samples is None else (samples, *self.mean.shape)
        noise = torch.randn(
            shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype
        )
        return self.mean + self.stddev * noise

    def detach(self) -> "DiagonalGaussian":
        """Return the same distribution, with detached parameters."""
        return DiagonalGaussian(self.mean.detach(), self.stddev.detach())

    def log_prob(self, latents: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """Return the log density of latents, in nats."""
        standardized = (latents - self.mean) / self.stddev
        return -0.5 * (standardized**2 + 2 * self.stddev.log() + LOG_TWO_PI).sum(-1)

    def kl_per_dimension(self) -> Float[Tensor, "*batch latent"]:
        """Return KL(q || N(0, 1)) of each dimension, in nats: Kingma & Welling 2014, appendix B."""
        # KL = (mu^2 + sigma^2 - ln sigma^2 - 1) / 2
        return 0.5 * (self.mean**2 + self.stddev**2 - 1) - self.stddev.log()

    def kl(self) -> Float[Tensor, "*batch"]:
        """Return KL(q || N(0, I)) in nats, summed over dimensions."""
        return self.kl_per_dimension().sum(-1)


@dataclass(frozen=True)
class PointMass:
    """A latent without noise: the output of an autoencoder's encoder."""

    mean: Float[Tensor, "*batch latent"]

    def rsample(
        self, generator: torch.Generator | None = None, samples: int | None = None
    ) -> Float[Tensor, "*samples_batch latent"]:
        """Return the point; `samples` adds a leading dimension of copies."""
        return self.mean if samples is None else self.mean.expand(samples, *self.mean.shape)

    def detach(self) -> "PointMass":
        """Return the same point, detached."""
        return PointMass(self.mean.detach())

    def log_prob(self, latents: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch"]:
        """Return the log probability of the point, 0 nats; bounds of discrete codes use it."""
        return torch.zeros_like(latents[..., 0])


Posterior = DiagonalGaussian | PointMass


@runtime_checkable
class LatentDistribution(Protocol):
    """A distribution of the latent of each of some images, to sample from and to weight with."""

    def rsample(self, generator: torch.Generator, samples: int) -> Tensor:
        """Sample latents [samples, images, latent]."""

    def log_prob(self, latents: Tensor) -> Tensor:
        """Return the log density [samples, images] in nats, differentiable by the latents."""


def standard_normal(like: Float[Tensor, "*batch latent"]) -> DiagonalGaussian:
    """Return N(0, I) in the shape and data type and on the device of `like`."""
    return DiagonalGaussian(torch.zeros_like(like), torch.ones_like(like))


@runtime_checkable
class PixelDistribution(Protocol):
    """p(x|z), which `Model.decode` returns."""

    @property
    def mean(self) -> Tensor:
        """The expected image, [*batch, channel, height, width], in [0, 1] for most likelihoods."""

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log probability (or density on [0, 1]) of images, [*batch], in nats."""

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return that of each pixel's channel, [*batch, channel, height, width], in nats.

        Given the latent the pixels are independent, so that `log_prob` is their sum.
        """

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample images, including the noise of the likelihood."""


def sum_pixels(values: Tensor) -> Tensor:
    """Sum over the last three dimensions: [*batch]."""
    return values.flatten(-3).sum(-1)


def _gaussian(sum_of_squares: Tensor, variance: Tensor, pixels: int) -> Tensor:
    # -SSE / (2 s2) - (P / 2) ln(2 pi s2)
    return -0.5 * (sum_of_squares / variance + pixels * (variance.log() + LOG_TWO_PI))


@dataclass(frozen=True)
class Bernoulli:
    """Binary pixels. Of gray pixels in (0, 1) it is a cross-entropy, but not a likelihood."""

    logits: Float[Tensor, "*batch channel height width"]

    @property
    def mean(self) -> Tensor:
        """The probability of a white pixel."""
        return self.logits.sigmoid()

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the negative cross-entropy, x ln p + (1 - x) ln (1 - p), in nats."""
        return sum_pixels(self.pixel_log_prob(images))

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the negative cross-entropy of each pixel, in nats."""
        return bernoulli_log_prob(images, self.logits)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample black or white pixels."""
        return torch.bernoulli(self.mean, generator=generator)


@dataclass(frozen=True)
class ContinuousBernoulli:
    """A density on [0, 1], C(p) p^x (1-p)^(1-x): Loaiza-Ganem & Cunningham 2019, equation 6."""

    logits: Float[Tensor, "*batch channel height width"]

    def _near_half(self) -> Tensor:
        # Near p = 1/2 the closed forms divide 0 by 0. In float32 their rounding error, about
        # 1e-7 / l, meets the series' truncation error, about l^6 / 1e6, around |l| = 0.3.
        return self.logits.abs() < 0.3

    def _away_from_half(self) -> Tensor:
        return torch.where(self._near_half(), torch.ones_like(self.logits), self.logits)

    def log_normalizer(self) -> Tensor:
        """Return ln C(p) of each pixel, in nats, as a function of the logit l = ln(p / (1 - p))."""
        # C = 2 artanh(1 - 2p) / (1 - 2p) = l / tanh(l / 2), since 1 - 2p = -tanh(l / 2)
        far = self._away_from_half().abs()
        exact = far.log() - torch.tanh(far / 2).log()
        # ln(l / tanh(l/2)) = ln 2 + l^2/12 - 7 l^4/1440 + 31 l^6/90720 - ...
        square = self.logits**2
        series = math.log(2) + square / 12 - 7 * square**2 / 1440 + 31 * square**3 / 90720
        return torch.where(self._near_half(), series, exact)

    @property
    def mean(self) -> Tensor:
        """The expected pixel, which is not p: p / (2p - 1) + 1 / (2 artanh(1 - 2p))."""
        far = self._away_from_half()
        # p / (2p - 1) = 1 / (1 - e^-l), for l > 0: no exponential overflows
        size = far.abs()
        rising = 1 / -torch.expm1(-size) - 1 / size
        exact = torch.where(far > 0, rising, 1 - rising)
        square = self.logits**2
        series = 0.5 + self.logits * (1 / 12 - square / 720 + square**2 / 30240)
        return torch.where(self._near_half(), series, exact)

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log density on [0, 1], in nats."""
        return sum_pixels(self.pixel_log_prob(images))

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the log density of each pixel, in nats."""
        return bernoulli_log_prob(images, self.logits) + self.log_normalizer()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample by inverting the distribution function."""
        uniform = torch.rand(self.logits.shape, generator=generator, device=self.logits.device)
        # x = 1 + ln(u + (1 - u) e^-l) / l inverts F(x) = (e^(l x) - 1) / (e^l - 1) for l > 0;
        # in this form it stays accurate down to l = 0, where x = u.
        size = self.logits.abs().clamp_min(1e-6)
        rising = 1 + torch.log1p((1 - uniform) * torch.expm1(-size)) / size
        return torch.where(self.logits > 0, rising, 1 - rising).clamp(0, 1)


@dataclass(frozen=True)
class Gaussian:
    """Pixels with one shared variance: the squared error as a normalized likelihood."""

    mean: Float[Tensor, "*batch channel height width"]
    variance: Float[Tensor, ""]

    def log_prob(self, images: Tensor) -> Tensor:
        """Return -SSE / (2 s2) - (P / 2) ln(2 pi s2), in nats, for P pixels and variance s2."""
        sum_of_squares = sum_pixels((images - self.mean).square())
        return _gaussian(sum_of_squares, self.variance, math.prod(self.mean.shape[-3:]))

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the log density of each pixel, in nats."""
        return _gaussian((images - self.mean).square(), self.variance, 1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample pixels around the mean; they may leave [0, 1]."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + self.variance.sqrt() * noise


@dataclass(frozen=True)
class ProfiledGaussian:
    """A Gaussian with the maximum-likelihood variance of the images passed to `log_prob`.

    Rybkin et al. 2021 (sigma-VAE), equation 4. For training only: the variance is a constant to
    differentiation, which changes no gradient, because at the best variance the derivative by the
    variance is zero.
    """

    mean: Float[Tensor, "*batch channel height width"]
    group: ProcessGroup = SINGLE_GROUP

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log density at s2 = mean squared error of all these images, in nats."""
        sum_of_squares = sum_pixels((images - self.mean).square())
        pixels = math.prod(self.mean.shape[-3:])
        mean = self.group.batch_mean(sum_of_squares.detach().mean())
        variance = (mean / pixels).clamp_min(1e-6)
        return _gaussian(sum_of_squares, variance, pixels)

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the log density of each pixel, in nats."""
        return self.fitted(images, torch.ones_like(images, dtype=torch.bool)).pixel_log_prob(images)

    def fitted(self, images: Tensor, observed: Tensor) -> Gaussian:
        """Return the Gaussian at s2 = mean squared error of the observed pixels of all images."""
        squares = torch.where(observed, (images - self.mean.detach()).square(), 0)
        counts = observed.expand(squares.shape).to(squares)
        total, count = (
            self.group.batch_mean(sum_pixels(values).mean()) for values in (squares, counts)
        )
        return Gaussian(self.mean, (total / count.clamp_min(1)).clamp_min(1e-6))

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean, because the variance is known only with images."""
        return self.mean


@dataclass(frozen=True)
class DiscretizedLogistic:
    """256 gray levels, each with the logistic's mass between the midpoints to its neighbors.

    Kingma et al. 2016 (IAF), appendix; Salimans et al. 2017, equation 2. Level v is the image
    value v / 255; the two outer levels include the tails, so that the levels sum to 1.
    """

    mean: Float[Tensor, "*batch channel height width"]
    log_scale: Float[Tensor, "*batch channel height width"]

    def log_prob(self, images: Tensor) -> Tensor:
        """Return the log probability of 8-bit pixels, in nats."""
        return sum_pixels(self.pixel_log_prob(images))

    def pixel_log_prob(self, images: Tensor) -> Tensor:
        """Return the log probability of each 8-bit pixel, in nats."""
        inverse_scale = torch.exp(-self.log_scale)
        half_level = 0.5 / 255
        upper = (images - self.mean + half_level) * inverse_scale
        lower = (images - self.mean - half_level) * inverse_scale
        # ln(S(u) - S(l)) = ln S(u) + ln S(-l) + ln(1 - e^(l - u)), S the logistic function
        width = 2 * half_level * inverse_scale
        below, above = -softplus(-upper), -softplus(lower)
        inside = below + above + torch.log(-torch.expm1(-width))
        black, white = images < half_level, images > 1 - half_level
        edges = torch.where(black, below, above)
        return torch.where(black | white, edges, inside)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Sample 8-bit levels, as values in [0, 1]."""
        uniform = torch.rand(self.mean.shape, generator=generator, device=self.mean.device)
        value = self.mean + self.log_scale.exp() * torch.logit(uniform, eps=1e-6)
        return (value.clamp(0, 1) * 255).round() / 255
